"""A flush that threads share serves each of them."""

import os
import time

import pytest
from support.threads import in_threads

from aurora_blobs.storage import group_fsync as flush
from aurora_blobs.storage.group_fsync import GroupFsync


@pytest.fixture
def flushes(monkeypatch):
    """When each flush began and ended; it takes 20 ms."""
    spans = []

    def slow(path):
        began = time.monotonic()
        time.sleep(0.02)
        spans.append((began, time.monotonic()))

    monkeypatch.setattr(flush, "_flush", slow)
    return spans


def test_a_flush_begins_after_each_call_and_ends_before_it_returns(flushes, tmp_path):
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
        any(came <= began and ended <= left for began, ended in flushes) for came, left in calls
    )
    assert len(flushes) < 20


def test_flushes_never_overlap(flushes, tmp_path):
    shared = GroupFsync(tmp_path / "log")

    assert in_threads(shared.flush, 8) == []

    assert all(ended <= began for (_, ended), (began, _) in zip(flushes, flushes[1:], strict=False))


def test_a_flush_that_fails_is_tried_by_the_next(tmp_path, monkeypatch):
    outcomes = [OSError(5, "Input/output error"), None]

    def flaky(path):
        if outcome := outcomes.pop(0):
            raise outcome

    monkeypatch.setattr(flush, "_flush", flaky)
    shared = GroupFsync(tmp_path / "log")

    with pytest.raises(OSError, match="Input/output"):
        shared.flush()
    shared.flush()

    assert outcomes == []


def test_a_file_that_is_not_there_needs_no_flush(tmp_path):
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
