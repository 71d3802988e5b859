"""A sync is shared by threads that wait for one."""

import os
import time

import pytest
from support.threads import in_threads

from aurora_blobs.storage import group_fsync
from aurora_blobs.storage.group_fsync import GroupFsync, make_folder


@pytest.fixture
def syncs(monkeypatch):
    """The start and end of each sync, which takes 20 ms."""
    spans = []

    def slow(path):
        began = time.monotonic()
        time.sleep(0.02)
        spans.append((began, time.monotonic()))

    monkeypatch.setattr(group_fsync, "sync_file", slow)
    return spans


def test_a_sync_begins_after_each_call_and_ends_before_it_returns(syncs, tmp_path):
    shared = GroupFsync(tmp_path / "log")
    calls = []

    def call():
        for _ in range(5):
            came = time.monotonic()
            shared.flush()
            calls.append((came, time.monotonic()))

    assert in_threads(call, 8) == []

    assert len(calls) == 40
    assert all(
        any(came <= began and ended <= left for began, ended in syncs) for came, left in calls
    )
    assert len(syncs) < 20


def test_syncs_never_overlap(syncs, tmp_path):
    shared = GroupFsync(tmp_path / "log")

    assert in_threads(shared.flush, 8) == []

    assert all(ended <= began for (_, ended), (began, _) in zip(syncs, syncs[1:], strict=False))


def test_a_sync_that_fails_is_tried_again_by_the_next_call(tmp_path, monkeypatch):
    def fails(path):
        raise OSError(5, "Input/output error")

    shared, synced = GroupFsync(tmp_path / "log"), []
    monkeypatch.setattr(group_fsync, "sync_file", fails)
    with pytest.raises(OSError, match="Input/output"):
        shared.flush()
    monkeypatch.setattr(group_fsync, "sync_file", synced.append)
    shared.flush()

    assert synced == [tmp_path / "log"]


def test_a_file_that_is_not_there_needs_no_sync(tmp_path):
    GroupFsync(tmp_path / "none").flush()

    assert os.listdir(tmp_path) == []


def test_a_flush_syncs_the_file(tmp_path, monkeypatch):
    (tmp_path / "log").write_bytes(b"written")
    synced = []
    monkeypatch.setattr(
        os, "fdatasync", lambda file: synced.append(os.readlink(f"/proc/self/fd/{file}"))
    )

    GroupFsync(tmp_path / "log").flush()

    assert synced == [str(tmp_path / "log")]


def test_folders_are_made_with_their_names_on_the_disk(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(group_fsync, "sync_folder", synced.append)

    make_folder(tmp_path / "a" / "b")
    made, synced[:] = list(synced), []
    make_folder(tmp_path / "a" / "b")

    assert (tmp_path / "a" / "b").is_dir()
    assert made[-2:] == [tmp_path, tmp_path / "a"]
    # Whoever made it may have died before the sync.
    assert synced == [tmp_path / "a"]
