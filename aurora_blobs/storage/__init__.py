"""Where bytes lie: one class for each kind of store, behind one seam."""

from collections.abc import Callable

from aurora_blobs.config import Config
from aurora_blobs.storage.base import BlobBackend, Store
from aurora_blobs.storage.disk import DiskBackend
from aurora_blobs.storage.pair import PairBackend
from aurora_blobs.storage.s3 import S3Backend
from aurora_blobs.storage.s3_bucket import Bucket
from aurora_blobs.storage.s3_client import S3Client


def open_backend(config: Config) -> BlobBackend:
    """The store of *config*, as a pair where it names a fallback. Makes no connection yet."""
    store = open_single(config, config.storage)
    if config.storage_fallback in (None, config.storage):
        return store
    return PairBackend(store, open_single(config, config.storage_fallback))


def open_single(config: Config, name: str) -> Store:
    """The store *name*, one of `config.STORES`. Makes no connection yet."""
    return OPENERS[name](config)


def _open_disk(config: Config) -> Store:
    return DiskBackend(config.data_folder.blobs, durable=config.durability == "full")


def _open_s3(config: Config) -> Store:
    assert config.s3_bucket is not None
    return S3Backend(open_bucket(config, config.s3_bucket), prefix=config.s3_prefix)


OPENERS: dict[str, Callable[[Config], Store]] = {"disk": _open_disk, "s3": _open_s3}


def open_bucket(config: Config, name: str) -> Bucket:
    """The bucket *name* in the S3 store of *config*."""
    client = S3Client(
        endpoint_url=config.s3_endpoint_url,
        region=config.s3_region,
        addressing_style=config.s3_addressing_style,
    )
    return Bucket(name, client)


def bucket_at(config: Config, url: str) -> tuple[Bucket, str] | None:
    """The bucket and the prefix that *url*, ``s3://bucket/prefix``, names in the store of *config*.

    None if *url* is none of that form.
    """
    if not url.startswith("s3://"):
        return None
    name, _, prefix = url.removeprefix("s3://").partition("/")
    return open_bucket(config, name), prefix
