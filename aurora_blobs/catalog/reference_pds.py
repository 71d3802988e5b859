"""The blobs of an account in the reference PDS, in its database ``<xx>/<did>/store.sqlite``."""

from dataclasses import dataclass

from aurora_blobs.db import Transaction


@dataclass(frozen=True, slots=True)
class KeptBlob:
    """A row of its `blob` table. `takedown_ref` is None unless the blob is taken down."""

    cid: str
    mime_type: str
    takedown_ref: str | None


def blobs(tx: Transaction) -> list[KeptBlob]:
    """Every blob."""
    rows = tx.all("SELECT cid, mimeType AS mime_type, takedownRef AS takedown_ref FROM blob")
    return [KeptBlob(*row) for row in rows]


def references(tx: Transaction) -> list[tuple[str, str, str]]:
    """Each reference: the record's URI, the blob's CID, and the revision that wrote the record."""
    rows = tx.all(
        """
        SELECT b.recordUri, b.blobCid, r.repoRev
          FROM record_blob b JOIN record r ON r.uri = b.recordUri
        """
    )
    return [(uri, cid, rev) for uri, cid, rev in rows]
