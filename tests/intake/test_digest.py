"""A digest is that of hashlib, whoever makes it, and whatever becomes of the stream."""

import threading
from hashlib import sha256

import pytest

from aurora_blobs.intake import digest
from aurora_blobs.intake.digest import LONG, hashing

PIECES = [bytes([number]) * (1000 + number) for number in range(100)]


@pytest.mark.parametrize(
    "expected_size", [None, 1, LONG, 10 * LONG], ids=["unknown", "short", "long", "longer"]
)
def test_a_digest_is_that_of_all_pieces(expected_size):
    with hashing(expected_size) as made:
        for piece in PIECES:
            made.update(piece)
        found = made.digest()

    assert found == sha256(b"".join(PIECES)).digest()


def test_a_long_stream_is_hashed_beside_its_reader_and_a_second_one_is_not():
    with hashing(LONG) as first, hashing(LONG) as second:
        kinds = [type(first), type(second)]

    assert kinds == [digest._Beside, type(sha256())]


def test_a_stream_that_breaks_leaves_no_thread_and_the_place_free():
    with pytest.raises(OSError, match="gone"), hashing(LONG) as made:
        made.update(b"a piece")
        raise OSError("gone")

    assert not [thread for thread in threading.enumerate() if thread.name == "sha256"]
    with hashing(LONG) as made:
        assert type(made) is digest._Beside
