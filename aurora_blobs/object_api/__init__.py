"""The S3 calls that a PDS makes of the store of its blobs; not imported while they are off."""
