"""Measures what a store is asked to do."""

from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from typing import Concatenate, ParamSpec, TypeVar

from aurora_blobs.errors import BlobServiceError
from aurora_blobs.intake.spool import Spooled
from aurora_blobs.metrics.meter import INNER_BOUNDS, Meter, StoreOperation
from aurora_blobs.storage.base import BlobBackend, Store, Stored

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


def _timed(
    operation: StoreOperation, method: Callable[Concatenate[BlobBackend, _Parameters], _Result]
) -> Callable[Concatenate["MeteredBackend", _Parameters], _Result]:
    """The backend's *method*, counted as *operation*."""
    name = method.__name__

    def timed(
        self: "MeteredBackend", /, *arguments: _Parameters.args, **named: _Parameters.kwargs
    ) -> _Result:
        began = perf_counter()
        try:
            found: _Result = getattr(self._backend, name)(*arguments, **named)
            return found
        except (BlobServiceError, OSError) as error:
            self._meter.store_failed(operation, error)
            raise
        finally:
            self._note((self._places[operation], INNER_BOUNDS, perf_counter() - began))

    return timed


class MeteredBackend(BlobBackend):
    """*backend*, whose operations *meter* counts, but those that cost nothing and a scan."""

    def __init__(self, backend: BlobBackend, meter: Meter) -> None:
        self._backend = backend
        self._meter = meter
        self._note = meter.noted.append
        self._places = meter.stores
        self.stat_is_cheap = backend.stat_is_cheap
        self.is_local_disk = backend.is_local_disk
        # What each upload asks for and costs little is not even passed on.
        self.confirm = backend.confirm  # type: ignore[method-assign]
        if backend.stat_is_cheap:
            self.size = backend.size  # type: ignore[method-assign]

    def put(self, blob: Spooled) -> None:
        # As _timed, which takes half as long again: each upload comes here.
        began = perf_counter()
        try:
            self._backend.put(blob)
        except (BlobServiceError, OSError) as error:
            self._meter.store_failed("put", error)
            raise
        finally:
            self._note((self._places["put"], INNER_BOUNDS, perf_counter() - began))

    put_many = _timed("put", BlobBackend.put_many)
    open = _timed("open", BlobBackend.open)
    size = _timed("size", BlobBackend.size)
    delete = _timed("delete", BlobBackend.delete)
    probe = _timed("probe", BlobBackend.probe)
    _delete_many = _timed("delete", BlobBackend.delete_many)

    def delete_many(self, names: Sequence[str]) -> dict[str, BlobServiceError]:
        failures = self._delete_many(names)
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

    def check_ours(self, *, recently: bool = False) -> None:
        self._backend.check_ours(recently=recently)

    def path(self, name: str) -> str | None:
        return self._backend.path(name)

    def url(self, name: str, *, content_type: str, disposition: str) -> str | None:
        return self._backend.url(name, content_type=content_type, disposition=disposition)

    @property
    def stores(self) -> tuple[Store, ...]:
        return self._backend.stores
