"""The core of the service without HTTP: accounts, blobs, records and their rows."""

import io
import json
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path

from support.accounts import ALICE
from support.clock import Clock
from support.databases import database_url

from aurora_blobs.accounts.moderation import Moderation, Subject
from aurora_blobs.accounts.queries import RepoQueries
from aurora_blobs.blobs.manager import BlobManager
from aurora_blobs.blobs.upload import Incoming, UploadRules
from aurora_blobs.catalog import accounts, blobs, records, references
from aurora_blobs.db import SCHEMA, no_hook, open_database
from aurora_blobs.leases import Guarded
from aurora_blobs.maintenance.collect import Collector
from aurora_blobs.records.index import Records, Write
from aurora_blobs.records.repo_import import RepoImporter
from aurora_blobs.storage.disk import DiskBackend


def blob_of(entry):
    """The reference to the blob of *entry* in a record's JSON."""
    return {
        "$type": "blob",
        "ref": {"$link": entry.cid},
        "mimeType": entry.mime_type,
        "size": entry.size,
    }


class ServiceCore:
    def __init__(self, folder: Path, clock=None, backend=None, before_commit=no_hook, **rules):
        self.clock = clock or Clock()
        self.spool = folder / "spool"
        self.database_url = database_url(folder / "db.sqlite3")
        self.database = open_database(self.database_url, durable=False, before_commit=before_commit)
        self.database.upgrade(SCHEMA.read_text())
        self.backend = backend or DiskBackend(folder / "blobs", durable=False)
        self.backend.prepare()
        self.blobs = BlobManager(
            self.backend,
            self.database,
            spool=self.spool,
            rules=UploadRules(**rules),
            clock=self.clock,
        )
        self.records = Records(self.database, self.backend, self.clock)
        self.importer = RepoImporter(
            self.database, spool=self.spool, max_bytes=10**9, clock=self.clock
        )
        self.repos = RepoQueries(self.database, self.clock, open_to_reports=True)
        self.moderation = Moderation(self.database, self.repos, self.clock)

    def collector(self, grace_seconds=3600, backend=None):
        return Collector(
            backend or self.backend,
            self.database,
            spool=self.spool,
            grace_seconds=grace_seconds,
            clock=self.clock,
        )

    def add_account(self, did):
        with self.database.write() as tx:
            accounts.make_external(tx, did, self.clock())

    def upload(self, data, mime_type="application/x-test", did=ALICE):
        return self.blobs.upload(incoming(data, mime_type, did))

    def write(self, collection, rkey, value, did=ALICE):
        (written,) = self.records.apply(
            did, [Write("put", collection, rkey, {"$type": collection, **value})]
        )
        return written

    def delete(self, collection, rkey, did=ALICE):
        self.records.apply(did, [Write("delete", collection, rkey)])

    def read(self, entry):
        with self.blobs.open(entry) as file:
            return file.read()

    def take_down(self, cid, did, ref="ref"):
        self.moderation.take_down(Subject(did, cid), ref)

    def lift(self, cid, did):
        return self.moderation.lift(Subject(did, cid))

    def replace(self, collection, rkey, to, value, did=ALICE):
        """Delete the record *rkey* and create *to*, in one transaction."""
        writes = [
            Write("delete", collection, rkey),
            Write("create", collection, to, {"$type": collection, **value}),
        ]
        self.records.apply(did, writes)

    def limit_uploads(self, did, number):
        with self.database.write() as tx:
            accounts.set_uploads_per_day(tx, did, number)

    def keys(self, did):
        with self.database.read() as tx:
            return [
                tuple(row)
                for row in tx.all("SELECT collection, rkey FROM record WHERE did = ?", did)
            ]

    def value(self, did, collection, rkey):
        with self.database.read() as tx:
            return json.loads(records.find(tx, did, collection, rkey).value)

    def listed(self, did, limit=10_000):
        with self.database.read() as tx:
            return references.cids(tx, did, "", "", limit)

    def entry(self, did, cid):
        with self.database.read() as tx:
            return next(
                (held.entry for held in blobs.owners(tx, cid) if held.entry.did == did), None
            )

    def rows(self):
        """Every row of records and blobs."""
        with self.database.read() as tx:
            return {
                table: sorted(tx.all(f"SELECT * FROM {table}"), key=repr)
                for table in ("record", "record_blob", "blob", "blob_metadata")
            }

    def stored(self):
        return {stored.cid for stored in self.backend.scan()}


def incoming(data, mime_type="application/x-test", did=ALICE):
    return Incoming(
        stream=io.BytesIO(data), did=did, declared_type=mime_type, declared_size=len(data)
    )


def nothing():
    pass


@contextmanager
def interrupted(core, meanwhile):
    """A manager whose uploads call the next of *meanwhile* between their two transactions.

    In the first an upload to a network store pins its row, in the second it looks for it again.
    """
    calls = chain.from_iterable((call, nothing) for call in meanwhile)

    def interrupt(tx):
        tx.after_commit.append(next(calls, nothing))

    with closing(Guarded(open_database(core.database_url, durable=False), interrupt)) as database:
        yield BlobManager(
            core.backend, database, spool=core.spool, rules=UploadRules(), clock=core.clock
        )
