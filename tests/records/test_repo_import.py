"""An import keeps the records of a repository, awaits its blobs, and drops absent ones."""

import io
import random

import pytest
from support.accounts import ALICE, BOB
from support.car_files import Car, car_of, reference
from support.cids import cid_of, text_of

from aurora_blobs.errors import (
    InvalidRequest,
    LeaseLost,
    RepoNotFound,
    ServiceBusy,
    UploadIncomplete,
)
from aurora_blobs.leases import Leases
from aurora_blobs.protocol.car import Repository
from aurora_blobs.records.repo_import import Imported, RepoImporter


def blob(data, mime_type="application/x-test"):
    return reference(data, mime_type)


@pytest.fixture
def importer(core):
    return lambda records, did=ALICE: core.importer.run(Repository(car_of(records, did)))


def kept(core, did=ALICE):
    return {f"{collection}/{rkey}" for collection, rkey in core.keys(did)}


def test_every_record_is_kept(core, importer):
    values = {
        f"com.example.{name}/{number:04}": {"n": number}
        for name in ("a", "a.b", "b")
        for number in range(450)
    }

    assert importer(values) == Imported(written=1350)
    assert kept(core) == set(values)


class CountedRepository(Repository):
    reads = 0

    def records(self, max_bytes):
        self.reads += 1
        return super().records(max_bytes)


@pytest.mark.parametrize(
    "count, size, reads",
    [(200, 1, 1), (201, 1, 2), (5, 900_000, 2)],
    ids=["a batch", "more than a batch", "more bytes than a batch"],
)
def test_a_repository_of_one_batch_is_read_once(core, count, size, reads):
    values = {f"com.example.a/{number:04}": {"text": "x" * size} for number in range(count)}
    repository = CountedRepository(car_of(values, ALICE))

    assert core.importer.run(repository) == Imported(written=count)
    assert repository.reads == reads


def test_blobs_of_imported_records_are_awaited_without_being_here(core, importer):
    importer({"com.example.a/1": {"pictures": [blob(b"one"), blob(b"two")]}})

    assert core.listed(ALICE) == sorted([cid_of(b"one"), cid_of(b"two")])
    assert [named.cid for named in core.blobs.list_missing(ALICE, "", 10)] == core.listed(ALICE)


def test_an_awaited_blob_is_public_as_soon_as_it_is_uploaded(core, importer):
    importer({"com.example.a/1": {"picture": blob(b"one")}})

    entry = core.upload(b"one")

    assert entry.unreferenced_since is None
    assert core.blobs.describe(ALICE, entry.cid) == entry
    assert core.blobs.list_missing(ALICE, "", 10) == []


def test_a_blob_that_was_uploaded_before_its_record_was_imported_is_public(core, importer):
    entry = core.upload(b"one")
    importer({"com.example.a/1": {"picture": blob(b"one")}})

    assert core.blobs.describe(ALICE, entry.cid).unreferenced_since is None


def test_an_awaited_blob_keeps_the_type_that_the_record_states(core, importer):
    importer(
        {
            "com.example.a/1": {
                "file": blob(b"WEBVTT\n", "text/vtt"),
                "b": blob(b"odd", "application/x-odd"),
            }
        }
    )

    assert core.upload(b"odd", "application/octet-stream").mime_type == "application/x-odd"
    assert core.upload(b"WEBVTT\n", "*/*").mime_type == "text/vtt"


def test_an_awaited_blob_has_the_type_of_its_bytes_where_they_contradict_the_record(core, importer):
    png = b"\x89PNG\r\n\x1a\n" + bytes(8) + b"IHDR" + bytes(100)
    importer({"com.example.a/1": {"picture": blob(png, "video/mp4")}})

    assert core.upload(png, "image/png").mime_type == "image/png"


def test_a_legacy_reference_is_read(core, importer):
    importer(
        {
            "app.bsky.actor.profile/self": {
                "avatar": {"cid": cid_of(b"old"), "mimeType": "application/x-old"}
            }
        }
    )

    assert core.listed(ALICE) == [cid_of(b"old")]
    assert core.upload(b"old", "application/x-old").unreferenced_since is None


def test_importing_again_changes_nothing(core, importer):
    values = {
        f"com.example.a/{number:04}": {"picture": blob(bytes([number % 256]))}
        for number in range(500)
    }
    importer(values)
    before = core.rows()

    assert importer(values) == Imported(unchanged=500)
    assert core.rows() == before


def test_importing_again_drops_what_is_gone(core, importer):
    importer(
        {"com.example.a/1": {"picture": blob(b"one")}, "com.example.a/2": {"picture": blob(b"two")}}
    )
    one, two = core.upload(b"one"), core.upload(b"two")

    assert importer({"com.example.a/2": {"picture": blob(b"two")}}) == Imported(
        unchanged=1, dropped=1
    )

    assert kept(core) == {"com.example.a/2"}
    assert core.listed(ALICE) == [two.cid]
    assert core.entry(ALICE, one.cid).unreferenced_since == core.clock.now
    assert core.entry(ALICE, two.cid).unreferenced_since is None


def test_importing_again_follows_a_changed_reference(core, importer):
    importer({"com.example.a/1": {"picture": blob(b"one")}})
    one = core.upload(b"one")

    assert importer({"com.example.a/1": {"picture": blob(b"two")}}) == Imported(written=1)

    assert core.listed(ALICE) == [cid_of(b"two")]
    assert core.entry(ALICE, one.cid).unreferenced_since is not None


def test_a_blob_that_moved_to_another_record_stays_public(core, importer):
    importer({"com.example.a/1": {"picture": blob(b"one")}, "com.example.a/3": {"n": 1}})
    one = core.upload(b"one")

    importer({"com.example.a/3": {"picture": blob(b"one")}})

    assert core.entry(ALICE, one.cid).unreferenced_since is None


@pytest.mark.parametrize("seed", range(5))
def test_any_repository_may_follow_any_other(core, importer, seed):
    print(f"{seed=}")
    rng = random.Random(seed)
    names = ["com.example.a", "com.example.a.b", "com.example.ab", "com.example.b"]
    keys = [
        f"{name}/{rkey}"
        for name in names
        for rkey in ("-", "~", ".a", "0", "self", *map(str, range(200)))
    ]

    for _ in range(4):
        values = {
            key: {"picture": blob(bytes([rng.randrange(9)]))}
            for key in rng.sample(keys, rng.randrange(800))
        }
        importer(values)

        assert kept(core) == set(values)
        assert core.listed(ALICE) == sorted(
            {text_of(value["picture"]["ref"]) for value in values.values()}
        )
    for number in range(9):
        core.upload(bytes([number]))
    importer({})
    assert kept(core) == set()
    assert all(entry.unreferenced_since is not None for entry in core.blobs.entries(ALICE))


def test_a_repository_of_too_many_collections_changes_nothing(core, importer):
    core.write("com.example.a", "old", {"by": "a client"})
    values = {f"com.example.c{number}/1": {} for number in range(10_001)}

    with pytest.raises(InvalidRequest, match="more than 10000 collections"):
        importer(values)
    assert kept(core) == {"com.example.a/old"}

    values.popitem()
    assert importer(values) == Imported(written=10_000, dropped=1)


def test_every_collection_that_is_gone_is_dropped_however_many_they_are(core, importer):
    importer({f"com.example.c{number}/1": {} for number in range(1_100)})

    assert importer({"com.example.c7/1": {}}) == Imported(unchanged=1, dropped=1_099)


class Interrupted(Repository):
    """A repository that calls *interrupt* during its second reading, which is the import."""

    def __init__(self, file, interrupt):
        super().__init__(file)
        self.interrupts = {1_600: interrupt}
        self.read = 0

    def records(self, max_bytes):
        for record in super().records(max_bytes):
            self.interrupts.get(self.read, lambda: None)()
            self.read += 1
            yield record


def test_a_record_written_during_an_import_stays(core):
    def interrupt():
        core.clock.advance(1)
        core.write("com.example.a", "0900", {"by": "a client"})
        core.write("com.example.a", "0900-new", {"by": "a client"})

    core.write("com.example.a", "0001-old", {"by": "a client"})
    file = car_of({f"com.example.a/{number:04}": {"n": number} for number in range(1000)})
    core.importer.run(Interrupted(file, interrupt))

    assert core.value(ALICE, "com.example.a", "0900") == {
        "$type": "com.example.a",
        "by": "a client",
    }
    assert "com.example.a/0900-new" in kept(core)
    assert "com.example.a/0001-old" not in kept(core)


def test_two_imports_of_an_account_do_not_mix(core):
    file = car_of({f"com.example.a/{number:04}": {"n": 1} for number in range(1000)})
    later = {f"com.example.a/{number:04}": {"n": 2} for number in range(500, 1500)}
    refused = []

    def interrupt():
        with pytest.raises(ServiceBusy) as refusal:
            core.importer.run(Repository(car_of(later)))
        refused.append(refusal)

    core.importer.run(Interrupted(file, interrupt))
    first = kept(core)
    core.importer.run(Repository(car_of(later)))

    assert len(refused) == 1
    assert first == {f"com.example.a/{number:04}" for number in range(1000)}
    assert kept(core) == set(later)
    assert core.value(ALICE, "com.example.a", "0700") == {"n": 2}


def test_another_account_may_import_meanwhile(core):
    file = car_of({f"com.example.a/{number:04}": {"n": 1} for number in range(1000)})
    other = car_of({"com.example.a/1": {"n": 2}}, BOB)

    core.importer.run(Interrupted(file, lambda: core.importer.run(Repository(other))))

    assert core.keys(BOB) == [("com.example.a", "1")]


def test_an_import_ends_when_its_account_is_deleted(core):
    file = car_of({f"com.example.a/{number:04}": {"n": number} for number in range(1000)})

    with pytest.raises(RepoNotFound):
        core.importer.run(Interrupted(file, lambda: core.blobs.delete_account(ALICE)))

    assert kept(core) == set()


def test_a_bad_repository_changes_nothing(core, importer):
    importer({"com.example.a/1": {"picture": blob(b"one")}})
    before = core.rows()
    car = Car()
    root = car.repository({f"com.example.a/{number}": {"n": number} for number in range(300)})
    del car.blocks[list(car.blocks)[250]]

    with pytest.raises(InvalidRequest, match="missing block"):
        core.importer.run(Repository(car.file(root)))

    assert core.rows() == before


def test_a_repository_of_an_unknown_account_is_refused(importer):
    with pytest.raises(RepoNotFound):
        importer({}, "did:web:nobody.test")


def test_another_accounts_records_are_left_alone(core, importer):
    importer({"com.example.a/1": {"picture": blob(b"one")}}, BOB)

    importer({"com.example.a/2": {}})
    importer({})

    assert kept(core, BOB) == {"com.example.a/1"}
    assert core.listed(BOB) == [cid_of(b"one")]


def test_a_file_of_other_bytes_is_no_repository():
    with pytest.raises(InvalidRequest):
        Repository(io.BytesIO(b"\x89PNG\r\n\x1a\n" * 100))


class Slow(io.BytesIO):
    """A body of which 1,000 bytes come every *seconds*, by its own timer."""

    def __init__(self, data, seconds):
        super().__init__(data)
        self.seconds = seconds
        self.now = 0.0

    def timer(self):
        return self.now

    def read(self, size=-1):
        self.now += self.seconds
        return super().read(min(size, 1000))


def receive(core, body):
    importer = RepoImporter(
        core.database,
        spool=core.spool,
        max_bytes=10**9,
        clock=core.clock,
        timer=body.timer,
    )
    return importer.receive(body, did=ALICE, check=lambda did: None)


def test_a_repository_that_comes_too_slowly_is_refused(core):
    file = car_of({"com.example.a/1": {"text": "x" * 900_000}}).getvalue()
    slow = Slow(file, 0.11)

    with pytest.raises(UploadIncomplete, match="at least 10000 a second are expected"):
        receive(core, slow)

    assert slow.now < 61
    assert receive(core, Slow(file, 0.09)).written == 1


def test_a_small_repository_may_come_slowly(core):
    file = car_of({"com.example.a/1": {"text": "x" * 20_000}}).getvalue()

    assert receive(core, Slow(file, 2)).written == 1


@pytest.fixture
def importer_on(core, tmp_path):
    """``importer_on(node)`` imports on a node with a spool of its own."""

    def importer_on(node):
        spool = tmp_path / node
        spool.mkdir(exist_ok=True)
        return RepoImporter(
            core.database,
            spool=spool,
            max_bytes=10**9,
            clock=core.clock,
            leases=Leases(core.database, node),
        )

    return importer_on


class Meanwhile:
    """The body *car*; *call* is made once, before its first byte."""

    def __init__(self, car, call):
        self.read_on = car.read
        self.call = call

    def read(self, size):
        call, self.call = self.call, lambda: None
        call()
        return self.read_on(size)


def receive_on(importer, stream):
    return importer.receive(stream, did=ALICE, check=lambda did: None)


def test_an_account_is_imported_once_at_a_time_over_all_nodes(core, importer_on):
    records = {"com.example.a/1": {"n": 1}}

    def on_another_node():
        with pytest.raises(ServiceBusy, match="Another import of this repository"):
            receive_on(importer_on("two"), car_of(records))
        bob = importer_on("two").run(Repository(car_of(records, BOB)))
        assert bob == Imported(written=1)

    imported = receive_on(importer_on("one"), Meanwhile(car_of(records), on_another_node))

    assert imported == Imported(written=1)
    assert receive_on(importer_on("two"), car_of(records)) == Imported(unchanged=1)


def test_an_import_that_was_paused_until_another_node_began_one_ends(core, importer_on):
    old, new = {"com.example.a/old": {"n": 1}}, {"com.example.a/new": {"n": 2}}

    def while_it_is_paused():
        with core.database.write() as tx:
            tx.run("UPDATE lease SET expires_at = ?", tx.now() - 1)
        assert receive_on(importer_on("two"), car_of(new)) == Imported(written=1)

    with pytest.raises(LeaseLost):
        receive_on(importer_on("one"), Meanwhile(car_of(old), while_it_is_paused))

    assert kept(core) == {"com.example.a/new"}
