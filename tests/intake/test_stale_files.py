"""A lock tells a file in use from one that a crash left."""

import fcntl
import os
import subprocess
import sys
import threading
import time

import pytest
from support.cids import cid_of
from support.open_files import open_files

from aurora_blobs.intake.stale_files import exclusive, locked_file, stale_files

CID = cid_of(b"left")


def test_a_stale_file_tells_the_cid_under_which_it_may_have_been_stored(spool_folder):
    names = [f"{CID}.0123456789abcdef", f"{CID}.0123456789abcdef~", "upload.0123456789abcdef"]
    for name in names:
        (spool_folder / name).write_bytes(b"left")

    found = list(stale_files(spool_folder))
    for name in names:
        (spool_folder / name).unlink()

    assert found == [
        (spool_folder / names[0], CID),
        (spool_folder / names[1], CID),
        (spool_folder / names[2], None),
    ]


def test_what_no_upload_leaves_is_passed_over_and_hangs_nobody(spool_folder):
    os.mkfifo(spool_folder / f"{CID}.fifo")
    (spool_folder / f"{CID}.link").symlink_to("/etc/passwd")
    (spool_folder / f"{CID}.folder").mkdir()

    found = list(stale_files(spool_folder))

    (spool_folder / f"{CID}.fifo").unlink()
    (spool_folder / f"{CID}.link").unlink()
    (spool_folder / f"{CID}.folder").rmdir()
    assert found == []


@pytest.mark.parametrize("again", [[], [b"alive"]], ids=["gone", "made again"])
def test_a_file_that_another_sweeper_took_meanwhile_is_not_stale(spool_folder, monkeypatch, again):
    path = spool_folder / "upload.0123"
    path.write_bytes(b"left")
    flock = fcntl.flock

    def meanwhile(file, operation):
        path.unlink()
        for data in again:
            path.write_bytes(data)
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", meanwhile)
    found = list(stale_files(spool_folder))
    path.unlink(missing_ok=True)

    assert found == []


def test_a_lock_is_had_once_in_a_process(spool_folder):
    with locked_file(spool_folder / "lock") as first, locked_file(spool_folder / "lock") as second:
        assert (first, second) == (True, False)
    with locked_file(spool_folder / "lock") as again:
        assert again
    (spool_folder / "lock").unlink()


def test_a_lock_is_had_once_among_processes(spool_folder):
    program = """if True:
        import sys
        from pathlib import Path
        from aurora_blobs.intake.stale_files import locked_file
        with locked_file(Path(sys.argv[1])) as is_locked:
            print(is_locked)
    """

    with exclusive(spool_folder, "lock"):
        command = [sys.executable, "-c", program, spool_folder / "lock"]
        answer = subprocess.run(command, check=True, capture_output=True, timeout=60)

    assert answer.stdout == b"False\n"


def test_a_lock_is_waited_for(spool_folder):
    path = spool_folder / "lock"
    held, release = threading.Event(), threading.Event()

    def hold():
        with locked_file(path):
            held.set()
            release.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(10)
    began = time.monotonic()
    with locked_file(path, wait_seconds=0.1) as too_early:
        waited = time.monotonic() - began
    release.set()
    with locked_file(path, wait_seconds=10) as is_locked:
        pass
    holder.join(10)
    path.unlink()

    assert (too_early, is_locked) == (False, True)
    assert waited >= 0.1


def test_an_exclusive_file_goes_with_its_block(spool_folder):
    with (
        exclusive(spool_folder, "import.1") as first,
        exclusive(spool_folder, "import.1") as second,
    ):
        assert (first, second) == (True, False)
        assert list(stale_files(spool_folder)) == []
    with pytest.raises(ZeroDivisionError), exclusive(spool_folder, "import.1"):
        raise ZeroDivisionError

    assert list(spool_folder.iterdir()) == []


def test_a_file_that_cannot_be_made_cannot_be_locked(spool_folder):
    with pytest.raises(FileNotFoundError), locked_file(spool_folder / "none" / "lock"):
        pytest.fail("the block ran")

    assert open_files(spool_folder) == []
