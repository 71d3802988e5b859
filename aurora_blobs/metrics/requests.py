"""Measures each request, as its answer begins."""

from collections.abc import Mapping
from time import perf_counter
from typing import Any

from aurora_blobs.metrics.meter import OTHER, REQUEST_BOUNDS, Meter
from aurora_blobs.server.bodies import announces_body, received_bytes
from aurora_blobs.server.front import METHOD


class RequestMeter:
    """*methods* has the name of what each of Flask's endpoints answers."""

    def __init__(self, meter: Meter, methods: Mapping[str, str]) -> None:
        self._meter = meter
        self._methods = methods
        self._note = meter.noted.append
        self._settle = meter.settle
        self._received = meter.received
        # Of what has come, by endpoint or method: a tenth of all that there may be.
        self._places: dict[tuple[str | None, str], int] = {}

    def count(
        self, environ: dict[str, Any], began: float, status: str, headers: list[tuple[str, str]]
    ) -> None:
        """Count a request that *began* then, by `perf_counter`, and is answered now."""
        method = environ.get(METHOD)
        if method is None:
            # Only now does Flask know the route, and soon it has forgotten it.
            rule = getattr(environ.get("werkzeug.request"), "url_rule", None)
            method = OTHER if rule is None else rule.endpoint
        place = self._places.get((method, status))
        if place is None:
            place = self._meter.request_place(self._methods.get(method, method), status[:3])
            self._places[method, status] = place
        sent = 0
        if environ["REQUEST_METHOD"] != "HEAD":
            for name, value in headers:
                if name == "Content-Length":
                    sent = int(value)
                    break
        received = received_bytes(environ) if announces_body(environ) else 0
        self._note((place, REQUEST_BOUNDS, perf_counter() - began))
        self._settle(self._received, received, sent)
