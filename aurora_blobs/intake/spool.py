"""The only way in: a stream becomes counted and hashed bytes, in memory or in a temporary file."""

import io
import mmap
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from aurora_blobs.disk_space import DiskSpace, disk_errors
from aurora_blobs.errors import BlobTooLarge, InsufficientStorage
from aurora_blobs.intake.body import BodyReader, Reader
from aurora_blobs.intake.decoding import decoded
from aurora_blobs.intake.digest import hashing
from aurora_blobs.intake.memory_budget import MemoryBudget
from aurora_blobs.intake.stale_files import lock
from aurora_blobs.intake.writeback import start_writeback
from aurora_blobs.media.signatures import wanted_bytes
from aurora_blobs.protocol.cid import cid_of_digest

# Bytes per read; a connection gives what it has, up to this. Measured from 256 KiB to 2 MiB:
# 1 MiB takes a tenth less CPU than 256 KiB for a large body over TCP, and no more over a Unix
# socket, which has at most 200 KiB. 2 MiB are not worth the memory.
CHUNK = 1024 * 1024
# A body in memory touches no file before it is known to be wanted. Bodies up to IN_MEMORY bytes are
# always kept there, those of a known size below LARGE while the memory budget has room.
IN_MEMORY = 256 * 1024
HEAD = 8192  # bytes kept for finding the media type
# Bytes kept of sound behind a tag longer than `HEAD`: as many as any body may have in memory.
# Covers in tags have a few hundred thousand bytes; beyond, the sound is an MP3 or what it claims.
MAX_HEAD = IN_MEMORY
# Bodies this large are written back while they arrive, so the final fdatasync has little left to
# do. Skipped when the blob looks like one we hold.
LARGE = 8 * 1024 * 1024
# An encoded body may be slightly larger than what it decodes to.
_ENCODED_SLACK = 64 * 1024

NO_RESERVE = DiskSpace()
MEMORY = MemoryBudget()  # of this process


class _File:
    """A file in the spool, locked while its upload lives, so that `stale_files` passes over it."""

    def __init__(self, path: str, space: DiskSpace, *, early_writeback: bool) -> None:
        self.path = path
        self._space = space
        self._early_writeback = early_writeback
        self._allocated = self._written = self._written_back = 0
        with disk_errors():
            while True:
                self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
                if lock(self._fd, path, wait=True):
                    return
                os.close(self._fd)  # removed as stale between its creation and its lock

    def allocate(self, size: int) -> None:
        """Reserve *size* bytes: a full disk refuses early, and writing costs a fifth less."""
        self._space.require()
        with disk_errors():
            os.posix_fallocate(self._fd, 0, size)
        self._allocated = size

    def write(self, data: bytes) -> None:
        if self._written + len(data) > self._allocated:
            # Each time: a body may arrive for hours, and the reserve be given up meanwhile.
            self._space.require()
        with disk_errors():
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
        self._written += len(data)
        waiting = self._written - self._written_back
        if self._early_writeback and waiting >= LARGE:
            start_writeback(self._fd, self._written_back, waiting)
            self._written_back = self._written

    def map(self) -> mmap.mmap:
        return mmap.mmap(self._fd, 0, access=mmap.ACCESS_READ)

    def sync(self) -> None:
        with disk_errors():
            os.fdatasync(self._fd)

    def rename(self, target: str) -> None:
        with disk_errors():
            os.rename(self.path, target)
        self.path = target

    def remove(self) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self.path)
        self.close()

    def close(self) -> None:
        os.close(self._fd)


class _Content:
    """The bytes of a body: up to *in_memory* of them as pieces, more in a file in *folder*."""

    def __init__(
        self,
        folder: Path,
        space: DiskSpace,
        *,
        in_memory: int,
        expected_size: int | None,
        early_writeback: bool,
    ) -> None:
        self.size = 0
        self.pieces: list[bytes] = []
        self.is_kept = False  # by `close`
        self._file: _File | None = None
        self._folder = folder
        self._space = space
        self._in_memory = in_memory
        self._expected_size = expected_size
        self._early_writeback = early_writeback

    def add(self, data: bytes) -> None:
        self.size += len(data)
        self.pieces.append(data)
        if self.size > self._in_memory:
            self._write(self._file or self._create("upload"))
            self.pieces.clear()

    def named_file(self, name: str) -> _File:
        """The file with all the bytes, renamed to ``<name>.…``, or made if they are in memory."""
        file = self._file
        if file is None:
            file = self._create(name)
            self._write(file)
        else:
            file.rename(self._path(name))
        return file

    def close(self) -> None:
        if self._file is not None and self.is_kept:
            self._file.close()
        elif self._file is not None:
            self._file.remove()

    def _create(self, name: str) -> _File:
        self._file = _File(self._path(name), self._space, early_writeback=self._early_writeback)
        if self._expected_size is not None and self._expected_size > IN_MEMORY:
            self._file.allocate(self._expected_size)
        return self._file

    def _write(self, file: _File) -> None:
        for piece in self.pieces:
            file.write(piece)

    def _path(self, name: str) -> str:
        return f"{self._folder}/{name}.{secrets.token_hex(8)}"


class Spooled:
    """Bytes that were counted and hashed. Only `spooled` makes one; it is valid inside its block.

    `cid` is their CID, `name` what a store puts them under, `size` their number, `head` the first
    of them, as `inspect` got them, and `mime_type` what it returned. `fingerprint` is 64 bits of a
    hash of size and head; None below `LARGE`.
    """

    def __init__(self, cid: str, mime_type: str, head: bytes, content: _Content) -> None:
        self.cid = cid
        self.name = cid  # until the owner of the block knows better
        self.size = content.size
        self.head = head
        self.mime_type = mime_type
        self.fingerprint = _fingerprint_of(head, content.size)
        self._content = content
        self._file: _File | None = None

    def materialize(self, *, durable: bool) -> str:
        """The path of the file that holds the bytes, on the disk if *durable*.

        It is named ``<cid>.…``, so that after a crash the name tells what may have been stored.
        Raises InsufficientStorage.
        """
        file = self._named_file()
        if durable:
            file.sync()
        return file.path

    def view(self) -> AbstractContextManager[bytes | mmap.mmap]:
        """The bytes for random access in a block: in memory, or mapped."""
        if self.size <= IN_MEMORY:
            return nullcontext(b"".join(self._content.pieces))
        return self._named_file().map()

    def open(self) -> BinaryIO:
        """The bytes, from their start. No file is made for few."""
        if self.size <= IN_MEMORY:
            return io.BytesIO(b"".join(self._content.pieces))
        return open(self._named_file().path, "rb")

    def keep_for_recovery(self) -> None:
        """Keep the file after the block, as a stale file: what was stored cannot be undone now.

        On a full disk none can be made; what a row names is found without.
        """
        with suppress(InsufficientStorage):
            self._named_file()
            self._content.is_kept = True

    def _named_file(self) -> _File:
        if self._file is None:
            self._file = self._content.named_file(self.cid)
        return self._file


@contextmanager
def spooled(
    stream: Reader,
    *,
    folder: Path,
    space: DiskSpace = NO_RESERVE,
    inspect: Callable[[bytes], str],
    max_bytes: int,
    declared_size: int | None,
    encodings: tuple[str, ...] = (),
    early_writeback: Callable[[int], bool] = lambda fingerprint: True,
    watch: Callable[[bytes], None] = lambda data: None,
    reserve: Callable[[int], None] = lambda size: None,
    memory: MemoryBudget = MEMORY,
) -> Iterator[Spooled]:
    """Read *stream* to its end and yield the result; its files in *folder* go with the block.

    *inspect* gets the first `HEAD` bytes before more is read, of tagged sound up to `MAX_HEAD`. It
    returns the media type, or refuses by raising. *declared_size* is the Content-Length in bytes,
    None for a chunked body. *encodings* are undone first, and *max_bytes* bounds the decoded bytes.
    *early_writeback* decides for a large body by its fingerprint whether it is written back while
    it arrives. *watch* gets each piece of the decoded body before it is kept, and may refuse by
    raising. So may *reserve*, which gets the bytes that the body takes or, of an unknown size, may
    take next.

    Raises BlobTooLarge (by *declared_size* before the first read), UploadIncomplete,
    InsufficientStorage.
    """
    slack = max_bytes // 1000 + _ENCODED_SLACK if encodings else 0
    if declared_size is not None and declared_size > max_bytes + slack:
        raise BlobTooLarge()
    body = decoded(
        BodyReader(stream, declared_size, max_bytes + slack), encodings, max_bytes + slack
    )
    head = _read_up_to(body, HEAD)
    wanted = min(wanted_bytes(head), max_bytes + 1, MAX_HEAD)
    if wanted > len(head) == HEAD:
        head += _read_up_to(body, wanted - HEAD)
    mime_type = inspect(head)
    expected_size = None if encodings else declared_size
    fingerprint = None if expected_size is None else _fingerprint_of(head[:HEAD], expected_size)
    size = expected_size or 0
    with memory.lend(size if IN_MEMORY < size < LARGE else 0) as lent:
        content = _Content(
            folder,
            space,
            in_memory=max(lent, IN_MEMORY),
            expected_size=expected_size,
            early_writeback=fingerprint is None or early_writeback(fingerprint),
        )
        try:
            cid = _read(body, head, content, max_bytes, expected_size, watch, reserve)
            yield Spooled(cid, mime_type, head, content)
        finally:
            content.close()


def _read(
    body: Reader,
    head: bytes,
    content: _Content,
    max_bytes: int,
    expected_size: int | None,
    watch: Callable[[bytes], None],
    reserve: Callable[[int], None],
) -> str:
    """Read *body*, which began with *head*, into *content*; the CID of the whole."""
    data = head
    reserved = IN_MEMORY
    if expected_size is not None and expected_size > reserved:
        reserve(expected_size)
        reserved = expected_size
    with hashing(expected_size) as digest:
        while data:
            if content.size + len(data) > max_bytes:
                raise BlobTooLarge()
            if content.size + len(data) > reserved:
                reserved = min(2 * (content.size + len(data)), max_bytes)
                reserve(reserved)
            watch(data)
            content.add(data)
            digest.update(data)
            data = body.read(CHUNK)
        return cid_of_digest(digest.digest())


def _read_up_to(body: Reader, size: int) -> bytes:
    """The first *size* bytes of *body*, fewer only where it ends."""
    first = body.read(size)
    if len(first) == size or not first:
        return first
    parts = [first]
    size -= len(first)
    while size and (data := body.read(size)):
        parts.append(data)
        size -= len(data)
    return b"".join(parts)


def _fingerprint_of(head: bytes, size: int) -> int | None:
    if size < LARGE:
        return None
    return int.from_bytes(sha256(b"%d %b" % (size, head)).digest()[:8], "big", signed=True)
