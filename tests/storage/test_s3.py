"""The S3 store beyond the contract, without a server."""

import io
from datetime import UTC, datetime

import pytest

from aurora_blobs.errors import BlobNotFound, StoreNotOurs
from aurora_blobs.protocol.cid import place_of
from aurora_blobs.storage.base import MARK
from aurora_blobs.storage.s3 import S3Backend
from aurora_blobs.storage.s3_bucket import Bucket

ABSENT = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"


class Asked:
    """An S3 client that notes for each call whether it is brief."""

    def __init__(self):
        self.brief = []

    def call(self, operation, *, brief=False, **parameters):
        self.brief.append(brief)
        return {"ContentLength": 0}


class Huge:
    """An S3 client with an object of *size* bytes, which notes the ranges that are copied."""

    def __init__(self, size):
        self.size = size
        self.ranges = []

    def call(self, operation, *, CopySourceRange=None, **parameters):
        self.ranges += [CopySourceRange] if CopySourceRange else []
        return {
            "ContentLength": self.size,
            "UploadId": "upload",
            "CopyPartResult": {"ETag": '"00"'},
        }


@pytest.mark.parametrize(
    "size, count, last",
    [
        (5 * 2**30, 0, []),
        (5 * 2**30 + 1, 81, ["bytes=5368709120-5368709120"]),
        (5 * 2**40, 10_000, ["bytes=5497008384186-5497558138879"]),
    ],
    ids=["what one request takes", "a byte more", "the largest object"],
)
def test_an_object_has_no_more_parts_than_s3_takes(size, count, last):
    client = Huge(size)

    S3Backend(Bucket("bucket", client), prefix="").quarantine(ABSENT)

    assert (len(client.ranges), client.ranges[-1:]) == (count, last)


class Listing:
    """An S3 client that lists five uploads, two a page; a page has the markers in *tells*."""

    def __init__(self, tells):
        self.tells = tells
        self.cids = [f"{ABSENT[:9]}{letter}{ABSENT[10:]}" for letter in "abcde"]

    def call(self, operation, *, KeyMarker="", UploadIdMarker="", **parameters):
        if operation == "get_object":
            raise BlobNotFound()
        if operation != "list_multipart_uploads":
            return {}
        begun = datetime(2026, 1, 1, tzinfo=UTC)
        uploads = [
            {"Key": place_of(cid), "UploadId": f"of {cid}", "Initiated": begun} for cid in self.cids
        ]
        left = [
            upload
            for upload in uploads
            if upload["Key"] > KeyMarker and upload["UploadId"] > UploadIdMarker
        ]
        markers = {
            "NextKeyMarker": left[:2][-1]["Key"],
            "NextUploadIdMarker": left[:2][-1]["UploadId"],
        }
        return {
            "Uploads": left[:2],
            "IsTruncated": len(left) > 2,
            **{name: marker for name, marker in markers.items() if name in self.tells},
        }


@pytest.mark.parametrize(
    "tells",
    [("NextKeyMarker", "NextUploadIdMarker"), ("NextUploadIdMarker",), ()],
    ids=["both", "as SeaweedFS", "as Swift"],
)
def test_unfinished_uploads_are_found_on_every_page(tells):
    client = Listing(tells)
    backend = S3Backend(Bucket("bucket", client), prefix="")

    found = [left.cid for left in backend.unfinished(2_000_000_000_000_000)]

    assert found == client.cids


@pytest.mark.parametrize(
    "operation, named", [("size", ABSENT), ("delete", ABSENT), ("delete_many", [ABSENT])]
)
def test_calls_under_the_write_lock_are_brief(operation, named):
    client = Asked()
    backend = S3Backend(Bucket("bucket", client), prefix="")

    getattr(backend, operation)(named)

    assert client.brief == [True]


class Marked:
    """An S3 client of a bucket with nothing in it but a mark, and how often that was asked for."""

    def __init__(self, mark):
        self.mark = mark
        self.looks = 0

    def call(self, operation, *, Key="", **parameters):
        if Key.endswith(MARK):
            self.looks += 1
            return {"Body": io.BytesIO(b'{"store": "%s"}' % self.mark)}
        if operation in ("head_object", "get_object"):
            raise BlobNotFound()
        return {}


def no_claim(store):
    raise StoreNotOurs("it stays so")


@pytest.fixture
def seconds():
    return [1000.0]


@pytest.fixture
def marked(seconds):
    """The client of a guarded store, and the store."""
    client = Marked(b"mine")
    backend = S3Backend(Bucket("bucket", client, seconds=lambda: seconds[0]), prefix="p/")
    backend.guard(no_claim, "mine")
    return client, backend


def test_a_look_at_the_mark_is_good_for_five_seconds_of_uploads(marked, seconds):
    client, backend = marked

    for _ in range(10):
        backend.confirm()
        backend.check_ours(recently=True)
        backend.delete(ABSENT)
    first = client.looks
    seconds[0] += 5
    backend.delete(ABSENT)

    assert (first, client.looks) == (1, 2)


def test_that_an_object_is_absent_is_never_said_without_a_look_of_its_own(marked):
    client, backend = marked
    backend.confirm()

    assert backend.size(ABSENT) is backend.version(ABSENT) is None
    with pytest.raises(BlobNotFound):
        backend.open(ABSENT)

    assert client.looks == 4


def test_another_mark_is_noticed_at_once_where_an_object_is_absent(marked):
    client, backend = marked
    backend.confirm()
    client.mark = b"another's"

    with pytest.raises(StoreNotOurs):
        backend.size(ABSENT)
    with pytest.raises(StoreNotOurs):
        backend.check_ours(recently=True)


def test_the_calls_about_the_mark_are_brief():
    client = Asked()
    backend = S3Backend(Bucket("bucket", client), prefix="")

    backend.write_mark("mine")

    assert client.brief == [True]


def test_unfinished_uploads_of_another_s_bucket_are_left_alone():
    backend = S3Backend(Bucket("bucket", Listing(())), prefix="")
    backend.guard(no_claim, "mine")

    with pytest.raises(StoreNotOurs):
        next(backend.unfinished(2_000_000_000_000_000))
