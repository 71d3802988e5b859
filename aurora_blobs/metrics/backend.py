"""Measures what a store is asked to do."""

from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from typing import BinaryIO, ParamSpec, TypeVar

from aurora_blobs.errors import BlobServiceError
from aurora_blobs.intake.spool import Spooled
from aurora_blobs.metrics.meter import Meter, StoreOperation
from aurora_blobs.storage.base import BlobBackend, Store, Stored

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


class MeteredBackend(BlobBackend):
    """*backend*, whose operations *meter* counts, but those that cost nothing and a scan."""

    def __init__(self, backend: BlobBackend, meter: Meter) -> None:
        self._backend = backend
        self._meter = meter
        self.stat_is_cheap = backend.stat_is_cheap
        self.is_local_disk = backend.is_local_disk
        # What each upload asks for and costs little is not even passed on.
        self.confirm = backend.confirm  # type: ignore[method-assign]
        if backend.stat_is_cheap:
            self.size = backend.size  # type: ignore[method-assign]

    def put(self, blob: Spooled) -> None:
        self._timed("put", self._backend.put, blob)

    def open(self, name: str, start: int = 0, stop: int | None = None) -> BinaryIO:
        return self._timed("open", self._backend.open, name, start, stop)

    def size(self, name: str) -> int | None:
        return self._timed("size", self._backend.size, name)

    def delete(self, name: str) -> None:
        self._timed("delete", self._backend.delete, name)

    def delete_many(self, names: Sequence[str]) -> dict[str, BlobServiceError]:
        failures = self._timed("delete", self._backend.delete_many, names)
        for error in failures.values():
            self._meter.store_failed("delete", error)
        return failures

    def scan(
        self,
        skipped: Callable[[str], None] | None = None,
        start: str = "",
        stop: str | None = None,
    ) -> Iterator[Stored]:
        return self._backend.scan(skipped, start, stop)

    def probe(self) -> None:
        self._timed("probe", self._backend.probe)

    def check_ours(self, *, recently: bool = False) -> None:
        self._backend.check_ours(recently=recently)

    def path(self, name: str) -> str | None:
        return self._backend.path(name)

    def url(self, name: str, *, content_type: str, disposition: str) -> str | None:
        return self._backend.url(name, content_type=content_type, disposition=disposition)

    @property
    def stores(self) -> tuple[Store, ...]:
        return self._backend.stores

    def _timed(
        self,
        operation: StoreOperation,
        call: Callable[_Parameters, _Result],
        *arguments: _Parameters.args,
        **named: _Parameters.kwargs,
    ) -> _Result:
        began = perf_counter()
        try:
            return call(*arguments, **named)
        except (BlobServiceError, OSError) as error:
            self._meter.store_failed(operation, error)
            raise
        finally:
            self._meter.store_ended(operation, perf_counter() - began)
