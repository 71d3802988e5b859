"""The body of a request: unwrapped, and compared with all that its sender says of it.

https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html
"""

import re
from collections.abc import Mapping
from hashlib import sha256
from hmac import compare_digest

from aurora_blobs.errors import UploadIncomplete
from aurora_blobs.intake.body import BodyReader, Reader
from aurora_blobs.object_api.checksums import Checksum, checksum, parse_value, stated
from aurora_blobs.object_api.refusals import Refusal
from aurora_blobs.object_api.signature import STREAMING, STREAMING_UNSIGNED, Signed, sign

_EMPTY = sha256(b"").hexdigest()
_MAX_LINE = 4096  # bytes of the line before a chunk, and of a trailer; ours have about 100
_MAX_TRAILERS = 8
# As in server/bodies.py: what a chunk costs does not depend on its size.
_FREE_CHUNKS = 10_000
_BYTES_PER_CHUNK = 16
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,16})(?:;chunk-signature=([0-9a-f]{64}))?")


class Payload:
    """The bytes that a request carries, *size* of them.

    The last of them are given out when everything that follows has been read and compared: whoever
    has all of *size* bytes has the right ones. With *skips_sha256* the SHA-256 of the whole is left
    to the caller.
    """

    def __init__(
        self, stream: Reader, headers: Mapping[str, str], signed: Signed, *, skips_sha256: bool
    ) -> None:
        """*stream* is the request's body. Raises Refusal."""
        self._checks: list[tuple[str, Checksum, bytes]] = [
            (name, checksum(name), value) for name, value in stated(headers).items()
        ]
        length = _length(headers.get("content-length"))
        self._trailer: tuple[str, Checksum] | None = None
        self._chunks: _Chunks | None = None
        self._stream: Reader
        if signed.payload in (STREAMING_UNSIGNED, *STREAMING):
            size = _length(headers.get("x-amz-decoded-content-length"))
            trailer = headers.get("x-amz-trailer", "").strip().lower()
            if trailer:
                self._trailer = (trailer, checksum(trailer))
            body = BodyReader(stream, length, 2**63)
            self._stream = self._chunks = _Chunks(body, size or 0, signed, trailer)
        else:
            size = length
            self._stream = BodyReader(stream, length, length or 0)
        if size is None:
            raise Refusal("MissingContentLength", "You must provide the Content-Length header.")
        self.size = size
        self._left = size
        self._sha256 = None
        if signed.payload_digest is not None and not skips_sha256:
            self._sha256 = sha256()
        self._expected_sha256 = signed.payload_digest
        self._has_signed_chunks = signed.payload in STREAMING
        if size == 0:
            self._finish()

    def read(self, size: int, /) -> bytes:
        """Up to *size* bytes. Raises Refusal, UploadIncomplete."""
        data = self._stream.read(min(size, self._left))
        self._left -= len(data)
        for _, found, _ in self._checks:
            found.update(data)
        if self._trailer is not None:
            self._trailer[1].update(data)
        if self._sha256 is not None:
            self._sha256.update(data)
        if data and self._left == 0:
            self._finish()
        return data

    def read_all(self, max_bytes: int) -> bytes:
        """All of a small body. Raises Refusal, UploadIncomplete."""
        if self.size > max_bytes:
            raise Refusal("EntityTooLarge", f"A body of this kind has up to {max_bytes} bytes")
        pieces = []
        while data := self.read(max_bytes):
            pieces.append(data)
        return b"".join(pieces)

    def check_sha256(self, digest: bytes) -> None:
        """Compare *digest*, the SHA-256 of all that was read. Raises Refusal."""
        if self._expected_sha256 not in (None, digest):
            raise wrong_sha256()

    @property
    def is_checked(self) -> bool:
        """Whether a signature or a checksum says which bytes have to come."""
        has_checksum = bool(self._checks) or self._trailer is not None
        return has_checksum or self._has_signed_chunks or self._expected_sha256 is not None

    def _finish(self) -> None:
        if self._chunks is not None:
            trailers = self._chunks.finish()
            if self._trailer is not None:
                name, found = self._trailer
                self._checks.append((name, found, parse_value(name, trailers[name])))
        for name, found, value in self._checks:
            if not compare_digest(found.digest(), value):
                raise Refusal("BadDigest", f"The body is not the one of {name}")
        if self._sha256 is not None:
            self.check_sha256(self._sha256.digest())


def wrong_sha256() -> Refusal:
    """What is said of a body that has another SHA-256 than its request was signed with."""
    return Refusal(
        "XAmzContentSHA256Mismatch",
        "The provided 'x-amz-content-sha256' header does not match what was computed.",
    )


class _Chunks:
    """A body in chunks (aws-chunked), signed one by one or not, with a checksum behind them."""

    def __init__(self, body: Reader, size: int, signed: Signed, trailer: str) -> None:
        self._body = body
        self._held = b""
        self._left = 0  # bytes of the chunk that are still to be given out
        self._given = self._count = 0
        self._size = size
        self._signed = signed
        self._is_signed = signed.payload in STREAMING
        self._trailer = trailer
        self._previous = signed.signature
        self._chunk_signature = ""
        self._chunk_hash = sha256()

    def read(self, size: int, /) -> bytes:
        while size:
            if self._left:
                data = self._take(min(size, self._left))
                self._left -= len(data)
                self._given += len(data)
                if self._is_signed:
                    self._chunk_hash.update(data)
                if not self._left:
                    self._end_chunk()
                return data
            if not self._begin_chunk():
                raise UploadIncomplete("the body is shorter than x-amz-decoded-content-length")
        return b""

    def finish(self) -> dict[str, str]:
        """Read what is behind the last byte; the trailers, of which there is the announced one."""
        if self._begin_chunk():
            raise Refusal("IncompleteBody", "the body is longer than x-amz-decoded-content-length")
        if self._is_signed:
            self._check_chunk_signature()
        lines = list(self._trailer_lines())
        if self._held or self._body.read(1):
            raise _malformed()
        trailers = dict(line.split(":", 1) for line in lines)
        signature = trailers.pop("x-amz-trailer-signature", None)
        if self._is_signed and self._trailer:
            text = "".join(f"{name}:{value}\n" for name, value in trailers.items())
            found = sha256(text.encode("latin-1")).hexdigest()
            wanted = self._sign("AWS4-HMAC-SHA256-TRAILER", found)
            if signature is None or not compare_digest(signature.encode(), wanted.encode()):
                raise _wrong_chunk()
        if set(trailers) != ({self._trailer} if self._trailer else set()):
            raise Refusal("InvalidRequest", "The trailers are not those of x-amz-trailer")
        return trailers

    def _begin_chunk(self) -> bool:
        """Read the line before a chunk; False before the last one, which is empty."""
        self._count += 1
        if self._count > _FREE_CHUNKS + self._given // _BYTES_PER_CHUNK:
            raise Refusal("InvalidRequest", f"More than {_FREE_CHUNKS} chunks of a few bytes")
        match = _CHUNK.fullmatch(self._line())
        if match is None or self._is_signed != (match[2] is not None):
            raise _malformed()
        self._left = int(match[1], 16)
        if self._left > self._size - self._given:
            raise Refusal("IncompleteBody", "the body is longer than x-amz-decoded-content-length")
        self._chunk_hash = sha256()
        self._chunk_signature = (match[2] or b"").decode()
        return self._left > 0

    def _end_chunk(self) -> None:
        if self._line() != b"":
            raise _malformed()
        if self._is_signed:
            self._check_chunk_signature()

    def _check_chunk_signature(self) -> None:
        wanted = self._sign("AWS4-HMAC-SHA256-PAYLOAD", f"{_EMPTY}\n{self._chunk_hash.hexdigest()}")
        if not compare_digest(wanted, self._chunk_signature):
            raise _wrong_chunk()
        self._previous = wanted

    def _sign(self, algorithm: str, hashes: str) -> str:
        signed = self._signed
        return sign(
            signed.signing_key,
            "\n".join((algorithm, signed.time, signed.scope, self._previous, hashes)),
        )

    def _trailer_lines(self) -> list[str]:
        lines: list[str] = []
        while (line := self._line(may_end=True)) and len(lines) <= _MAX_TRAILERS:
            name, colon, value = line.decode("latin-1").partition(":")
            if not colon:
                raise _malformed()
            lines.append(f"{name.strip().lower()}:{value.strip()}")
        if line:
            raise _malformed()
        return lines

    def _line(self, *, may_end: bool = False) -> bytes:
        """The next line, without its end. Where it *may_end*, so may the body."""
        while b"\n" not in self._held:
            if len(self._held) > _MAX_LINE:
                raise _malformed()
            data = self._body.read(_MAX_LINE)
            if not data:
                if may_end and not self._held:
                    return b""
                raise UploadIncomplete("the body ends in the middle of its chunks")
            self._held += data
        line, _, self._held = self._held.partition(b"\n")
        return line.removesuffix(b"\r")

    def _take(self, size: int) -> bytes:
        if self._held:
            data, self._held = self._held[:size], self._held[size:]
            return data
        data = self._body.read(size)
        if not data:
            raise UploadIncomplete("the body ends in the middle of a chunk")
        return data


def _length(text: str | None) -> int | None:
    if text is None or text == "":
        return None
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise Refusal("InvalidArgument", "A length has to be a number of bytes")
    return int(text)


def _malformed() -> Refusal:
    return Refusal("InvalidRequest", "The body is not in the form aws-chunked")


def _wrong_chunk() -> Refusal:
    return Refusal("SignatureDoesNotMatch", "The signature of a chunk is not the one of its bytes")
