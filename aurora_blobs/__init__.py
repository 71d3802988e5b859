"""The blob half of an AT Protocol PDS: stores blobs on disk or in S3 and serves them again."""

__version__ = "0.1.0"
