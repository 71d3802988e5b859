"""The contract of backends and of stores, as classes of tests.

A class of tests inherits one of them and has a fixture `backend`.
"""

import io
import random
import shutil
import threading
import time

import pytest

from aurora_blobs.errors import BlobNotFound, StoreNotOurs
from aurora_blobs.intake.spool import IN_MEMORY
from aurora_blobs.protocol.cid import place_of

ABSENT = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
SMALL = b"a blob of 24 bytes, whole"[:24]
LARGE = random.Random(2).randbytes(IN_MEMORY + 1000)


class BackendContract:
    """A backend: put, open, size, delete and scan."""

    @pytest.mark.parametrize(
        "data", [b"", b"a", SMALL, LARGE], ids=["empty", "one byte", "small", "large"]
    )
    def test_a_stored_blob_can_be_read(self, backend, store, data):
        cid = store(backend, data)

        assert content(backend, cid) == data
        assert backend.size(cid) == len(data)
        assert held(backend) == {cid: len(data)}

    def test_a_blob_that_was_not_stored_is_absent(self, backend, store):
        store(backend, SMALL)

        assert backend.size(ABSENT) is None
        with pytest.raises(BlobNotFound, match="Blob not found"):
            backend.open(ABSENT)

    @pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
    def test_put_is_idempotent(self, backend, store, data):
        store(backend, data)
        cid = store(backend, data)

        assert content(backend, cid) == data
        assert held(backend) == {cid: len(data)}

    def test_many_are_put_as_each_of_them_is(self, backend, store, store_many):
        store(backend, SMALL)

        cids = store_many(backend, [SMALL, LARGE, b"", LARGE])

        assert [content(backend, cid) for cid in cids] == [SMALL, LARGE, b"", LARGE]
        assert held(backend) == {cids[0]: len(SMALL), cids[1]: len(LARGE), cids[2]: 0}

    def test_delete_is_idempotent(self, backend, store):
        cid = store(backend, b"gone")

        backend.delete(cid)
        backend.delete(cid)

        assert backend.size(cid) is None
        assert held(backend) == {}
        with pytest.raises(BlobNotFound):
            backend.open(cid)

    def test_delete_removes_one_blob_alone(self, backend, store):
        gone, kept = store(backend, b"gone"), store(backend, b"kept")

        backend.delete(gone)

        assert content(backend, kept) == b"kept"

    def test_one_content_may_lie_under_several_names(self, backend, store):
        cid, name = store(backend, SMALL), store(backend, SMALL, number=2**63 - 1)

        both = held(backend)
        backend.delete(cid)

        assert name == f"{cid}.{2**63 - 1}"
        assert both == {cid: len(SMALL), name: len(SMALL)}
        assert held(backend) == {name: len(SMALL)}
        assert {stored.cid for stored in backend.scan()} == {cid}
        assert content(backend, name) == SMALL

    def test_a_deleted_blob_can_be_put_again(self, backend, store):
        backend.delete(store(backend, SMALL))

        assert content(backend, store(backend, SMALL)) == SMALL

    @pytest.mark.parametrize(
        "start, stop",
        [
            (0, None),
            (0, 24),
            (0, 1),
            (5, 9),
            (23, 24),
            (23, None),
            (0, 0),
            (7, 7),
            (24, None),
            (24, 24),
        ],
    )
    def test_a_part_equals_the_slice(self, backend, store, start, stop):
        cid = store(backend, SMALL)

        assert content(backend, cid, start, stop) == SMALL[start:stop]

    @pytest.mark.parametrize("start, stop", [(0, 25), (23, 25), (24, 25), (30, 40)])
    def test_a_part_that_is_not_all_there_is_not_found(self, backend, store, start, stop):
        cid = store(backend, SMALL)

        with pytest.raises(BlobNotFound):
            backend.open(cid, start, stop)

    @pytest.mark.parametrize("size", [1, 7, 1000, -1, None])
    @pytest.mark.parametrize(
        "start, stop", [(100, 1100), (IN_MEMORY - 3000, IN_MEMORY), (IN_MEMORY, None)]
    )
    def test_a_part_ends_at_its_stop_whatever_the_size_of_reads(
        self, backend, store, size, start, stop
    ):
        cid = store(backend, LARGE)

        with backend.open(cid, start, stop) as file:
            parts = list(iter(lambda: file.read(size), b""))

        assert b"".join(parts) == LARGE[start:stop]

    @pytest.mark.parametrize("start, stop", [(0, None), (100, 1100)])
    def test_a_part_can_be_copied_and_read_into_a_buffer(self, backend, store, start, stop):
        cid = store(backend, LARGE)
        copied, buffer = io.BytesIO(), bytearray(len(LARGE))

        with backend.open(cid, start, stop) as file:
            shutil.copyfileobj(file, copied, 64)
        with backend.open(cid, start, stop) as file:
            filled = buffer[: read_into(file, buffer)]

        assert copied.getvalue() == filled == LARGE[start:stop]

    def test_many_can_be_deleted_at_once(self, backend, store):
        gone, kept = [store(backend, bytes([n])) for n in range(5)], store(backend, b"kept")

        assert backend.delete_many([*gone, ABSENT]) == {}
        assert held(backend) == {kept: 4}
        assert backend.delete_many([]) == {}

    def test_a_scan_names_everything_with_its_size_and_time(self, backend, store):
        sizes = {store(backend, bytes([n]) * n): n for n in range(40)}

        found = list(backend.scan())

        assert {stored.cid: stored.size for stored in found} == sizes
        assert all(0 <= stored.modified <= (time.time() + 2) * 1_000_000 for stored in found)

    def test_a_scan_of_some_shards_names_what_is_in_them(self, backend, store):
        names = sorted((store(backend, b"%d" % number) for number in range(20)), key=place_of)
        first, second = (place_of(name)[:2] for name in (names[5], names[12]))
        parts = [("", first), (first, second), (second, None), ("ff", "ff"), ("", "00")]

        found = [[stored.name for stored in backend.scan(None, *part)] for part in parts]

        assert found == [names[:5], names[5:12], names[12:], [], []]

    def test_a_scan_goes_on_while_blobs_come_and_go(self, backend, store):
        kept, gone = store(backend, b"kept"), store(backend, b"gone")

        found = set()
        for stored in backend.scan():
            found.add(stored.cid)
            backend.delete(gone)
            store(backend, b"new")

        assert kept in found

    def test_a_probe_leaves_nothing(self, backend):
        backend.probe()

        assert held(backend) == {}

    def test_many_can_put_the_same_bytes_at_once(self, backend, store):
        cids, start = [], threading.Barrier(8)

        def put():
            start.wait(10)
            cids.append(store(backend, LARGE))

        threads = [threading.Thread(target=put) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)

        assert len(cids) == 8 and len(set(cids)) == 1
        assert content(backend, cids[0]) == LARGE
        assert held(backend) == {cids[0]: len(LARGE)}


class StoreContract(BackendContract):
    """A single store: also a quarantine, and a version for each CID."""

    def test_quarantined_bytes_show_nowhere_and_stay_in_their_place(self, backend, store):
        cid = store(backend, SMALL)

        for _ in range(3):
            backend.quarantine(cid)

        names = []
        assert [stored.cid for stored in backend.scan(names.append)] == [cid]
        assert names == []
        assert content(backend, cid) == SMALL

    def test_an_absent_blob_cannot_be_quarantined(self, backend):
        with pytest.raises(BlobNotFound):
            backend.quarantine(ABSENT)

    def test_a_purge_of_the_quarantine_leaves_the_blobs(self, backend, store):
        cid, other = store(backend, SMALL), store(backend, LARGE)
        backend.quarantine(cid)

        for _ in range(2):
            backend.purge_quarantine({cid, ABSENT})

        assert held(backend) == {cid: len(SMALL), other: len(LARGE)}

    def test_the_copies_in_the_quarantine_are_counted(self, backend, store):
        cid, other = store(backend, SMALL), store(backend, LARGE)
        counts = [backend.count_quarantined()]

        backend.quarantine(cid)
        backend.quarantine(other)
        counts.append(backend.count_quarantined())
        backend.purge_quarantine({cid})
        counts.append(backend.count_quarantined())

        assert counts == [0, 2, 1]

    def test_a_version_lasts_as_long_as_the_bytes(self, backend, store):
        cid = store(backend, SMALL)
        version = backend.version(cid)

        assert version is not None
        assert backend.version(cid) == version
        backend.delete(cid)
        assert backend.version(cid) is backend.version(ABSENT) is None

    def test_a_guarded_store_works_while_it_carries_its_mark(self, backend, store):
        backend.write_mark("mine")
        backend.guard(nobody, "mine")

        cid = store(backend, SMALL)

        assert backend.size(ABSENT) is backend.version(ABSENT) is None
        with pytest.raises(BlobNotFound):
            backend.open(ABSENT)
        assert held(backend) == {cid: len(SMALL)}
        backend.delete(cid)
        backend.probe()

    @pytest.mark.parametrize(
        "marks",
        [lambda backend: None, lambda backend: backend.write_mark("another's")],
        ids=["no mark", "another's mark"],
    )
    @pytest.mark.parametrize(
        "ask",
        [
            pytest.param(lambda backend: backend.size(ABSENT), id="size"),
            pytest.param(lambda backend: backend.version(ABSENT), id="version"),
            pytest.param(lambda backend: backend.open(ABSENT), id="open"),
            pytest.param(lambda backend: backend.quarantine(ABSENT), id="quarantine"),
            pytest.param(lambda backend: backend.purge_quarantine({ABSENT}), id="purge"),
            pytest.param(lambda backend: backend.count_quarantined(), id="count"),
            pytest.param(lambda backend: next(backend.scan(), None), id="scan"),
            pytest.param(lambda backend: backend.delete(ABSENT), id="delete"),
            pytest.param(lambda backend: backend.delete_many([ABSENT]), id="delete one"),
            pytest.param(lambda backend: backend.delete_many([ABSENT] * 2), id="delete many"),
            pytest.param(lambda backend: backend.probe(), id="probe"),
            pytest.param(lambda backend: backend.check_ours(), id="check"),
            pytest.param(lambda backend: backend.check_ours(recently=True), id="recent check"),
            pytest.param(lambda backend: backend.confirm(), id="confirm"),
        ],
    )
    def test_a_guarded_store_without_its_mark_says_of_no_bytes_that_they_are_absent(
        self, backend, ask, marks
    ):
        marks(backend)
        backend.guard(nobody, "mine")

        with pytest.raises(StoreNotOurs):
            ask(backend)

    def test_a_part_that_is_not_all_there_may_be_elsewhere_if_the_store_lacks_its_mark(
        self, backend, store
    ):
        cid = store(backend, SMALL)
        backend.guard(nobody, "mine")

        with pytest.raises(StoreNotOurs):
            backend.open(cid, 0, len(SMALL) + 1)

    def test_a_guarded_store_without_its_mark_takes_nothing(self, backend, store):
        backend.guard(nobody, "mine")

        with pytest.raises(StoreNotOurs):
            store(backend, SMALL)

        assert held(backend.unguarded()) == {}

    def test_a_claim_that_succeeds_is_a_mark_to_expect_from_then_on(self, backend, store):
        def claim(store):
            store.write_mark("mine")
            return "mine"

        backend.guard(claim, None)
        backend.confirm()
        backend.guard(nobody, "mine")

        assert held(backend) == {}

    def test_a_mark_is_no_blob_and_no_foreign_file(self, backend):
        assert backend.read_mark() is None
        backend.write_mark("first")
        backend.write_mark("second")

        names = []
        assert backend.read_mark() == "second"
        assert list(backend.scan(names.append)) == []
        assert names == []

    @pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"store": 7}', b"\xff", b"{}" * 10_000])
    def test_a_mark_that_cannot_be_read_is_nobody_s(self, backend, data):
        backend.write_mark_bytes(data)

        assert backend.read_mark() == ""


def nobody(store):
    raise StoreNotOurs("it stays so")


def content(backend, cid, start=0, stop=None):
    with backend.open(cid, start, stop) as file:
        return file.read()


def held(backend):
    return {stored.name: stored.size for stored in backend.scan()}


def read_into(file, buffer):
    end = 0
    while count := file.readinto(memoryview(buffer)[end:]):
        end += count
    return end
