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
from contextlib import contextmanager, suppress
from pathlib import Path

from aurora_blobs.db import Transaction
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

    @contextmanager
    def before_commit(self, tx: Transaction) -> Iterator[None]:
        """The database's hook: revoke the links to what *tx* hides before it is committed."""
        if not tx.hidden:
            yield
            return
        with self.revoked(tx.hidden):
            yield
        tx.after_commit.append(self.purge)

    @contextmanager
    def revoked(self, hidden: Sequence[tuple[str, str | None]]) -> Iterator[None]:
        """Remove the links of *hidden* (DID, CID) and keep them away while the block runs.

        A CID of None is every link of the account.
        """
        with self._locked(fcntl.LOCK_EX):
            changed = set()
            for did, cid in hidden:
                if self._remove(did, cid):
                    changed.add(self._folder if cid is None else self._folder / did)
            if self._durable:
                for folder in changed:
                    with suppress(FileNotFoundError):  # moved away since
                        self._sync(folder)
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

    def _remove(self, did: str, cid: str | None) -> bool:
        account = self._folder / did
        if not os.path.isdir(account):
            return False
        if cid is None:
            gone = self._folder / _GONE
            gone.mkdir(exist_ok=True)
            with suppress(FileNotFoundError):
                account.rename(gone / secrets.token_hex(8))
            return True
        names = [f"{cid}.{extension}" for extension in EXTENSIONS.values()]
        found = [account / name for name in names if os.path.lexists(account / name)]
        for link in found:
            link.unlink(missing_ok=True)
        return bool(found)

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        lock = os.open(self._folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, how)
            yield
        finally:
            os.close(lock)
