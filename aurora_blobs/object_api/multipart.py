"""Uploads that come in parts: files beside the spool, until they go through it as one body.

A part is not promised to anybody, so it is not flushed to the disk. What a dead process has left
is removed by the collector. Of an upload that was completed a file in ``done/`` is left, where
nobody who begins another one has to look.
"""

import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import BinaryIO

from aurora_blobs.disk_space import DiskSpace, disk_errors
from aurora_blobs.errors import BlobTooLarge
from aurora_blobs.intake.body import Reader
from aurora_blobs.intake.stale_files import locked_file
from aurora_blobs.object_api.documents import MAX_PARTS
from aurora_blobs.object_api.layout import Key, etag_of, parse_key
from aurora_blobs.object_api.payload import Payload
from aurora_blobs.object_api.refusals import Refusal
from aurora_blobs.storage.base import Unfinished

MIN_PART_BYTES = 5 * 1024 * 1024  # but of the last part
# Of one account. A PDS takes a few uploads of one person at a time and aborts what fails.
MAX_UPLOADS = 32
IDLE_SECONDS = 3600  # without a new part, an upload is over; a PDS gives up after seconds
_CHUNK = 1024 * 1024  # bytes per read and write
_ID = re.compile(r"[0-9a-f]{64}")
_PART = re.compile(r"([0-9]{1,5})\.([0-9]{1,18})\.([0-9a-f]{64})")
_WAIT_SECONDS = 60  # for somebody else who completes the same upload
_TARGET, _LOCK, _DONE = "target", "lock", "done"


@dataclass(frozen=True, slots=True)
class Part:
    """A part that has come: *size* bytes, whose SHA-256 in hex is *tag*."""

    number: int
    size: int
    tag: str

    @property
    def etag(self) -> str:
        return etag_of(self.tag)

    @property
    def file_name(self) -> str:
        return f"{self.number}.{self.size}.{self.tag}"


class _Parts:
    """The bytes of the files *paths*, one after the other."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = iter(paths)
        self._file: BinaryIO | None = None

    def read(self, size: int, /) -> bytes:
        while True:
            if self._file is not None:
                data = self._file.read(size)
                if data:
                    return data
                self.close()
            path = next(self._paths, None)
            if path is None:
                return b""
            try:
                self._file = path.open("rb")
            except FileNotFoundError:
                raise _invalid_part() from None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class MultipartUploads:
    """The uploads in *folder*, each a folder of its own. Not more than *max_bytes* each."""

    def __init__(self, folder: Path, *, max_bytes: int, space: DiskSpace) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._space = space

    def create(self, key: Key, media_type: str | None, signature: str) -> str:
        """Begin an upload of the object *key*; its ID.

        The same request, which has the same *signature*, begins it once. Raises Refusal.
        """
        upload_id = sha256(f"{signature} {key}".encode()).hexdigest()
        # Who has completed one has had its ID: within the same second, this is another one.
        while self._answer(upload_id, key) is not None:
            upload_id = sha256(f"{upload_id} {key}".encode()).hexdigest()
        place = self._folder / upload_id
        if place.is_dir():
            return upload_id
        if sum(key.did == found.did for _, found in self.pending()) >= MAX_UPLOADS:
            raise Refusal("SlowDown", f"{MAX_UPLOADS} uploads of {key.did} are under way")
        self._space.require()
        with disk_errors():
            self._folder.mkdir(exist_ok=True)
            new = self._folder / f"new.{secrets.token_hex(8)}"
            new.mkdir()
            (new / _TARGET).write_text(json.dumps([str(key), media_type]))
            try:
                new.rename(place)
            except OSError:  # the same request was faster
                shutil.rmtree(new)
                if not place.is_dir():
                    raise
        return upload_id

    def put(self, upload_id: str, key: Key, number: int, body: Payload) -> Part:
        """Take the part *number*; one with that number that came before is gone then.

        The SHA-256 of *body* is compared here.

        Raises Refusal, BlobTooLarge, UploadIncomplete, InsufficientStorage.
        """
        place = self._place(upload_id, key)
        if not 1 <= number <= MAX_PARTS:
            raise Refusal("InvalidArgument", f"Part number must be from 1 to {MAX_PARTS}")
        others = sum(part.size for part in self.parts(upload_id, key) if part.number != number)
        if others + body.size > self._max_bytes:
            raise BlobTooLarge()
        incoming = place / f"incoming.{secrets.token_hex(8)}"
        try:
            digest = self._write(incoming, body)
            body.check_sha256(digest)
            part = Part(number, body.size, digest.hex())
            with self._locked(place):
                for old in self._files(place):
                    if old.number == number and old != part:
                        (place / old.file_name).unlink(missing_ok=True)
                incoming.rename(place / part.file_name)
        except FileNotFoundError:  # aborted meanwhile
            raise _no_such_upload() from None
        finally:
            with suppress(FileNotFoundError, NotADirectoryError):
                incoming.unlink()
        return part

    def parts(self, upload_id: str, key: Key) -> list[Part]:
        """The parts that have come, by number. Raises Refusal."""
        return sorted(self._files(self._place(upload_id, key)), key=lambda part: part.number)

    def complete(
        self,
        upload_id: str,
        key: Key,
        wanted: Sequence[tuple[int, str]],
        store: Callable[[Reader, int, str | None], str],
    ) -> str:
        """Have *store* take the bytes of the parts *wanted*, number and ETag each; what it returns.

        *store* gets a stream, its size in bytes, and the media type that was declared at the
        beginning. A second time the answer is that of the first. Raises Refusal, and what *store*
        raises.
        """
        answer = self._answer(upload_id, key)
        if answer is None:
            try:
                answer = self._complete(upload_id, key, wanted, store)
            except Refusal:
                answer = self._answer(upload_id, key)  # somebody else was faster
                if answer is None:
                    raise
        return answer

    def abort(self, upload_id: str, key: Key) -> None:
        """Forget an upload and its parts. Raises Refusal where there is none."""
        if self._answer(upload_id, key) is not None:
            return
        place = self._place(upload_id, key)
        with self._locked(place):
            shutil.rmtree(place, ignore_errors=True)

    def pending(self) -> Iterator[tuple[str, Key]]:
        """ID and object of each upload that is under way."""
        for path in _uploads(self._folder):
            with suppress(OSError, ValueError):
                if _ID.fullmatch(path.name) and not _is_idle(path):
                    yield path.name, _target(path)[0]

    def _complete(
        self,
        upload_id: str,
        key: Key,
        wanted: Sequence[tuple[int, str]],
        store: Callable[[Reader, int, str | None], str],
    ) -> str:
        place = self._place(upload_id, key)
        with self._locked(place):
            parts = self._wanted(place, wanted)
            stream = _Parts([place / part.file_name for part in parts])
            try:
                answer = store(stream, sum(part.size for part in parts), _target(place)[1])
            finally:
                stream.close()
            with disk_errors():
                (place / _DONE).write_text(json.dumps([str(key), answer]))
                (self._folder / _DONE).mkdir(exist_ok=True)
                (place / _DONE).rename(self._folder / _DONE / upload_id)
            shutil.rmtree(place, ignore_errors=True)
            return answer

    def _answer(self, upload_id: str, key: Key) -> str | None:
        """What `complete` has returned for an upload that is over; None for another one."""
        if not _ID.fullmatch(upload_id):
            return None
        try:
            name, answer = json.loads((self._folder / _DONE / upload_id).read_text())
        except FileNotFoundError:
            return None
        return str(answer) if name == str(key) else None

    def _wanted(self, place: Path, wanted: Sequence[tuple[int, str]]) -> list[Part]:
        here = {(part.number, part.etag): part for part in self._files(place)}
        try:
            parts = [here[one] for one in wanted]
        except KeyError:
            raise _invalid_part() from None
        if any(part.size < MIN_PART_BYTES for part in parts[:-1]):
            raise Refusal("EntityTooSmall", "Only the last part may be smaller than 5 MiB")
        return parts

    def _write(self, path: Path, body: Payload) -> bytes:
        """Write *body* to *path*; its SHA-256."""
        digest = sha256()
        with disk_errors(), open(path, "xb", buffering=0, opener=_open_private) as file:
            while data := body.read(_CHUNK):
                self._space.require()
                digest.update(data)
                view = memoryview(data)
                while view:
                    view = view[file.write(view) :]
        return digest.digest()

    def _files(self, place: Path) -> list[Part]:
        try:
            names = os.listdir(place)
        except FileNotFoundError:
            raise _no_such_upload() from None
        matches = filter(None, map(_PART.fullmatch, names))
        return [Part(int(match[1]), int(match[2]), match[3]) for match in matches]

    def _place(self, upload_id: str, key: Key) -> Path:
        place = self._folder / upload_id
        with suppress(FileNotFoundError, ValueError):
            if _ID.fullmatch(upload_id) and _target(place)[0] == key:
                return place
        raise _no_such_upload()

    @contextmanager
    def _locked(self, place: Path) -> Iterator[None]:
        with ExitStack() as held:
            try:
                lock = locked_file(place / _LOCK, wait_seconds=_WAIT_SECONDS)
                is_locked = held.enter_context(lock)
            except FileNotFoundError:
                raise _no_such_upload() from None
            if not is_locked:
                raise Refusal("SlowDown", "The upload is being completed")
            yield


def idle_uploads(folder: Path) -> Iterator[Unfinished]:
    """The uploads in *folder* that are over, completed or not."""
    for path in (*_uploads(folder), *_files_in(folder / _DONE)):
        with suppress(FileNotFoundError):
            if _is_idle(path):
                size = sum(found.stat().st_size for found in _files_in(path))
                since = path.stat().st_mtime_ns // 1000
                yield Unfinished(None, size, since, partial(_remove, path))


def _uploads(folder: Path) -> Iterator[Path]:
    return (path for path in _files_in(folder) if path.name != _DONE)


def _files_in(folder: Path) -> Iterator[Path]:
    return folder.iterdir() if folder.is_dir() else iter(())


def _target(place: Path) -> tuple[Key, str | None]:
    """The object that an upload becomes, and its declared type. Raises OSError, ValueError."""
    name, media_type = json.loads((place / _TARGET).read_text())
    key = parse_key(name)
    if key is None:
        raise ValueError("no key")
    return key, media_type


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o640)  # as a file in the spool


def _is_idle(place: Path) -> bool:
    # A folder's time is that of its last new file, that of an answer when it was given.
    return time.time() - place.stat().st_mtime > IDLE_SECONDS


def _remove(path: Path) -> bool:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    return True


def _invalid_part() -> Refusal:
    return Refusal("InvalidPart", "A part is not here, or its ETag is another one")


def _no_such_upload() -> Refusal:
    return Refusal("NoSuchUpload", "The specified upload does not exist")
