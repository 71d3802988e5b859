"""What answers have in common: errors as JSON, and the headers that a view adds to `g.headers`.

`g.is_personal` says that the answer depends on who calls. https://atproto.com/specs/xrpc
"""

import json
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, g, request
from flask.json.provider import JSONProvider
from werkzeug.exceptions import HTTPException, InternalServerError, MethodNotAllowed

from aurora_blobs.api.request_log import log_failure, log_refusal
from aurora_blobs.errors import (
    BlobServiceError,
    InvalidRequest,
    MethodNotImplemented,
    ServiceBusy,
)
from aurora_blobs.rate_limits import RateLimitState
from aurora_blobs.services import services

# Characters of the headers that a preflight may ask for. What it asks for is repeated, and nginx
# takes a head of 4 KiB from the service.
MAX_ASKED_HEADERS = 1000
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
    asked = request.headers.get("Access-Control-Request-Headers", "")
    if 0 < len(asked) <= MAX_ASKED_HEADERS:
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
    log_failure(error)
    return error_response(BlobServiceError(str(error)))
