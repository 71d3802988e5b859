"""What somebody sees who opens the service's address: a page without scripts and other files."""

from base64 import b64encode
from hashlib import sha256
from html import escape

from flask import Blueprint, Response

from aurora_blobs import __version__
from aurora_blobs.services import services

bp = Blueprint("site", __name__)

_STYLE = (
    ":root{color-scheme:light dark;font:1.1rem/1.5 system-ui,sans-serif}"
    "body{max-width:36rem;margin:3rem auto;padding:0 1rem}"
)
# https://www.w3.org/TR/CSP3/#external-hash
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{b64encode(sha256(_STYLE.encode()).digest()).decode()}'"
    "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>aurora_blobs</title>
<style>{_STYLE}</style>
<h1>aurora_blobs {__version__}</h1>
<p>This service stores the pictures, films and other files of
<a href="https://atproto.com">AT Protocol</a> accounts, and serves those that are public.
It is <code>%s</code>.
<ul>
<li><a href="/xrpc/_health">Health</a>
<li><a href="/xrpc/com.atproto.server.describeServer">Limits and handle domains</a>
<li><a href="https://atproto.com/specs/blob">Blobs in AT Protocol</a>
%s</ul>
"""
_CONSOLE = '<li><a href="/console">Console, for the administrator</a>\n'
_DAY = "public, max-age=86400"


@bp.get("/")
def front_page() -> Response:
    """A page that says what this is, with its version, and leads to health, limits and console."""
    config = services().config
    console = _CONSOLE if config.has_console else ""
    response = Response(_PAGE % (escape(config.service_did), console))
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cache-Control"] = "public, max-age=300"
    return response


@bp.get("/robots.txt")
def robots() -> Response:
    """Crawlers may read everything, as on the reference PDS."""
    return Response(
        "User-agent: *\nAllow: /\n", mimetype="text/plain", headers={"Cache-Control": _DAY}
    )


@bp.get("/favicon.ico")
def favicon() -> Response:
    """There is none."""
    response = Response(status=204, headers={"Cache-Control": _DAY})
    del response.headers["Content-Type"]
    return response
