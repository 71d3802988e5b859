"""The only way in: a stream becomes hashed, size-checked bytes, in memory while small, else in a temporary file."""

import ctypes
import errno
import fcntl
import mmap
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from aurora_blobs.errors import (
    BlobServiceError,
    BlobTooLarge,
    InsufficientStorage,
    UploadIncomplete,
)
from aurora_blobs.intake.decoding import Reader, decoded
from aurora_blobs.intake.digest import hashing
from aurora_blobs.protocol.cid import cid_in, cid_of_digest

# Bytes per read: a connection gives what it has, up to this. Of 256 KiB to 2 MiB, 1 MiB takes a tenth less CPU for
# a large body over TCP than 256 KiB, and no more over a Unix socket, which has 200 KiB at most; 2 MiB are not
# worth the memory.
CHUNK = 1024 * 1024
# A body that is kept in memory touches no file before it is known to be wanted: each up to this size, and larger
# ones that say how large they are, as long as all of a process together fit into `ROOM`.
IN_MEMORY = 256 * 1024
ROOM = 20 * 1024 * 1024  # four at once of the size that the reference PDS allows
HEAD = 8192  # bytes kept for finding the type; the longest look that a detector takes
# An encoded body may be a little larger than what it decodes to, never much.
_ENCODED_SLACK = 64 * 1024
# From here on the disk begins on a file while the rest of it still comes and is hashed, or the sync at its end has all
# of it to do; unless the blob seems to be here already, for then it need not get to the disk.
LARGE = 8 * 1024 * 1024
_SYNC_FILE_RANGE_WRITE = 2  # <fcntl.h>: begin, and do not wait. Promises nothing; the sync does.
_sync_file_range = getattr(ctypes.CDLL(None), "sync_file_range", None)  # Linux
if _sync_file_range is not None:
    _sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


class _File:
    """A file in the spool, locked for as long as its upload lives, so that `stale_files` can tell."""

    def __init__(self, path: Path, *, early_writeback: bool = False) -> None:
        """*early_writeback*: the disk begins on it while it is written."""
        self.path = path
        self._early_writeback = early_writeback
        self._written = self._sent_out = 0
        with disk_errors():
            while True:
                self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
                fcntl.flock(self._fd, fcntl.LOCK_EX)
                if os.fstat(self._fd).st_nlink:
                    return
                os.close(self._fd)  # swept between its creation and its lock

    def allocate(self, size: int) -> None:
        """Reserve *size* bytes: a full disk is known before the body is read, and writing costs a fifth less."""
        with disk_errors():
            os.posix_fallocate(self._fd, 0, size)

    def write(self, data: bytes) -> None:
        with disk_errors():
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
        self._written += len(data)
        if (
            self._early_writeback
            and self._written - self._sent_out >= LARGE
            and _sync_file_range is not None
        ):
            _sync_file_range(
                self._fd, self._sent_out, self._written - self._sent_out, _SYNC_FILE_RANGE_WRITE
            )
            self._sent_out = self._written

    def map(self) -> mmap.mmap:
        return mmap.mmap(self._fd, 0, access=mmap.ACCESS_READ)

    def sync(self) -> None:
        with disk_errors():
            os.fdatasync(self._fd)

    def rename(self, target: Path) -> None:
        os.rename(self.path, target)
        self.path = target

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        os.close(self._fd)


@contextmanager
def disk_errors() -> Iterator[None]:
    """Gives a full disk its name: raises InsufficientStorage."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise InsufficientStorage("no space left to store the blob") from error
        raise


class Spooled:
    """Bytes that were counted and hashed. Made by `spooled` alone; valid inside its block.

    `cid` names them, `size` counts them, `head` is the first `HEAD` of them, `mime_type` what `inspect` made of it.
    `fingerprint` is what `spooled` asks about where they are `LARGE`, else None.
    """

    def __init__(
        self,
        cid: str,
        size: int,
        mime_type: str,
        head: bytes,
        folder: Path,
        content: list[bytes] | _File,
    ) -> None:
        self.cid = cid
        self.head = head
        self.size = size
        self.fingerprint = _fingerprint_of(head, size)
        self.mime_type = mime_type
        self._folder = folder
        self._content = content
        self._landed: _File | None = None
        self._is_left = False

    def materialize(self, *, durable: bool) -> Path:
        """The file that holds the bytes, named ``<cid>.…`` so that a crash tells what it may have left.

        With *durable* it is on the disk. Raises InsufficientStorage.
        """
        if self._landed is None:
            target = self._folder / f"{self.cid}.{secrets.token_hex(8)}"
            if isinstance(self._content, _File):
                self._landed = self._content
                self._landed.rename(target)
            else:
                self._landed = _File(target)
                if self.size > IN_MEMORY:
                    self._landed.allocate(self.size)
                for piece in self._content:
                    self._landed.write(piece)
        if durable:
            self._landed.sync()
        return self._landed.path

    @contextmanager
    def view(self) -> Iterator[bytes | mmap.mmap]:
        """The bytes, to look at a few of them: in memory, or mapped."""
        if self.size <= IN_MEMORY and not isinstance(self._content, _File):
            yield b"".join(self._content)
        else:
            self.materialize(durable=False)
            assert self._landed is not None
            with self._landed.map() as mapped:
                yield mapped

    def open(self) -> BinaryIO:
        """The bytes, from their start."""
        return open(self.materialize(durable=False), "rb")

    def keep_for_recovery(self) -> None:
        """What was stored of it cannot be removed now: have its file outlive the block, for `stale_files` to find."""
        self._is_left = True

    def close(self) -> None:
        """Remove what is in the spool, unless it was to be left; `spooled` calls this at the end of its block."""
        file = self._content if isinstance(self._content, _File) else self._landed
        if file is not None and self._is_left:
            file.close()
        elif file is not None:
            file.remove()


@contextmanager
def spooled(
    stream: Reader,
    *,
    folder: Path,
    inspect: Callable[[bytes], str],
    max_bytes: int,
    declared_size: int | None,
    encodings: tuple[str, ...] = (),
    early_writeback: Callable[[int], bool] = lambda start: True,
) -> Iterator[Spooled]:
    """Read *stream* to its end; the block has the result, and nothing of it is left after the block, save by `leave`.

    *inspect* gets the first `HEAD` bytes, before anything else is read, and names the media type or refuses by
    raising. *declared_size* is the Content-Length in bytes, None for a chunked body. *encodings* are undone first;
    *max_bytes* holds for what comes out. *early_writeback* tells of a large body by its fingerprint, 64 bits
    made of its size and head, whether the disk may begin on it.

    Raises BlobTooLarge (by the declared size before anything is read), UploadIncomplete, InsufficientStorage.
    """
    slack = max_bytes // 1000 + _ENCODED_SLACK if encodings else 0
    if declared_size is not None and declared_size > max_bytes + slack:
        raise BlobTooLarge()
    body = decoded(
        BodyReader(stream, declared_size, max_bytes + slack), encodings, max_bytes + slack
    )
    head = _read_up_to(body, HEAD)
    mime_type = inspect(head)
    expected = None if encodings else declared_size
    start = None if expected is None else _fingerprint_of(head, expected)
    early = start is None or early_writeback(start)
    with _room(expected) as in_memory:
        content, size, cid = _read(body, head, folder, max_bytes, expected, in_memory, early)
        blob = Spooled(cid, size, mime_type, head, folder, content)
        try:
            yield blob
        finally:
            blob.close()


def stale_files(folder: Path) -> Iterator[tuple[Path, str | None]]:
    """What uploads that died left in *folder*: each file, and the CID under which it may have been stored.

    Files of uploads that are alive, in whatever process, are passed over. The caller unlinks, or the next call
    finds them again.
    """
    for path in sorted(folder.iterdir()):
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            if _is_mine(file, path):
                yield path, cid_in(path.name)
        finally:
            os.close(file)


@contextmanager
def exclusive(folder: Path, name: str) -> Iterator[bool]:
    """Has the file *name* in *folder* to itself for the block; yields False where somebody has, in whatever process.

    It goes with the block; one that a crash left is among the `stale_files`.
    """
    path = folder / name
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    mine = False
    try:
        mine = _is_mine(file, path)
        yield mine
    finally:
        if mine:
            path.unlink(missing_ok=True)
        os.close(file)


def _is_mine(file: int, path: Path) -> bool:
    """Lock *file*, which was opened at *path*; False where somebody else has it locked."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever had it may have unlinked it since it was opened, and another made it again.
        return os.path.samestat(os.fstat(file), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


class BodyReader:
    """A request body that ends where it said it would, and whose failures have one name.

    Its reads raise UploadIncomplete, and BlobTooLarge past *max_bytes*.
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


def _read_up_to(body: Reader, size: int) -> bytes:
    first = body.read(size)
    if len(first) == size or not first:
        return first
    parts = [first]
    size -= len(first)
    while size and (data := body.read(size)):
        parts.append(data)
        size -= len(data)
    return b"".join(parts)


def _read(
    body: Reader,
    head: bytes,
    folder: Path,
    max_bytes: int,
    expected: int | None,
    in_memory: int,
    early_writeback: bool,
) -> tuple[list[bytes] | _File, int, str]:
    """All of *body*, which began with *head*: its pieces, or a file where they are more than *in_memory*; size, CID."""
    size = 0
    pieces: list[bytes] = []
    file = None
    data = head
    try:
        with hashing(expected) as digest:
            while data:
                size += len(data)
                if size > max_bytes:
                    raise BlobTooLarge()
                pieces.append(data)
                if file is None and size > in_memory:
                    file = _File(
                        folder / f"upload.{secrets.token_hex(8)}", early_writeback=early_writeback
                    )
                    if expected is not None:
                        file.allocate(expected)
                if file is not None:
                    for piece in pieces:
                        file.write(piece)
                    pieces.clear()
                digest.update(data)
                data = body.read(CHUNK)
            return file or pieces, size, cid_of_digest(digest.digest())
    except BaseException:
        if file is not None:
            file.remove()
        raise


def _fingerprint_of(head: bytes, size: int) -> int | None:
    if size < LARGE:
        return None
    return int.from_bytes(sha256(b"%d %b" % (size, head)).digest()[:8], "big", signed=True)


_lent = 0  # bytes of `ROOM`
_lending = threading.Lock()


@contextmanager
def _room(size: int | None) -> Iterator[int]:
    """How much of a body of *size* bytes, None if nobody knows, may be in memory until the block ends."""
    global _lent
    if size is None or not IN_MEMORY < size < LARGE:
        yield IN_MEMORY
        return
    with _lending:
        is_free = _lent + size <= ROOM
        _lent += size * is_free
    try:
        yield size if is_free else IN_MEMORY
    finally:
        with _lending:
            _lent -= size * is_free
