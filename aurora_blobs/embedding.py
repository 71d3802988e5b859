"""The blob store as a library: one data folder, no server, nothing from the environment."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from aurora_blobs.accounts.hiding import finish_hiding
from aurora_blobs.blobs.deletion import delete_unowned
from aurora_blobs.blobs.manager import BlobManager
from aurora_blobs.blobs.public_links import PublicLinks
from aurora_blobs.blobs.store_marks import check_unclaimed, guard_stores
from aurora_blobs.blobs.upload import Incoming, UploadRules
from aurora_blobs.catalog import accounts, blobs, references, takedowns
from aurora_blobs.catalog.blobs import Entry
from aurora_blobs.clock import system_clock
from aurora_blobs.data_folder import DataFolder
from aurora_blobs.db import SCHEMA, is_there, open_database
from aurora_blobs.errors import StoreNotOurs
from aurora_blobs.maintenance.collect import Collector
from aurora_blobs.protocol.cid import parse_blob_cid
from aurora_blobs.protocol.syntax import parse_did
from aurora_blobs.storage.disk import DiskBackend


class BlobStore:
    """The blobs in one data folder, of any number of accounts.

    A blob is kept until it is deleted. Its bytes lie on the disk once, however many accounts own
    it. A service may run on the same folder at the same time. Use it in a ``with`` block, or call
    `close`. Its methods may be called from any thread.

    Methods that take a DID or a CID raise ValueError for text that is none.
    """

    def __init__(self, path: str | Path, *, rules: UploadRules, durable: bool) -> None:
        folder = DataFolder(Path(path))
        links = PublicLinks(folder.public_links, durable=durable)
        url = f"sqlite:{folder.database}"
        self._backend = DiskBackend(folder.blobs, durable=durable)
        check_unclaimed(self._backend, str(folder.database), partial(is_there, url))
        self._database = open_database(url, durable=durable, before_commit=links.before_commit)
        self._database.upgrade(SCHEMA.read_text())
        try:
            guard_stores(self._database, self._backend, system_clock)
            self._backend.confirm()
        except (OSError, StoreNotOurs):
            self._database.close()
            raise
        self._blobs = BlobManager(
            self._backend, self._database, spool=folder.spool, rules=rules, clock=system_clock
        )
        self._blobs.recover_or_leave()
        links.purge()
        self._collector = Collector(
            self._backend,
            self._database,
            spool=folder.spool,
            grace_seconds=rules.grace_seconds,
            clock=system_clock,
        )

    def upload(
        self,
        stream: BinaryIO,
        *,
        did: str,
        declared_type: str | None = None,
        filename: str | None = None,
    ) -> Entry:
        """Store the bytes of *stream*, read to its end, for *did*. They are on the disk afterwards.

        The media type is found in the bytes; *declared_type*, or the one that *filename* suggests,
        is a claim about it. The same bytes again answer as the first time.

        Raises BlobTooLarge, InvalidMimeType, QuotaExceeded, InsufficientStorage, and
        InvalidRequest for a blob that was taken down.
        """
        did = parse_did(did)
        with self._database.write() as tx:
            accounts.make_external(tx, did, system_clock())
        entry = self._blobs.upload(
            Incoming(stream=stream, did=did, declared_type=declared_type, filename=filename)
        )
        with self._database.write() as tx:
            references.publish(tx, did, entry.cid)
        return self._blobs.describe(did, entry.cid)

    def open(self, did: str, cid: str) -> BinaryIO:
        """The bytes of a blob that *did* owns; the caller closes it.

        Raises BlobNotFound, also for one that was taken down, and RepoNotFound for an unknown DID.
        """
        entry = self._blobs.describe(parse_did(did), parse_blob_cid(cid), look_again=True)
        return self._blobs.open(entry)

    def list(self, did: str | None = None) -> Iterator[Entry]:
        """The blobs of *did*, or of every account, by DID and CID."""
        return self._blobs.entries(None if did is None else parse_did(did))

    def delete(self, did: str, cid: str) -> bool:
        """Remove a blob from *did*, and its bytes if nobody else owns them; whether it was there.

        Bytes that were taken down stay until the takedown is lifted.
        """
        did, cid = parse_did(did), parse_blob_cid(cid)
        with self._database.write() as tx:
            if not blobs.remove_owner(tx, did, cid):
                return False
        delete_unowned(self._database, self._backend, [cid], system_clock)
        return True

    def collect(self) -> int:
        """Remove what unfinished uploads have left, and bytes that nobody owns; how many things.

        What a service on the same folder holds as temporary goes by the `grace_seconds` of *rules*.
        """
        return sum(found.count for found in self._collector.run() if found.failure is None)

    def take_down(self, cid: str, *, did: str | None = None, ref: str = "") -> None:
        """Stop a blob from being opened or uploaded, for *did* or for every account.

        It holds until it is lifted, and may come before the bytes. *ref* is a note of the caller's.
        """
        subject = takedowns.EVERY_ACCOUNT if did is None else parse_did(did)
        with self._database.write() as tx:
            takedowns.apply(tx, parse_blob_cid(cid), subject, ref, system_clock())
        finish_hiding(self._database)

    def lift(self, cid: str, *, did: str | None = None) -> bool:
        """Undo `take_down` with the same *did*; whether there was one."""
        subject = takedowns.EVERY_ACCOUNT if did is None else parse_did(did)
        with self._database.write() as tx:
            return takedowns.lift(tx, parse_blob_cid(cid), subject)

    def close(self) -> None:
        """Close the database; the store is of no use afterwards."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
