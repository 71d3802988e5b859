"""A blob's bytes as an HTTP answer: the whole, a part, or word that the client has them already."""

import re
from urllib.parse import urlsplit

from flask import Response, request
from werkzeug.wsgi import wrap_file

from aurora_blobs.api.ranges import content_range, is_listed, wanted_part
from aurora_blobs.api.xrpc import optional_requester
from aurora_blobs.auth import Administrator, Person
from aurora_blobs.catalog.blobs import Entry
from aurora_blobs.errors import PreconditionFailed
from aurora_blobs.protocol.cid import shown_cid
from aurora_blobs.services import services

PUBLIC = "public, max-age=300, must-revalidate"  # a takedown is not outlived by caches for long
# Read and sent with the head in Python up to this size, by sendfile above it, which takes its own time to set up.
SMALL = 64 * 1024
_RANGE_FOR_NGINX = re.compile(r"bytes=([0-9]{1,18}-[0-9]{0,18}|-[0-9]{1,18})")
_BLOCK = 256 * 1024  # bytes per read where sendfile does not work: a store on the network


def visible_blob(did: str, cid: str) -> tuple[Entry, bool]:
    """The blob as the caller may see it, and whether it is shown as to everybody. Raises as `BlobManager.describe`."""
    requester = optional_requester()
    entry = services().blobs.describe(
        did,
        cid,
        viewer=requester.did if isinstance(requester, Person) else None,
        admin=isinstance(requester, Administrator),
    )
    return entry, requester is None


def blob_response(entry: Entry, *, public: bool) -> Response:
    """The answer to a GET or HEAD of *entry*, by its conditions and its Range; not *public*: for the asker alone.

    Not through werkzeug's conditional responses: they read a part 8 KiB at a time, in Python.

    Raises BlobNotFound, PreconditionFailed, RangeNotSatisfiable.
    """
    blobs, config = services().blobs, services().config
    environ = request.environ
    is_get = request.method == "GET"
    etag = f'"{entry.cid}"'
    if "HTTP_IF_MATCH" in environ and not is_listed(environ["HTTP_IF_MATCH"], etag):
        raise PreconditionFailed()
    headers = {
        "ETag": etag,
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "X-Content-Type-Options": "nosniff",
    }
    if public:
        headers["Cache-Control"] = PUBLIC
    if is_listed(environ.get("HTTP_IF_NONE_MATCH", ""), etag):
        return Response(status=304, headers=headers, mimetype=entry.mime_type)
    headers["Content-Disposition"] = (
        f'attachment; filename="{shown_cid(entry.cid, config.cid_format)}"'
    )
    asked, part = environ.get("HTTP_RANGE"), None
    if is_get:
        part = wanted_part(asked, size=entry.size, etag=etag, if_range=environ.get("HTTP_IF_RANGE"))
    path = None if config.accel_redirect is None else blobs.backend.path(entry.cid)
    if path is not None and _is_for_nginx(part):
        blobs.check_stored(entry)
        if public and config.cid_format == "atproto":  # the form in which nginx names it
            services().public_links.add(
                entry.did,
                entry.cid,
                entry.mime_type,
                f"../blobs/{path}",
                is_public=lambda: blobs.describe(entry.did, entry.cid) == entry,
            )
        headers["X-Accel-Redirect"] = f"{config.accel_redirect}{path}"
        return Response(headers=headers, mimetype=entry.mime_type)
    headers["Accept-Ranges"] = "bytes"
    # A Range that is to be ignored would not be ignored by the store.
    if (
        is_get
        and (part is not None or asked is None)
        and (handed := _handed_over(entry, headers)) is not None
    ):
        return handed
    start, stop = part or (0, entry.size)
    if part is not None:
        headers["Content-Range"] = content_range(start, stop, entry.size)
    headers["Content-Length"] = str(stop - start)
    if blobs.backend.stat_is_cheap or not is_get:
        blobs.check_stored(entry)
    response = Response(
        status=200 if part is None else 206, headers=headers, mimetype=entry.mime_type
    )
    if is_get:
        _attach(response, entry, start, stop)
    return response


def _is_for_nginx(part: tuple[int, int] | None) -> bool:
    """Whether nginx makes of the request's conditions what was made of them here, *part*.

    It knows no tag that If-Match could name, and looks at a Range where there is nothing to look at.
    """
    environ = request.environ
    if "HTTP_IF_MATCH" in environ or "HTTP_IF_UNMODIFIED_SINCE" in environ:
        return False
    asked = environ.get("HTTP_RANGE")
    return asked is None or (part is not None and _RANGE_FOR_NGINX.fullmatch(asked) is not None)


def _handed_over(entry: Entry, headers: dict[str, str]) -> Response | None:
    """The answer that leaves the bytes to the store, through nginx or by a redirect; None if it or the settings do not.

    *headers* are those of an answer with the bytes.
    """
    config = services().config
    if config.accel_redirect is None and config.s3_redirect is None:
        return None
    link = services().blobs.backend.url(
        entry.cid, mime_type=entry.mime_type, disposition=headers["Content-Disposition"]
    )
    if link is None:
        return None
    services().blobs.check_stored(entry)
    if config.accel_redirect is not None:
        # nginx knows where the store is, and asks it for what the client asked us for.
        parts = urlsplit(link)
        headers["X-Accel-Redirect"] = (
            f"{config.accel_redirect.rstrip('/')}{parts.path}?{parts.query}"
        )
        return Response(headers=headers, mimetype=entry.mime_type)
    # The link is good for minutes, and what is said of the blob is not said of this answer.
    response = Response(
        status=302, headers=headers | {"Location": link, "Cache-Control": "private, no-store"}
    )
    for name in ("Content-Disposition", "Content-Type", "ETag"):
        del response.headers[name]
    return response


def _attach(response: Response, entry: Entry, start: int, stop: int) -> None:
    # Opened last: nothing between here and the server closing it may fail.
    file = services().blobs.open(entry, start, stop)
    response.direct_passthrough = True
    if stop - start <= SMALL:
        with file:
            response.response = [file.read()]
    else:
        response.response = wrap_file(request.environ, file, _BLOCK)
