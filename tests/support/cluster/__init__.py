"""Several nodes of the service on one PostgreSQL and one S3 store, each of which may be cut off."""
