"""Measures each request, between the server and the application."""

from collections.abc import Callable, Mapping
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any

from aurora_blobs.metrics.meter import OTHER, Meter
from aurora_blobs.server.bodies import received_bytes
from aurora_blobs.server.front import METHOD

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse


class RequestMeter:
    """*methods* has the name of what each of Flask's endpoints answers."""

    def __init__(self, meter: Meter, methods: Mapping[str, str]) -> None:
        self._meter = meter
        self._methods = methods

    def __call__(self, environ: dict[str, Any], start_response: "StartResponse") -> "StartResponse":
        """*start_response* of a request that begins now."""
        return partial(self._start, environ, start_response, perf_counter())

    def _start(
        self,
        environ: dict[str, Any],
        start_response: "StartResponse",
        began: float,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: Any = None,
    ) -> Callable[[bytes], object]:
        # Only now does Flask know the route, and soon it has forgotten it.
        rule = getattr(environ.get("werkzeug.request"), "url_rule", None)
        method = OTHER if rule is None else self._methods.get(rule.endpoint, OTHER)
        sent = 0 if environ["REQUEST_METHOD"] == "HEAD" else _announced(headers)
        self._meter.request(
            environ.get(METHOD, method),
            status[:3],
            perf_counter() - began,
            received_bytes(environ),
            sent,
        )
        return start_response(status, headers, exc_info)


def _announced(headers: list[tuple[str, str]]) -> int:
    for name, value in headers:
        if name == "Content-Length":
            return int(value)
    return 0
