"""The lines in the log about requests: uploads, refusals, failures. docs/operate.md has a table."""

import logging
from http import HTTPStatus

from flask import g, request

from aurora_blobs import logs
from aurora_blobs.catalog.blobs import Entry
from aurora_blobs.errors import BlobServiceError, WrongPassword
from aurora_blobs.protocol.quoting import unquoted
from aurora_blobs.server.slow_clients import ACCOUNT

log = logging.getLogger("aurora_blobs.requests")

# Of a kind each, so that refusals hide no failure and no guess at a password.
LOG_INS = logs.Sparing(logs.LINES_PER_SECOND)
REFUSALS = logs.Sparing(logs.LINES_PER_SECOND)
FAILURES = logs.Sparing(logs.LINES_PER_SECOND)
UPLOADS = logs.Sparing(logs.LINES_PER_SECOND)
_MIN_SECRET = 6  # characters of what is cut out of a traceback
_MAX_SECRETS = 200  # of one request; a guess


def log_refusal(told: BlobServiceError, error: BlobServiceError) -> None:
    """Log *error*, for which the request is refused; its client is *told* this.

    What only reads is refused by the thousand, for links that are old. Then it is for debugging.
    """
    is_log_in = isinstance(error, WrongPassword)
    if told.status >= 500 and told.status != HTTPStatus.NOT_IMPLEMENTED:
        level, spared = logging.WARNING, FAILURES
    elif is_log_in:
        level, spared = logging.INFO, LOG_INS
    else:
        is_read = request.method in ("GET", "HEAD")
        level, spared = logging.DEBUG if is_read else logging.INFO, REFUSALS
    if not log.isEnabledFor(level):
        return
    left_out = spared.left_out()
    if left_out is not None:
        logs.event(
            log,
            level,
            "log-in failed" if is_log_in else "refused",
            address=request.remote_addr,
            verb=request.method,
            call=_call(),
            did=error.did if isinstance(error, WrongPassword) else request.environ.get(ACCOUNT),
            status=told.status,
            error=told.error,
            reason=unquoted(error.message),
            ms=logs.request_milliseconds(),
            left_out=left_out or None,
        )


def log_upload(entry: Entry) -> None:
    """Log that *entry* was uploaded.

    A line takes 4 % of a small upload. So above some lines a second they are for debugging.
    """
    if not log.isEnabledFor(logging.INFO):
        return
    left_out = 0 if log.isEnabledFor(logging.DEBUG) else UPLOADS.left_out()
    if left_out is not None:
        logs.event(
            log,
            logging.INFO,
            "stored",
            did=entry.did,
            cid=entry.cid,
            bytes=entry.size,
            type=entry.mime_type,
            ms=logs.request_milliseconds(),
            left_out=left_out or None,
        )


def log_failure(error: Exception) -> None:
    """Log *error*, which nobody expected, without what came with the request."""
    logs.event(
        log,
        logging.ERROR,
        "failed",
        raised=error,
        hidden=_secrets(),
        address=request.remote_addr,
        verb=request.method,
        call=_call(),
        did=request.environ.get(ACCOUNT),
    )


def _call() -> str:
    """The name of the method that was called, or the path of what is none."""
    return request.path.removeprefix("/xrpc/")


def _secrets() -> list[str]:
    """What came with the request, and has no place in a traceback; the longest first."""
    texts = [value for _, value in request.headers]
    texts += [word for text in texts for word in text.split()]
    texts += [request.query_string.decode("latin-1"), *request.args.values()]
    values = [g.get("input")]
    while values and len(texts) < _MAX_SECRETS:
        value = values.pop()
        if isinstance(value, str):
            texts.append(value)
        elif isinstance(value, dict | list):
            values.extend(value.values() if isinstance(value, dict) else value)
    return sorted({text for text in texts if len(text) >= _MIN_SECRET}, key=len, reverse=True)
