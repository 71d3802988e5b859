"""Public links exist for what everybody may fetch, and for nothing else."""

import os
import random
import re
import threading
import time
from contextlib import contextmanager, suppress

import pytest
from support.accounts import ADMIN, ALICE, BOB, GET_BLOB, sign_up
from support.cids import cid_in, cid_of
from support.media_samples import jpeg, picture
from support.project import DEPLOY
from support.service_core import ServiceCore, blob_of
from support.services import services_of

from aurora_blobs.accounts.moderation import Subject
from aurora_blobs.blobs.public_links import EXTENSIONS, PublicLinks
from aurora_blobs.db import open_database
from aurora_blobs.errors import BlobServiceError, RepoNotFound, SubjectNotFound

# On PostgreSQL no links are made: tests/db/test_postgresql.py.
pytestmark = pytest.mark.sqlite

COLLECTION = "com.example.file"
UPDATE = "/xrpc/com.atproto.admin.updateSubjectStatus"
DAY = 86_400


@pytest.fixture
def app(open_app):
    return open_app(
        ADMIN_PASSWORD="open sesame", ACCEL_REDIRECT="/_blobs/", ALLOWED_MIME_TYPES="*/*"
    )


@pytest.fixture
def bob(app):
    return sign_up(app.test_client(), "bobby.test")


@pytest.fixture
def links(services):
    """``links()`` are the current links, as nginx sees them: DID, CID and bytes of each."""
    folder = services.config.data_dir / "public"

    def links():
        return {
            (path.parent.name, path.stem, path.read_bytes())
            for path in folder.glob("did:*/*")
            if path.exists()
        }

    return links


@pytest.fixture
def pictures(services):
    """``pictures()`` are the current links to thumbnails: DID, CID and name of each."""
    folder = services.config.data_dir / "public" / "pictures"
    return lambda: {(*path.parts[-3:],) for path in folder.glob("*/did:*/*/*")}


AVATAR = "avatar.cover-1000x1000.webp"


def fetch_picture(member, cid):
    """Fetch a thumbnail until it is kept and has a link."""
    for _ in range(2):
        answer = member.client.get(f"/img/avatar/plain/{member.did}/{cid}@webp", buffered=True)
        assert answer.status_code == 200, answer.text


def update(member, subject, **given):
    answer = member.client.post(UPDATE, json={"subject": subject, **given}, auth=ADMIN)
    assert answer.status_code == 200, answer.text


def of_blob(member, cid):
    return {"$type": "com.atproto.admin.defs#repoBlobRef", "did": member.did, "cid": cid}


def of_account(member):
    return {"$type": "com.atproto.admin.defs#repoRef", "did": member.did}


def run(member, *words):
    services_of(member.client.application).database.close()
    result = member.client.application.test_cli_runner().invoke(args=words)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("mime_type, extension", EXTENSIONS.items())
def test_a_public_fetch_makes_a_link(services, alice, links, mime_type, extension):
    data = f"the bytes of {extension}".encode()
    cid = cid_in(alice.publish(data, "application/octet-stream")[0])
    with services.database.write() as tx:
        tx.run("UPDATE blob_metadata SET mime_type = ? WHERE cid = ?", mime_type, cid)
    assert links() == set()

    alice.fetch(cid)

    assert links() == {(alice.did, cid, data)}
    assert os.path.lexists(services.config.data_dir / "public" / alice.did / f"{cid}.{extension}")


def test_a_blob_of_another_type_gets_no_link(alice, links):
    cid = cid_in(alice.publish(b"WEBVTT\n", "text/vtt")[0])

    assert alice.fetch(cid).status_code == 200

    assert links() == set()


def test_a_blob_that_only_its_owner_may_fetch_gets_no_link(alice, links):
    cid = cid_in(alice.blob(jpeg("cat")))

    answers = [alice.fetch(cid, **headers) for headers in ({}, alice.headers)]

    assert [answer.status_code for answer in answers] == [400, 200]
    assert links() == set()


def test_without_nginx_no_link_is_made(open_app):
    alice = sign_up(open_app().test_client(), "alice.test")

    assert alice.fetch(cid_in(alice.publish(jpeg("cat"))[0])).data == jpeg("cat")

    assert not (alice.services.config.data_dir / "public").exists()


def replace_it(member, rkey):
    member.post(
        "com.atproto.repo.putRecord",
        repo=member.did,
        collection=COLLECTION,
        rkey=rkey,
        record={"text": "hi"},
    )


def apply_writes(member, rkey):
    delete = {
        "$type": "com.atproto.repo.applyWrites#delete",
        "collection": COLLECTION,
        "rkey": rkey,
    }
    member.post("com.atproto.repo.applyWrites", repo=member.did, writes=[delete])


def lose_the_bytes(member, cid):
    services = member.services
    os.unlink(services.config.data_dir / "blobs" / services.blobs.backend.path(cid))


def change_the_bytes(member, cid):
    services = member.services
    path = services.config.data_dir / "blobs" / services.blobs.backend.path(cid)
    path.write_bytes(b"!" * path.stat().st_size)
    member.client.application.test_cli_runner().invoke(args=["blobs", "scrub", "--repair"])


HIDING = {
    "its takedown": lambda who, cid, rkey: update(
        who, of_blob(who, cid), takedown={"applied": True}
    ),
    "a takedown for every account": lambda who, cid, rkey: run(who, "blobs", "takedown", cid),
    "its account's takedown": lambda who, cid, rkey: update(
        who, of_account(who), takedown={"applied": True}
    ),
    "an admin's deactivation": lambda who, cid, rkey: update(
        who, of_account(who), deactivated={"applied": True}
    ),
    "its owner's deactivation": lambda who, cid, rkey: who.post(
        "com.atproto.server.deactivateAccount"
    ),
    "deleteRecord": lambda who, cid, rkey: who.post(
        "com.atproto.repo.deleteRecord", repo=who.did, collection=COLLECTION, rkey=rkey
    ),
    "putRecord": lambda who, cid, rkey: replace_it(who, rkey),
    "applyWrites": lambda who, cid, rkey: apply_writes(who, rkey),
    "deleteAccount": lambda who, cid, rkey: who.post(
        "com.atproto.server.deleteAccount", did=who.did, password="correct horse", token="x"
    ),
    "an admin's deleteAccount": lambda who, cid, rkey: who.client.post(
        "/xrpc/com.atproto.admin.deleteAccount", json={"did": who.did}, auth=ADMIN
    ),
    "lost bytes": lambda who, cid, rkey: lose_the_bytes(who, cid),
    "a scrub that found other bytes": lambda who, cid, rkey: change_the_bytes(who, cid),
}


@pytest.mark.parametrize("hide", HIDING.values(), ids=HIDING)
def test_hiding_a_blob_removes_its_public_link(alice, bob, links, hide):
    blob, rkey = alice.publish(jpeg("cat"))
    other = cid_in(bob.publish(jpeg("dog"))[0])
    alice.fetch(cid_in(blob))
    bob.fetch(other)
    assert {cid for _, cid, _ in links()} == {cid_in(blob), other}

    hide(alice, cid_in(blob), rkey)

    assert links() == {(bob.did, other, jpeg("dog"))}
    assert alice.fetch(cid_in(blob)).status_code == 400
    assert links() == {(bob.did, other, jpeg("dog"))}


@pytest.mark.parametrize("hide", HIDING.values(), ids=HIDING)
def test_hiding_a_blob_removes_the_links_to_its_thumbnails(alice, bob, pictures, clock, hide):
    published = alice.publish(picture("JPEG"))
    cid = published.cid
    other = bob.publish(picture("PNG"), "image/png").cid
    fetch_picture(alice, cid)
    clock.advance(1000)
    fetch_picture(alice, cid)
    fetch_picture(bob, other)
    assert pictures() >= {(alice.did, cid, AVATAR), (bob.did, other, AVATAR)}

    hide(alice, cid, published.rkey)

    assert alice.fetch(cid).status_code == 400
    assert pictures() == {(bob.did, other, AVATAR)}
    assert alice.client.get(f"/img/avatar/plain/{alice.did}/{cid}@webp").status_code == 400
    assert pictures() == {(bob.did, other, AVATAR)}


def test_hiding_a_blob_of_one_account_keeps_the_links_of_others(alice, bob, links):
    cid = cid_in(alice.publish(jpeg("cat"))[0])
    bob.publish(jpeg("cat"))
    alice.fetch(cid)
    bob.fetch(cid)

    update(alice, of_blob(alice, cid), takedown={"applied": True})

    assert links() == {(bob.did, cid, jpeg("cat"))}


def test_a_blob_that_is_shown_again_gets_a_link_when_fetched(alice, links):
    cid = cid_in(alice.publish(jpeg("cat"))[0])
    alice.fetch(cid)
    update(alice, of_account(alice), takedown={"applied": True})
    update(alice, of_account(alice), takedown={"applied": False})
    assert links() == set()

    alice.fetch(cid)

    assert links() == {(alice.did, cid, jpeg("cat"))}


def test_collected_bytes_are_not_held_by_a_link(services, alice, links, clock):
    blob, rkey = alice.publish(jpeg("cat"))
    alice.fetch(cid_in(blob))
    alice.post("com.atproto.repo.deleteRecord", repo=alice.did, collection=COLLECTION, rkey=rkey)
    clock.advance(2 * DAY)

    run(alice, "blobs", "gc")

    data = services.config.data_dir
    assert [path for path in data.glob("*/*/*") if path.is_file() or path.is_symlink()] == []


def test_a_link_is_gone_for_good_before_the_commit_that_hides_its_blob(open_core, tmp_path):
    """So that no crash in between can leave the link."""
    seen = []

    def sync(folder):
        seen.append(("sync", folder.name, list(public_links.links())))

    @contextmanager
    def before_commit(tx):
        with public_links.before_commit(tx):
            seen.append(("commit", list(public_links.links())))
            yield

    public_links = PublicLinks(tmp_path / "public", durable=True, sync=sync)
    core = open_core(before_commit=before_commit)
    public_links.add(ALICE, "cid", "image/png", "../blobs/x", lambda: True)
    assert list(public_links.links()) == [(ALICE, "cid")]

    core.take_down("cid", ALICE)

    assert seen[-2:] == [("sync", ALICE, []), ("commit", [])]


def test_no_link_is_made_while_its_blob_is_being_hidden(tmp_path):
    opened = PublicLinks(tmp_path / "public", durable=True)
    asked = []

    def is_public():
        asked.append("now")
        return True

    def put():
        opened.add("did:web:a", "cid", "image/png", "../blobs/x", is_public)

    with opened.revoked([("did:web:a", "cid")]):
        put()
        assert not os.path.lexists(tmp_path / "public" / "did:web:a" / "cid.png")

    put()
    assert os.readlink(tmp_path / "public" / "did:web:a" / "cid.png") == "../../blobs/x"
    assert asked == ["now"]


def test_the_links_of_an_account_go_at_once_however_many(tmp_path):
    opened = PublicLinks(tmp_path / "public", durable=True)
    for number in range(100):
        opened.add("did:web:a", f"cid{number}", "image/png", "../blobs/x", lambda: True)

    with opened.revoked([("did:web:a", "cid7"), ("did:web:a", None), ("did:web:a", "cid8")]):
        assert not (tmp_path / "public" / "did:web:a").exists()
    opened.purge()

    assert [
        path for path in (tmp_path / "public").rglob("*") if not path.name.startswith(".")
    ] == []


@pytest.mark.parametrize(
    "cid, folder", [("cid", "did:web:a"), (None, "another")], ids=["a link", "an account's"]
)
def test_a_link_that_the_operator_deletes_in_that_moment_is_no_fault(
    tmp_path, monkeypatch, cid, folder
):
    opened = PublicLinks(tmp_path / "public", durable=True)
    opened.add("did:web:b", "cid", "image/png", "../blobs/x", lambda: True)
    (tmp_path / "public" / folder).mkdir()
    monkeypatch.setattr(os.path, "isdir", lambda path: True)
    monkeypatch.setattr(os.path, "lexists", lambda path: True)

    with opened.revoked([("did:web:a", cid)]):
        pass

    assert list(opened.links()) == [("did:web:b", "cid")]


def test_a_did_too_long_for_a_folder_is_no_fault(tmp_path):
    opened = PublicLinks(tmp_path / "public", durable=True)

    opened.add("did:web:" + "a" * 2000, "cid", "image/png", "../blobs/x", lambda: True)
    with opened.revoked([("did:web:" + "a" * 2000, "cid"), ("did:web:" + "a" * 2000, None)]):
        pass

    assert list(tmp_path.rglob("*.png")) == []


def test_a_restored_database_begins_without_links(alice, links, tmp_path):
    cid = cid_in(alice.publish(jpeg("cat"))[0])
    update(alice, of_blob(alice, cid), takedown={"applied": True})
    run(alice, "backup", "make", str(tmp_path / "backup"))
    update(alice, of_blob(alice, cid), takedown={"applied": False})
    alice.fetch(cid)
    assert len(links()) == 1

    run(alice, "backup", "restore", str(tmp_path / "backup"), "--yes")

    assert links() == set()


def test_links_that_a_death_has_moved_away_are_gone_after_a_start(open_app, tmp_path):
    moved = tmp_path / "data" / "public" / ".gone" / "0123" / "cid.jpg"
    moved.parent.mkdir(parents=True)
    moved.symlink_to("../../blobs/x")

    open_app(ACCEL_REDIRECT="/_blobs/", DATA_DIR=str(tmp_path / "data"))

    assert list((tmp_path / "data" / "public" / ".gone").iterdir()) == []


def test_links_that_a_death_has_removed_are_synced_by_the_next_revocation(tmp_path):
    public, synced = tmp_path / "public", []
    pictures = public / "pictures" / "0"

    class Death(BaseException):
        pass

    def die(folder):
        raise Death

    dying, links = (PublicLinks(public, durable=True, sync=sync) for sync in (die, synced.append))
    for did in ("did:web:a", "did:web:b"):
        links.add(did, "cid", "image/png", "../blobs/x", lambda: True)
        links.add_picture(did, "cid", AVATAR, "../images/x", lambda: True, now=0)
    of_a, of_b = ({public / did, pictures / did} for did in ("did:web:a", "did:web:b"))

    with pytest.raises(Death), dying.revoked([("did:web:a", "cid")]):
        pass
    with links.revoked([("did:web:b", "cid")]):
        assert (set(synced[:2]), set(synced[2:])) == (of_a, of_b)
    with links.revoked([("did:web:b", "cid")]):
        pass

    assert len(synced) == 4
    assert list(links.links()) == []


def test_fsck_finds_links_that_should_not_exist(app, services, alice, bob, links, pictures):
    cid = alice.publish(picture("JPEG")).cid
    bob.publish(picture("JPEG"))
    for member in (alice, bob):
        member.fetch(cid)
        fetch_picture(member, cid)
    with services.database.write() as tx:
        tx.run("UPDATE account SET takedown_at = 1 WHERE did = ?", alice.did)
    fsck = app.test_cli_runner().invoke

    found = fsck(args=["blobs", "fsck"])
    assert (found.exit_code, len(links())) == (1, 2)
    assert found.output.count(f"exposed: {alice.did} {cid}: nginx serves it, and should not") == 1
    assert fsck(args=["blobs", "fsck", "--repair"]).exit_code == 1

    assert links() == {(bob.did, cid, picture("JPEG"))}
    assert pictures() == {(bob.did, cid, AVATAR)}
    assert fsck(args=["blobs", "fsck"]).exit_code == 0


def test_a_takedown_holds_from_its_answer_despite_concurrent_fetches(
    app, services, alice, links, monkeypatch
):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chosen = random.Random(seed)
    cids = [cid_in(alice.publish(jpeg(f"cat {number}"))[0]) for number in range(3)]
    blobs = services.blobs
    describe = blobs.describe

    def describe_slowly(did, cid, **who):
        entry = describe(did, cid, **who)
        time.sleep(chosen.random() / 500)  # a takedown may happen here
        return entry

    monkeypatch.setattr(blobs, "describe", describe_slowly)
    done = threading.Event()
    answers = []

    def fetch(client):
        while not done.is_set():
            where = {"did": alice.did, "cid": chosen.choice(cids)}
            answers.append(client.get(GET_BLOB, query_string=where).status_code)

    strangers = [threading.Thread(target=fetch, args=[app.test_client()]) for _ in range(4)]
    for stranger in strangers:
        stranger.start()
    shown = 0
    try:
        end = time.monotonic() + 2
        while time.monotonic() < end:
            cid = chosen.choice(cids)
            update(alice, of_blob(alice, cid), takedown={"applied": True})
            for _ in range(5):
                assert cid not in {found for _, found, _ in links()}
                time.sleep(0.001)
            update(alice, of_blob(alice, cid), takedown={"applied": False})
            shown += len(links())
    finally:
        done.set()
        for stranger in strangers:
            stranger.join()

    assert set(answers) == {200, 400}
    assert shown > 0


PUBLIC = """
    SELECT m.creator_did, m.cid
      FROM blob_metadata m JOIN blob b ON b.cid = m.cid JOIN account a ON a.did = m.creator_did
     WHERE m.unreferenced_since IS NULL AND b.stored_at IS NOT NULL
       AND a.takedown_at IS NULL AND a.deactivated_at IS NULL
       AND NOT EXISTS (SELECT 1 FROM takedown t
                        WHERE t.cid = m.cid AND t.did IN ('', m.creator_did))
"""


def test_everything_a_transaction_hides_reaches_the_hook_before_commit(tmp_path):
    """2,000 random changes: all blobs that stop being public in a commit are in `hidden`."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chosen = random.Random(seed)
    vanished, untold = [], []

    @contextmanager
    def compare(tx):
        gone = set(others.one_shot().all(PUBLIC)) - set(tx.all(PUBLIC))
        vanished.extend(gone)
        untold.extend(
            (did, cid) for did, cid in gone if not {(did, cid), (did, None)} & set(tx.hidden)
        )
        yield

    core = ServiceCore(tmp_path, before_commit=compare)
    others = open_database(core.database_url, durable=False)
    contents = {cid_of(data): data for data in (b"cat", b"dog", b"owl")}

    def name_in_records(did, cid):
        core.add_account(did)
        with suppress(BlobServiceError):
            core.write(
                COLLECTION,
                chosen.choice("ab"),
                {"file": blob_of(core.upload(contents[cid], did=did))},
                did,
            )

    def lose(did, cid):
        core.backend.delete(cid)
        core.blobs.mark_lost(cid)

    def collect(did, cid):
        core.clock.advance(2 * DAY)
        list(core.collector(DAY).run())

    def lift_all(did, cid):
        for subject, of in ((cid, did), (cid, ""), (None, did)):
            core.lift(subject, of)
        core.moderation.update(Subject(did, None), None, {"applied": False})

    acts = [name_in_records, lift_all] * 4 + [
        lambda did, cid: core.delete(COLLECTION, chosen.choice("ab"), did),
        lambda did, cid: core.take_down(cid, chosen.choice([did, ""])),
        lambda did, cid: core.take_down(None, did),
        lambda did, cid: core.moderation.update(Subject(did, None), None, {"applied": True}),
        lambda did, cid: core.blobs.delete_account(did),
        lose,
        collect,
    ]
    for _ in range(2000):
        with suppress(SubjectNotFound, RepoNotFound):
            chosen.choice(acts)(chosen.choice([ALICE, BOB]), chosen.choice([*contents]))

    core.database.close()
    others.close()
    assert len(vanished) > 100
    assert untold == []


def test_nginx_looks_for_the_same_types():
    _, text = (DEPLOY / "nginx.conf").read_text().split("location = /xrpc/com.atproto.sync.getBlob")
    text, _ = text.split("location @service")
    types = dict(re.findall(r"^ +(\w+/[\w-]+) +(\w+);$", text, re.MULTILINE))
    tried = re.findall(r"/\$aurora_open_blob\.(\w+)", text)

    assert types == EXTENSIONS
    assert tried == list(EXTENSIONS.values())
