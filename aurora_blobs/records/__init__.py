"""Records: parsed from requests or imported, written to the index, and the blobs that they name."""
