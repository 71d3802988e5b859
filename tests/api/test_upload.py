"""uploadBlob and getBlob through Flask: answers, and files in the data folder."""

import gzip

import pytest
from support.accounts import GET_BLOB, UPLOAD, sign_up
from support.cids import cid_of
from support.media_samples import jpeg
from support.services import services_of

from aurora_blobs.intake import spool
from aurora_blobs.protocol.cid import aurora_form
from aurora_blobs.storage import group_fsync
from aurora_blobs.storage.base import MARK


def files(app):
    root = services_of(app).config.data_dir
    return sorted(
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and path.name != MARK
    )


def rows(app):
    with services_of(app).database.read() as tx:
        return tx.all("SELECT cid FROM blob"), tx.all("SELECT creator_did, cid FROM blob_metadata")


def test_an_upload_answers_with_a_typed_reference(alice):
    photo = jpeg("cat")

    answer = alice.upload(photo)

    assert answer.status_code == 200
    assert answer.json == {
        "blob": {
            "$type": "blob",
            "ref": {"$link": cid_of(photo)},
            "mimeType": "image/jpeg",
            "size": len(photo),
        }
    }


def test_a_blob_is_public_once_a_record_names_it(alice):
    blob, _ = alice.publish(jpeg("cat"))

    answer = alice.fetch(blob["ref"]["$link"])

    assert (answer.status_code, answer.data) == (200, jpeg("cat"))
    assert answer.headers["Content-Type"] == "image/jpeg"
    assert answer.headers["Content-Length"] == str(len(jpeg("cat")))
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{blob["ref"]["$link"]}"'
    assert answer.headers["Cache-Control"] == "public, max-age=300, must-revalidate"


def test_a_temporary_blob_is_its_owners_alone(app, alice):
    bob = sign_up(app.test_client(), "bobby.test")
    blob = alice.blob(jpeg("cat"))
    where = {"did": alice.did, "cid": blob["ref"]["$link"]}

    assert alice.client.get(GET_BLOB, query_string=where).json["error"] == "BlobNotFound"
    assert (
        alice.client.get(GET_BLOB, query_string=where, headers=bob.headers).json["error"]
        == "BlobNotFound"
    )
    assert alice.client.get(
        GET_BLOB, query_string=where, headers=alice.headers, buffered=True
    ).data == jpeg("cat")


@pytest.mark.parametrize(
    "data, headers, status, error",
    [
        (b"MZ" + bytes(200), {"Content-Type": "image/png"}, 400, "InvalidMimeType"),
        (b"<!doctype html><p>hello", {"Content-Type": "image/png"}, 400, "InvalidMimeType"),
        (b"plain words", {"Content-Type": "text/plain"}, 400, "InvalidMimeType"),
        (jpeg("x" * 2000), {"Content-Type": "image/jpeg"}, 413, "PayloadTooLarge"),
        (
            jpeg("cat"),
            {"Content-Type": "image/jpeg", "Content-Encoding": "zstd"},
            415,
            "UnsupportedMediaType",
        ),
        (
            jpeg("cat"),
            {"Content-Type": "image/jpeg", "Content-Encoding": "gzip"},
            400,
            "InvalidRequest",
        ),
        (gzip.compress(jpeg("x" * 2000)), {"Content-Encoding": "gzip"}, 413, "PayloadTooLarge"),
        (gzip.compress(jpeg("cat"))[:-9], {"Content-Encoding": "gzip"}, 400, "InvalidRequest"),
    ],
    ids=[
        "a program",
        "a page",
        "a type not allowed",
        "too large",
        "zstd",
        "not gzip",
        "large inside",
        "cut gzip",
    ],
)
def test_a_refused_upload_leaves_no_file_and_no_row(open_app, data, headers, status, error):
    app = open_app(MAX_BLOB_SIZE="1000")
    alice = sign_up(app.test_client(), "alice.test")
    before = files(app)

    answer = alice.client.post(UPLOAD, data=data, headers={**alice.headers, **headers})

    assert (answer.status_code, answer.json["error"]) == (status, error)
    assert files(app) == before
    assert rows(app) == ([], [])


@pytest.mark.parametrize(
    "size, status", [(999, 200), (1000, 200), (1001, 413)], ids=["below", "exactly", "one over"]
)
def test_the_limit_is_inclusive(open_app, size, status):
    alice = sign_up(open_app(MAX_BLOB_SIZE="1000").test_client(), "alice.test")

    assert alice.upload(jpeg("").ljust(size, b"x")).status_code == status


def test_an_empty_blob_is_a_blob_where_every_type_is_allowed(open_app):
    alice = sign_up(open_app(ALLOWED_MIME_TYPES="*/*").test_client(), "alice.test")

    length = {"CONTENT_LENGTH": "0"}  # which the test client leaves out
    answer = alice.client.post(
        UPLOAD, headers=alice.headers, content_type="text/plain", environ_overrides=length
    )

    assert (answer.status_code, answer.json["blob"]["size"]) == (200, 0)


def test_a_compressed_upload_is_the_blob_of_its_plain_bytes(alice):
    plain = alice.blob(jpeg("cat"))

    packed = alice.upload(gzip.compress(jpeg("cat")), **{"Content-Encoding": "gzip"})

    assert packed.json["blob"] == plain


def test_the_same_bytes_are_stored_once_for_two_accounts(app, alice):
    bob = sign_up(app.test_client(), "bobby.test")

    assert alice.blob(jpeg("cat")) == bob.blob(jpeg("cat"))

    assert len([name for name in files(app) if name.startswith("blobs/")]) == 1


def test_a_large_stored_blob_is_not_written_again(open_app, monkeypatch, clock):
    alice = sign_up(open_app(MAX_BLOB_SIZE="20MB").test_client(), "alice.test")
    sent_out = []
    monkeypatch.setattr(spool, "start_writeback", lambda *given: sent_out.append(given))
    cat, dog = jpeg("cat" * 4_000_000), jpeg("cat" * 3_999_999 + "dog")

    def upload(data):
        sent_out.clear()
        answer = alice.upload(data)
        return answer.json["blob"]["ref"]["$link"], bool(sent_out)

    first, was_sent_out = upload(cat)
    assert was_sent_out
    assert upload(cat) == (first, False)
    # Another blob with the same beginning: slower, and stored.
    other, was_sent_out = upload(dog)
    assert other != first and not was_sent_out
    assert [alice.fetch(cid, **alice.headers).data for cid in (first, other)] == [cat, dog]

    clock.advance(10 * 86_400)
    app = alice.client.application
    app.test_cli_runner().invoke(args=["blobs", "gc"])
    with services_of(app).database.read() as tx:
        assert tx.all("SELECT * FROM blob_start") == []


def test_an_upload_heals_bytes_that_were_lost(app, services, alice):
    blob, _ = alice.publish(jpeg("cat"))
    cid = blob["ref"]["$link"]
    [name] = [name for name in files(app) if name.startswith("blobs/")]
    (services.config.data_dir / name).unlink()

    assert alice.fetch(cid).json["error"] == "BlobNotFound"
    assert alice.get("com.atproto.repo.listMissingBlobs").json["blobs"][0]["cid"] == cid
    assert alice.blob(jpeg("cat")) == blob
    assert alice.fetch(cid).data == jpeg("cat")


def test_either_form_of_a_cid_is_read_and_the_configured_one_written(open_app):
    alice = sign_up(open_app(CID_FORMAT="aurora").test_client(), "alice.test")
    blob, _ = alice.publish(jpeg("cat"))
    cid = cid_of(jpeg("cat"))

    assert blob["ref"]["$link"] == aurora_form(cid)
    assert alice.fetch(cid).data == alice.fetch(aurora_form(cid)).data == jpeg("cat")
    listed = alice.client.get("/xrpc/com.atproto.sync.listBlobs", query_string={"did": alice.did})
    assert listed.json == {"cids": [aurora_form(cid)], "cursor": aurora_form(cid)}
    rest = alice.get("com.atproto.sync.listBlobs", did=alice.did, cursor=listed.json["cursor"])
    assert rest.json == {"cids": []}


def test_a_quota_is_refused_with_its_numbers(open_app):
    alice = sign_up(open_app(QUOTA="100").test_client(), "alice.test")
    alice.blob(jpeg("").ljust(60, b"x"))

    answer = alice.upload(jpeg("").ljust(61, b"y"))

    assert (answer.status_code, answer.json["error"]) == (400, "QuotaExceeded")
    assert "60 of 100 bytes" in answer.json["message"]
    assert "61 bytes" in answer.json["message"]


@pytest.mark.parametrize(
    "method, path, status, error, message",
    [
        (
            "GET",
            "com.atproto.repo.uploadBlob",
            400,
            "InvalidRequest",
            "Incorrect HTTP method (GET) expected POST",
        ),
        (
            "POST",
            "com.atproto.sync.getBlob",
            400,
            "InvalidRequest",
            "Incorrect HTTP method (POST) expected GET",
        ),
        (
            "PUT",
            "com.atproto.sync.getBlob",
            400,
            "InvalidRequest",
            "XRPC requests only supports GET and POST",
        ),
        (
            "BREW",
            "com.atproto.sync.getBlob",
            400,
            "InvalidRequest",
            "XRPC requests only supports GET and POST",
        ),
        ("GET", "com.example.nothing", 501, "MethodNotImplemented", "Method Not Implemented"),
        ("POST", "com.atproto.repo.uploadBlob", 401, "AuthMissing", "Authentication Required"),
    ],
    ids=["get a procedure", "post a query", "put", "brew", "no such method", "nobody"],
)
def test_the_envelope_says_what_was_wrong(client, method, path, status, error, message):
    answer = client.open(f"/xrpc/{path}", method=method)

    assert answer.status_code == status
    assert answer.json == {"error": error, "message": message}
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize(
    "headers",
    [{"Host": ".."}, {"Host": "a" * 5000}, {"Upgrade": "websocket", "Connection": "Upgrade"}],
    ids=["no host", "a long host", "a websocket"],
)
@pytest.mark.parametrize("path", ["/xrpc/com.atproto.server.describeServer", "/img/a/plain/b/c"])
def test_a_header_that_makes_no_sense_is_not_a_method_that_is_missing(client, path, headers):
    answer = client.get(path, headers=headers)

    assert (answer.status_code, answer.json) == (
        400,
        {"error": "InvalidRequest", "message": "The header Host or Upgrade makes no sense"},
    )


PARAMETERS = [
    ("com.atproto.sync.getBlob", "", 'Missing required key "did"'),
    ("com.atproto.sync.getBlob", "did=alice.test&cid=x", 'Invalid DID (got "alice.test")'),
    (
        "com.atproto.sync.getBlob",
        "did=did:web:a.test&cid=notacid",
        'Invalid CID string (got "notacid")',
    ),
    (
        "com.atproto.sync.listBlobs",
        "did=did:web:a.test&since=nottid",
        'Invalid TID string (got "nottid")',
    ),
    (
        "com.atproto.sync.listBlobs",
        "did=did:web:a.test&limit=0",
        "integer too small (minimum 1, got 0)",
    ),
    (
        "com.atproto.sync.listBlobs",
        "did=did:web:a.test&limit=1001",
        "integer too big (maximum 1000, got 1001)",
    ),
    (
        "com.atproto.sync.listBlobs",
        "did=did:web:a.test&limit=abc",
        'Expected integer value type (got "abc")',
    ),
    ("com.atproto.sync.listBlobs", "did=a&did=b", 'Expected string value type (got ["a", "b"])'),
]


@pytest.mark.parametrize(
    "nsid, query, reason", PARAMETERS, ids=[reason for _, _, reason in PARAMETERS]
)
def test_a_wrong_parameter_is_named(client, nsid, query, reason):
    answer = client.get(f"/xrpc/{nsid}?{query}")

    assert answer.status_code == 400
    assert answer.json == {"error": "InvalidRequest", "message": f"Invalid {nsid} params: {reason}"}


def test_an_empty_limit_means_the_default(alice):
    assert alice.get("com.atproto.sync.listBlobs", did=alice.did, limit="").json == {"cids": []}


def test_a_preflight_is_answered(client):
    answer = client.options(
        UPLOAD, headers={"Access-Control-Request-Headers": "authorization,content-type"}
    )

    assert (answer.status_code, answer.data) == (204, b"")
    assert answer.headers["Access-Control-Allow-Methods"] == "GET,HEAD,PUT,PATCH,POST,DELETE"
    assert answer.headers["Access-Control-Allow-Headers"] == "authorization,content-type"
    assert answer.headers["Access-Control-Max-Age"] == "86400"


@pytest.mark.parametrize("length, repeated", [(1000, True), (1001, False)])
def test_a_preflight_repeats_no_long_list(client, length, repeated):
    asked = "x" * length

    answer = client.options(UPLOAD, headers={"Access-Control-Request-Headers": asked})

    assert answer.status_code == 204
    assert (answer.headers.get("Access-Control-Allow-Headers") == asked) is repeated


@pytest.mark.sqlite
def test_an_internal_error_shows_only_the_request_s_id_which_is_in_the_log(
    services, client, log_lines
):
    services.database.close()
    services.database.path.write_bytes(b"not a database at all" * 100)

    answer = client.get("/xrpc/com.atproto.sync.listBlobs?did=did:web:a.test")

    assert answer.status_code == 500
    assert answer.json == {"error": "InternalServerError", "message": "Internal Server Error"}
    (line, *rest) = log_lines()
    assert f" request={answer.headers['X-Request-Id']} " in line
    assert any("Traceback" in one for one in rest)


@pytest.mark.sqlite
def test_a_repeated_upload_is_answered_when_the_first_one_is_on_the_disk(alice, clock, monkeypatch):
    alice.blob(jpeg("cat"))
    flushed = []
    monkeypatch.setattr(group_fsync, "sync_file", flushed.append)

    alice.blob(jpeg("cat"))
    soon = len(flushed)
    clock.advance(60)
    alice.blob(jpeg("cat"))

    assert (soon, len(flushed)) == (1, 1)  # by then it had been for long


def test_a_repeated_upload_brings_back_bytes_that_were_lost_a_moment_ago(services, alice):
    blob = alice.blob(jpeg("cat"))
    backend = services.blobs.backend
    backend.delete(blob["ref"]["$link"])

    alice.blob(jpeg("cat"))

    assert backend.size(blob["ref"]["$link"]) == len(jpeg("cat"))
