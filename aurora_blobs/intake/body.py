"""A request body as a stream that ends where its Content-Length says."""

from typing import Protocol

from aurora_blobs.errors import BlobServiceError, BlobTooLarge, UploadIncomplete


class Reader(Protocol):
    """A stream: `read` returns at most *size* bytes, ``b""`` at the end."""

    def read(self, size: int, /) -> bytes: ...


class BodyReader:
    """The first *declared_size* bytes of *stream*, or all of a chunked body, which has none.

    Reads raise UploadIncomplete, and BlobTooLarge past *max_bytes*.
    """

    def __init__(self, stream: Reader, declared_size: int | None, max_bytes: int) -> None:
        self._stream = stream
        self._left = declared_size
        self._allowed = max_bytes

    def read(self, size: int, /) -> bytes:
        if self._left is not None:
            size = min(size, self._left)
            if size == 0:
                return b""
        try:
            data = self._stream.read(size)
        except BlobServiceError:
            raise
        except Exception as error:  # each WSGI server raises its own kind when a client goes away
            raise UploadIncomplete("the request body could not be read to its end") from error
        if self._left is not None:
            # gunicorn ends a cut-off body with a plain EOF (benoitc/gunicorn#3234).
            if not data:
                raise UploadIncomplete(
                    f"the request body is {self._left} bytes shorter than its Content-Length"
                )
            self._left -= len(data)
        self._allowed -= len(data)
        if self._allowed < 0:
            raise BlobTooLarge()
        return data
