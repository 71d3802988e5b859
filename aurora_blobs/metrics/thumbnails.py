"""Measures how thumbnails are had."""

import io
from time import perf_counter
from typing import Any

from aurora_blobs.catalog.blobs import Entry
from aurora_blobs.errors import ServiceBusy
from aurora_blobs.metrics.meter import Meter, ThumbnailResult
from aurora_blobs.thumbnails.cache import Thumbnail, ThumbnailCache
from aurora_blobs.thumbnails.presets import Preset


class MeteredThumbnails(ThumbnailCache):
    """A `ThumbnailCache` whose thumbnails *meter* counts."""

    def __init__(self, meter: Meter, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._meter = meter

    def open(self, entry: Entry, preset: Preset, form: str) -> Thumbnail:
        """As `ThumbnailCache.open`."""
        began = perf_counter()
        result: ThumbnailResult = "failed"
        try:
            found = super().open(entry, preset, form)
        except ServiceBusy:
            result = "busy"
            raise
        else:
            # One that was made is served from memory, whether it could be kept or not.
            result = "made" if isinstance(found.file, io.BytesIO) else "kept"
        finally:
            self._meter.thumbnail(result, perf_counter() - began)
        return found
