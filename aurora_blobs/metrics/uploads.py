"""Counts uploads by how they end."""

from typing import Any

from aurora_blobs.blobs.manager import BlobManager
from aurora_blobs.blobs.upload import Incoming
from aurora_blobs.catalog.blobs import Entry
from aurora_blobs.errors import BlobServiceError
from aurora_blobs.metrics.meter import ANY_SIZE, Meter


class MeteredBlobs(BlobManager):
    """A `BlobManager` whose uploads *meter* counts."""

    def __init__(self, meter: Meter, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._meter = meter
        self._note = meter.noted.append
        self._uploaded = meter.uploaded

    def upload(self, incoming: Incoming) -> Entry:
        """As `BlobManager.upload`."""
        error = entry = None
        try:
            entry = BlobManager.upload(self, incoming)
        except BlobServiceError as found:
            error = found
            raise
        finally:
            if entry is None:
                self._meter.not_stored(error)
            else:
                self._note((self._uploaded, ANY_SIZE, entry.size))
        return entry
