"""``/img/<preset>/plain/<did>/<cid>@<format>``: thumbnails, with the paths of Bluesky's CDN."""

from contextlib import ExitStack

from flask import Blueprint, Response, g, request
from werkzeug.wsgi import wrap_file

from aurora_blobs.api.ranges import is_listed, parse_accept
from aurora_blobs.api.serving import PUBLIC, SMALL, say_if_unknown, visible_blob
from aurora_blobs.catalog.blobs import Entry
from aurora_blobs.errors import BlobNotFound, InvalidRequest, RepoNotFound
from aurora_blobs.protocol.cid import parse_blob_cid
from aurora_blobs.protocol.quoting import shown
from aurora_blobs.protocol.syntax import parse_did
from aurora_blobs.services import services
from aurora_blobs.thumbnails.cache import name_of
from aurora_blobs.thumbnails.presets import READABLE, WRITABLE

bp = Blueprint("images", __name__)


@bp.get("/img/<preset>/plain/<did>/<picture>")
def image(preset: str, did: str, picture: str) -> Response:
    """A smaller picture of a blob that is public or the caller's own."""
    g.nsid = "com.atproto.sync.getBlob"  # the same bytes for the same callers
    sizes = services().thumbnails.presets
    if preset not in sizes:
        raise InvalidRequest(f"there is no preset {shown(preset)}: there are {', '.join(sizes)}")
    cid, form = _parse_path(did, picture)
    try:
        entry, public = visible_blob(did, cid)
    except (BlobNotFound, RepoNotFound) as error:
        say_if_unknown(error, did, cid)
        raise
    if entry.mime_type not in READABLE:
        raise InvalidRequest(f"the blob is not a picture: {shown(entry.mime_type)}")
    chosen = form or _negotiated_format(entry.mime_type)
    response = Response(mimetype=WRITABLE[chosen])
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    response.headers["X-Content-Type-Options"] = "nosniff"
    if public:
        response.headers["Cache-Control"] = PUBLIC
    if form is None:
        response.vary.add("Accept")
    place = name_of(cid, sizes[preset], chosen)
    # Weak: another version of the encoder may make other bytes. As in deploy/nginx.conf.
    response.set_etag(place.rpartition("/")[2], weak=True)
    if is_listed(
        request.headers.get("If-None-Match", ""), response.headers["ETag"].removeprefix("W/")
    ):
        response.status_code = 304
        return response
    derived = services().thumbnails.open(entry, sizes[preset], chosen)
    with ExitStack() as unsent:
        file = unsent.enter_context(derived.file)
        if derived.is_kept and public and form is not None:
            _link(entry, f"{preset}.{sizes[preset]}.{form}", place)
        response.content_length = derived.size
        if derived.size <= SMALL:
            response.response = [file.read()]
        else:
            response.response = wrap_file(request.environ, file)
            response.direct_passthrough = True
            unsent.pop_all()
    return response


def _link(entry: Entry, name: str, place: str) -> None:
    """Have nginx serve *place* as the thumbnail *name* of *entry* without asking, if it may."""
    parts = services()
    config, blobs = parts.config, parts.blobs
    if config.accel_redirect is not None and config.may_link:
        parts.public_links.add_picture(
            entry.did,
            entry.cid,
            name,
            config.data_folder.thumbnail_target(place),
            is_public=lambda: blobs.describe(entry.did, entry.cid) == entry,
            now=parts.clock(),
        )


def _parse_path(did: str, picture: str) -> tuple[str, str | None]:
    """The CID and the format in *picture*; None if it names no format. Raises InvalidRequest."""
    cid, at, form = picture.partition("@")
    if at and form not in WRITABLE:
        raise InvalidRequest(f"there is no format {shown(form)}: there are {', '.join(WRITABLE)}")
    try:
        parse_did(did)
        return parse_blob_cid(cid), form or None
    except ValueError as error:
        raise InvalidRequest(str(error)) from None


def _negotiated_format(mime_type: str) -> str:
    """The format that the client's Accept header prefers, for a blob of *mime_type*.

    Among equals: WebP, AVIF, then JPEG or PNG, which every client can show. AVIF comes after WebP,
    although browsers rank them equal: it takes half as long again and is hardly smaller.
    """
    accepted = parse_accept(request.headers.get("Accept", "*/*"))
    usual = ("jpeg", "png") if READABLE[mime_type] in ("JPEG", "HEIF") else ("png", "jpeg")

    def quality(form: str) -> float:
        for pattern in (WRITABLE[form], "image/*", "*/*"):
            if pattern in accepted:
                return accepted[pattern]
        return 0

    # Only where it is named: clients that know neither WebP nor AVIF send wildcards too.
    modern = [form for form in ("webp", "avif") if WRITABLE[form] in accepted and quality(form) > 0]
    plain = next((form for form in usual if quality(form) > 0), usual[0])
    return max([*modern, plain], key=quality)
