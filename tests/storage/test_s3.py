"""The S3 store beyond the contract, without a server."""

from datetime import UTC, datetime

import pytest

from aurora_blobs.protocol.cid import place_of
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
