"""Content-Encoding, undone as a stream in steps of bounded size."""

import importlib
import importlib.util
import zlib
from collections.abc import Callable

from aurora_blobs.errors import BlobTooLarge, UnsupportedEncoding, UploadIncomplete
from aurora_blobs.intake.body import Reader

MAX_CODINGS = 5  # in one body; the limit of curl
_STEP = 64 * 1024  # encoded bytes per read; a guess, decoding costs far more than reading


def parse_encodings(header: str) -> tuple[str, ...]:
    """The codings of a Content-Encoding *header* in the order they were applied, but ``identity``.

    RFC 9110, 8.4. Raises UnsupportedEncoding.
    """
    names = tuple(
        name for part in header.split(",") if (name := part.strip().lower()) not in ("", "identity")
    )
    for name in names:
        if name not in _DECODERS:
            raise UnsupportedEncoding("unsupported content-encoding")
    if len(names) > MAX_CODINGS:
        raise UnsupportedEncoding(f"unsupported content-encoding: at most {MAX_CODINGS} codings")
    return names


def decoded(stream: Reader, encodings: tuple[str, ...], max_bytes: int) -> Reader:
    """*stream* with *encodings* (of `parse_encodings`) undone, the last applied first.

    Reads raise UploadIncomplete where the data does not decode, ends early or goes on after its
    end, and BlobTooLarge where one of the decoders has returned more than *max_bytes*.
    """
    for name in reversed(encodings):
        stream = _Bounded(_DECODERS[name](stream), max_bytes)
    return stream


class _Bounded:
    """The output of one decoder, at most *max_bytes*.

    Each is bounded: between two codings there may be endless bytes that decode to nothing.
    """

    def __init__(self, stream: Reader, max_bytes: int) -> None:
        self._stream = stream
        self._left = max_bytes

    def read(self, size: int, /) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise BlobTooLarge()
        return data


class _Inflating:
    """gzip or deflate data, decoded in steps of at most `_STEP` bytes in and *size* bytes out."""

    def __init__(self, stream: Reader, wbits: int, waiting: bytes = b"") -> None:
        self._stream = stream
        self._wbits = wbits
        self._inflate = zlib.decompressobj(wbits)
        self._waiting = waiting  # encoded bytes that were read and are not decoded yet

    def read(self, size: int, /) -> bytes:
        while True:
            if not self._waiting:
                self._waiting = self._stream.read(_STEP)
            if self._inflate.eof:
                if not self._waiting:
                    return b""
                if self._wbits != _GZIP:
                    raise _undecodable()
                # RFC 1952, 2.2: a gzip file is a series of members. Tools fill blocks up with
                # zeros behind them, and gzip(1), curl and browsers pass over these.
                self._waiting = self._waiting.lstrip(b"\0")
                if not self._waiting:
                    continue
                self._inflate = zlib.decompressobj(self._wbits)
            ended = not self._waiting
            try:
                data = self._inflate.decompress(self._waiting, size)
            except zlib.error:
                raise _undecodable() from None
            self._waiting = self._inflate.unused_data or self._inflate.unconsumed_tail
            if data:
                return data
            if ended and not self._inflate.eof:
                raise _undecodable()


class _Deflate:
    """deflate data: in zlib's format, or bare as some clients send it."""

    def __init__(self, stream: Reader) -> None:
        self._stream = stream
        self._inflating: _Inflating | None = None

    def read(self, size: int, /) -> bytes:
        if self._inflating is None:
            start = self._stream.read(_STEP)
            while len(start) == 1 and (more := self._stream.read(_STEP)):
                start += more
            # RFC 1950, 2.2. No bare stream begins so: the bits would be those of a stored block
            # that is filled up with ones, where encoders write zeros.
            is_zlib = len(start) > 1 and start[0] & 15 == 8 and not (start[0] << 8 | start[1]) % 31
            wbits = _ZLIB if is_zlib else -_ZLIB
            self._inflating = _Inflating(self._stream, wbits, waiting=start)
        return self._inflating.read(size)


class _Brotli:
    """Brotli data, decoded in steps as `_Inflating` has them."""

    def __init__(self, stream: Reader) -> None:
        module = importlib.import_module("brotli")
        self._error: type[Exception] = module.error
        self._stream = stream
        self._decoder = module.Decompressor()
        self._ready = b""  # decoded bytes above the size of the last read

    def read(self, size: int, /) -> bytes:
        # The library rounds its limit up to a block, 32 KiB at least.
        data = self._ready or self._decode(size)
        self._ready = data[size:]
        return data[:size]

    def _decode(self, size: int) -> bytes:
        while not self._decoder.is_finished():
            # It takes no input while it still has output.
            encoded = self._stream.read(_STEP) if self._decoder.can_accept_more_data() else b""
            ended = self._decoder.can_accept_more_data() and not encoded
            try:
                data: bytes = self._decoder.process(encoded, output_buffer_limit=size)
            except self._error:
                raise _undecodable() from None
            if data:
                return data
            if ended:
                raise _undecodable()
        if self._stream.read(1):
            raise _undecodable()
        return b""


_GZIP, _ZLIB = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS
_DECODERS: dict[str, Callable[[Reader], Reader]] = {
    "gzip": lambda stream: _Inflating(stream, _GZIP),
    "x-gzip": lambda stream: _Inflating(stream, _GZIP),
    "deflate": _Deflate,
}
if importlib.util.find_spec("brotli"):
    _DECODERS["br"] = _Brotli


def _undecodable() -> UploadIncomplete:
    return UploadIncomplete("unable to read input")
