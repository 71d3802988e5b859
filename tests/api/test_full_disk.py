"""A full disk and a full inode table: what protects and what frees goes on, the rest is refused."""

import json
import os

import pytest
from support.accounts import ADMIN, Account, sign_up, take_down
from support.car_files import car_of
from support.credentials import Signer
from support.full_disk import small_disk
from support.services import services_of

from aurora_blobs.accounts.moderation import Subject
from aurora_blobs.blobs.upload import Incoming
from aurora_blobs.catalog import identity
from aurora_blobs.catalog.takedowns import EVERY_ACCOUNT
from aurora_blobs.errors import InsufficientStorage
from aurora_blobs.maintenance.fsck import Fsck
from aurora_blobs.protocol.cid import cid_of_digest

RESERVE = 4 * 2**20
KIB = 1024
MODERATOR = "did:web:mod.test"
SERVICE = "did:web:localhost"
CAR = {"Content-Type": "application/vnd.ipld.car"}
HEALTH = "/xrpc/_health"
STATUS = "/xrpc/com.atproto.admin.getSubjectStatus"
CREATE_ACCOUNT = "/xrpc/com.atproto.server.createAccount"
CREATE_SESSION = "/xrpc/com.atproto.server.createSession"


class Site:
    """An application with the account `alice`, on disks that `fill` makes full."""

    def __init__(self, disks, app):
        self.disks = disks
        self.app = app
        self.services = services_of(app)
        self.client = app.test_client()
        self.alice = sign_up(self.client)
        self.public = self.alice.publish(picture("public"))
        self.temporary = self.alice.blob(picture("temporary"))["ref"]["$link"]

    def make_space(self):
        for disk in self.disks:
            disk.make_space()

    @property
    def given_up(self):
        """How many files of the reserves are missing."""
        reserves = [folder for disk in self.disks for folder in disk.path.rglob("*reserve")]
        return sum(16 - len(list(folder.iterdir())) for folder in reserves)

    def rows(self):
        with self.services.database.read() as tx:
            return tx.all("SELECT cid FROM blob ORDER BY cid")

    def stored(self):
        return sorted((stored.cid,) for stored in self.services.blobs.backend.scan())

    def findings(self):
        services = self.services
        return list(
            Fsck(
                services.database,
                services.blobs.backend,
                services.config.data_folder.spool,
                services.clock,
                repair=False,
            ).run()
        )

    def gc(self):
        return self.app.test_cli_runner().invoke(args=["blobs", "gc"])


def picture(text, size=20_000):
    return b"\xff\xd8\xff\xe0" + text.encode() + os.urandom(size)


def cid_of_number(number):
    return cid_of_digest(number.to_bytes(32, "big"))


def repository(did):
    """A CAR file of 600 KB."""
    records = {f"com.example.file/{n}": {"text": f"{n}" + "x" * 5000} for n in range(120)}
    return car_of(records, did).getvalue()


def links_in(answer):
    """The CID in the answer to an upload, nothing in a refusal."""
    return [blob["ref"]["$link"] for name, blob in answer.json.items() if name == "blob"]


def fill(disk):
    disk.fill()


def fill_inodes(disk):
    disk.fill_inodes()


def guess(client, password, address="192.0.2.1"):
    """A call with *password* as the administrator's."""
    return client.get(
        STATUS,
        query_string={"did": "did:web:alice.test"},
        auth=("admin", password),
        environ_base={"REMOTE_ADDR": address},
    )


def sign_in(client, password):
    return client.post(CREATE_SESSION, json={"identifier": "alice.test", "password": password})


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        yield disk


@pytest.fixture
def second_disk(tmp_path):
    with small_disk(tmp_path / "second") as disk:
        yield disk


@pytest.fixture
def open_site(disk, second_disk, open_app):
    def open_site(*, apart=False, **settings):
        folder = second_disk.path if apart else disk.path / "data"
        settings.setdefault("DISK_RESERVE", str(RESERVE))
        app = open_app(
            DATA_DIR=str(disk.path / "data"),
            DATABASE_URL=f"sqlite:{folder / 'aurora.sqlite3'}",
            ADMIN_PASSWORD=ADMIN[1],
            **settings,
        )
        return Site([disk, second_disk], app)

    return open_site


@pytest.fixture(
    params=[
        (False, fill, [0]),
        (False, fill_inodes, [0]),
        (True, fill, [0]),
        (True, fill, [1]),
        (True, fill, [0, 1]),
        (True, fill_inodes, [0, 1]),
    ],
    ids=[
        "one disk, no space",
        "one disk, no inodes",
        "two disks, none for files",
        "two disks, none for the database",
        "two disks, no space",
        "two disks, no inodes",
    ],
)
def full(request, open_site):
    """A `Site` whose disks, or one of them, are full."""
    apart, how, numbers = request.param
    site = open_site(apart=apart, FAILURES_PER_ADDRESS="3/5m")
    for number in numbers:
        how(site.disks[number])
    return site


def test_guesses_are_limited(full):
    statuses = [guess(full.client, f"guess {number}").status_code for number in range(4)]

    assert statuses == [401, 401, 401, 429]
    assert guess(full.client, ADMIN[1]).status_code == 429
    assert guess(full.client, ADMIN[1], "192.0.2.2").status_code == 200


def test_right_passwords_are_not_counted(full):
    right = [guess(full.client, ADMIN[1]).status_code for _ in range(5)]
    wrong = [guess(full.client, "wrong").status_code for _ in range(4)]

    assert right == [200] * 5
    assert wrong == [401, 401, 401, 429]


def test_guesses_at_invite_codes_are_limited(full):
    full.services.sign_ups.policy = "invite"
    body = {"handle": "mallory.test", "email": "m@example.com", "password": "correct horse"}

    answers = [
        full.client.post(CREATE_ACCOUNT, json={**body, "inviteCode": f"guess {number}"})
        for number in range(4)
    ]

    assert [answer.status_code for answer in answers] == [400, 400, 400, 429]


def test_a_new_password_ends_the_sessions_of_an_account(full):
    set_password = full.client.post(
        "/xrpc/com.atproto.admin.updateAccountPassword",
        json={"did": full.alice.did, "password": "battery staple"},
        auth=ADMIN,
    )

    assert set_password.status_code == 200
    session = full.alice.get("com.atproto.server.getSession")
    assert session.json["error"] == "ExpiredToken"


def test_a_blob_is_taken_down_and_lifted(full):
    take_down(full.client, full.alice.did, full.public.cid)
    hidden = full.alice.fetch(full.public.cid).status_code
    lifted = full.client.post(
        "/xrpc/com.atproto.admin.updateSubjectStatus",
        json={
            "subject": {
                "$type": "com.atproto.admin.defs#repoBlobRef",
                "did": full.alice.did,
                "cid": full.public.cid,
            },
            "takedown": {"applied": False},
        },
        auth=ADMIN,
    )

    assert (hidden, lifted.status_code) == (400, 200)
    assert full.alice.fetch(full.public.cid).status_code == 200


@pytest.mark.parametrize("reserve", ["0", str(RESERVE)], ids=["no reserve", "a reserve"])
def test_the_links_of_an_account_that_is_taken_down_go(open_site, reserve):
    site = open_site(DISK_RESERVE=reserve)
    links = site.services.public_links
    links.add(site.alice.did, site.public.cid, "image/jpeg", "blobs/x", lambda: True)
    assert list(links.links()) == [(site.alice.did, site.public.cid)]
    site.disks[0].fill_inodes()

    answer = site.client.post(
        "/xrpc/com.atproto.admin.updateSubjectStatus",
        json={
            "subject": {"$type": "com.atproto.admin.defs#repoRef", "did": site.alice.did},
            "takedown": {"applied": True},
        },
        auth=ADMIN,
    )

    assert answer.status_code == 200, answer.text
    assert list(links.links()) == []


def test_wrong_bytes_that_cannot_be_set_aside_are_not_served(open_site):
    site = open_site(DISK_RESERVE="0")
    path = site.services.blobs.backend.root / site.services.blobs.backend.path(site.public.cid)
    path.write_bytes(b"x" * path.stat().st_size)
    site.disks[0].fill_inodes()
    scrub = ["blobs", "scrub", "--repair"]

    first = site.app.test_cli_runner().invoke(args=scrub)
    served = site.alice.fetch(site.public.cid).status_code
    kept = path.exists()
    site.make_space()
    site.app.test_cli_runner().invoke(args=["blobs", "fsck", "--repair"])

    assert (first.exit_code, served, kept) == (1, 400, True)
    assert not path.exists()
    assert len(list((site.services.blobs.backend.root / "quarantine").iterdir())) == 1


def test_an_account_is_deleted_with_all_that_it_has(full):
    answer = full.client.post(
        "/xrpc/com.atproto.server.deleteAccount",
        json={"did": full.alice.did, "password": "correct horse", "token": "any"},
    )

    assert answer.status_code == 200, answer.text
    assert (full.rows(), full.stored()) == ([], [])


def test_a_record_is_deleted(full):
    answer = full.alice.post(
        "com.atproto.repo.deleteRecord",
        repo=full.alice.did,
        collection="com.example.file",
        rkey=full.public.rkey,
    )

    assert answer.status_code == 200, answer.text
    assert full.alice.fetch(full.public.cid).status_code == 400


def test_a_moderator_takes_down_by_a_service_token(open_site, clock):
    site, moderator, signer = open_site(MODERATION_DID=MODERATOR), MODERATOR, Signer()
    with site.services.database.write() as tx:
        identity.remember(tx, moderator, json.dumps(signer.document(moderator)), clock())
    site.disks[0].fill()
    method, now = "com.atproto.admin.updateSubjectStatus", clock() // 1_000_000
    token = signer.token(iss=moderator, aud=SERVICE, lxm=method, exp=now + 60, iat=now)

    statuses = [
        site.client.post(
            f"/xrpc/{method}",
            json={
                "subject": {"$type": "com.atproto.admin.defs#repoRef", "did": site.alice.did},
                "takedown": {"applied": True},
            },
            headers={"Authorization": f"Bearer {token}"},
        ).status_code
        for _ in range(2)
    ]

    assert statuses == [200, 401]
    assert site.alice.fetch(site.public.cid).status_code == 400


def test_the_collector_makes_space(full, clock):
    clock.advance(2 * 86_400)

    result = full.gc()

    assert result.exit_code == 0, result.output
    assert full.stored() == [(full.public.cid,)]


@pytest.mark.parametrize("full", [fill, fill_inodes])
@pytest.mark.parametrize("reserve", ["0", str(RESERVE)], ids=["no reserve", "a reserve"])
def test_what_an_upload_left_that_died_goes(open_site, reserve, full):
    site = open_site(DISK_RESERVE=reserve)
    spool = site.services.config.data_folder.spool
    (spool / f"{site.temporary}.{'0' * 16}").write_bytes(b"its account holds it")
    (spool / f"upload.{'0' * 16}").write_bytes(b"the beginning of a body")
    full(site.disks[0])

    assert site.services.blobs.recover() == 2
    assert list(spool.iterdir()) == []
    assert (site.temporary,) in site.stored()


def test_a_check_finds_nothing_wrong(full):
    assert full.findings() == []


def test_uploads_are_refused_and_leave_nothing(full):
    rows, stored = full.rows(), full.stored()

    answer = full.alice.upload(picture("new", 300_000))

    assert (answer.status_code, answer.json["error"]) == (507, "InsufficientStorage")
    assert int(answer.headers["Retry-After"]) > 0
    assert (full.rows(), full.stored()) == (rows, stored)
    assert full.findings() == []


def test_what_is_here_is_served_and_may_be_uploaded_again(full):
    again = full.alice.upload(full.alice.fetch(full.public.cid).data)

    assert (again.status_code, again.json["blob"]) == (200, full.public.blob)


def test_all_works_again_when_there_is_space(full):
    take_down(full.client, full.alice.did, full.public.cid)
    full.make_space()

    published = full.alice.publish(picture("new", 300_000))

    assert full.alice.fetch(published.cid).status_code == 200
    assert sign_in(full.client, "correct horse").status_code == 200
    assert full.given_up == 0


@pytest.fixture
def spent(open_site):
    """A `Site` on a full disk that has begun to give up its reserve."""
    site = open_site(FAILURES_PER_ADDRESS="3/5m")
    site.disks[0].fill()
    take_down(site.client, site.alice.did, site.public.cid)
    assert 0 < site.given_up < 16
    return site


def test_what_is_given_up_is_not_for_uploads_and_records(spent):
    free, rows = spent.disks[0].free_bytes, spent.rows()

    answers = [
        spent.alice.upload(picture("small", 100)),
        spent.alice.upload(picture("large", 600_000)),
        spent.alice.record({"text": "hello"}),
        spent.alice.post(
            "com.atproto.repo.applyWrites",
            repo=spent.alice.did,
            writes=[
                {
                    "$type": "com.atproto.repo.applyWrites#delete",
                    "collection": "com.example.file",
                    "rkey": spent.public.rkey,
                },
                {
                    "$type": "com.atproto.repo.applyWrites#create",
                    "collection": "com.example.file",
                    "value": {"text": "hello"},
                },
            ],
        ),
        spent.client.post(
            "/xrpc/com.atproto.repo.importRepo", data=b"x", headers={**spent.alice.headers, **CAR}
        ),
        spent.client.post(
            "/xrpc/com.atproto.server.createAccount",
            json={"handle": "bob.test", "email": "bob@example.com", "password": "correct horse"},
            environ_base={"REMOTE_ADDR": "192.0.2.1"},
        ),
    ]

    assert [answer.status_code for answer in answers] == [507] * 6
    assert {answer.headers["Retry-After"] for answer in answers} == {"60"}
    assert spent.disks[0].free_bytes == free
    assert spent.rows() == rows


def test_a_body_that_arrives_meanwhile_takes_nothing_of_the_reserve(open_site):
    site = open_site()
    free = []

    class Body:
        """A body whose disk becomes full, and whose blob is taken down, half way."""

        def __init__(self):
            self.pieces = iter([picture("head", 400_000), None, b"x" * 400_000, b""])

        def read(self, size=-1):
            piece = next(self.pieces)
            return self.meanwhile() if piece is None else piece

        def meanwhile(self):
            site.disks[0].fill()
            take_down(site.client, site.alice.did, site.public.cid)
            free.append(site.disks[0].free_bytes)
            return next(self.pieces)

    with pytest.raises(InsufficientStorage):
        site.services.blobs.upload(Incoming(stream=Body(), did=site.alice.did))

    assert site.disks[0].free_bytes >= free[0]


def test_nobody_signs_in_and_no_answer_tells_a_right_password(spent):
    answers = [sign_in(spent.client, password) for password in ("correct horse", "wrong")]

    assert [answer.status_code for answer in answers] == [507, 507]
    assert answers[0].json == answers[1].json


def test_a_session_is_renewed_and_ended(open_site):
    site = open_site()
    session = sign_in(site.client, "correct horse").json
    site.disks[0].fill()
    take_down(site.client, site.alice.did, site.temporary)

    renewed = site.client.post(
        "/xrpc/com.atproto.server.refreshSession",
        headers={"Authorization": f"Bearer {session['refreshJwt']}"},
    )
    ended = site.client.post(
        "/xrpc/com.atproto.server.deleteSession",
        headers={"Authorization": f"Bearer {renewed.json['refreshJwt']}"},
    )

    assert (renewed.status_code, ended.status_code) == (200, 200)
    assert (
        Account(site.alice.did, renewed.json["accessJwt"], site.client)
        .get("com.atproto.server.getSession")
        .json["error"]
        == "ExpiredToken"
    )


def test_strangers_guesses_use_up_half_of_the_reserve_at_most(spent):
    statuses = []
    while 507 not in statuses:
        spent.disks[0].fill()  # as a stranger's log does
        statuses.append(guess(spent.client, "wrong", f"192.0.2.{len(statuses)}").status_code)

    assert spent.given_up == 8
    assert guess(spent.client, ADMIN[1], "198.51.100.1").status_code == 507
    assert spent.gc().exit_code == 0


def test_no_password_is_compared_whose_failure_cannot_be_counted(open_site):
    site = open_site(DISK_RESERVE="0", FAILURES_PER_ADDRESS="3/5m")
    site.disks[0].fill()
    guess(site.client, "the first one shows that nothing can be counted")

    answers = [guess(site.client, password) for password in ("wrong", ADMIN[1])]
    site.make_space()

    assert [answer.status_code for answer in answers] == [507, 507]
    assert answers[0].json == answers[1].json
    assert guess(site.client, ADMIN[1]).status_code == 200


def test_a_failure_that_cannot_be_counted_at_one_door_is_known_at_the_other(open_site):
    site = open_site(DISK_RESERVE="0")
    site.disks[0].fill()

    answers = [sign_in(site.client, "wrong"), guess(site.client, ADMIN[1])]

    assert [answer.status_code for answer in answers] == [507, 507]


def test_hundreds_of_takedowns_fit_into_the_reserve(open_site):
    site = open_site()
    site.disks[0].fill()
    moderation = site.services.moderation

    for number in range(400):
        moderation.take_down(
            Subject(EVERY_ACCOUNT, cid_of_number(number)),
            f"a reference of some length: {'x' * 200} {number}",
        )

    assert site.given_up < 16
    assert site.findings() == []


def test_health_says_that_nothing_can_be_added(spent):
    full_health = spent.client.get(HEALTH).status_code
    spent.make_space()

    assert full_health == 503
    assert spent.client.get(HEALTH).status_code == 200


@pytest.mark.parametrize("apart", [False, True], ids=["one disk", "a disk for the database"])
@pytest.mark.parametrize("size", [20_000, 400_000], ids=["in memory", "in a file"])
def test_at_each_point_an_upload_is_whole_or_leaves_nothing(open_site, apart, size):
    site = open_site(apart=apart)
    blobs = site.stored()
    statuses = []
    for leave in range(0, 600 * KIB, 24 * KIB):
        for disk in site.disks:
            disk.fill(leave=leave)
        answer = site.alice.upload(picture(str(leave), size))
        statuses.append(answer.status_code)
        blobs += [(link,) for link in links_in(answer)]
        site.make_space()
        site.client.get(HEALTH)  # notices it

    assert set(statuses) == {200, 507}
    assert sorted(blobs) == site.stored() == site.rows()
    assert site.given_up == 0
    assert site.findings() == []


def test_at_each_number_of_inodes_an_upload_is_whole_or_leaves_nothing(open_site):
    site = open_site()
    blobs = site.stored()
    site.disks[0].fill_inodes()
    fillers = sorted((site.disks[0].path / "strangers").iterdir())
    statuses = []
    for filler in fillers[:6]:
        answer = site.alice.upload(picture(filler.name))
        statuses.append(answer.status_code)
        blobs += [(link,) for link in links_in(answer)]
        filler.unlink()

    assert set(statuses) == {200, 507}
    assert sorted(blobs) == site.stored() == site.rows()
    assert site.given_up == 0
    assert site.findings() == []


def test_at_each_point_a_record_is_whole_or_leaves_nothing(open_site):
    site = open_site()
    statuses, keys = [], {site.public.rkey}
    for leave in range(0, 200 * KIB, 8 * KIB):
        site.disks[0].fill(leave=leave)
        answer = site.alice.record({"text": "x" * 50_000})
        statuses.append(answer.status_code)
        keys |= {answer.json.get("uri", "").rpartition("/")[2]} - {""}
        site.make_space()

    listed = site.alice.get(
        "com.atproto.repo.listRecords", repo=site.alice.did, collection="com.example.file"
    )
    assert set(statuses) == {200, 507}
    assert {record["uri"].rpartition("/")[2] for record in listed.json["records"]} == keys
    assert site.findings() == []


@pytest.mark.parametrize(
    "fill",
    [fill, lambda disk: disk.fill(leave=100 * KIB), lambda disk: disk.fill(leave=900 * KIB)]
    + [fill_inodes],
    ids=["no space", "no space for the body", "no space for the records", "no inodes"],
)
def test_an_import_can_be_repeated_when_there_is_space(open_site, fill):
    site = open_site()
    fill(site.disks[0])

    answer = site.client.post(
        "/xrpc/com.atproto.repo.importRepo",
        data=repository(site.alice.did),
        headers={**site.alice.headers, **CAR},
    )
    site.make_space()
    again = site.client.post(
        "/xrpc/com.atproto.repo.importRepo",
        data=repository(site.alice.did),
        headers={**site.alice.headers, **CAR},
    )

    assert answer.status_code == 507
    assert (again.status_code, again.text) == (200, "")
    assert site.findings() == []
