"""Measures a service: its parts go through here while it is put together."""

import socket
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from aurora_blobs import __version__
from aurora_blobs.config import Config, is_postgresql
from aurora_blobs.db import Database
from aurora_blobs.metrics.backend import MeteredBackend
from aurora_blobs.metrics.census import Census
from aurora_blobs.metrics.database import MeteredDatabase
from aurora_blobs.metrics.families import BUILD, Distribution, Measured
from aurora_blobs.metrics.meter import Meter
from aurora_blobs.metrics.requests import RequestMeter
from aurora_blobs.metrics.thumbnails import MeteredThumbnails
from aurora_blobs.metrics.uploads import MeteredBlobs
from aurora_blobs.storage.base import BlobBackend


class Metering:
    """What is measured of the service of *config*. `requests` is for each of its requests."""

    def __init__(
        self,
        config: Config,
        methods: Mapping[str, str],
        further_methods: Iterable[str] = (),
        *,
        parts: int,
    ) -> None:
        """*methods* as of a `RequestMeter`, *parts* as of a `SharedCounts`."""
        self._config = config
        self._census: Census | None = None
        self._meter = Meter(dict.fromkeys([*methods.values(), *further_methods]), parts=parts)
        self.requests = RequestMeter(self._meter, methods)
        self.open_blobs = partial(MeteredBlobs, self._meter)
        self.open_thumbnails = partial(MeteredThumbnails, self._meter)

    def database(self, database: Database) -> Database:
        """*database*, measured."""
        has_network = is_postgresql(self._config.database)
        return MeteredDatabase(database, self._meter, has_network=has_network)

    def backend(self, backend: BlobBackend) -> BlobBackend:
        """*backend*, measured."""
        return MeteredBackend(backend, self._meter)

    def take_stock(self, **parts: Any) -> None:
        """Have `read` tell what the service holds: *parts* are those of a `Census`."""
        self._census = Census(self._config, **parts)

    def read(self) -> Iterator[Measured | Distribution]:
        """All that was measured, of all processes of the service."""
        yield self._build()
        yield from self._meter.read()
        if self._census is not None:
            yield from self._census.read()

    def _build(self) -> Measured:
        config = self._config
        database = "postgresql" if is_postgresql(config.database) else "sqlite"
        node = config.node or socket.gethostname()
        return Measured(BUILD, (__version__, database, config.storage, node), 1)
