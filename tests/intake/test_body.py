"""A body ends where its Content-Length says, and its failures have one name."""

import io

import pytest
from support.streams import PiecewiseStream

from aurora_blobs.errors import BlobTooLarge, UploadIncomplete
from aurora_blobs.intake.body import BodyReader


def read_all(body, size=7):
    return b"".join(iter(lambda: body.read(size), b""))


@pytest.mark.parametrize("declared_size", [None, 10], ids=["chunked", "declared"])
def test_a_body_is_read_to_its_end(declared_size):
    assert (
        read_all(BodyReader(PiecewiseStream(b"ten bytes.", [3]), declared_size, 10))
        == b"ten bytes."
    )


def test_a_body_ends_at_its_declared_length():
    stream = io.BytesIO(b"ten bytes.the next request")

    assert read_all(BodyReader(stream, 10, 100)) == b"ten bytes."
    assert stream.tell() == 10


def test_a_body_shorter_than_its_declared_length_is_incomplete():
    with pytest.raises(UploadIncomplete, match="^the request body is 2 bytes shorter than"):
        read_all(BodyReader(PiecewiseStream(b"ten bytes."), 12, 100))


def test_a_chunked_body_past_the_limit_is_too_large():
    with pytest.raises(BlobTooLarge):
        read_all(BodyReader(PiecewiseStream(b"ten bytes."), None, 9))


@pytest.mark.parametrize("error", [OSError("gone"), EOFError(), ValueError("parser")], ids=repr)
def test_every_failure_of_the_server_is_an_incomplete_upload(error):
    with pytest.raises(UploadIncomplete) as refusal:
        read_all(BodyReader(PiecewiseStream(b"ten", error=error), None, 100))

    assert refusal.value.__cause__ is error


def test_an_error_of_this_service_keeps_its_name():
    with pytest.raises(BlobTooLarge):
        read_all(BodyReader(PiecewiseStream(b"ten", error=BlobTooLarge()), None, 100))
