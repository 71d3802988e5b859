"""What the reference PDS keeps of an account's blobs in that account's own database, ``<xx>/<did>/store.sqlite``."""

from dataclasses import dataclass

from aurora_blobs.db import Transaction


@dataclass(frozen=True, slots=True)
class KeptBlob:
    """A row of its `blob` table. `takedown_ref` is None where the blob is not taken down."""

    cid: str
    mime_type: str
    takedown_ref: str | None


def blobs(tx: Transaction) -> list[KeptBlob]:
    """Every blob."""
    return [KeptBlob(*row) for row in tx.all("SELECT cid, mimeType, takedownRef FROM blob")]


def references(tx: Transaction) -> list[tuple[str, str, str]]:
    """Each record's URI, the CID of a blob that it names, and the revision that wrote the record."""
    rows = tx.all(
        """
        SELECT b.recordUri, b.blobCid, r.repoRev
          FROM record_blob b JOIN record r ON r.uri = b.recordUri
        """
    )
    return [(row[0], row[1], row[2]) for row in rows]
