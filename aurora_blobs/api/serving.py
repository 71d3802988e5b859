"""A blob's bytes as an HTTP answer: the whole blob, a part of it, or 304."""

import re
from dataclasses import replace
from functools import partial
from typing import Literal
from urllib.parse import urlsplit

from flask import Response, request
from werkzeug.wsgi import wrap_file

from aurora_blobs.api.callers import optional_requester
from aurora_blobs.api.ranges import content_range, is_listed, wanted_part
from aurora_blobs.auth import Administrator, Person
from aurora_blobs.blobs.manager import BlobManager
from aurora_blobs.catalog.blobs import Entry
from aurora_blobs.errors import BlobNotFound, PreconditionFailed, RepoNotFound
from aurora_blobs.media.signatures import UNKNOWN
from aurora_blobs.protocol.cid import shown_cid
from aurora_blobs.protocol.syntax import stated_mime_type
from aurora_blobs.services import Services, services

PUBLIC = "public, max-age=300, must-revalidate"  # a takedown reaches caches within 5 minutes
# What a mirror says with its error where it has nothing against a blob: deploy/mirror.conf then has
# the PDS asked.
UNKNOWN_HERE = (("X-Aurora-Blobs", "unknown"),)
# Bytes. Up to this size Python reads the blob and sends it with the head. Above it sendfile pays
# for its own set-up.
SMALL = 64 * 1024
_RANGE_FOR_NGINX = re.compile(r"bytes=([0-9]{1,18}-[0-9]{0,18}|-[0-9]{1,18})")
_BLOCK = 256 * 1024  # bytes per read from a store on the network, where sendfile does not work
Part = tuple[int, int]  # the bytes [start, stop)
Sender = Literal["anybody", "nginx", "service"]


def say_if_unknown(error: BlobNotFound | RepoNotFound, did: str, cid: str) -> None:
    """Have *error*, about a blob, say `UNKNOWN_HERE` where that is so."""
    if services().config.mirror == "pds" and services().blobs.is_unknown(did, cid):
        error.headers = UNKNOWN_HERE


def visible_blob(did: str, cid: str) -> tuple[Entry, bool]:
    """The blob, if the caller may see it, and whether the caller is anonymous.

    A mirror of the network fetches it first, if it has to. Raises as `BlobManager.describe` and
    `Network.fetch`.
    """
    requester, parts = optional_requester(), services()
    describe = partial(
        parts.blobs.describe,
        did,
        cid,
        viewer=requester.did if isinstance(requester, Person) else None,
        admin=isinstance(requester, Administrator),
        look_again=True,
    )
    network = parts.network
    try:
        entry = describe()
        if network is not None:
            network.room.note(did, entry.cid)
    except (BlobNotFound, RepoNotFound):
        if network is None:
            raise
        network.fetch(did, cid, request.remote_addr or "")
        entry = describe()
    if stated_mime_type(entry.mime_type) is None:
        # A row of an earlier version, which kept what a record stated whatever it was.
        entry = replace(entry, mime_type=UNKNOWN)
    return entry, requester is None


def blob_response(
    entry: Entry, *, public: bool, etag: str | None = None, sender: Sender = "anybody"
) -> Response:
    """The answer to a GET or HEAD of *entry*, by the request's conditions and Range.

    Shared caches may keep it if it is *public*. Its *etag* is that of the CID unless given. The
    bytes come from *sender*: "anybody" may be the store, to which the client is sent; "nginx" may
    be the service. werkzeug's conditional responses are not used: they read a part in Python, 8 KiB
    at a time.

    Raises BlobNotFound, PreconditionFailed, RangeNotSatisfiable.
    """
    environ, parts = request.environ, services()
    etag = etag or f'"{entry.cid}"'
    if "HTTP_IF_MATCH" in environ and not is_listed(environ["HTTP_IF_MATCH"], etag):
        raise PreconditionFailed()
    headers = {
        "ETag": etag,
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "X-Content-Type-Options": "nosniff",
    }
    if public:
        headers["Cache-Control"] = PUBLIC
    if "HTTP_IF_NONE_MATCH" in environ and is_listed(environ["HTTP_IF_NONE_MATCH"], etag):
        return Response(status=304, headers=headers, mimetype=entry.mime_type)
    name = shown_cid(entry.cid, parts.config.cid_format)
    headers["Content-Type"] = parts.blobs.content_type(entry)
    headers["Content-Disposition"] = f'attachment; filename="{name}"'
    part = None
    if request.method == "GET":
        if_range = environ.get("HTTP_IF_RANGE")
        part = wanted_part(environ.get("HTTP_RANGE"), size=entry.size, etag=etag, if_range=if_range)
    response = None
    if sender != "service":
        response = _response_of_nginx(parts, entry, headers, part, public=public)
    if response is None:
        headers["Accept-Ranges"] = "bytes"
        if sender != "service":
            redirects = sender == "anybody"
            response = _response_of_store(parts, entry, headers, part, may_redirect=redirects)
    if response is None:
        response = _response_with_bytes(parts.blobs, entry, headers, part)
    return response


def _response_of_nginx(
    parts: Services, entry: Entry, headers: dict[str, str], part: Part | None, *, public: bool
) -> Response | None:
    """The answer that makes nginx send the file; None if the settings or the store have none."""
    config, blobs = parts.config, parts.blobs
    if config.accel_redirect is None:
        return None
    path = blobs.backend.path(entry.name)
    if path is None or not _nginx_agrees(part):
        return None
    blobs.check_stored(entry)
    # nginx finds links by the CID in its atproto form.
    if public and config.may_link and config.cid_format == "atproto":
        parts.public_links.add(
            entry.did,
            entry.cid,
            entry.mime_type,
            config.data_folder.link_target(path),
            is_public=lambda: blobs.describe(entry.did, entry.cid) == entry,
        )
    headers["X-Accel-Redirect"] = f"{config.accel_redirect}{path}"
    return Response(headers=headers)


def _nginx_agrees(part: Part | None) -> bool:
    """Whether nginx reads the request's conditions and Range as we do, with *part* as the result.

    nginx does not know the tag that If-Match names, and it obeys a Range that we ignore.
    """
    environ = request.environ
    if "HTTP_IF_MATCH" in environ or "HTTP_IF_UNMODIFIED_SINCE" in environ:
        return False
    asked = environ.get("HTTP_RANGE")
    return asked is None or (part is not None and _RANGE_FOR_NGINX.fullmatch(asked) is not None)


def _response_of_store(
    parts: Services, entry: Entry, headers: dict[str, str], part: Part | None, *, may_redirect: bool
) -> Response | None:
    """The answer that makes the store send the bytes, through nginx or by a redirect.

    None if the settings or the store have no such way.
    """
    config = parts.config
    goes_elsewhere = config.s3_redirect is not None and may_redirect
    if (config.accel_redirect is None and not goes_elsewhere) or request.method != "GET":
        return None
    if part is None and "HTTP_RANGE" in request.environ:
        return None  # we ignore this Range; the store would obey it
    link = parts.blobs.backend.url(
        entry.name,
        content_type=headers["Content-Type"],
        disposition=headers["Content-Disposition"],
    )
    if link is None:
        return None
    parts.blobs.check_stored(entry)
    if config.accel_redirect is not None:
        # nginx knows the store's address and sends it this path and query.
        split = urlsplit(link)
        headers["X-Accel-Redirect"] = (
            f"{config.accel_redirect.rstrip('/')}{split.path}?{split.query}"
        )
        return Response(headers=headers)
    # The link is valid for minutes, and the headers about the blob are not about this answer.
    response = Response(
        status=302, headers=headers | {"Location": link, "Cache-Control": "private, no-store"}
    )
    for name in ("Content-Disposition", "Content-Type", "ETag"):
        del response.headers[name]
    return response


def _response_with_bytes(
    blobs: BlobManager, entry: Entry, headers: dict[str, str], part: Part | None
) -> Response:
    start, stop = (0, entry.size) if part is None else part
    if part is not None:
        headers["Content-Range"] = content_range(start, stop, entry.size)
    headers["Content-Length"] = str(stop - start)
    is_get = request.method == "GET"
    if blobs.backend.stat_is_cheap or not is_get:
        blobs.check_stored(entry)
    response = Response(status=200 if part is None else 206, headers=headers)
    if is_get:
        _attach(response, blobs, entry, start, stop)
    return response


def _attach(response: Response, blobs: BlobManager, entry: Entry, start: int, stop: int) -> None:
    # Opened last: nothing between here and the server's close of the file may fail.
    file = blobs.open(entry, start, stop)
    response.direct_passthrough = True
    if stop - start <= SMALL:
        with file:
            response.response = [file.read()]
    else:
        response.response = wrap_file(request.environ, file, _BLOCK)
