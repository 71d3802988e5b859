"""gunicorn's log in the form of the service's, and its access log, which tells no secrets.

It leans on these parts of gunicorn 27.0.1: Logger, overridden: setup, warning, exception, access.
Used: access_log, access_log_enabled, atoms, atoms_wrapper_class, cfg, error_log. The response has
status, headers_sent, sent and sock.
"""

import logging
import re
from datetime import timedelta
from typing import Any

from gunicorn.glogging import Logger

from aurora_blobs import logs
from aurora_blobs.server.client_timeouts import TimeoutSocket
from aurora_blobs.server.slow_clients import ACCOUNT

_XRPC = "/xrpc/"
_BROKEN_REQUESTS = logs.Sparing(logs.LINES_PER_SECOND)
# Of a query nothing else is logged.
_DID = re.compile(r"(?:^|&)did=(did(?::|%3[Aa])[a-z]+(?::|%3[Aa])[A-Za-z0-9._:%-]+)(?:&|$)")
_CID = re.compile(r"(?:^|&)cid=([a-z2-7]{1,100})(?:&|$)")


class GunicornLog(Logger):  # type: ignore[misc]  # gunicorn has no types
    """What gunicorn says, and a line for each answer where an access log is asked for."""

    def setup(self, cfg: Any) -> None:
        """Runs at the start and at each reload."""
        super().setup(cfg)
        handlers = list(self.error_log.handlers)
        if not cfg.access_log_format:  # else a line is what the operator has asked for
            handlers += self.access_log.handlers
        for handler in handlers:
            if isinstance(handler, logging.StreamHandler):  # a journal has its own words around it
                handler.setFormatter(logs.formatter())

    def warning(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """As gunicorn's, without the quotation of what it cannot parse, maybe a token."""
        if not msg.startswith("Invalid request from "):
            super().warning(msg, *args, **kwargs)
            return
        left_out = _BROKEN_REQUESTS.left_out()
        if left_out is not None:
            told = re.split("['\"]", msg, maxsplit=1)[0].rstrip()  # repr takes either
            logs.event(self.error_log, logging.WARNING, told, left_out=left_out or None)

    def exception(self, msg: str, *args: Any, **kwargs: Any) -> None:
        """As gunicorn's, which names the request with its query."""
        super().exception(msg, *(str(arg).partition("?")[0] for arg in args), **kwargs)

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: timedelta) -> None:
        """Log an answer, in the operator's own ``--access-logformat`` if there is one."""
        if not self.access_log_enabled:
            return
        if isinstance(resp.sock, TimeoutSocket):
            resp.sent += resp.sock.sent_of_files  # gunicorn does not count them
        if self.cfg.access_log_format:
            atoms = self.atoms_wrapper_class(self.atoms(resp, req, environ, request_time))
            self.access_log.info("%s", logs.printable(self.cfg.access_log_format % atoms))
            return
        query = environ.get("QUERY_STRING", "")
        logs.event(
            self.access_log,
            logging.INFO,
            "answered",
            address=environ.get("REMOTE_ADDR", ""),
            verb=environ["REQUEST_METHOD"],
            call=environ.get("PATH_INFO", "").removeprefix(_XRPC) or None,
            did=environ.get(ACCOUNT) or _found(_DID, query),
            cid=_found(_CID, query),
            status=int(resp.status.partition(" ")[0]),
            bytes=resp.sent if resp.headers_sent else None,  # else gunicorn refuses it
            ms=round(request_time / timedelta(milliseconds=1)),
            agent=environ.get("HTTP_USER_AGENT"),
        )


def _found(pattern: re.Pattern[str], query: str) -> str | None:
    match = pattern.search(query)
    return None if match is None else match[1].replace("%3A", ":").replace("%3a", ":")
