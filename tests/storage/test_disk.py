"""The disk store, beyond the contract."""

import io
import os
import random
import shutil
import socket

import pytest
from support.cids import cid_of
from support.full_disk import max_file_size

from aurora_blobs.errors import (
    BackendUnavailable,
    BlobNotFound,
    InsufficientStorage,
    StoreNotOurs,
)
from aurora_blobs.intake.spool import IN_MEMORY, spooled
from aurora_blobs.storage.base import MARK
from aurora_blobs.storage.disk import DiskBackend

ABSENT = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
SMALL = b"a blob of 24 bytes, whole"[:24]
LARGE = random.Random(2).randbytes(IN_MEMORY + 1000)


def content(backend, cid):
    with backend.open(cid) as file:
        return file.read()


def test_files_are_in_256_folders_by_digest(disk, store, tmp_path):
    cid = store(disk, b"hello world")

    # sha256("hello world") begins with b9.
    assert (tmp_path / "blobs" / "b9" / cid).read_bytes() == b"hello world"
    assert disk.path(cid) == f"b9/{cid}"
    assert len(list((tmp_path / "blobs").iterdir())) == 256


def test_files_are_not_readable_by_others(disk, store, tmp_path):
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


def test_a_file_that_cannot_be_removed_does_not_stop_the_removal_of_others(disk, store):
    first, last = store(disk, b"first"), store(disk, b"last")
    (disk.root / disk.path(ABSENT)).mkdir()

    failures = disk.delete_many([first, ABSENT, last])

    assert {cid: type(error) for cid, error in failures.items()} == {ABSENT: BackendUnavailable}
    assert (disk.size(first), disk.size(last)) == (None, None)
    with pytest.raises(BackendUnavailable, match="^a blob cannot be removed: Is a directory$"):
        disk.delete(ABSENT)


def test_the_descriptor_of_a_part_is_at_its_start(disk, store):
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
        with max_file_size(500), pytest.raises(InsufficientStorage):
            disk.put(blob)

        assert disk.size(blob.cid) is None
    assert list(disk.scan()) == []


def test_a_full_mounted_disk_leaves_nothing(mounted_disk, spool_folder):
    with spooled(
        io.BytesIO(LARGE),
        folder=spool_folder,
        inspect=lambda head: "a/b",
        max_bytes=10**6,
        declared_size=None,
    ) as blob:
        blob.materialize(durable=False)
        with max_file_size(500), pytest.raises(InsufficientStorage):
            mounted_disk.put(blob)

    assert [path for path in mounted_disk.root.rglob("*") if path.is_file()] == []


def test_a_mounted_disk_has_whole_files_that_are_not_readable_by_others(mounted_disk, store):
    cid = store(mounted_disk, SMALL)
    (mounted_disk.root / mounted_disk.path(cid)).write_bytes(b"damaged")

    store(mounted_disk, SMALL)

    (file,) = [path for path in mounted_disk.root.rglob("*") if path.is_file()]
    assert file.read_bytes() == SMALL
    assert file.stat().st_mode & 0o007 == 0


def test_bytes_that_are_put_twice_have_one_file_in_the_spool(disk, spool_folder):
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


def test_a_scan_names_files_that_are_not_blobs(disk, store, tmp_path):
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
def test_quarantined_bytes_outlive_the_blob(request, store, place):
    disk = request.getfixturevalue(place)
    cid = store(disk, SMALL)

    disk.quarantine(cid)
    disk.delete(cid)
    store(disk, SMALL)

    (aside,) = (disk.root / "quarantine").iterdir()
    assert aside.name.startswith(cid + ".")
    assert aside.read_bytes() == SMALL


def test_what_is_quarantined_again_is_kept_once(disk, store):
    """A process may have died between the copy and the deletion."""
    cid = store(disk, SMALL)

    disk.quarantine(cid)
    disk.quarantine(cid)

    assert len(list((disk.root / "quarantine").iterdir())) == 1


def test_what_a_death_left_unfinished_is_found_after_the_grace_time(disk, store, tmp_path):
    cid = store(disk, SMALL)
    disk.probe()
    folder = tmp_path / "blobs" / "unfinished"
    (folder / f"{cid}.0123").write_bytes(b"a part")
    (folder / "probe.0123").write_bytes(b"canary")
    (tmp_path / "blobs" / "probe.4567").write_bytes(b"canary")  # of an older version
    for path in (*folder.iterdir(), tmp_path / "blobs" / "probe.4567"):
        os.utime(path, (1000, 1000))

    early = list(disk.unfinished(1000 * 10**6))
    left = list(disk.unfinished(1001 * 10**6))

    assert early == []
    assert sorted((it.size, it.cid) for it in left if it.cid) == [(6, cid)]
    assert sorted((it.size, it.cid) for it in left if not it.cid) == [(6, None), (6, None)]
    assert [it.remove() for it in left] == [True, True, True]
    assert [it.remove() for it in left] == [False, False, False]
    assert list(disk.unfinished(1001 * 10**6)) == []
    skipped = []
    assert [stored.cid for stored in disk.scan(skipped.append)] == [cid]
    assert skipped == []


def test_a_purge_of_the_quarantine_removes_the_bytes_of_its_cids(disk, store, tmp_path):
    gone, kept = store(disk, SMALL), store(disk, LARGE)
    for cid in (gone, kept, gone):
        disk.quarantine(cid)

    disk.purge_quarantine({gone, ABSENT})

    (aside,) = (tmp_path / "blobs" / "quarantine").iterdir()
    assert aside.name.startswith(f"{kept}.")


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
    backend.prepare()
    calls = []
    for name in ("fdatasync", "link", "fsync", "unlink"):
        monkeypatch.setattr(os, name, recorded(name, getattr(os, name), calls))

    cid = store(backend, SMALL)
    put, calls[:] = calls[:3], []
    backend.delete(cid)

    assert put == ["fdatasync", "link", "fsync"]
    assert calls == ["unlink", "fsync"]


def test_the_folders_are_on_the_disk_before_the_first_durable_put(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(
        os, "fsync", lambda folder: synced.append(os.readlink(f"/proc/self/fd/{folder}"))
    )
    data = tmp_path / "data"
    DiskBackend(data / "blobs", durable=True).prepare()
    assert synced[-3:] == [str(tmp_path), str(data), str(data / "blobs")]


def test_a_durable_copy_is_on_the_disk_before_it_gets_its_name(mounted_disk, store, monkeypatch):
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


def test_a_put_without_durability_syncs_nothing(disk, store, monkeypatch):
    calls = []
    for name in ("fdatasync", "fsync"):
        monkeypatch.setattr(os, name, recorded(name, getattr(os, name), calls))

    disk.delete(store(disk, LARGE))

    assert calls == []


@pytest.mark.parametrize("durable", [False, True])
def test_nothing_is_made_before_the_store_is_prepared(tmp_path, durable):
    DiskBackend(tmp_path / "blobs", durable=durable)

    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_somebody_removed_is_made_again(disk, store):
    shutil.rmtree(disk.root / disk.path(cid_of(SMALL)).partition("/")[0])

    assert content(disk, store(disk, SMALL)) == SMALL


def test_a_store_that_goes_away_during_a_put_is_not_made_anew(disk, store):
    disk.write_mark("mine")
    disk.guard(no_claim, "mine")
    disk.check_ours()
    shutil.rmtree(disk.root)

    with pytest.raises(StoreNotOurs):
        store(disk, SMALL)

    assert not disk.root.exists()


def no_claim(store):
    raise StoreNotOurs("it stays so")


def test_a_mark_is_looked_at_each_time_and_read_when_it_is_another_file(disk, monkeypatch):
    disk.write_mark("mine")
    disk.guard(no_claim, "mine")
    disk.check_ours()
    opened = []
    monkeypatch.setattr(os, "open", recorded("open", os.open, opened))

    for _ in range(10):
        disk.check_ours(recently=True)
        assert disk.size(ABSENT) is None
    before = len(opened)
    shutil.copytree(disk.root, f"{disk.root}.copy")
    shutil.move(disk.root, f"{disk.root}.old")
    shutil.move(f"{disk.root}.copy", disk.root)
    disk.check_ours()

    assert (before, opened) == (0, ["open"])


def linked(path, data):
    (path.parent / "elsewhere").write_bytes(data)
    path.symlink_to("elsewhere")


def socketed(path, data):
    with socket.socket(socket.AF_UNIX) as server:
        # By a short name: an address has 107 bytes.
        folder = os.open(path.parent, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{folder}/{path.name}")
        os.close(folder)


ODD_FILES = pytest.mark.parametrize(
    "make",
    [lambda path, data: os.mkfifo(path), linked, socketed, lambda path, data: path.mkdir()],
    ids=["FIFO", "link", "socket", "folder"],
)


@ODD_FILES
def test_what_is_no_regular_file_holds_no_bytes_and_hangs_nobody(disk, make):
    cid = cid_of(SMALL)
    make(disk.root / disk.path(cid), SMALL)

    assert disk.size(cid) is disk.version(cid) is None
    with pytest.raises(BlobNotFound):
        disk.open(cid)
    with pytest.raises(BlobNotFound):
        disk.open(cid, 0, len(SMALL))
    with pytest.raises(BlobNotFound):
        disk.quarantine(cid)
    skipped = []
    assert list(disk.scan(skipped.append)) == []
    assert disk.path(cid) in skipped


@pytest.mark.parametrize(
    "make", [lambda path, data: os.mkfifo(path), linked, socketed], ids=["FIFO", "link", "socket"]
)
def test_an_upload_takes_the_place_of_what_is_no_regular_file(disk, store, make):
    make(disk.root / disk.path(cid_of(SMALL)), SMALL)

    assert content(disk, store(disk, SMALL)) == SMALL
    assert not (disk.root / disk.path(cid_of(SMALL))).is_symlink()


@ODD_FILES
def test_a_mark_that_is_no_regular_file_is_no_mark(disk, make):
    make(disk.root / MARK, b'{"store": "mine"}')

    assert not disk.read_mark()
