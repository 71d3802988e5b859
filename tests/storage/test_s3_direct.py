"""Calls after the first go where boto3's own went, without its machinery."""

from functools import partial

import pytest
from support.s3_access import BUCKET

from aurora_blobs.errors import BackendUnavailable
from aurora_blobs.storage.s3 import S3Backend
from aurora_blobs.storage.s3_bucket import Bucket
from aurora_blobs.storage.s3_client import S3Client

BY_BOTO3 = "amz-sdk-invocation-id"  # a header of all that boto3 sends itself


@pytest.fixture
def backend(server):
    client = S3Client(endpoint_url=server.url, region="eu-west-1", addressing_style="path")
    return S3Backend(Bucket(BUCKET, client), prefix="a b/ü+~/")


@pytest.fixture
def put(store, backend):
    return partial(store, backend)


def signed_for(request):
    """The region that *request* was signed for."""
    return request.headers["authorization"].split("/")[2]


def test_bytes_that_are_damaged_on_the_way_are_refused(server, backend, put):
    put(b"before")
    server.damages = True

    with pytest.raises(BackendUnavailable):
        put(b"after")

    assert list(server.objects.values()) == [b"before"]


def test_calls_for_objects_are_boto3_s_once_and_direct_after_that(server, backend, put):
    cids = [put(data) for data in (b"one", b"two", b"three")]
    read = [backend.open(cid).read() for cid in cids]
    part = backend.open(cids[2], 1, 3).read()
    sizes = [backend.size(cid) for cid in cids]  # brief calls have a client of their own

    assert (read, part, sizes) == ([b"one", b"two", b"three"], b"hr", [3, 3, 5])
    by_boto3 = [BY_BOTO3 in request.headers for request in server.asked]
    assert by_boto3 == [True, *6 * [False], True, False, False]
    assert {signed_for(request) for request in server.asked} == {"eu-west-1"}
    assert all(request.headers["user-agent"].startswith("Boto3/") for request in server.asked)


def test_a_small_body_comes_with_its_head_and_a_large_one_when_it_is_asked_for(server, put):
    put(b"first")
    put(b"small")
    put(b"large" * 100_000)

    assert [request.headers.get("expect") for request in server.asked[1:]] == [
        None,
        "100-continue",
    ]


@pytest.mark.parametrize("status, code", [(301, "PermanentRedirect"), (400, "")])
def test_a_bucket_that_is_in_another_region_by_now_is_found_again(server, put, status, code):
    put(b"before")
    elsewhere = status, code, {"x-amz-bucket-region": "us-west-2"}
    redirect = 301, "PermanentRedirect", {"x-amz-bucket-region": "us-west-2"}
    server.answers = [elsewhere, redirect]
    server.operations()

    put(b"moved")
    regions = [signed_for(request) for request in server.asked]
    put(b"after")

    assert regions == ["eu-west-1", "eu-west-1", "us-west-2"]
    assert signed_for(server.asked[-1]) == "us-west-2"
    assert BY_BOTO3 not in server.asked[-1].headers
    assert sorted(server.objects.values()) == [b"after", b"before", b"moved"]


def test_what_is_sent_without_its_checksum_is_signed_by_boto3_which_reads_it(server, put):
    put(b"before")
    server.refused = {"x-amz-checksum-": (400, "InvalidArgument", "no checksums")}

    put(b"without")
    server.asked.clear()
    put(b"without, again")

    assert [BY_BOTO3 in request.headers for request in server.asked] == [True]
