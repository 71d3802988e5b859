"""What happens to each request before the application has it, and to each answer after that."""

import logging
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from aurora_blobs import logs
from aurora_blobs.patience import OneRequest
from aurora_blobs.server import cross_origin
from aurora_blobs.server.addresses import UNKNOWN, is_forwarded
from aurora_blobs.server.bodies import announces_body, drain
from aurora_blobs.server.client_timeouts import TimeoutSocket
from aurora_blobs.server.slow_clients import SlowClients

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication

    Measure = Callable[[dict[str, Any], float, str, list[tuple[str, str]]], None]

log = logging.getLogger(__name__)

METHOD = "aurora_blobs.method"  # in a WSGI environment: what is called, where no route tells it

_FORWARDING_HEADERS = ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP")
# A process warns of them so often, and after so many seconds again: of a service without a proxy
# any client can send such a header.
_WARNINGS = 3
_WARN_SECONDS = 3600


class Front:
    """*app*, whose answers begin after the request's body, and which knows who is counted.

    Each request has an id, which a trusted proxy may give it.

    *proxy_hops* is the number of trusted proxies. It belongs inside of what reads their headers.
    """

    def __init__(
        self,
        app: "WSGIApplication",
        *,
        proxy_hops: int,
        slow_clients: SlowClients,
        measure: "Measure | None" = None,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        """*measure* gets the environment of each request, and when it began by `perf_counter`, with
        the status and the headers of its answer, before the server has them. *seconds* is a
        monotonic clock.
        """
        self._app = app
        self._hops = proxy_hops
        self._slow_clients = slow_clients
        self._measure = measure
        self._seconds = seconds
        self._warnings = 0
        self._warns_at = seconds()

    def __call__(self, environ: dict[str, Any], start_response: "StartResponse") -> Iterable[bytes]:
        given = None
        if self._hops:
            if is_forwarded(environ.get("HTTP_X_FORWARDED_FOR", ""), self._hops):
                given = environ.get("HTTP_X_REQUEST_ID")
            else:
                # Its address is that of a proxy, which might count as this machine's.
                environ["REMOTE_ADDR"] = UNKNOWN
        elif self._warnings < _WARNINGS:
            self._look_for_a_proxy(environ)
        request_id = logs.begin_request(given)
        connection = environ.get("gunicorn.socket")
        if isinstance(connection, TimeoutSocket):
            connection.watch(self._slow_clients, environ)
        measure = self._measure
        began = 0.0 if measure is None else time.perf_counter()
        start = partial(start_answer, environ, start_response, request_id, measure, began)
        with OneRequest():
            return self._app(environ, start)

    def _look_for_a_proxy(self, environ: dict[str, Any]) -> None:
        for name in _FORWARDING_HEADERS:
            if name in environ and self._seconds() >= self._warns_at:
                self._warnings += 1
                self._warns_at = self._seconds() + _WARN_SECONDS
                log.warning(
                    "a request came with %s, and AURORA_BLOBS_PROXY_HOPS=0: if a proxy of yours"
                    " sends it, all clients count as one address, and one can lock out all",
                    name.removeprefix("HTTP_").replace("_", "-").title(),
                )


def start_answer(
    environ: dict[str, Any],
    start_response: "StartResponse",
    request_id: str,
    measure: "Measure | None",
    began: float,
    status: str,
    headers: list[tuple[str, str]],
    exc_info: Any = None,
) -> Callable[[bytes], object]:
    """*start_response*, with what every answer says, after the request's body was read or given up.

    A proxy that is still sending would see the connection break, and turn our answer into a 502.
    One that has sent all would keep the connection for another client's request, and that would
    fail: so a body that was not read to its end is followed by ``Connection: close``.
    """
    # Here, since werkzeug looks for line breaks in each value: 1 % of a small upload.
    headers = [*headers, *cross_origin.HEADERS, ("X-Request-Id", request_id)]
    if announces_body(environ) and not drain(environ):
        headers.append(("Connection", "close"))
    if measure is not None:
        measure(environ, began, status, headers)
    return start_response(status, headers, exc_info)
