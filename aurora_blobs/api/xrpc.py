"""The envelope of XRPC in Flask: methods and their parameters, who is asking, errors as JSON, CORS.

https://atproto.com/specs/xrpc
"""

import json
import logging
import re
import secrets
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from flask import Blueprint, Flask, Response, g, request
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from aurora_blobs.auth import Credentials, Person, Requester
from aurora_blobs.auth.authenticator import Kind
from aurora_blobs.auth.session import ACCESS_SCOPES
from aurora_blobs.errors import (
    BlobServiceError,
    BlobTooLarge,
    InvalidRequest,
    MethodNotImplemented,
)
from aurora_blobs.intake.body import BodyReader
from aurora_blobs.intake.decoding import decoded, parse_encodings
from aurora_blobs.protocol.lexicon_params import Param, from_json, from_query
from aurora_blobs.rate_limits import RateLimitState
from aurora_blobs.server.client_timeouts import drain
from aurora_blobs.services import services

log = logging.getLogger("aurora_blobs")

MAX_JSON_BYTES = 1_000_000  # as on the reference PDS
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_VERBS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE"]
View = Callable[..., Any]


def query(blueprint: Blueprint, nsid: str, **fields: Param) -> Callable[[View], View]:
    """The decorated view answers GET and HEAD of *nsid* and gets its parameters by name."""
    return _method(
        blueprint, nsid, ("GET", "HEAD"), "Incorrect HTTP method ({}) expected GET", fields
    )


def procedure(blueprint: Blueprint, nsid: str, **fields: Param) -> Callable[[View], View]:
    """The decorated view answers POST of *nsid*; *fields* are its query parameters, the body is the view's to read."""
    return _method(blueprint, nsid, ("POST",), "Incorrect HTTP method ({}) expected POST", fields)


def _method(
    blueprint: Blueprint, nsid: str, verbs: tuple[str, ...], refusal: str, fields: dict[str, Param]
) -> Callable[[View], View]:
    def decorate(view: View) -> View:
        def run() -> Any:
            method = request.method
            if method not in verbs:
                known = method in ("GET", "HEAD", "POST")
                raise InvalidRequest(
                    refusal.format(method) if known else "XRPC requests only supports GET and POST"
                )
            g.nsid = nsid
            parameters = {}
            if fields:
                try:
                    parameters = from_query(fields, request.args.to_dict(flat=False))
                except ValueError as error:
                    raise InvalidRequest(f"Invalid {nsid} params: {error}") from None
            if verbs[0] == "GET" and _has_body():
                raise InvalidRequest("A request body was provided when none was expected")
            return view(**parameters)

        blueprint.add_url_rule(
            f"/xrpc/{nsid}",
            nsid.replace(".", "_"),
            run,
            methods=_VERBS,
            provide_automatic_options=False,
        )
        return view

    return decorate


def json_input(**fields: Param) -> dict[str, Any]:
    """The properties of the JSON object in the body. Raises InvalidRequest, BlobTooLarge, UnsupportedEncoding."""
    if not request.mimetype:
        raise InvalidRequest("Request encoding (Content-Type) required but not provided")
    if request.mimetype != "application/json":
        raise InvalidRequest(f"Wrong request encoding (Content-Type): {request.mimetype}")
    length = request.content_length
    if length is not None and length > MAX_JSON_BYTES:
        raise BlobTooLarge()
    text = _read_all(MAX_JSON_BYTES, parse_encodings(request.headers.get("Content-Encoding", "")))
    try:
        return from_json(fields, _parsed(text))
    except RecursionError:
        raise InvalidRequest("The request body is nested too deeply") from None
    except ValueError as error:
        raise InvalidRequest(f"Invalid {g.nsid} input: {error}") from None


def require_person(
    *kinds: Kind, scopes: frozenset[str] = ACCESS_SCOPES, allow_taken_down: bool = False
) -> Person:
    """The account that calls with one of *kinds* of tokens. Raises as `Authenticator.person`."""
    return services().authenticator.person(
        _personal_credentials(), g.nsid, kinds, scopes=scopes, allow_taken_down=allow_taken_down
    )


def require_owner() -> Person:
    """The account that calls a method about its own. Raises as `Authenticator.owner`."""
    return services().authenticator.owner(_personal_credentials(), g.nsid)


def require_person_or_admin(*, scopes: frozenset[str] = ACCESS_SCOPES) -> Requester:
    """The account that calls, or the administrator.

    Raises as `Authenticator.person_or_administrator`.
    """
    return services().authenticator.person_or_administrator(
        _personal_credentials(), g.nsid, scopes=scopes
    )


def require_admin() -> None:
    """Let the administrator alone call. Raises as `Authenticator.administrator`."""
    services().authenticator.administrator(_personal_credentials(), g.nsid)


def optional_requester() -> Requester | None:
    """Who calls a method that is open to everybody; None for nobody in particular."""
    g.is_personal = True
    if "HTTP_AUTHORIZATION" not in request.environ:
        return None
    return services().authenticator.optional(_personal_credentials(), g.nsid)


def show_rate_limit(state: RateLimitState | None) -> None:
    """Tell the client the state of a limit; None is no limit."""
    if state is not None:
        g.headers.extend(state.headers())


def credentials() -> Credentials:
    """What the request brought to show who is asking."""
    environ = request.environ
    proof = environ.get("HTTP_DPOP")
    # Only a proof names a URL, and putting it together takes a tenth of the time of a small upload's view.
    url = "" if proof is None else request.url
    address = environ.get("REMOTE_ADDR") or ""
    return Credentials(environ.get("HTTP_AUTHORIZATION"), proof, request.method, url, address)


def _personal_credentials() -> Credentials:
    """`credentials`, on which the answer then depends."""
    g.is_personal = True
    shown = credentials()
    g.headers.extend(services().authenticator.headers(shown))
    return shown


def install(app: Flask) -> None:
    """Errors as JSON, CORS and the rest of the envelope for every answer of *app*."""
    app.url_map.merge_slashes = False  # another path is not there, rather than moved
    app.before_request(_begin)
    app.after_request(_finish)
    app.register_error_handler(BlobServiceError, _refused)
    app.register_error_handler(HTTPException, _not_routed)
    app.register_error_handler(Exception, _failed)


def error_response(error: BlobServiceError) -> Response:
    """*error* in the envelope; what is wrong on our side is not told."""
    message = "Internal Server Error" if error.status == 500 else error.message
    text = json.dumps({"error": error.error, "message": message}, ensure_ascii=False)
    response = Response(text, error.status, content_type="application/json; charset=utf-8")
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    for name, value in error.headers:
        response.headers.add(name, value)
    return response


def _begin() -> Response | None:
    g.headers = Headers()
    g.is_personal = False
    if request.method != "OPTIONS":
        return None
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
    headers.add("Access-Control-Allow-Origin", "*")
    if g.headers:
        headers.extend(g.headers)
        exposed = headers.getlist("Access-Control-Expose-Headers")
        if exposed:
            headers["Access-Control-Expose-Headers"] = ", ".join(exposed)
    if g.is_personal:
        headers.setdefault("Cache-Control", "private")
        headers.add("Vary", "Authorization")
    if response.status_code >= 400 and _announces_body() and not drain(request.environ):
        response.headers["Connection"] = "close"
    return response


def _refused(error: BlobServiceError) -> Response:
    if error.status >= 500:
        log.warning("%s %s: %s", request.method, request.path, error.message)
    return error_response(error)


def _not_routed(error: HTTPException) -> Response:
    if request.path.startswith("/xrpc/"):
        # A verb that HTTP does not know: the others reach the method, which refuses them in its own words.
        if error.code == HTTPStatus.METHOD_NOT_ALLOWED:
            return error_response(InvalidRequest("XRPC requests only supports GET and POST"))
        return error_response(MethodNotImplemented())
    refusal = InvalidRequest(error.description or error.name)
    refusal.error = (error.name or "InvalidRequest").replace(" ", "")
    refusal.status = error.code or 400
    response = error_response(refusal)
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods or ()))
    return response


def _failed(error: Exception) -> Response:
    request_id = secrets.token_hex(8)
    log.error("request %s: %s %s failed", request_id, request.method, request.path, exc_info=error)
    response = error_response(BlobServiceError(str(error)))
    response.headers["X-Request-Id"] = request_id
    return response


def _announces_body() -> bool:
    environ = request.environ
    return "HTTP_TRANSFER_ENCODING" in environ or (
        "CONTENT_LENGTH" in environ and bool(request.content_length)
    )


def _has_body() -> bool:
    # An empty chunked body is no body.
    return _announces_body() and (
        bool(request.content_length)
        or bool(BodyReader(request.environ["wsgi.input"], None, 1).read(1))
    )


def _read_all(max_bytes: int, encodings: tuple[str, ...]) -> bytes:
    """The body, decoded. Raises BlobTooLarge, UploadIncomplete."""
    sent = BodyReader(request.environ["wsgi.input"], request.content_length, max_bytes)
    stream = decoded(sent, encodings, max_bytes)
    parts = []
    while data := stream.read(max_bytes + 1):
        parts.append(data)
    return b"".join(parts)


def _parsed(text: bytes) -> object:
    """*text* as JSON. Raises InvalidRequest, RecursionError."""
    try:
        value: object = json.loads(text, parse_constant=_refuse_constant)
        if _SURROGATE.search(text):
            # Half of a pair is no text: no database and no answer could hold it.
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except json.JSONDecodeError as error:
        raise InvalidRequest(f"The request body is not JSON: {error}") from None
    except UnicodeError:
        raise InvalidRequest("The request body is not UTF-8") from None
    except ValueError:  # by int(), for what takes it too long
        raise InvalidRequest("The request body has an integer of thousands of digits") from None


def _refuse_constant(name: str) -> None:
    raise InvalidRequest(f"The request body is not JSON: {name}")
