"""The blob half of an AT Protocol PDS: stores blobs on disk or in S3 and serves them again."""

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aurora_blobs.blobs.upload import UploadRules
    from aurora_blobs.embedding import BlobStore

__version__ = "0.2.0.dev0"  # of the release to come until it is one


def open_store(
    path: str | PathLike[str], *, rules: "UploadRules | None" = None, durable: bool = True
) -> "BlobStore":
    """The store in the data folder *path*, which is made if it is missing.

    *rules* bound what may be uploaded; None allows any type up to 5 MiB a blob. *durable*: what
    `BlobStore.upload` has returned survives a power failure. Raises OSError for a folder that
    cannot be written, and StoreNotOurs if its blobs are not those of its database.
    """
    # Imported when it is called: gunicorn and the picture helper import this package too.
    from aurora_blobs.blobs.upload import UploadRules
    from aurora_blobs.embedding import BlobStore

    return BlobStore(Path(path), rules=rules or UploadRules(), durable=durable)
