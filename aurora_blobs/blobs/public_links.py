"""Links to public blobs, from which nginx serves them without asking the service.

``<folder>/<did>/<cid>.<extension>`` is a symbolic link to the bytes. The extension tells nginx
their media type. The service adds a link when it has found a blob to be public. It removes the link
before it commits a transaction that hides the blob: a takedown holds from its answer on, whatever
crashes in between. Links may be deleted at any time.
"""

import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

from aurora_blobs.db import Transaction
from aurora_blobs.disk_space import disk_errors
from aurora_blobs.errors import InsufficientStorage
from aurora_blobs.storage.group_fsync import sync_folder

# nginx looks for these, in this order (deploy/nginx.conf). It asks for a blob of any other type
# every time.
EXTENSIONS = {
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/webp": "webp",
    "image/gif": "gif",
    "video/mp4": "mp4",
    "video/webm": "webm",
    "application/octet-stream": "bin",
}
# An account's links are moved here at once, and deleted after the commit.
_GONE = ".gone"
# The folders from which links are being removed, one a line, until they are synced.
_UNSYNCED = ".unsynced"


class PublicLinks:
    """The links in *folder*, shared by all processes. The first link creates the folder."""

    def __init__(
        self,
        folder: Path,
        *,
        durable: bool,
        sync: Callable[[Path], None] = sync_folder,
    ) -> None:
        """*durable*: a link that was removed does not come back after a power failure.

        *sync* puts the names in a folder on the disk.
        """
        self._folder = folder
        self._durable = durable
        self._sync = sync

    def add(
        self, did: str, cid: str, mime_type: str, target: str, is_public: Callable[[], bool]
    ) -> None:
        """Link to the file *target* (a path relative to the folder of links) if *is_public* agrees.

        Does nothing if that cannot be done at once: nginx asks again.
        """
        extension = EXTENSIONS.get(mime_type)
        if extension is None:
            return
        account = self._folder / did
        link = account / f"{cid}.{extension}"
        if os.path.lexists(link):
            return
        with suppress(OSError), self._locked(fcntl.LOCK_SH | fcntl.LOCK_NB):
            if is_public():
                account.mkdir(parents=True, exist_ok=True)
                link.symlink_to(f"../{target}")

    def before_commit(self, tx: Transaction) -> AbstractContextManager[None]:
        """The database's hook: revoke the links to what *tx* hides before it is committed."""
        return self._revoking(tx) if tx.hidden or tx.keeps_others_out else nullcontext()

    @contextmanager
    def _revoking(self, tx: Transaction) -> Iterator[None]:
        with self.revoked(tx.hidden):
            yield
        tx.after_commit.append(self.purge)

    @contextmanager
    def revoked(self, hidden: Sequence[tuple[str, str | None]]) -> Iterator[None]:
        """Remove the links of *hidden* (DID, CID) and keep links away while the block runs.

        A CID of None is every link of the account.
        """
        with self._locked(fcntl.LOCK_EX):
            # A process that died here may have removed links without a sync, and we find none.
            self._sync_folders(self._noted())
            found = [path for did, cid in hidden for path in self._found(did, cid)]
            if found:
                folders = {path.parent for path in found}
                self._note(folders)
                for path in found:
                    self._remove(path)
                self._sync_folders(folders)
            yield

    def clear(self) -> None:
        """Remove every link, after the database was replaced."""
        with self._locked(fcntl.LOCK_EX), suppress(FileNotFoundError):
            shutil.rmtree(self._folder)
            if self._durable:
                self._sync(self._folder.parent)

    def links(self) -> Iterator[tuple[str, str]]:
        """DID and CID of each link."""
        for link in self._folder.glob("did:*/*"):
            yield link.parent.name, link.stem

    def purge(self) -> None:
        """Delete the links that `revoked` has moved away."""
        with suppress(FileNotFoundError):
            for path in (self._folder / _GONE).iterdir():
                shutil.rmtree(path, ignore_errors=True)

    def _found(self, did: str, cid: str | None) -> list[Path]:
        account = self._folder / did
        if not os.path.isdir(account):
            return []
        if cid is None:
            return [account]
        links = [account / f"{cid}.{extension}" for extension in EXTENSIONS.values()]
        return [link for link in links if os.path.lexists(link)]

    def _remove(self, path: Path) -> None:
        """Remove a link, or move an account's links away."""
        if path.parent != self._folder:
            path.unlink(missing_ok=True)
            return
        gone = self._folder / _GONE
        try:
            with suppress(FileNotFoundError), disk_errors():
                gone.mkdir(exist_ok=True)
                path.rename(gone / secrets.token_hex(8))
        except InsufficientStorage:
            shutil.rmtree(path)  # slower, and others wait; but it needs no space

    def _noted(self) -> set[Path]:
        """The folders that have changed and may not be synced yet."""
        try:
            names = (self._folder / _UNSYNCED).read_text()
        except OSError:
            return set()
        return {self._folder / name for name in names.splitlines()}

    def _note(self, folders: set[Path]) -> None:
        if self._durable:
            names = [os.path.relpath(folder, self._folder) for folder in folders]
            # On a full disk: without the note, what is removed now has to be synced by us.
            with suppress(OSError):
                (self._folder / _UNSYNCED).write_text("\n".join(names))

    def _sync_folders(self, folders: set[Path]) -> None:
        if self._durable and folders:
            for folder in folders:
                with suppress(FileNotFoundError):  # moved away since
                    self._sync(folder)
            (self._folder / _UNSYNCED).unlink(missing_ok=True)

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        lock = os.open(self._folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, how)
            yield
        finally:
            os.close(lock)
