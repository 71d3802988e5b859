"""The open shelf: links to blobs that everybody may fetch, from which nginx serves them without asking.

``<folder>/<did>/<cid>.<extension>`` leads to the bytes, the extension tells their media type. A link is put there when
the service has found the blob to be public, and is gone before a transaction is committed that hides it: so a
takedown holds from its answer on, whatever dies in between. Links may be deleted at any time.
"""

import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from aurora_blobs.db import Transaction
from aurora_blobs.storage.group_fsync import sync_folder

# What nginx looks for, in this order (deploy/nginx.conf). A blob of another type is asked for every time.
EXTENSIONS = {
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/webp": "webp",
    "image/gif": "gif",
    "video/mp4": "mp4",
    "video/webm": "webm",
    "application/octet-stream": "bin",
}
_GONE = ".gone"  # where the links of an account are moved at once, to be deleted at leisure


class PublicLinks:
    """One for all processes that use *folder*; made with its first link."""

    def __init__(self, folder: Path, *, durable: bool) -> None:
        """*durable*: a link that was removed does not come back when the power fails."""
        self._folder = folder
        self._durable = durable

    def add(
        self, did: str, cid: str, mime_type: str, target: str, is_public: Callable[[], bool]
    ) -> None:
        """Let nginx find the blob, whose file is *target* as seen from the shelf's folder, if *is_public* says so.

        Does nothing where that cannot be done at once: nginx asks again.
        """
        extension = EXTENSIONS.get(mime_type)
        if extension is None:
            return
        shelf = self._folder / did
        link = shelf / f"{cid}.{extension}"
        if os.path.lexists(link):
            return
        with suppress(OSError), self._locked(fcntl.LOCK_SH | fcntl.LOCK_NB):
            if is_public():
                shelf.mkdir(parents=True, exist_ok=True)
                link.symlink_to(f"../{target}")

    @contextmanager
    def before_commit(self, tx: Transaction) -> Iterator[None]:
        """The hook of the database: what *tx* hides has no link from before its commit on."""
        if not tx.hidden:
            yield
            return
        with self.revoked(tx.hidden):
            yield
        tx.after_commit.append(self.purge)

    @contextmanager
    def revoked(self, hidden: Sequence[tuple[str, str | None]]) -> Iterator[None]:
        """No link of *hidden*, by DID and CID, is there or comes while the block runs. A CID of None is every one."""
        with self._locked(fcntl.LOCK_EX):
            changed = set()
            for did, cid in hidden:
                if self._remove(did, cid):
                    changed.add(self._folder if cid is None else self._folder / did)
            if self._durable:
                for folder in changed:
                    with suppress(FileNotFoundError):  # moved away since
                        sync_folder(folder)
            yield

    def clear(self) -> None:
        """No link is there: for a database that was replaced."""
        with self._locked(fcntl.LOCK_EX), suppress(FileNotFoundError):
            shutil.rmtree(self._folder)
            if self._durable:
                sync_folder(self._folder.parent)

    def links(self) -> Iterator[tuple[str, str]]:
        """DID and CID of each link."""
        for link in self._folder.glob("did:*/*"):
            yield link.parent.name, link.stem

    def purge(self) -> None:
        """Delete what `revoked` has moved away."""
        with suppress(FileNotFoundError):
            for path in (self._folder / _GONE).iterdir():
                shutil.rmtree(path, ignore_errors=True)

    def _remove(self, did: str, cid: str | None) -> bool:
        shelf = self._folder / did
        if not os.path.isdir(shelf):
            return False
        if cid is None:
            gone = self._folder / _GONE
            gone.mkdir(exist_ok=True)
            with suppress(FileNotFoundError):
                shelf.rename(gone / secrets.token_hex(8))
            return True
        found = [
            path
            for extension in EXTENSIONS.values()
            if os.path.lexists(path := shelf / f"{cid}.{extension}")
        ]
        for path in found:
            path.unlink(missing_ok=True)
        return bool(found)

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        lock = os.open(self._folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, how)
            yield
        finally:
            os.close(lock)
