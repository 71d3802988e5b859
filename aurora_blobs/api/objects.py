"""The object API: the S3 calls that a PDS makes of the store of its blobs, in path style.

https://docs.aws.amazon.com/AmazonS3/latest/API/
"""

from base64 import b64encode
from collections.abc import Callable, Iterable
from typing import NamedTuple
from urllib.parse import unquote
from wsgiref.handlers import format_date_time

from flask import Blueprint, Flask, Response, request
from werkzeug.exceptions import HTTPException

from aurora_blobs.api.envelope import failed
from aurora_blobs.api.request_log import log_refusal, log_upload
from aurora_blobs.api.serving import blob_response
from aurora_blobs.errors import BlobServiceError
from aurora_blobs.intake.body import Reader
from aurora_blobs.object_api import listing
from aurora_blobs.object_api.documents import (
    MAX_BYTES,
    Content,
    document,
    moment,
    parse_completion,
    parse_deletion,
)
from aurora_blobs.object_api.layout import MAX_KEY_BYTES, Key, etag_of, parse_key
from aurora_blobs.object_api.multipart import MultipartUploads
from aurora_blobs.object_api.objects import Body, Objects
from aurora_blobs.object_api.payload import Payload
from aurora_blobs.object_api.refusals import Refusal, refusal_of
from aurora_blobs.object_api.signature import (
    ALGORITHM,
    Request,
    Signed,
    parse_query,
    verify,
)
from aurora_blobs.object_api.signature import Key as SigningKey
from aurora_blobs.protocol.cid import digest_of
from aurora_blobs.protocol.quoting import shown
from aurora_blobs.server.front import METHOD
from aurora_blobs.services import services

bp = Blueprint("objects", __name__)

_VERBS = ["GET", "HEAD", "PUT", "POST", "DELETE"]
# Parameters that change nothing: the name of the call, and those of a signature in the query.
_IDLE_PARAMETERS = ("x-id", "X-Amz-")
# What a client states that has no meaning here would be lost without a word.
_REFUSED_HEADERS = ("if-none-match", "if-match")
_NO_TYPE = ("binary/octet-stream", "application/x-www-form-urlencoded")  # clients' own defaults


class Call(NamedTuple):
    """A request whose signature is right. *name* is the key as it came, *key* what it means."""

    signed: Signed
    name: str
    key: Key | None
    query: dict[str, str]
    headers: dict[str, str]

    def meant(self) -> Key:
        """The key. Raises Refusal for one that no PDS has."""
        if self.key is None:
            raise Refusal("NoSuchKey", f"The specified key does not exist: {shown(self.name)}")
        return self.key

    def written(self) -> Key:
        """The key that is to be written. Raises Refusal for one that no PDS has."""
        if self.key is None:
            raise Refusal(
                "AccessDenied",
                "Keys are tmp/<DID>/<name>, blocks/<DID>/<CID> and quarantine/<DID>/<CID>",
            )
        return self.key


def install(app: Flask, bucket: str) -> None:
    """Let *app* answer for *bucket*."""
    for rule in (f"/{bucket}", f"/{bucket}/", f"/{bucket}/<path:key>"):
        app.add_url_rule(
            rule,
            endpoint="objects.answer",
            view_func=_answer,
            methods=_VERBS,
            strict_slashes=True,
            provide_automatic_options=False,
        )
    app.register_blueprint(bp)


@bp.before_app_request
def _refuse_other_buckets() -> Response | None:
    # A request that no route is for, of a client that looks for a bucket.
    if request.routing_exception is None:
        return None
    if not request.headers.get("Authorization", "").startswith(ALGORITHM):
        return None
    return _error_response(Refusal("NoSuchBucket", "The specified bucket does not exist"))


@bp.errorhandler(BlobServiceError)
def _refused(error: BlobServiceError) -> Response:
    refusal = refusal_of(error)
    log_refusal(refusal, error)
    return _error_response(refusal)


@bp.errorhandler(Exception)
def _failed(error: Exception) -> Response:
    if isinstance(error, HTTPException):
        return _error_response(Refusal("MethodNotAllowed", error.name))
    said = failed(error)
    code = "ServiceUnavailable" if said.status_code == 503 else "InternalError"
    response = _error_response(Refusal(code, "We encountered an internal error."))
    if "Retry-After" in said.headers:
        response.headers["Retry-After"] = said.headers["Retry-After"]
    return response


def _answer(key: str = "") -> Response:
    call = _call()
    names = {name for name in call.query if not name.startswith(_IDLE_PARAMETERS)}
    for wanted, others, handle in _OBJECT_CALLS if call.name else _BUCKET_CALLS:
        verb, _, needed = wanted.partition(" ")
        needs = set(needed.split())
        if request.method == verb and needs <= names <= needs | set(others.split()):
            request.environ[METHOD] = _NAMES[handle]
            return handle(call)
    raise Refusal("NotImplemented", "A header you provided implies functionality that is not here")


def _call() -> Call:
    """The request, whose signature is checked first. Raises Refusal."""
    environ, config = request.environ, services().config
    assert config.object_api_bucket is not None
    assert config.object_api_access_key_id is not None
    assert config.object_api_secret_access_key is not None
    headers = {
        name[5:].replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    headers |= {
        name.replace("_", "-").lower(): environ[name]
        for name in ("CONTENT_TYPE", "CONTENT_LENGTH")
        if environ.get(name)
    }
    path = environ["PATH_INFO"].encode("latin-1")
    query = parse_query(environ.get("QUERY_STRING", ""))
    signed = verify(
        Request(request.method, path, query, headers),
        SigningKey(config.object_api_access_key_id, config.object_api_secret_access_key),
        services().clock() / 1_000_000,
    )
    name = path.removeprefix(f"/{config.object_api_bucket}".encode()).removeprefix(b"/")
    if len(name) > MAX_KEY_BYTES:
        raise Refusal("KeyTooLongError", f"Your key is too long: at most {MAX_KEY_BYTES} bytes")
    text = name.decode(errors="replace")
    named = {key.decode(errors="replace"): value.decode(errors="replace") for key, value in query}
    return Call(signed, text, parse_key(text), named, headers)


def _objects() -> Objects:
    return services().objects(services().blobs)


def _uploads() -> MultipartUploads:
    found = services()
    return MultipartUploads(
        found.config.data_folder.parts,
        max_bytes=found.config.max_blob_size,
        space=found.database.space,
    )


def _payload(call: Call, *, skips_sha256: bool = False) -> Payload:
    return Payload(
        request.environ["wsgi.input"], call.headers, call.signed, skips_sha256=skips_sha256
    )


def _declared_type(call: Call) -> str | None:
    declared = call.headers.get("content-type")
    return None if declared in _NO_TYPE else declared


def _get(call: Call) -> Response:
    entry = _objects().find(call.meant())
    response = blob_response(entry, public=False, etag=etag_of(entry.cid), sender="nginx")
    response.headers["Last-Modified"] = format_date_time(entry.created_at / 1_000_000)
    asks_checksum = call.headers.get("x-amz-checksum-mode", "").upper() == "ENABLED"
    if asks_checksum and response.status_code == 200:
        digest = b64encode(digest_of(entry.cid)).decode()
        response.headers["x-amz-checksum-sha256"] = digest
        response.headers["x-amz-checksum-type"] = "FULL_OBJECT"
    return response


def _put(call: Call) -> Response:
    if "x-amz-copy-source" in call.headers:
        return _copy(call)
    _refuse_conditions(call)
    key = call.written()
    payload = _payload(call, skips_sha256=True)
    entry = _objects().put(
        key, Body(payload, payload.size, _declared_type(call), call.signed.payload_digest)
    )
    log_upload(entry)
    return _empty(200, ETag=etag_of(entry.cid))


def _copy(call: Call) -> Response:
    request.environ[METHOD] = _COPY
    for name in call.headers:
        if name.startswith("x-amz-copy-source-"):
            raise Refusal("NotImplemented", f"{name} is not known here")
    _refuse_conditions(call)
    # The key in this header may be escaped or not.
    bucket, _, source = unquote(call.headers["x-amz-copy-source"]).removeprefix("/").partition("/")
    if bucket != services().config.object_api_bucket:
        raise Refusal("NoSuchBucket", "The specified bucket does not exist")
    found = parse_key(source)
    if found is None:
        raise Refusal("NoSuchKey", f"The specified key does not exist: {shown(source)}")
    entry = _objects().copy(found, call.written())
    return _xml(
        "CopyObjectResult",
        [("LastModified", moment(entry.created_at)), ("ETag", etag_of(entry.cid))],
    )


def _delete(call: Call) -> Response:
    if call.key is not None:
        _objects().delete([call.key])
    return _empty(204)


def _delete_many(call: Call) -> Response:
    payload = _payload(call)
    if not payload.is_checked:
        raise Refusal(
            "InvalidRequest",
            "Missing required header for this request: Content-MD5 OR x-amz-checksum-*",
        )
    names, is_quiet = parse_deletion(payload.read_all(MAX_BYTES))
    _objects().delete([key for key in map(parse_key, names) if key is not None])
    return _xml(
        "DeleteResult", [] if is_quiet else [("Deleted", [("Key", name)]) for name in names]
    )


def _create_upload(call: Call) -> Response:
    upload_id = _uploads().create(call.written(), _declared_type(call), call.signed.signature)
    return _xml("InitiateMultipartUploadResult", [*_target(call), ("UploadId", upload_id)])


def _put_part(call: Call) -> Response:
    if "x-amz-copy-source" in call.headers:
        raise Refusal("NotImplemented", "Parts are uploaded, not copied")
    number = call.query["partNumber"]
    if not (number.isascii() and number.isdigit() and len(number) < 6):
        raise Refusal("InvalidArgument", "partNumber has to be a number")
    payload = _payload(call, skips_sha256=True)
    part = _uploads().put(call.query["uploadId"], call.written(), int(number), payload)
    return _empty(200, ETag=part.etag)


def _list_parts(call: Call) -> Response:
    parts = _uploads().parts(call.query["uploadId"], call.meant())
    listed: Iterable[tuple[str, Content]] = (
        (
            "Part",
            [
                ("PartNumber", str(part.number)),
                ("ETag", part.etag),
                ("Size", str(part.size)),
            ],
        )
        for part in parts
    )
    return _xml(
        "ListPartsResult",
        [
            *_target(call),
            ("UploadId", call.query["uploadId"]),
            ("IsTruncated", "false"),
            *listed,
        ],
    )


def _complete_upload(call: Call) -> Response:
    _refuse_conditions(call)
    key, uploads, upload_id = call.written(), _uploads(), call.query["uploadId"]
    # The checksums in the head of this call are the object's, not those of its body.
    headers = {
        name: value for name, value in call.headers.items() if not name.startswith("x-amz-checksum")
    }
    payload = Payload(request.environ["wsgi.input"], headers, call.signed, skips_sha256=False)
    wanted = parse_completion(payload.read_all(MAX_BYTES))

    def store(stream: Reader, size: int, declared_type: str | None) -> str:
        entry = _objects().put(key, Body(stream, size, declared_type))
        log_upload(entry)
        return entry.cid

    cid = uploads.complete(upload_id, key, wanted, store)
    return _xml("CompleteMultipartUploadResult", [*_target(call), ("ETag", etag_of(cid))])


def _abort_upload(call: Call) -> Response:
    _uploads().abort(call.query["uploadId"], call.meant())
    return _empty(204)


def _list(call: Call) -> Response:
    bucket = str(services().config.object_api_bucket)
    return _xml("ListBucketResult", listing.result(_objects(), bucket, call.query))


def _location(call: Call) -> Response:
    return _xml("LocationConstraint", [])


def _head_bucket(call: Call) -> Response:
    return _empty(200)


Handler = Callable[[Call], Response]
# Verb and needed parameters, further parameters, and who answers; the first that fits.
_BUCKET_CALLS: tuple[tuple[str, str, Handler], ...] = (
    ("POST delete", "", _delete_many),
    ("HEAD", "", _head_bucket),
    ("GET location", "", _location),
    (
        "GET",
        "list-type prefix delimiter max-keys continuation-token start-after marker encoding-type "
        "fetch-owner",
        _list,
    ),
)
_OBJECT_CALLS: tuple[tuple[str, str, Handler], ...] = (
    ("GET uploadId", "max-parts part-number-marker", _list_parts),
    ("GET", "", _get),
    ("HEAD", "", _get),
    ("PUT partNumber uploadId", "", _put_part),
    ("PUT", "", _put),
    ("POST uploads", "", _create_upload),
    ("POST uploadId", "", _complete_upload),
    ("DELETE uploadId", "", _abort_upload),
    ("DELETE", "", _delete),
)
_COPY = "CopyObject"
# What S3 calls them.
_NAMES: dict[Handler, str] = {
    _delete_many: "DeleteObjects",
    _head_bucket: "HeadBucket",
    _location: "GetBucketLocation",
    _list: "ListObjects",
    _list_parts: "ListParts",
    _get: "GetObject",
    _put_part: "UploadPart",
    _put: "PutObject",
    _create_upload: "CreateMultipartUpload",
    _complete_upload: "CompleteMultipartUpload",
    _abort_upload: "AbortMultipartUpload",
    _delete: "DeleteObject",
}
CALL_NAMES = (*_NAMES.values(), _COPY)


def _refuse_conditions(call: Call) -> None:
    for name in _REFUSED_HEADERS:
        if name in call.headers:
            raise Refusal("NotImplemented", f"{name} is not known where an object is written")


def _target(call: Call) -> list[tuple[str, Content]]:
    return [("Bucket", str(services().config.object_api_bucket)), ("Key", call.name)]


def _xml(name: str, content: Content, status: int = 200) -> Response:
    return Response(document(name, content), status, content_type="application/xml")


def _empty(status: int, **headers: str) -> Response:
    response = Response(status=status, headers=headers)
    del response.headers["Content-Type"]
    return response


def _error_response(error: Refusal) -> Response:
    content = [("Code", error.error), ("Message", error.message)]
    response = _xml("Error", content, error.status)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(error.retry_after)
    for name, value in error.headers:
        response.headers.add(name, value)
    return response
