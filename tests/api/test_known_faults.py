"""Known faults of other blob stores, which this one does not have."""

import gzip
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.accounts import ADMIN, ALICE, BOB, UPLOAD, sign_up
from support.backends import MemoryBackend
from support.cids import cid_of
from support.media_samples import jpeg
from support.service_core import blob_of, nothing
from support.streams import PiecewiseStream

from aurora_blobs.blobs.upload import Incoming
from aurora_blobs.errors import BlobNotFound, BlobTooLarge, QuotaExceeded, RateLimitExceeded
from aurora_blobs.maintenance.scrub import Scrub


def files(core):
    return sorted(path.name for path in core.backend.root.rglob("*") if path.is_file())


def collect(core):
    return list(core.collector().run())


def test_temporary_blobs_are_collected(core):
    core.upload(b"one")
    core.clock.advance(3601)

    collect(core)

    assert files(core) == []


def publish(core, entry):
    core.write("com.example.a", "1", {"file": blob_of(entry)})


def leave_temporary(core, entry):
    pass


@pytest.mark.parametrize("then", [publish, leave_temporary])
def test_uploading_again_leaves_one_copy_and_nothing_else(core, then):
    data = bytes(1_000_000)
    entry = core.upload(data)
    then(core, entry)

    with ThreadPoolExecutor(20) as pool:
        cids = set(pool.map(lambda _: core.upload(data).cid, range(20)))

    assert cids == {entry.cid}
    assert files(core) == [entry.cid]
    assert list(core.spool.iterdir()) == []
    assert core.blobs.usage(ALICE).blob_count == 1


def test_a_refused_upload_of_taken_down_bytes_leaves_nothing(core):
    core.take_down(cid_of(bytes(1_000_000)), ALICE)

    with pytest.raises(Exception, match="takendown"):
        core.upload(bytes(1_000_000))

    assert files(core) == list(core.spool.iterdir()) == []
    assert core.rows()["blob"] == []


@pytest.mark.parametrize("size", [1_001, 10_000_000])
def test_a_chunked_upload_over_the_limit_leaves_nothing(open_core, size):
    core = open_core(max_bytes=1_000)

    with pytest.raises(BlobTooLarge):
        core.blobs.upload(Incoming(stream=PiecewiseStream(bytes(size), sizes=(100,)), did=ALICE))

    assert files(core) == list(core.spool.iterdir()) == []


def test_a_takedown_outlives_the_record_the_row_and_the_account(core):
    entry = core.upload(b"one")
    core.write("com.example.a", "1", {"file": blob_of(entry)})
    core.take_down(entry.cid, ALICE)
    core.delete("com.example.a", "1")
    core.blobs.delete_account(ALICE)
    core.add_account(ALICE)

    with pytest.raises(Exception, match="takendown"):
        core.upload(b"one")


def test_a_cid_can_be_blocked_before_it_is_uploaded(core):
    core.take_down(cid_of(b"one"), "")

    for did in (ALICE, BOB):
        with pytest.raises(Exception, match="takendown"):
            core.upload(b"one", did=did)


def test_lost_bytes_are_reported_missing_and_healed_by_an_upload(core):
    entry = core.upload(b"one")
    core.write("com.example.a", "1", {"file": blob_of(entry)})
    core.backend.delete(entry.cid)

    assert [named.cid for named in core.blobs.list_missing(ALICE, "", 10)] == [entry.cid]
    assert core.upload(b"one") == core.entry(ALICE, entry.cid)
    assert core.blobs.list_missing(ALICE, "", 10) == []
    assert core.read(entry) == b"one"


def test_wrong_bytes_are_found_no_longer_served_and_healed_by_an_upload(core):
    entry = core.upload(b"right")
    core.write("com.example.a", "1", {"file": blob_of(entry)})
    (path,) = [path for path in core.backend.root.rglob("*") if path.is_file()]
    path.write_bytes(b"wrong")

    scrub = Scrub(core.database, core.backend, core.clock, dry_run=False, bytes_per_second=0)
    (finding,) = scrub.run(lambda size: None)

    assert (finding.kind, finding.subject) == ("wrong bytes", entry.cid)
    with pytest.raises(BlobNotFound):
        core.blobs.describe(ALICE, entry.cid)
    assert [named.cid for named in core.blobs.list_missing(ALICE, "", 10)] == [entry.cid]
    core.upload(b"right")
    assert core.read(core.blobs.describe(ALICE, entry.cid)) == b"right"


def test_every_reference_is_checked_and_not_just_the_first(core):
    entry = core.upload(b"one")
    core.write("com.example.a", "1", {"file": blob_of(entry)})

    for change in ({"size": 4}, {"mimeType": "text/plain"}):
        with pytest.raises(Exception, match="does not match stored blob"):
            core.write("com.example.a", "2", {"file": {**blob_of(entry), **change}})


def test_an_upload_under_another_type_answers_with_a_reference_that_can_be_used(core):
    core.upload(b"one", "text/plain")
    again = core.upload(b"one", "text/html")

    assert again.mime_type == "text/plain"
    core.write("com.example.a", "1", {"file": blob_of(again)})


@pytest.mark.parametrize(
    "headers, data",
    [
        ({"Authorization": "Bearer garbage"}, b""),
        ({"Authorization": "Bearer a.b.c"}, b""),
        ({"Content-Encoding": "gzip"}, b"not gzip at all"),
        ({"Content-Encoding": "gzip"}, gzip.compress(jpeg("cat"))[:-4]),
    ],
    ids=["no token", "no JWT", "no gzip", "half a gzip"],
)
def test_a_client_s_mistake_is_answered_with_400(alice, headers, data):
    answer = alice.client.post(
        UPLOAD, data=data, headers={**alice.headers, "Content-Type": "image/jpeg", **headers}
    )

    assert answer.status_code == 400
    assert answer.json["error"] != "InternalServerError"


def test_a_takedown_of_an_unknown_account_is_not_found(client):
    subject = {
        "$type": "com.atproto.admin.defs#repoBlobRef",
        "did": "did:web:nobody.test",
        "cid": cid_of(b""),
    }

    answer = client.post(
        "/xrpc/com.atproto.admin.updateSubjectStatus",
        json={"subject": subject, "takedown": {"applied": True}},
        auth=ADMIN,
    )

    assert (answer.status_code, answer.json["error"]) == (400, "NotFound")


class Remote(MemoryBackend):
    """A network store that calls *meanwhile* during its operations."""

    stat_is_cheap = False

    def __init__(self):
        super().__init__()
        self.meanwhile = {"put": lambda: None, "size": lambda: None}

    def put(self, blob):
        self.meanwhile["put"]()
        super().put(blob)

    def size(self, cid):
        found = super().size(cid)
        self.meanwhile["size"]()
        return found


@pytest.fixture
def remote(open_core):
    return open_core(backend=Remote())


@pytest.mark.parametrize("when", ["put", "size"])
def test_bytes_collected_during_an_upload_are_stored_again(remote, when):
    entry = remote.upload(b"one")
    remote.clock.advance(3601)
    once = iter([lambda: collect(remote)])

    remote.backend.meanwhile[when] = lambda: next(once, nothing)()
    again = remote.upload(b"one")

    assert again.cid == entry.cid
    assert remote.read(again) == b"one"
    assert remote.blobs.describe(ALICE, entry.cid, viewer=ALICE) == again


def test_no_transaction_is_open_while_bytes_go_to_a_store(remote):
    wrote = []

    def write():
        remote.add_account(BOB)
        wrote.append(True)

    def meanwhile():
        writer = threading.Thread(target=write)
        writer.start()
        writer.join(5)

    remote.backend.meanwhile["put"] = meanwhile
    remote.upload(b"one")

    assert wrote == [True]


def test_a_large_upload_is_never_in_memory(open_core):
    core = open_core(max_bytes=100_000_000)

    class Zeros:
        left = 64_000_000

        def read(self, size):
            size = min(size, self.left)
            self.left -= size
            return bytes(size)

    tracemalloc.start()
    entry = core.blobs.upload(Incoming(stream=Zeros(), did=ALICE))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert entry.size == 64_000_000
    assert peak < 4_000_000


def test_a_missing_blob_is_named_as_the_lexicon_names_it(alice):
    answer = alice.fetch(cid_of(b"nothing"))

    assert (answer.status_code, answer.json) == (
        400,
        {"error": "BlobNotFound", "message": "Blob not found"},
    )


def test_uploads_are_limited_by_account_and_not_by_address(open_app):
    app = open_app(UPLOADS_PER_DAY="2")
    alice, bob = sign_up(app.test_client(), "alice.test"), sign_up(app.test_client(), "bobby.test")

    assert [alice.upload(jpeg(number)).status_code for number in range(3)] == [200, 200, 429]
    assert [bob.upload(jpeg(number)).status_code for number in range(3)] == [200, 200, 429]


def test_a_blob_stays_temporary_when_its_record_is_refused(core):
    one, two = core.upload(b"one"), core.upload(b"two")

    with pytest.raises(Exception, match="does not match stored blob"):
        core.write("com.example.a", "1", {"one": blob_of(one), "two": {**blob_of(two), "size": 4}})

    assert core.entry(ALICE, one.cid).unreferenced_since is not None
    with pytest.raises(Exception, match="Blob not found"):
        core.blobs.describe(ALICE, one.cid)


def test_a_refused_upload_tells_when_to_come_back(open_app):
    alice = sign_up(open_app(UPLOADS_PER_DAY="1").test_client(), "alice.test")
    alice.upload(jpeg("one"))

    answer = alice.upload(jpeg("two"))

    assert answer.json == {"error": "RateLimitExceeded", "message": "Rate Limit Exceeded"}
    assert 0 < int(answer.headers["Retry-After"]) <= 86_400


@pytest.mark.parametrize(
    "rules, error",
    [({"quota_bytes": 100}, QuotaExceeded), ({"uploads_per_day": 10}, RateLimitExceeded)],
)
def test_limits_are_exact_when_many_upload_at_once(open_core, rules, error):
    core = open_core(**rules)

    def upload(number):
        try:
            return core.upload(number.to_bytes(10, "big")).cid
        except error:
            return None

    with ThreadPoolExecutor(8) as pool:
        kept = {cid for cid in pool.map(upload, range(40)) if cid is not None}

    assert len(kept) == 10
    assert core.stored() == kept
    assert core.blobs.usage(ALICE).blob_bytes == 100
