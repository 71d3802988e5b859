"""What every backend promises, and what the disk adds."""

import io
import os
import random
import shutil
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.fakes import MemoryBackend, largest_file
from support.leaks import open_files

from aurora_blobs.errors import BackendUnavailable, BlobNotFound, InsufficientStorage
from aurora_blobs.intake.spool import IN_MEMORY, spooled
from aurora_blobs.protocol.cid import place_of
from aurora_blobs.storage.base import BlobBackend
from aurora_blobs.storage.disk import DiskBackend
from aurora_blobs.storage.s3 import S3Backend
from aurora_blobs.storage.s3_bucket import Bucket

ABSENT = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
SMALL = b"a blob of 24 bytes, whole"[:24]
LARGE = random.Random(2).randbytes(IN_MEMORY + 1000)


@pytest.fixture
def memory():
    return MemoryBackend()


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "blobs"
    yield DiskBackend(folder, durable=False)
    assert open_files(folder) == []


@pytest.fixture
def mounted_disk(tmp_path):
    """A disk of its own, to which nothing in the spool can be linked."""
    places = ("/dev/shm", tempfile.gettempdir())
    other = next(place for place in places if os.stat(place).st_dev != tmp_path.stat().st_dev)
    with tempfile.TemporaryDirectory(dir=other) as folder:
        yield DiskBackend(Path(folder), durable=True)
        assert open_files(folder) == []


@pytest.fixture(params=["memory", "disk", "mounted_disk"])
def backend(request):
    return request.getfixturevalue(request.param)


def content(backend, cid, start=0, stop=None):
    with backend.open(cid, start, stop) as file:
        return file.read()


def held(backend):
    return {stored.cid: stored.size for stored in backend.scan()}


@pytest.mark.parametrize(
    "data", [b"", b"a", SMALL, LARGE], ids=["empty", "one byte", "small", "large"]
)
def test_what_was_put_is_there(backend, store, data):
    cid = store(backend, data)

    assert content(backend, cid) == data
    assert backend.size(cid) == len(data)
    assert held(backend) == {cid: len(data)}


def test_what_was_not_put_is_absent(backend, store):
    store(backend, SMALL)

    assert backend.size(ABSENT) is None
    with pytest.raises(BlobNotFound, match="Blob not found"):
        backend.open(ABSENT)


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
def test_put_is_idempotent(backend, store, data):
    store(backend, data)
    cid = store(backend, data)

    assert content(backend, cid) == data
    assert held(backend) == {cid: len(data)}


def test_delete_is_idempotent(backend, store):
    cid = store(backend, b"gone")

    backend.delete(cid)
    backend.delete(cid)

    assert backend.size(cid) is None
    assert held(backend) == {}
    with pytest.raises(BlobNotFound):
        backend.open(cid)


def test_delete_removes_one_blob_alone(backend, store):
    gone, kept = store(backend, b"gone"), store(backend, b"kept")

    backend.delete(gone)

    assert content(backend, kept) == b"kept"


def test_a_deleted_blob_can_be_put_again(backend, store):
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
def test_a_part_is_what_a_slice_would_be(backend, store, start, stop):
    cid = store(backend, SMALL)

    assert content(backend, cid, start, stop) == SMALL[start:stop]


@pytest.mark.parametrize("start, stop", [(0, 25), (23, 25), (24, 25), (30, 40)])
def test_a_part_that_is_not_all_there_is_not_found(backend, store, start, stop):
    cid = store(backend, SMALL)

    with pytest.raises(BlobNotFound):
        backend.open(cid, start, stop)


@pytest.mark.parametrize("size", [1, 7, 1000, -1, None])
@pytest.mark.parametrize(
    "start, stop", [(100, 1100), (IN_MEMORY - 3000, IN_MEMORY), (IN_MEMORY, None)]
)
def test_a_part_ends_where_it_should_whatever_the_reads(backend, store, size, start, stop):
    cid = store(backend, LARGE)

    with backend.open(cid, start, stop) as file:
        parts = list(iter(lambda: file.read(size), b""))

    assert b"".join(parts) == LARGE[start:stop]


@pytest.mark.parametrize("start, stop", [(0, None), (100, 1100)])
def test_a_part_can_be_read_in_every_manner(backend, store, start, stop):
    cid = store(backend, LARGE)
    copied, buffer = io.BytesIO(), bytearray(len(LARGE))

    with backend.open(cid, start, stop) as file:
        shutil.copyfileobj(file, copied, 64)
    with backend.open(cid, start, stop) as file:
        filled = buffer[: read_into(file, buffer)]

    assert copied.getvalue() == filled == LARGE[start:stop]


def read_into(file, buffer):
    end = 0
    while count := file.readinto(memoryview(buffer)[end:]):
        end += count
    return end


def test_many_can_be_deleted_at_once(backend, store):
    gone, kept = [store(backend, bytes([n])) for n in range(5)], store(backend, b"kept")

    assert backend.delete_many([*gone, ABSENT]) == {}
    assert held(backend) == {kept: 4}
    assert backend.delete_many([]) == {}


def test_what_is_kept_aside_shows_nowhere_and_is_not_removed_from_its_place(backend, store):
    cid = store(backend, SMALL)

    for _ in range(3):
        backend.quarantine(cid)

    names = []
    assert [stored.cid for stored in backend.scan(names.append)] == [cid]
    assert names == []
    assert content(backend, cid) == SMALL


def test_what_is_not_there_cannot_be_kept_aside(backend):
    with pytest.raises(BlobNotFound):
        backend.quarantine(ABSENT)


def test_to_forget_what_was_kept_aside_leaves_the_rest_alone(backend, store):
    cid, other = store(backend, SMALL), store(backend, LARGE)
    backend.quarantine(cid)

    for _ in range(2):
        backend.purge_quarantine({cid, ABSENT})

    assert held(backend) == {cid: len(SMALL), other: len(LARGE)}


def test_what_was_kept_aside_goes_when_it_is_to_be_forgotten(disk, store, tmp_path):
    gone, kept = store(disk, SMALL), store(disk, LARGE)
    for cid in (gone, kept, gone):
        disk.quarantine(cid)

    disk.purge_quarantine({gone, ABSENT})

    (aside,) = (tmp_path / "blobs" / "quarantine").iterdir()
    assert aside.name.startswith(f"{kept}.")


def test_a_version_is_of_what_lies_there(backend, store):
    cid = store(backend, SMALL)
    version = backend.version(cid)

    assert version is not None
    assert backend.version(cid) == version
    backend.delete(cid)
    assert backend.version(cid) is backend.version(ABSENT) is None


def test_a_scan_names_everything_with_its_size_and_time(backend, store):
    sizes = {store(backend, bytes([n]) * n): n for n in range(40)}

    found = list(backend.scan())

    assert {stored.cid: stored.size for stored in found} == sizes
    assert all(0 <= stored.modified <= (time.time() + 2) * 1_000_000 for stored in found)


def test_a_scan_bears_what_happens_meanwhile(backend, store):
    kept, gone = store(backend, b"kept"), store(backend, b"gone")

    found = set()
    for stored in backend.scan():
        found.add(stored.cid)
        backend.delete(gone)
        store(backend, b"new")

    assert kept in found


def test_a_probe_leaves_nothing(backend):
    backend.probe()

    assert held(backend) == {}


def test_many_can_put_the_same_bytes_at_once(backend, store):
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


def test_a_backend_that_forgets_an_operation_cannot_be_made():
    class Forgetful(BlobBackend):
        pass

    with pytest.raises(TypeError, match="abstract"):
        Forgetful()


# What is the disk's alone.


def test_files_lie_in_256_folders_by_digest(disk, store, tmp_path):
    cid = store(disk, b"hello world")

    # sha256("hello world") begins with b9.
    assert (tmp_path / "blobs" / "b9" / cid).read_bytes() == b"hello world"
    assert disk.path(cid) == f"b9/{cid}"
    assert len(list((tmp_path / "blobs").iterdir())) == 256


def test_files_are_not_for_everybody(disk, store, tmp_path):
    cid = store(disk, SMALL)

    assert (tmp_path / "blobs" / disk.path(cid)).stat().st_mode & 0o007 == 0


def test_a_file_has_one_name_once_the_upload_is_over(disk, store, tmp_path):
    cid = store(disk, SMALL)
    store(disk, SMALL)

    assert (tmp_path / "blobs" / disk.path(cid)).stat().st_nlink == 1


@pytest.mark.parametrize("damage", [b"", b"short", bytes(len(SMALL)), SMALL + b"more"])
def test_a_put_heals_a_damaged_file(disk, store, tmp_path, damage):
    cid = store(disk, SMALL)
    (tmp_path / "blobs" / disk.path(cid)).write_bytes(damage)

    store(disk, SMALL)

    assert content(disk, cid) == SMALL


def test_a_reader_keeps_its_bytes_when_the_blob_is_deleted(disk, store):
    cid = store(disk, LARGE)

    with disk.open(cid) as file:
        disk.delete(cid)
        assert file.read() == LARGE


def test_a_file_that_cannot_be_removed_does_not_keep_the_others(disk, store):
    first, last = store(disk, b"first"), store(disk, b"last")
    (disk.root / disk.path(ABSENT)).mkdir()

    failures = disk.delete_many([first, ABSENT, last])

    assert {cid: type(error) for cid, error in failures.items()} == {ABSENT: BackendUnavailable}
    assert (disk.size(first), disk.size(last)) == (None, None)
    with pytest.raises(BackendUnavailable, match="^a blob cannot be removed: Is a directory$"):
        disk.delete(ABSENT)


def test_the_descriptor_stands_where_the_part_begins(disk, store):
    cid = store(disk, SMALL)

    with disk.open(cid, 5, 9) as file:
        assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == 5


def test_a_full_disk_leaves_nothing_under_the_cid(disk, spool_folder):
    with spooled(
        io.BytesIO(LARGE[:1000]),
        folder=spool_folder,
        inspect=lambda head: "a/b",
        max_bytes=10**6,
        declared_size=None,
    ) as blob:
        with largest_file(500), pytest.raises(InsufficientStorage):
            disk.put(blob)

        assert disk.size(blob.cid) is None
    assert held(disk) == {}


def test_a_full_disk_of_its_own_leaves_nothing(mounted_disk, spool_folder):
    with spooled(
        io.BytesIO(LARGE),
        folder=spool_folder,
        inspect=lambda head: "a/b",
        max_bytes=10**6,
        declared_size=None,
    ) as blob:
        blob.materialize(durable=False)
        with largest_file(500), pytest.raises(InsufficientStorage):
            mounted_disk.put(blob)

    assert [path for path in mounted_disk.root.rglob("*") if path.is_file()] == []


def test_a_disk_of_its_own_has_whole_files_that_are_not_for_everybody(mounted_disk, store):
    cid = store(mounted_disk, SMALL)
    (mounted_disk.root / mounted_disk.path(cid)).write_bytes(b"damaged")

    store(mounted_disk, SMALL)

    (file,) = [path for path in mounted_disk.root.rglob("*") if path.is_file()]
    assert file.read_bytes() == SMALL
    assert file.stat().st_mode & 0o007 == 0


def test_bytes_that_are_put_twice_have_one_name_in_the_spool(disk, spool_folder):
    with spooled(
        io.BytesIO(SMALL),
        folder=spool_folder,
        inspect=lambda head: "a/b",
        max_bytes=10**6,
        declared_size=None,
    ) as blob:
        for _ in range(3):
            disk.put(blob)

        assert len(list(spool_folder.iterdir())) == 1


def test_a_scan_passes_over_what_is_no_blob(disk, store, tmp_path):
    cid = store(disk, SMALL)
    root = tmp_path / "blobs"
    other = "00" if disk.path(cid)[:2] != "00" else "01"
    (root / "lost+found").mkdir()
    (root / "lost+found" / cid).write_bytes(b"in no shard")
    (root / "README").write_text("not a blob")
    (root / other / cid).write_bytes(b"in the wrong folder")
    (root / other / "upload.0123").write_bytes(b"half a blob")
    (root / other / ("bafyrei" + "0" * 64)).write_bytes(b"another form of name")

    skipped = []
    assert [stored.cid for stored in disk.scan(skipped.append)] == [cid]
    assert sorted(skipped) == sorted(
        [
            f"lost+found/{cid}",
            "README",
            f"{other}/{cid}",
            f"{other}/upload.0123",
            f"{other}/bafyrei{'0' * 64}",
        ]
    )


@pytest.mark.parametrize("place", ["disk", "mounted_disk"])
def test_what_is_kept_aside_outlives_the_blob(request, store, place):
    disk = request.getfixturevalue(place)
    cid = store(disk, SMALL)

    disk.quarantine(cid)
    disk.delete(cid)
    store(disk, SMALL)

    (aside,) = (disk.root / "quarantine").iterdir()
    assert aside.name.startswith(cid + ".")
    assert aside.read_bytes() == SMALL


def test_other_bytes_of_the_same_size_are_another_version(disk, store):
    cid = store(disk, SMALL)
    version = disk.version(cid)

    (disk.root / disk.path(cid)).write_bytes(bytes(len(SMALL)))
    damaged = disk.version(cid)
    store(disk, SMALL)

    assert len({version, damaged, disk.version(cid)}) == 3


def test_a_probe_of_a_folder_that_is_gone_fails(disk, tmp_path):
    shutil.rmtree(tmp_path / "blobs")

    with pytest.raises(OSError):
        disk.probe()


def test_a_durable_put_syncs_the_file_before_its_name_and_the_folder_after(
    store, tmp_path, monkeypatch
):
    backend = DiskBackend(tmp_path / "blobs", durable=True)
    calls = []
    for name in ("fdatasync", "link", "fsync", "unlink"):
        monkeypatch.setattr(os, name, recorded(name, getattr(os, name), calls))

    cid = store(backend, SMALL)
    put, calls[:] = calls[:3], []
    backend.delete(cid)

    assert put == ["fdatasync", "link", "fsync"]
    assert calls == ["unlink", "fsync"]


def test_the_folders_are_on_the_disk_before_a_durable_backend_takes_anything(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(
        os, "fsync", lambda folder: synced.append(os.readlink(f"/proc/self/fd/{folder}"))
    )
    DiskBackend(tmp_path / "data" / "blobs", durable=True)
    assert synced == [str(tmp_path / "data" / "blobs"), str(tmp_path / "data")]


def test_a_durable_copy_is_on_the_disk_before_it_has_its_name(mounted_disk, store, monkeypatch):
    calls = []
    for name in ("fdatasync", "replace", "fsync"):
        monkeypatch.setattr(os, name, recorded(name, getattr(os, name), calls))

    store(mounted_disk, SMALL)

    assert calls == ["fdatasync", "fdatasync", "replace", "fsync"]  # the first is that of the spool


def recorded(name, function, calls):
    def record(*arguments, **named):
        calls.append(name)
        return function(*arguments, **named)

    return record


def test_a_put_without_durability_waits_for_no_disk(disk, store, monkeypatch):
    calls = []
    for name in ("fdatasync", "fsync"):
        monkeypatch.setattr(os, name, recorded(name, getattr(os, name), calls))

    disk.delete(store(disk, LARGE))

    assert calls == []


class Asked:
    """An S3 client that only remembers whether the answer was to come soon."""

    def __init__(self):
        self.brief = []

    def call(self, operation, *, brief=False, **parameters):
        self.brief.append(brief)
        return {"ContentLength": 0}


class Huge:
    """An S3 client that has an object of *size* bytes, and remembers the ranges that were copied of it."""

    def __init__(self, size):
        self.size = size
        self.ranges = []

    def call(self, operation, *, CopySourceRange=None, **parameters):
        self.ranges += [CopySourceRange] if CopySourceRange else []
        return {
            "ContentLength": self.size,
            "UploadId": "upload",
            "CopyPartResult": {"ETag": '"00"'},
        }


@pytest.mark.parametrize(
    "size, count, last",
    [
        (5 * 2**30, 0, []),
        (5 * 2**30 + 1, 81, ["bytes=5368709120-5368709120"]),
        (5 * 2**40, 10_000, ["bytes=5497008384186-5497558138879"]),
    ],
    ids=["what one request takes", "a byte more", "the largest object"],
)
def test_no_object_has_more_parts_than_s3_takes(size, count, last):
    client = Huge(size)

    S3Backend(Bucket("bucket", client), prefix="").quarantine(ABSENT)

    assert (len(client.ranges), client.ranges[-1:]) == (count, last)


class Listing:
    """An S3 client that lists five uploads, two at a time; *tells* which markers say where it goes on."""

    def __init__(self, tells):
        self.tells = tells
        self.cids = [f"{ABSENT[:9]}{letter}{ABSENT[10:]}" for letter in "abcde"]

    def call(self, operation, *, KeyMarker="", UploadIdMarker="", **parameters):
        if operation != "list_multipart_uploads":
            return {}
        begun = datetime(2026, 1, 1, tzinfo=UTC)
        uploads = [
            {"Key": place_of(cid), "UploadId": f"of {cid}", "Initiated": begun} for cid in self.cids
        ]
        left = [
            upload
            for upload in uploads
            if upload["Key"] > KeyMarker and upload["UploadId"] > UploadIdMarker
        ]
        markers = {
            "NextKeyMarker": left[:2][-1]["Key"],
            "NextUploadIdMarker": left[:2][-1]["UploadId"],
        }
        return {
            "Uploads": left[:2],
            "IsTruncated": len(left) > 2,
            **{name: marker for name, marker in markers.items() if name in self.tells},
        }


@pytest.mark.parametrize(
    "tells",
    [("NextKeyMarker", "NextUploadIdMarker"), ("NextUploadIdMarker",), ()],
    ids=["both", "as SeaweedFS", "as Swift"],
)
def test_all_pages_of_unfinished_uploads_are_seen(tells):
    client = Listing(tells)
    backend = S3Backend(Bucket("bucket", client), prefix="")

    found = [left.cid for left in backend.unfinished(2_000_000_000_000_000)]

    assert found == client.cids


@pytest.mark.parametrize(
    "operation, named", [("size", ABSENT), ("delete", ABSENT), ("delete_many", [ABSENT])]
)
def test_s3_has_little_time_for_what_is_done_under_the_write_lock(operation, named):
    client = Asked()
    backend = S3Backend(Bucket("bucket", client), prefix="")

    getattr(backend, operation)(named)

    assert client.brief == [True]
