"""Backends for tests: one in memory, and one with an unfinished upload."""

import io

from aurora_blobs.errors import BlobNotFound
from aurora_blobs.protocol.cid import place_of
from aurora_blobs.storage.base import Store, Stored, Unfinished
from aurora_blobs.storage.disk import DiskBackend


class OutsideTransactions:
    """Before a class of stores: no call of it inside a transaction of `database`."""

    database = None

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if name not in _CALLS or self.database is None:
            return found

        def call(*arguments, **named):
            self.database.one_shot().one("SELECT 1")  # RuntimeError: transactions do not nest
            return found(*arguments, **named)

        return call


_CALLS = (
    *("put", "open", "size", "delete", "delete_many", "scan", "version", "quarantine", "probe"),
    *(
        "put_many",
        "purge_quarantine",
        "count_quarantined",
        "confirm",
        "check_ours",
        "read_mark_bytes",
        "write_mark_bytes",
    ),
)


class MemoryBackend(Store):
    """Bytes in a dict."""

    kind = "memory"
    stat_is_cheap = True
    place = "memory"

    def __init__(self):
        self.held, self.aside = {}, []
        self.mark = None

    def prepare(self):
        pass

    def read_mark_bytes(self):
        return self.mark

    def write_mark_bytes(self, data):
        self.mark = data

    def put(self, blob):
        self.check_ours(recently=True)
        with blob.open() as file:
            self.held[blob.name] = file.read()

    def open(self, cid, start=0, stop=None):
        if cid not in self.held or len(self.held[cid]) < (stop or 0):
            self.check_ours()
            raise BlobNotFound()
        return io.BytesIO(self.held[cid][start:stop])

    def size(self, cid):
        if cid not in self.held:
            self.check_ours()
            return None
        return len(self.held[cid])

    def delete(self, cid):
        self.check_ours(recently=True)
        self.held.pop(cid, None)

    def version(self, cid):
        if cid not in self.held:
            self.check_ours()
            return None
        return repr(self.held[cid])

    def quarantine(self, cid):
        if cid not in self.held:
            self.check_ours()
            raise BlobNotFound()
        self.aside.append((cid, self.held[cid]))

    def purge_quarantine(self, cids):
        self.check_ours(recently=True)
        self.aside = [(cid, data) for cid, data in self.aside if cid not in cids]

    def count_quarantined(self):
        self.check_ours(recently=True)
        return len(self.aside)

    def scan(self, skipped=None, start="", stop=None):
        self.check_ours()
        for cid in sorted(self.held, key=place_of):
            if start <= place_of(cid) < (stop or "~"):
                yield Stored(cid, len(self.held[cid]), 0)

    def probe(self):
        self.confirm()


class UnfinishedUploadBackend(DiskBackend):
    """A disk store that reports one unfinished upload."""

    left = True

    def unfinished(self, before):
        self.asked = before
        yield Unfinished(
            "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e",
            11,
            before - 1,
            self.remove,
        )

    def remove(self):
        there, self.left = self.left, False
        return there
