"""Digests equal hashlib's, with and without a thread; a broken stream leaves no thread."""

import threading
from hashlib import sha256

import pytest

from aurora_blobs.intake.digest import LONG, hashing

PIECES = [bytes([number]) * (1000 + number) for number in range(100)]


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "sha256"]


@pytest.mark.parametrize(
    "expected_size", [None, 1, LONG, 10 * LONG], ids=["unknown", "short", "long", "longer"]
)
def test_a_digest_is_that_of_all_pieces(expected_size):
    with hashing(expected_size) as made:
        for piece in PIECES:
            made.update(piece)
        found = made.digest()

    assert found == sha256(b"".join(PIECES)).digest()


@pytest.mark.parametrize("expected_size", [None, LONG - 1], ids=["unknown", "short"])
def test_other_streams_than_long_ones_need_no_thread(expected_size):
    with hashing(expected_size):
        assert threads() == []


def test_a_long_stream_is_hashed_in_a_thread_and_a_second_one_is_not():
    with hashing(LONG):
        assert len(threads()) == 1
        with hashing(LONG):
            assert len(threads()) == 1


def test_a_stream_that_breaks_ends_its_thread_and_the_next_one_gets_another():
    with pytest.raises(OSError, match="gone"), hashing(LONG) as made:
        made.update(b"a piece")
        raise OSError("gone")

    assert threads() == []
    with hashing(LONG):
        assert len(threads()) == 1
