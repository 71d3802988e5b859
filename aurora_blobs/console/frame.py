"""What all pages share: who may see them, how they are made, their errors and headers."""

import hmac
import logging
import re
from base64 import b64encode
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from flask import Response, current_app, g, redirect, request, url_for
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from werkzeug.exceptions import Forbidden, HTTPException, NotFound
from werkzeug.wrappers import Response as AnyResponse

from aurora_blobs import __version__, logs
from aurora_blobs.api import envelope
from aurora_blobs.api.callers import credentials
from aurora_blobs.api.ranges import is_listed
from aurora_blobs.api.request_log import log_refusal
from aurora_blobs.auth.console import SESSION_SECONDS, ConsoleSession, ConsoleSessions
from aurora_blobs.auth.session import open_session_tokens
from aurora_blobs.catalog.audit import MAX_REASON, Author
from aurora_blobs.console import words
from aurora_blobs.errors import (
    AuthenticationRequired,
    BlobServiceError,
    BlobTooLarge,
    InvalidRequest,
)
from aurora_blobs.protocol.quoting import shown
from aurora_blobs.services import services

log = logging.getLogger("aurora_blobs.requests")

MAX_FORM_BYTES = 16 * 1024
MAX_LIST_BYTES = 256 * 1024  # of the one form with a file
MAX_FIELDS = 20
# Characters of what forms and queries have.
MAX_DID = 2048
MAX_REF = 500
_FOLDER = Path(__file__).parent
_Row = TypeVar("_Row")
_STATIC = {
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; media-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_NAVIGATION = (  # views and their names
    ("overview_overview", "Overview"),
    ("gallery_gallery", "Gallery"),
    ("account_accounts", "Accounts"),
    ("moderation_moderation", "Moderation"),
    ("audit_audit", "Audit"),
    ("jobs_jobs", "Jobs"),
)
# Endpoints that are there before there is a session, and those that a console which only shows has.
_OPEN = {"console.frame_sign_in", "console.frame_signed_in", "console.frame_static"}
_ALWAYS_POSTED = {"console.frame_signed_in", "console.frame_signed_out"}
_OWN_PATH = re.compile(r"/console(/[\w.:%/-]*)?(\?[\w.:%&=+/*-]*)?", re.ASCII)
_TEMPLATES = Environment(
    loader=FileSystemLoader(_FOLDER / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
_TEMPLATES.globals.update(
    url_for=url_for, version=__version__, **{name: getattr(words, name) for name in words.__all__}
)


def guard() -> AnyResponse | None:
    """Let nobody but the administrator see a page, and no other site post a form."""
    request.max_content_length = _max_bytes()
    request.max_form_parts = MAX_FIELDS
    g.console_session = None  # of a page that says why there is none
    g.console_session = session = _sessions().find(request.cookies.get(_cookie_name(), ""))
    if request.method == "POST" and request.headers.get("Sec-Fetch-Site") not in (
        None,
        "same-origin",
    ):
        raise InvalidRequest("The form was sent by another site")
    if request.endpoint in _OPEN:
        return None
    if session is None:
        return redirect(url_for("console.frame_sign_in", then=_here()), 303)
    if request.method == "POST":
        if not hmac.compare_digest(field("token", 100).encode(), session.form_token.encode()):
            raise InvalidRequest("The form is of an earlier session: open its page again")
        if request.endpoint not in _ALWAYS_POSTED and is_read_only():
            raise Forbidden("The console only shows: AURORA_BLOBS_CONSOLE is read-only")
    return None


def protected(response: Response) -> Response:
    """*response* with the headers of every answer, where it has none of its own."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def page(template: str, status: int = 200, **values: Any) -> Response:
    """The page that *template* makes of *values*. All text in them is escaped."""
    session: ConsoleSession | None = g.console_session
    text = _TEMPLATES.get_template(template).render(
        form_token=None if session is None else session.form_token,
        may_change=not is_read_only(),
        here=request.endpoint,
        is_later="after" in request.args,
        pages=_NAVIGATION,
        max_ref=MAX_REF,
        max_reason=MAX_REASON,
        **values,
    )
    return Response(text, status, content_type="text/html; charset=utf-8")


def one_page(rows: list[_Row], limit: int) -> tuple[list[_Row], _Row | None]:
    """The first *limit* of *rows*, and the last of them if there are more, else None."""
    return rows[:limit], rows[limit - 1] if len(rows) > limit else None


def is_read_only() -> bool:
    """Whether the console shows and changes nothing."""
    return services().config.console == "read-only"


def field(name: str, max_characters: int) -> str:
    """The text of the form's field *name*, without spaces around it; "" where there is none.

    Raises InvalidRequest for one that is longer, or has a U+0000.
    """
    return _bounded(request.form.get(name, ""), name, max_characters)


def author() -> Author:
    """Who gives an order by a form, and for what reason."""
    return Author("admin", "console", field("reason", MAX_REASON) or None)


def parameter(name: str, max_characters: int) -> str:
    """As `field`, of the query."""
    return _bounded(request.args.get(name, ""), name, max_characters)


def _bounded(text: str, name: str, max_characters: int) -> str:
    if len(text) > max_characters:
        raise InvalidRequest(f"{name} is too long: {max_characters} characters are accepted")
    if "\0" in text:
        raise InvalidRequest(f"{name} has a U+0000, which is not accepted")
    return text.strip()


def sign_in() -> AnyResponse:
    """The form that asks for the password."""
    if g.console_session is not None:
        return redirect(_wanted_place(), 303)
    return page("sign_in.html", then=_wanted_place(), failure=None)


def signed_in() -> AnyResponse:
    """Begin a session, if the password is right."""
    # As with HTTP Basic, so that both count as the same guesses.
    text = f"admin:{request.form.get('password', '')}"
    basic = f"Basic {b64encode(text.encode()).decode()}"
    shown_credentials = replace(credentials(), authorization=basic)
    try:
        services().authenticator.administrator(shown_credentials, "console")
    except AuthenticationRequired as error:
        log_refusal(error, error)
        return page("sign_in.html", 401, then=_wanted_place(), failure="This password is wrong.")
    cookie = _sessions().begin()
    logs.event(log, logging.INFO, "logged in", address=request.remote_addr)
    response = redirect(_wanted_place(), 303)
    response.set_cookie(
        _cookie_name(),
        cookie,
        max_age=SESSION_SECONDS,
        path="/",
        secure=request.is_secure,
        httponly=True,
        samesite="Strict",
    )
    return response


def signed_out() -> AnyResponse:
    """End the session."""
    _sessions().end(g.console_session)
    response = redirect(url_for("console.frame_sign_in"), 303)
    response.delete_cookie(
        _cookie_name(), path="/", secure=request.is_secure, httponly=True, samesite="Strict"
    )
    return response


def static(name: str) -> Response:
    """The stylesheet or the script."""
    if name not in _STATIC:
        raise NotFound
    response = Response((_FOLDER / "static" / name).read_bytes(), content_type=_STATIC[name])
    response.headers["Cache-Control"] = "public, max-age=3600"
    response.set_etag(f"{name}-{__version__}")
    if is_listed(request.headers.get("If-None-Match", ""), response.headers["ETag"]):
        return Response(status=304, headers={"ETag": response.headers["ETag"]})
    return response


def start() -> AnyResponse:
    """The first page has no slash at its end."""
    return redirect(url_for("console.overview_overview"), 308)


def nowhere(rest: str) -> Response:
    """There is no such page."""
    raise NotFound


def refused(error: BlobServiceError) -> Response:
    """*error* as a page, with the status and headers of the API's answer."""
    log_refusal(error, error)
    answer = envelope.error_response(error)
    if error.status == 500:
        return _as_page(answer, "Internal Server Error")
    return _as_page(answer, error.public_message or error.message)


def not_routed(error: HTTPException) -> Response:
    """An error of HTTP as a page."""
    if isinstance(error, NotFound):
        return page("error.html", 404, message=f"There is no page {shown(request.path)}")
    if error.code == 413:
        return refused(BlobTooLarge(f"The form is too large: {_max_bytes()} bytes are accepted"))
    return page("error.html", error.code or 400, message=error.description or error.name)


def failed(error: Exception) -> Response:
    """What nobody expected. The operator finds it in the log, under the number that is shown."""
    answer = envelope.failed(error)
    message = "The service is not available, please try again."
    if answer.status_code == 500:
        message = f"Internal Server Error. The log has it under {logs.request_id()}."
    return _as_page(answer, message)


def _as_page(answer: Response, message: str) -> Response:
    shown_page = page("error.html", answer.status_code, message=message)
    for name, value in answer.headers:
        if name not in ("Content-Type", "Content-Length"):
            shown_page.headers.add(name, value)
    return shown_page


def _wanted_place() -> str:
    """Where to go after signing in: a page of the console that the request names, or the first."""
    place = request.values.get("then", "")[:500]
    if _OWN_PATH.fullmatch(place) and "/console/sign-" not in place:
        return place
    return url_for("console.overview_overview")


def _here() -> str:
    if request.method == "POST":
        return url_for("console.overview_overview")
    query = request.query_string.decode("latin-1")
    return request.path + (f"?{query}" if query else "")


def _max_bytes() -> int:
    is_list = request.endpoint == "console.moderation_take_down_listed"
    return MAX_LIST_BYTES if is_list else MAX_FORM_BYTES


def _cookie_name() -> str:
    """Of TLS the name keeps other hosts and plain HTTP from setting it (RFC 6265bis, 4.1.3.2)."""
    return "__Host-aurora-console" if request.is_secure else "aurora-console"


def _sessions() -> ConsoleSessions:
    found: ConsoleSessions | None = current_app.extensions.get("aurora_blobs.console")
    if found is None:
        parts = services()
        secret = open_session_tokens(parts.config, parts.clock).derived_secret("console")
        found = ConsoleSessions(
            secret, parts.config.admin_password or "", parts.database, parts.clock
        )
        current_app.extensions["aurora_blobs.console"] = found
    return found
