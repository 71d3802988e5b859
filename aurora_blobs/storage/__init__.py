"""Where bytes lie: one class for each kind of store, behind one seam."""

from aurora_blobs.config import Config
from aurora_blobs.storage.base import BlobBackend, Store
from aurora_blobs.storage.disk import DiskBackend
from aurora_blobs.storage.pair import PairBackend
from aurora_blobs.storage.s3 import S3Backend
from aurora_blobs.storage.s3_bucket import Bucket
from aurora_blobs.storage.s3_client import S3Client


def open_backend(config: Config) -> BlobBackend:
    """The store of *config*, as a pair where it names a fallback. Makes no connection yet."""
    store = open_store(config, config.storage)
    if config.storage_fallback in (None, config.storage):
        return store
    return PairBackend(store, open_store(config, config.storage_fallback))


def open_store(config: Config, storage: str) -> Store:
    """The store that *storage* names, ``disk`` or ``s3``."""
    if storage == "disk":
        return DiskBackend(config.data_folder.blobs, durable=config.durability == "full")
    assert config.s3_bucket is not None
    return S3Backend(open_bucket(config, config.s3_bucket), prefix=config.s3_prefix)


def open_bucket(config: Config, name: str) -> Bucket:
    """The bucket *name* in the S3 store of *config*."""
    client = S3Client(
        endpoint_url=config.s3_endpoint_url,
        region=config.s3_region,
        addressing_style=config.s3_addressing_style,
    )
    return Bucket(name, client)
