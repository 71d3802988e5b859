"""Links to public blobs and their thumbnails, from which nginx serves them without asking.

``<folder>/<did>/<cid>.<extension>`` is a symbolic link to the bytes. The extension tells nginx
their media type. The service adds a link when it has found a blob to be public. It removes the link
before it commits a transaction that hides the blob: a takedown holds from its answer on, whatever
crashes in between. Links may be deleted at any time.

``<folder>/pictures/<period>/<did>/<cid>/<preset>.<size>.<form>`` is one to a thumbnail, and goes in
the same way. nginx looks into the period that its clock says. So it asks again for each thumbnail
in each period, and the cache learns that it is used and looks whether the file is what was written.
"""

import fcntl
import os
import secrets
import shutil
import threading
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
# Seconds since the epoch of one period. nginx.conf takes three digits off them.
PERIOD_SECONDS = 1000
# Links to thumbnails that a process makes in a period. On ext4 each may take three inodes and
# 12 KB; a guess at what is worth it.
MOST_PICTURES = 20_000
_PICTURES = "pictures"
# By what settings the links in `_PICTURES` were made. A process that goes by others makes none.
_SETTINGS = ".settings"
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
        most_pictures: int = MOST_PICTURES,
    ) -> None:
        """*durable*: a link that was removed does not come back after a power failure.

        *sync* puts the names in a folder on the disk. *most_pictures* are the links to thumbnails
        that this process makes in a period.
        """
        self._folder = folder
        self._durable = durable
        self._sync = sync
        self._most_pictures = most_pictures
        self._settings: str | None = None
        self._period = ""
        self._made = 0  # links to thumbnails in the period

    def add(
        self, did: str, cid: str, mime_type: str, target: str, is_public: Callable[[], bool]
    ) -> None:
        """Link to the file *target* (a path relative to the folder of links) if *is_public* agrees.

        Does nothing if that cannot be done at once: nginx asks again.
        """
        extension = EXTENSIONS.get(mime_type)
        if extension is not None:
            self._link(self._folder / did / f"{cid}.{extension}", f"../{target}", is_public)

    def settle(self, settings: str) -> None:
        """Make links to thumbnails by *settings*, and remove those that were made by others.

        A process that began before with others makes none from now on.
        """
        self._settings = settings
        pictures = self._folder / _PICTURES
        if self._settings_there() == settings or not (settings or os.path.isdir(pictures)):
            return
        with self._locked(fcntl.LOCK_EX):
            self._take_away([self._folder / _SETTINGS, pictures])
            with suppress(OSError):  # of a full disk: the first link tries again
                self._write_settings(settings)
        self.purge()

    def add_picture(
        self,
        did: str,
        cid: str,
        name: str,
        target: str,
        is_public: Callable[[], bool],
        *,
        now: int,
    ) -> None:
        """Link to *target*, the thumbnail *name* of a blob, as `add` does. *now*: microseconds."""
        period = str(now // 1_000_000 // PERIOD_SECONDS)
        past: list[Path] = []
        if period != self._period:
            self._period, self._made = period, 0
            past = [path for path in self._periods() if path.name != period]
        link = self._folder / _PICTURES / period / did / cid / name
        if self._made < self._most_pictures and self._link(
            link, f"../../../../{target}", lambda: self._is_settled() and is_public()
        ):
            self._made += 1
        if past:  # only now: it keeps new links away while it runs
            threading.Thread(target=self._drop, args=(past,), daemon=True).start()

    def _link(self, link: Path, target: str, is_public: Callable[[], bool]) -> bool:
        if os.path.lexists(link):
            return False
        with suppress(OSError), self._locked(fcntl.LOCK_SH | fcntl.LOCK_NB):
            if is_public():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(target)
                return True
        return False

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
            periods = self._periods() if hidden else []
            self._take_away([path for of in hidden for path in self._found(*of, periods)])
            yield

    def clear(self) -> None:
        """Remove every link, after the database was replaced."""
        with self._locked(fcntl.LOCK_EX), suppress(FileNotFoundError):
            shutil.rmtree(self._folder)
            if self._durable:
                self._sync(self._folder.parent)

    def links(self) -> Iterator[tuple[str, str]]:
        """DID and CID of each link, and of each blob that has links to thumbnails."""
        pictures = {
            (blob.parent.name, blob.name) for blob in self._folder.glob(f"{_PICTURES}/*/did:*/*")
        }
        yield from pictures
        for link in self._folder.glob("did:*/*"):
            if (link.parent.name, link.stem) not in pictures:
                yield link.parent.name, link.stem

    def purge(self) -> None:
        """Delete the links that were moved away."""
        with suppress(FileNotFoundError):
            for path in (self._folder / _GONE).iterdir():
                shutil.rmtree(path, ignore_errors=True)

    def _periods(self) -> list[Path]:
        """The folders of links to thumbnails, whatever the clock says by now."""
        try:
            return [*(self._folder / _PICTURES).iterdir()]
        except FileNotFoundError:
            return []

    def _drop(self, past: list[Path]) -> None:
        """Remove *past*, of earlier periods, for good: the clock may be set back."""
        with suppress(OSError), self._locked(fcntl.LOCK_EX):
            self._take_away(past)
        self.purge()

    def _settings_there(self) -> str | None:
        try:
            return (self._folder / _SETTINGS).read_text()
        except OSError:
            return None

    def _write_settings(self, settings: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / _SETTINGS).write_text(settings)

    def _is_settled(self) -> bool:
        """Whether links to thumbnails are by our settings, and not by those of a later start."""
        there = self._settings_there()
        if there is None and self._settings is not None:
            self._write_settings(self._settings)
            return True
        return there == self._settings

    def _found(self, did: str, cid: str | None, periods: list[Path]) -> list[Path]:
        account, pictures = self._folder / did, [period / did for period in periods]
        if cid is None:
            return [path for path in (account, *pictures) if os.path.isdir(path)]
        paths = [path / cid for path in pictures]
        if os.path.isdir(account):
            paths += [account / f"{cid}.{extension}" for extension in EXTENSIONS.values()]
        return [path for path in paths if os.path.lexists(path)]

    def _take_away(self, found: list[Path]) -> None:
        """Remove *found*, and have it gone from the disk. Whoever calls holds off new links."""
        # A process that died here may have removed links without a sync, and we find none.
        self._sync_folders(self._noted())
        if found:
            folders = {path.parent for path in found}
            self._note(folders)
            for path in found:
                self._remove(path)
            self._sync_folders(folders)

    def _remove(self, path: Path) -> None:
        """Remove a link, or move a folder of links away."""
        if not os.path.isdir(path) or os.path.islink(path):
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
