"""XRPC methods as Flask views: their verbs, parameters and JSON input.

https://atproto.com/specs/xrpc
"""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_to_bytes

from flask import Blueprint, g, request

from aurora_blobs.errors import BlobTooLarge, InvalidRequest
from aurora_blobs.intake.body import BodyReader
from aurora_blobs.intake.decoding import decoded, parse_encodings
from aurora_blobs.protocol.lexicon_params import Param, from_json, from_query
from aurora_blobs.protocol.quoting import shown
from aurora_blobs.protocol.strict_json import parse_json
from aurora_blobs.server.bodies import announces_body

MAX_JSON_BYTES = 1_000_000  # as on the reference PDS
# An escaped NUL, and what is escaped and not ASCII.
_UNUSUAL = re.compile(r"%(?:00|[89a-fA-F][0-9a-fA-F])")
# All of them, so that a wrong verb is refused in the words of the reference PDS.
_VERBS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE"]
View = Callable[..., Any]


def query(blueprint: Blueprint, nsid: str, **params: Param) -> Callable[[View], View]:
    """Let the decorated view answer GET and HEAD of *nsid*. It gets *params* by name."""
    return _route(blueprint, nsid, ("GET", "HEAD"), params)


def procedure(blueprint: Blueprint, nsid: str, **params: Param) -> Callable[[View], View]:
    """Let the decorated view answer POST of *nsid*. It gets *params*, of the query, by name."""
    return _route(blueprint, nsid, ("POST",), params)


def json_input(**params: Param) -> dict[str, Any]:
    """The properties of the JSON object in the body.

    Raises InvalidRequest, BlobTooLarge, UnsupportedEncoding.
    """
    if not request.mimetype:
        raise InvalidRequest("Request encoding (Content-Type) required but not provided")
    if request.mimetype != "application/json":
        raise InvalidRequest(f"Wrong request encoding (Content-Type): {shown(request.mimetype)}")
    length = request.content_length
    if length is not None and length > MAX_JSON_BYTES:
        raise BlobTooLarge()
    text = _read_body(MAX_JSON_BYTES, parse_encodings(request.headers.get("Content-Encoding", "")))
    try:
        value = parse_json(text)
    except ValueError as error:
        raise InvalidRequest(f"The request body {error}") from None
    g.input = value
    try:
        return from_json(params, value)
    except ValueError as error:
        raise InvalidRequest(f"Invalid {g.nsid} input: {error}") from None


def _route(
    blueprint: Blueprint, nsid: str, verbs: tuple[str, ...], params: dict[str, Param]
) -> Callable[[View], View]:
    def decorate(view: View) -> View:
        def answer() -> Any:
            if request.method not in verbs:
                raise _wrong_verb(verbs)
            g.nsid = nsid
            arguments = _parse_query(nsid, params) if params else {}
            if verbs[0] == "GET" and _has_body():
                raise InvalidRequest("A request body was provided when none was expected")
            return view(**arguments)

        blueprint.add_url_rule(
            f"/xrpc/{nsid}",
            nsid.replace(".", "_"),
            answer,
            methods=_VERBS,
            provide_automatic_options=False,
        )
        return view

    return decorate


def _wrong_verb(verbs: tuple[str, ...]) -> InvalidRequest:
    if request.method in ("GET", "HEAD", "POST"):
        return InvalidRequest(f"Incorrect HTTP method ({request.method}) expected {verbs[0]}")
    return InvalidRequest("XRPC requests only supports GET and POST")


def _parse_query(nsid: str, params: dict[str, Param]) -> dict[str, Any]:
    _check_characters(request.environ.get("QUERY_STRING", ""))
    try:
        return from_query(params, request.args.to_dict(flat=False))
    except ValueError as error:
        raise InvalidRequest(f"Invalid {nsid} params: {error}") from None


def _check_characters(query: str) -> None:
    """Raise InvalidRequest unless *query*, as it was sent, is UTF-8 without U+0000."""
    if query.isascii() and "\0" not in query and _UNUSUAL.search(query) is None:
        return
    data = unquote_to_bytes(query.encode("latin-1"))
    if b"\0" in data:
        raise InvalidRequest("The query has a U+0000, which is not accepted")
    try:
        data.decode()
    except UnicodeDecodeError:
        raise InvalidRequest("The query is not UTF-8") from None


def _has_body() -> bool:
    if not announces_body(request.environ):
        return False
    # A chunked body may be empty.
    return bool(request.content_length) or _first_byte() != b""


def _first_byte() -> bytes:
    return BodyReader(request.environ["wsgi.input"], None, 1).read(1)


def _read_body(max_bytes: int, encodings: tuple[str, ...]) -> bytes:
    """The body, decoded. Raises BlobTooLarge, UploadIncomplete."""
    sent = BodyReader(request.environ["wsgi.input"], request.content_length, max_bytes)
    stream = decoded(sent, encodings, max_bytes)
    parts = []
    while data := stream.read(max_bytes + 1):
        parts.append(data)
    return b"".join(parts)
