"""The calls of the object API, signed by botocore."""

import hashlib
import re
import subprocess
import sys
from base64 import b64encode
from xml.etree.ElementTree import fromstring

import pytest
from support.accounts import BOB, CAROL, blob_path
from support.cids import cid_of
from support.object_api import BUCKET, SETTINGS, SignedClient, code_of
from support.services import services_of

from aurora_blobs.config import Config, ConfigError
from aurora_blobs.storage import group_fsync

DATA = b"bytes of a PDS"
CID = cid_of(DATA)
STAGED, STORED, QUARANTINED = (
    f"{kind}/{CAROL}/{name}"
    for kind, name in [("tmp", "abc"), ("blocks", CID), ("quarantine", CID)]
)
PART = bytes(5 * 2**20)
NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


def texts(answer, path):
    """The texts of the elements at *path*, of names without their namespace."""
    found = fromstring(re.sub(rb' xmlns="[^"]*"', b"", answer.data))
    return [element.text for element in found.iterfind(path)]


def all_keys(pds):
    return texts(pds.get("", query="list-type=2"), "Contents/Key")


def promoted(pds, data=DATA, did=CAROL):
    name, cid = f"tmp/{did}/promoted", cid_of(data)
    for answer in (
        pds.put(name, data),
        pds.copy(name, f"blocks/{did}/{cid}"),
        pds.delete(name),
    ):
        assert answer.status_code in (200, 204), answer.text
    return f"blocks/{did}/{cid}"


def begun(pds, key=STAGED):
    answer = pds.open("POST", key, query="uploads=")
    [upload_id] = texts(answer, "UploadId")
    return upload_id


def part(pds, upload_id, number, data, key=STAGED, **headers):
    query = f"partNumber={number}&uploadId={upload_id}"
    return pds.put(key, data, query=query, **headers)


def completed(pds, upload_id, *parts, key=STAGED):
    rows = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>" for number, tag in parts
    )
    body = f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode()
    return pds.open("POST", key, body, query=f"uploadId={upload_id}")


def parts_left(app):
    folder = services_of(app).config.data_folder.parts
    return sorted(path.name for path in folder.glob("*/*.*.*"))


def test_an_object_lives_as_the_reference_pds_has_it(pds, objects_app):
    key = promoted(pds)

    got = pds.get(key, x_amz_checksum_mode="ENABLED")
    head = pds.head(key)
    public = objects_app.test_client().get(blob_path(CAROL, CID))
    gone = pds.delete(key)

    assert (got.status_code, got.data) == (200, DATA)
    assert got.headers["ETag"] == head.headers["ETag"] == f'"{CID}-1"'
    digest = b64encode(hashlib.sha256(DATA).digest()).decode()
    assert got.headers["x-amz-checksum-sha256"] == digest
    assert (head.status_code, head.data, head.content_length) == (200, b"", len(DATA))
    assert public.data == DATA
    assert (gone.status_code, gone.data) == (204, b"")
    assert code_of(pds.get(key)) == (404, "NoSuchKey")
    assert (pds.head(key).status_code, pds.head(key).data) == (404, b"")


def test_a_part_and_a_condition_are_answered_as_those_of_a_blob(pds):
    key = promoted(pds)

    part = pds.get(key, range="bytes=2-4")
    beyond = pds.get(key, range="bytes=100-")
    known = pds.get(key, if_none_match=f'"{CID}-1"')
    other = pds.get(key, if_match='"x"')

    assert (part.status_code, part.data) == (206, DATA[2:5])
    assert part.headers["Content-Range"] == f"bytes 2-4/{len(DATA)}"
    assert code_of(beyond) == (416, "InvalidRange")
    assert beyond.headers["Content-Range"] == f"bytes */{len(DATA)}"
    assert known.status_code == 304
    assert code_of(other) == (412, "PreconditionFailed")


CALLS = [
    ("GET", STORED, ""),
    ("HEAD", STORED, ""),
    ("PUT", STAGED, ""),
    ("DELETE", STORED, ""),
    ("POST", "", "delete="),
    ("POST", STAGED, "uploads="),
    ("GET", "", "list-type=2"),
    ("HEAD", "", ""),
]


@pytest.mark.parametrize("method, key, query", CALLS, ids=[" ".join(call) for call in CALLS])
def test_nobody_gets_in_without_the_secret(pds, objects_app, method, key, query):
    promoted(pds)
    client = objects_app.test_client()

    stranger = SignedClient(client, "another secret").open(method, key, b"x", query=query)
    nobody = client.open(f"/{BUCKET}/{key}", query_string=query, method=method, data=b"x")

    assert (stranger.status_code, nobody.status_code) == (403, 403)
    assert all_keys(pds) == [STORED]
    assert not services_of(objects_app).config.data_folder.parts.exists()


@pytest.mark.parametrize(
    "method, key, query, expected",
    [
        ("GET", f"blocks/{CAROL}/nonsense", "", (404, "NoSuchKey")),
        ("PUT", "some/file.txt", "", (403, "AccessDenied")),
        ("PUT", QUARANTINED, "", (400, "BadDigest")),
        ("GET", "a" * 1025, "", (400, "KeyTooLongError")),
        ("GET", STORED, "acl=", (501, "NotImplemented")),
        ("PUT", STORED, "tagging=", (501, "NotImplemented")),
        ("POST", STORED, "", (501, "NotImplemented")),
        ("PUT", "", "", (501, "NotImplemented")),
        ("POST", "", "delete=", (400, "MalformedXML")),
        ("GET", "", "list-type=3", (400, "InvalidArgument")),
        ("GET", "", "max-keys=many", (400, "InvalidArgument")),
        ("GET", "", "delimiter=-", (501, "NotImplemented")),
        ("GET", STAGED, f"uploadId={'0' * 64}", (404, "NoSuchUpload")),
        ("GET", STAGED, "uploadId=../../spool", (404, "NoSuchUpload")),
        ("DELETE", STAGED, f"uploadId={'0' * 64}", (404, "NoSuchUpload")),
        ("PUT", STAGED, f"partNumber=1&uploadId={'0' * 64}", (404, "NoSuchUpload")),
        ("PUT", STAGED, f"partNumber=x&uploadId={'0' * 64}", (400, "InvalidArgument")),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(pds, method, key, query, expected):
    answer = pds.open(method, key, b"x", query=query)

    assert code_of(answer) == expected
    assert answer.content_type == "application/xml"


def test_a_method_that_s3_does_not_have_is_refused_in_its_words(objects_app):
    answer = objects_app.test_client().patch(f"/{BUCKET}/{STORED}")

    assert answer.status_code == 405


def test_another_bucket_is_not_here(pds):
    assert code_of(pds.get(STORED, bucket="other")) == (404, "NoSuchBucket")
    answer = pds.open("PUT", STORED, x_amz_copy_source=f"other/{STAGED}")
    assert code_of(answer) == (404, "NoSuchBucket")


def test_other_addresses_answer_as_before(objects_app):
    client = objects_app.test_client()

    assert client.get("/nothing").json["error"] == "NotFound"
    assert client.get("/xrpc/com.example.nothing").json["error"] == "MethodNotImplemented"
    assert client.get("/xrpc/_health").status_code == 200


def test_switched_off_nothing_of_it_is_there(tmp_path):
    program = (
        "import sys; from pathlib import Path; from aurora_blobs.app import create_app;"
        "from aurora_blobs.config import Config;"
        f"app = create_app(Config(data_dir=Path({str(tmp_path)!r})));"
        "assert not [name for name in sys.modules if 'object_api' in name];"
        f"assert app.test_client().get('/{BUCKET}/').status_code == 404"
    )

    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@pytest.mark.parametrize(
    "changes",
    [
        {"AURORA_BLOBS_OBJECT_API_SECRET_ACCESS_KEY": ""},
        {"AURORA_BLOBS_OBJECT_API_BUCKET": ""},
        {"AURORA_BLOBS_OBJECT_API_BUCKET": "xrpc"},
        {"AURORA_BLOBS_OBJECT_API_BUCKET": "a/b"},
        {"AURORA_BLOBS_OBJECT_API_SECRET_ACCESS_KEY": "short"},
        {"AURORA_BLOBS_ACCOUNTS": "local"},
    ],
    ids=str,
)
def test_half_of_its_settings_end_the_start(changes):
    with pytest.raises(ConfigError) as caught:
        Config.from_environ(SETTINGS | changes)

    assert SETTINGS["AURORA_BLOBS_OBJECT_API_SECRET_ACCESS_KEY"] not in str(caught.value)


def test_what_may_be_uploaded_is_the_pds_s_to_say_unless_it_is_set():
    its_own = Config.from_environ(SETTINGS)
    given = Config.from_environ(SETTINGS | {"AURORA_BLOBS_MAX_BLOB_SIZE": "1MB"})

    assert (its_own.max_blob_size, its_own.allowed_mime_types) == (300 * 2**20, ("*/*",))
    assert (its_own.mime_policy, given.max_blob_size) == ("sniff", 10**6)


@pytest.mark.parametrize(
    "settings, data, expected",
    [
        ({"MAX_BLOB_SIZE": "10"}, DATA, (400, "EntityTooLarge")),
        ({"QUOTA": "10"}, DATA, (403, "AccessDenied")),
        ({"ALLOWED_MIME_TYPES": "image/png"}, DATA, (403, "AccessDenied")),
        ({"UPLOADS_PER_DAY": "1"}, DATA, (503, "SlowDown")),
    ],
    ids=["size", "quota", "type", "uploads a day"],
)
def test_a_limit_is_an_error_of_s3_and_leaves_nothing(open_objects, settings, data, expected):
    app = open_objects(**settings)
    pds = SignedClient(app.test_client())
    pds.put(f"tmp/{BOB}/first", b"first")
    pds.put(f"tmp/{CAROL}/first", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    before = all_keys(pds)

    answer = pds.put(STAGED, data)

    assert code_of(answer) == expected
    assert all_keys(pds) == before
    assert services_of(app).blobs.inspect(CID) is None


def test_bytes_other_than_those_that_were_signed_are_refused(pds, objects_app):
    digest = hashlib.sha256(b"other").hexdigest()
    crc = b64encode(bytes(4)).decode()

    assert code_of(pds.put(STAGED, DATA, x_amz_checksum_crc32=crc)) == (400, "BadDigest")
    assert code_of(pds.put(STAGED, DATA, content_md5=b64encode(bytes(16)).decode())) == (
        (400, "BadDigest")
    )
    assert code_of(pds.put(f"blocks/{CAROL}/{cid_of(b'other')}", DATA)) == (400, "BadDigest")
    assert services_of(objects_app).blobs.inspect(CID) is None
    assert digest not in pds.put(STAGED, DATA).headers["ETag"]


def test_many_objects_are_deleted_in_one_call(pds):
    keys = [promoted(pds, b"bytes %d" % number) for number in range(5)]
    rows = "".join(f"<Object><Key>{key}</Key></Object>" for key in [*keys[1:], "no/such&amp;key"])

    answer = pds.open("POST", "", f"<Delete>{rows}</Delete>".encode(), query="delete=")
    quiet = pds.open(
        "POST", "", f"<Delete><Quiet>true</Quiet>{rows}</Delete>".encode(), query="delete="
    )

    assert texts(answer, "Deleted/Key") == [*keys[1:], "no/such&key"]
    assert texts(quiet, "Deleted/Key") == []
    assert all_keys(pds) == [keys[0]]


def test_an_upload_in_parts_becomes_one_object_in_whatever_order_they_come(pds, objects_app):
    upload_id = begun(pds)
    last = part(pds, upload_id, 3, b"the end")
    first = part(pds, upload_id, 1, PART)
    again = part(pds, upload_id, 1, PART)
    listed = pds.get(STAGED, query=f"uploadId={upload_id}")

    answer = completed(
        pds, upload_id, (1, first.headers["ETag"]), (3, last.headers["ETag"].strip('"'))
    )
    repeated = completed(pds, upload_id, (1, first.headers["ETag"]), (3, last.headers["ETag"]))

    cid = cid_of(PART + b"the end")
    assert texts(listed, "Part/PartNumber") == ["1", "3"]
    assert again.headers["ETag"] == first.headers["ETag"]
    assert texts(answer, "ETag") == texts(repeated, "ETag") == [f'"{cid}-1"']
    assert parts_left(objects_app) == []
    assert pds.get(STAGED).data == PART + b"the end"


def test_a_part_that_comes_again_takes_the_place_of_the_first(pds, objects_app):
    upload_id = begun(pds)
    wrong = part(pds, upload_id, 1, b"wrong")
    right = part(pds, upload_id, 1, b"right")

    assert code_of(completed(pds, upload_id, (1, wrong.headers["ETag"]))) == (400, "InvalidPart")
    assert completed(pds, upload_id, (1, right.headers["ETag"])).status_code == 200
    assert pds.get(STAGED).data == b"right"


def test_parts_are_bounded(open_objects):
    app = open_objects(MAX_BLOB_SIZE="6MiB")
    pds = SignedClient(app.test_client())
    upload_id = begun(pds)
    small = part(pds, upload_id, 1, b"small").headers["ETag"]
    second = part(pds, upload_id, 2, PART).headers["ETag"]

    assert code_of(part(pds, upload_id, 3, PART)) == (400, "EntityTooLarge")
    assert code_of(part(pds, upload_id, 0, b"x")) == (400, "InvalidArgument")
    assert code_of(part(pds, upload_id, 10_001, b"x")) == (400, "InvalidArgument")
    assert code_of(part(pds, upload_id, 4, b"x", content_md5=b64encode(bytes(16)).decode())) == (
        (400, "BadDigest")
    )
    assert code_of(completed(pds, upload_id, (1, small), (2, second))) == (400, "EntityTooSmall")
    assert len(parts_left(app)) == 2


def test_an_account_has_so_many_uploads_in_parts_at_once(pds):
    keys = [f"tmp/{CAROL}/{number}" for number in range(33)]
    ids = [begun(pds, key) for key in keys[:32]]

    refused = pds.open("POST", keys[32], query="uploads=")
    other = pds.open("POST", f"tmp/{BOB}/0", query="uploads=")
    pds.open("DELETE", keys[0], query=f"uploadId={ids[0]}")

    assert code_of(refused) == (503, "SlowDown")
    assert int(refused.headers["Retry-After"]) > 0
    assert other.status_code == 200
    assert pds.open("POST", keys[32], query="uploads=").status_code == 200


def test_an_upload_that_is_aborted_leaves_nothing(pds, objects_app):
    upload_id = begun(pds)
    tag = part(pds, upload_id, 1, b"part").headers["ETag"]

    answer = pds.open("DELETE", STAGED, query=f"uploadId={upload_id}")

    assert answer.status_code == 204
    assert code_of(part(pds, upload_id, 2, b"late")) == (404, "NoSuchUpload")
    assert code_of(completed(pds, upload_id, (1, tag))) == (404, "NoSuchUpload")
    assert list(services_of(objects_app).config.data_folder.parts.iterdir()) == []


def test_parts_are_those_of_their_own_key(pds):
    upload_id = begun(pds)
    tag = part(pds, upload_id, 1, b"part").headers["ETag"]
    other = f"tmp/{BOB}/abc"

    assert code_of(part(pds, upload_id, 1, b"x", key=other)) == (404, "NoSuchUpload")
    assert code_of(completed(pds, upload_id, (1, tag), key=other)) == (404, "NoSuchUpload")


def test_parts_may_become_the_blob_of_a_cid_and_of_no_other(pds):
    wrong, right = (f"blocks/{CAROL}/{cid_of(data)}" for data in (b"other", b"part"))
    first, second = begun(pds, wrong), begun(pds, right)
    tag = part(pds, first, 1, b"part", key=wrong).headers["ETag"]
    part(pds, second, 1, b"part", key=right)

    assert code_of(completed(pds, first, (1, tag), key=wrong)) == (400, "BadDigest")
    assert completed(pds, second, (1, tag), key=right).status_code == 200
    assert all_keys(pds) == [right]


@pytest.mark.parametrize("call", ["list-type=2", ""], ids=["second version", "first version"])
def test_a_list_comes_in_pages_and_misses_nothing(pds, call):
    keys = sorted(
        promoted(pds, b"bytes %d" % number, did) for number in range(7) for did in (BOB, CAROL)
    )
    pds.put(STAGED, DATA)
    position = "continuation-token" if call else "marker"
    found, query = [], f"{call}&max-keys=4"
    while query:
        answer = pds.get("", query=query)
        found += texts(answer, "Contents/Key")
        following = texts(answer, "NextContinuationToken" if call else "NextMarker")
        query = f"{call}&max-keys=4&{position}={following[0]}" if following else ""

    assert found == [*keys, STAGED]


def test_a_list_shows_folders_and_what_begins_with_a_prefix(pds):
    keys = [promoted(pds, b"bytes %d" % number) for number in range(3)]
    other = promoted(pds, b"bytes", BOB)
    pds.put(STAGED, DATA)

    def listed(query):
        answer = pds.get("", query=f"list-type=2&{query}")
        return texts(answer, "CommonPrefixes/Prefix"), texts(answer, "Contents/Key")

    assert listed("delimiter=/") == (["blocks/", "tmp/"], [])
    assert listed("delimiter=/&prefix=blocks/") == ([f"blocks/{CAROL}/", f"blocks/{BOB}/"], [])
    assert listed(f"delimiter=/&prefix=blocks/{CAROL}/") == ([], sorted(keys))
    assert listed(f"prefix=blocks/{BOB}") == ([], [other])
    assert listed(f"prefix={keys[0]}") == ([], [keys[0]])
    assert listed("prefix=tm") == ([], [STAGED])
    assert listed("prefix=x") == ([], [])
    assert listed(f"start-after={sorted(keys)[1]}&max-keys=1") == ([], [sorted(keys)[2]])
    assert listed("delimiter=/&max-keys=1") == (["blocks/"], [])
    assert listed("max-keys=0") == ([], [])


def test_an_answer_that_was_lost_is_the_same_the_second_time(pds):
    pds.put(STAGED, DATA)
    first = pds.copy(STAGED, STORED)

    assert pds.copy(STAGED, STORED).data == first.data
    assert pds.delete(STAGED).status_code == pds.delete(STAGED).status_code == 204
    assert code_of(pds.copy(STAGED, STORED)) == (404, "NoSuchKey")
    assert pds.head(STORED).status_code == 200  # by which the PDS sees that it was promoted


def test_an_upload_that_is_begun_twice_by_one_request_is_one(objects_app):
    """Whoever repeats a captured request begins nothing."""
    client = objects_app.test_client()
    sent = []

    class Recording:
        def open(self, *given, **named):
            sent.append((given, named))
            return client.open(*given, **named)

    first = begun(SignedClient(Recording()))
    [(given, named)] = sent

    assert texts(client.open(*given, **named), "UploadId") == [first]


def test_clients_upload_to_the_pds_and_not_here(objects_app):
    client = objects_app.test_client()

    answer = client.post("/xrpc/com.atproto.repo.uploadBlob", data=DATA)

    assert answer.status_code == 501
    assert answer.json == {
        "error": "MethodNotImplemented",
        "message": "The blobs here are those of a PDS: upload there",
    }
    assert client.get("/xrpc/com.atproto.server.describeServer").status_code == 200
    assert list(services_of(objects_app).config.data_folder.spool.iterdir()) == []


@pytest.mark.sqlite
def test_an_answer_waits_for_one_flush_of_the_log_or_none_for_the_end_of_an_upload(
    open_objects, monkeypatch
):
    """Also that of a deletion which somebody else has done, who may have died before his."""
    pds = SignedClient(open_objects(DURABILITY="full").test_client())
    pds.put(STAGED, DATA)
    flushed, counts = [], []
    monkeypatch.setattr(group_fsync, "sync_file", flushed.append)

    for call in (
        lambda: pds.copy(STAGED, STORED),
        lambda: pds.copy(STAGED, STORED),
        lambda: pds.delete(STAGED),
        lambda: pds.delete(STAGED),
        lambda: pds.delete_many([STAGED, STORED]),
        lambda: pds.delete_many([STAGED, STORED]),
    ):
        assert call().status_code in (200, 204)
        counts.append(len(flushed))
        flushed.clear()

    assert counts == [1, 1, 0, 0, 1, 1]
