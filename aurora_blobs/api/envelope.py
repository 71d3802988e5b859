"""What answers have in common: errors as JSON, and the headers that a view adds to `g.headers`.

`g.is_personal` says that the answer depends on who calls. https://atproto.com/specs/xrpc
"""

import json
import logging
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, g, request
from flask.json.provider import JSONProvider
from werkzeug.exceptions import HTTPException, InternalServerError, MethodNotAllowed

from aurora_blobs import logs
from aurora_blobs.catalog.blobs import Entry
from aurora_blobs.errors import (
    BlobServiceError,
    InvalidRequest,
    MethodNotImplemented,
    ServiceBusy,
    WrongPassword,
)
from aurora_blobs.protocol.quoting import unquoted
from aurora_blobs.rate_limits import RateLimitState
from aurora_blobs.server.slow_clients import ACCOUNT
from aurora_blobs.services import services

log = logging.getLogger("aurora_blobs.requests")

# Of a kind each, so that refusals hide no failure.
REFUSALS = logs.Sparing(logs.LINES_PER_SECOND)
FAILURES = logs.Sparing(logs.LINES_PER_SECOND)
UPLOADS = logs.Sparing(logs.LINES_PER_SECOND)
_MIN_SECRET = 6  # characters of what is cut out of a traceback
_MAX_SECRETS = 200  # of one request; a guess

_ENCODER = json.JSONEncoder(separators=(",", ":"))


def install(app: Flask) -> None:
    """Put every answer of *app* into the envelope."""
    app.json = _Json(app)
    app.url_map.merge_slashes = False  # a path with two slashes is not found, not redirected
    app.before_request(_begin)
    app.after_request(_finish)
    app.register_error_handler(BlobServiceError, _refused)
    app.register_error_handler(HTTPException, _not_routed)
    app.register_error_handler(Exception, failed)


class _Json(JSONProvider):
    """One encoder for all answers. Flask's provider makes one for each: 1.5 % of a small upload."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        return f"{_ENCODER.encode(obj)}\n"

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        return json.loads(s, **kwargs)


def show_rate_limit(state: RateLimitState | None) -> None:
    """Tell the client the state of a limit; None is no limit."""
    if state is not None:
        g.headers.extend(state.headers())


def error_response(error: BlobServiceError) -> Response:
    """*error* as an answer. The message of a 500 is not sent."""
    message = error.public_message or error.message
    if error.status == 500:
        message = "Internal Server Error"
    text = json.dumps({"error": error.error, "message": message}, ensure_ascii=False)
    # Whatever a message repeats: what tells of a failure does not fail itself.
    response = Response(
        text.encode(errors="replace"), error.status, content_type="application/json; charset=utf-8"
    )
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    for name, value in error.headers:
        response.headers.add(name, value)
    return response


def _begin() -> Response | None:
    g.headers = []  # pairs of a name and its value
    g.is_personal = False
    return _preflight_response() if request.method == "OPTIONS" else None


def _preflight_response() -> Response:
    response = Response(status=204)
    del response.headers["Content-Type"]
    response.headers["Access-Control-Allow-Methods"] = "GET,HEAD,PUT,PATCH,POST,DELETE"
    response.headers["Access-Control-Max-Age"] = "86400"
    asked = request.headers.get("Access-Control-Request-Headers")
    if asked:
        response.headers["Access-Control-Allow-Headers"] = asked
    response.headers["Vary"] = "Access-Control-Request-Headers"
    return response


def _finish(response: Response) -> Response:
    headers = response.headers
    for name, value in g.headers:
        headers.add(name, value)
    if g.is_personal:
        headers.setdefault("Cache-Control", "private")
        headers.add("Vary", "Authorization")
    return response


def _refused(error: BlobServiceError) -> Response:
    log_refusal(error, error)
    return error_response(error)


def log_refusal(told: BlobServiceError, error: BlobServiceError) -> None:
    """Log *error*, for which the request is refused; its client is *told* this.

    What only reads is refused by the thousand, for links that are old. Then it is for debugging.
    """
    is_log_in = isinstance(error, WrongPassword)
    if told.status >= 500 and told.status != HTTPStatus.NOT_IMPLEMENTED:
        level, spared = logging.WARNING, FAILURES
    else:
        is_wanted = is_log_in or request.method not in ("GET", "HEAD")
        level, spared = logging.INFO if is_wanted else logging.DEBUG, REFUSALS
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


def _call() -> str:
    """The name of the method that was called, or the path of what is none."""
    return request.path.removeprefix("/xrpc/")


def _not_routed(error: HTTPException) -> Response:
    if isinstance(error, InternalServerError):  # Flask's, around what an error handler raised
        cause = error.original_exception
        return failed(cause if isinstance(cause, Exception) else error)
    if request.path.startswith("/xrpc/"):
        if error.code == HTTPStatus.NOT_FOUND:
            return error_response(MethodNotImplemented())
        # Only a verb unknown to HTTP is not allowed here: other verbs reach the method, which
        # refuses them.
        if error.code == HTTPStatus.METHOD_NOT_ALLOWED:
            return error_response(InvalidRequest("XRPC requests only supports GET and POST"))
    if error.code == HTTPStatus.BAD_REQUEST:
        # werkzeug's own: a Host that is none, an Upgrade to what no route speaks.
        return error_response(InvalidRequest("The header Host or Upgrade makes no sense"))
    refusal = InvalidRequest(error.description or error.name)
    refusal.error = (error.name or "InvalidRequest").replace(" ", "")
    refusal.status = error.code or 400
    response = error_response(refusal)
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))
    return response


def failed(error: Exception) -> Response:
    """What is said of *error*, which nobody expected. The operator finds it in the log."""
    if not services().config.data_folder.is_there():
        away = ServiceBusy("The data folder is away, please try again.")
        log_refusal(away, BlobServiceError(str(error)))
        return error_response(away)
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
    return error_response(BlobServiceError(str(error)))


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
