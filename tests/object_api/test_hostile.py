"""Requests by chance, signed and not: none ends in a 500, none leaves anything behind."""

import os
import random
from collections import Counter
from xml.etree.ElementTree import fromstring

import pytest
from support.accounts import BOB, CAROL, blob_path
from support.cids import cid_of
from support.object_api import BUCKET, SignedClient
from support.services import services_of

DATA = b"bytes of a PDS"
CID = cid_of(DATA)
KEYS = [
    *(
        "",
        "a",
        "/",
        "//",
        ".",
        "..",
        "../..",
        "tmp",
        "tmp/",
        "blocks/",
        "\N{SNOWMAN}",
        "a\tb",
        "%00",
    ),
    *(f"tmp/{CAROL}/abc", f"tmp/{BOB}/{'x' * 255}", f"tmp/{CAROL}/a/b", f"tmp/{CAROL}/.."),
    *(f"blocks/{CAROL}/{CID}", f"blocks/{BOB}/{CID}", f"blocks/{CAROL}/{CID[:-1]}"),
    *(f"quarantine/{CAROL}/{CID}", f"blocks/did:web:x/{CID}/", "x" * 1024, "x" * 1025, "tmp/x/y"),
]
NAMES = [
    *("uploads", "uploadId", "partNumber", "delete", "list-type", "prefix", "delimiter", "acl"),
    *("max-keys", "continuation-token", "start-after", "marker", "location", "x-id", "versionId"),
    *("encoding-type", "X-Amz-Signature", "X-Amz-Date", "X-Amz-Expires", "response-content-type"),
]
VALUES = [
    *("", "0", "1", "2", "-1", "10000", "10001", "9" * 40, "x", "/", "blocks/", "tmp/did", "url"),
    *("0" * 64, "../../spool", "\0", "\N{SNOWMAN}", "%", "a b", "'", "<a>", "\U0010ffff", "true"),
]
HEADERS = [
    *("x-amz-copy-source", "x-amz-decoded-content-length", "x-amz-trailer", "content-encoding"),
    *("x-amz-checksum-crc32", "x-amz-checksum-sha256", "x-amz-checksum-mode", "content-md5"),
    *("range", "if-match", "if-none-match", "if-range", "content-type", "x-amz-acl", "expect"),
    *("x-amz-checksum-crc32c", "x-amz-copy-source-if-match", "x-amz-meta-a", "content-language"),
]
HEADER_VALUES = [
    *("", "0", "5", "-5", "x", "AAAAAA==", "9" * 40, "aws-chunked", "x-amz-checksum-crc32", "*"),
    *(f"{BUCKET}/tmp/{CAROL}/abc", f"/{BUCKET}/blocks/{CAROL}/{CID}", f"{BUCKET}/", "/", "%zz"),
    *("bytes=0-1", "bytes=9-", "text/html", "ENABLED", f'"{CID}"', "\xe9", "a" * 3000),
]
BODIES = [
    *(b"", DATA, b"x" * 100_000, b"<Delete/>", b"<Delete><Object><Key>a</Key></Object></Delete>"),
    b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part>"
    b"</CompleteMultipartUpload>",
    b"5\r\nhello\r\n0\r\n\r\n",
]


def request(chance):
    """Method, key, body, query and headers of a request by *chance*."""
    names = chance.sample(NAMES, chance.choice([0, 0, 1, 2]))
    query = "&".join(f"{name}={chance.choice(VALUES)}" for name in names)
    headers = {
        name.replace("-", "_"): chance.choice(HEADER_VALUES)
        for name in chance.sample(HEADERS, chance.choice([0, 0, 1, 3]))
    }
    method = chance.choice(["GET", "HEAD", "PUT", "POST", "DELETE"])
    return method, chance.choice(KEYS), chance.choice(BODIES), query, headers


def kind(answer):
    """The status of *answer*, whose text says what it has to."""
    text = answer.data.decode(errors="replace")
    is_xml = answer.content_type == "application/xml" and text
    return answer.status_code, fromstring(text).tag if is_xml else None


def test_no_request_ends_in_a_500_or_leaves_anything(open_objects):
    seed = os.environ.get("TEST_SEED") or str(random.randrange(10**6))
    print(f"TEST_SEED={seed}")
    app = open_objects(MAX_BLOB_SIZE="90000")
    client = app.test_client()
    pds, stranger = SignedClient(client), SignedClient(client, "another secret")
    pds.put(f"blocks/{BOB}/{cid_of(b'kept')}", b"kept")
    statuses = {pds: Counter(), stranger: Counter()}

    for number in range(600):
        chance = random.Random(f"{seed}/{number}")
        caller = chance.choice([pds, pds, stranger])
        method, key, body, query, headers = request(chance)
        answer = caller.open(method, key, body, query=query, **headers)
        assert answer.status_code in EXPECTED, (number, method, key, query, headers, answer.data)
        assert (answer.status_code < 400) <= (kind(answer)[1] != "Error"), number
        statuses[caller][answer.status_code] += 1

    print(statuses)
    assert set(statuses[stranger]) <= {400, 403, 404}
    assert client.get(blob_path(BOB, cid_of(b"kept"))).data == b"kept"
    data_folder = services_of(app).config.data_folder
    assert list(data_folder.spool.iterdir()) == []
    assert list(data_folder.parts.glob("*/incoming.*")) == []


EXPECTED = {200, 204, 206, 304, 400, 403, 404, 411, 412, 416, 501, 503}


@pytest.mark.parametrize("length", [10, 1000, 8000])
def test_an_authorization_of_any_length_is_refused(objects_app, length):
    for text in (
        "AWS4-HMAC-SHA256 " + "Credential=a/" * length,
        "AWS4-HMAC-SHA256 " + " " * length,
    ):
        answer = objects_app.test_client().get(
            f"/{BUCKET}/x", headers={"Authorization": text[:length]}
        )

        assert answer.status_code in (400, 403)
