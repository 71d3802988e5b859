"""What clients of S3 expect of the calls of the object API, with boto3: lists, errors, conditions.

The cases are those of https://github.com/ceph/s3-tests that these calls have, in words of our own.
"""

import io
import random
import secrets
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError
from support.cids import cid_of
from support.object_api import BUCKET, object_service, s3_client

pytestmark = pytest.mark.live

PART = 5 * 2**20


@pytest.fixture(scope="module")
def s3(tmp_path_factory):
    with object_service(tmp_path_factory.mktemp("as-s3") / "service") as service:
        yield s3_client(f"http://127.0.0.1:{service.port}")


@pytest.fixture
def did():
    """An account of the test's own."""
    return f"did:web:t{secrets.token_hex(5)}.test"


@pytest.fixture
def staged(s3, did):
    """``staged(name, data)`` puts an object; its key."""

    def staged(name, data=b"hello world"):
        s3.put_object(Bucket=BUCKET, Key=f"tmp/{did}/{name}", Body=data)
        return f"tmp/{did}/{name}"

    return staged


def refusal(call, **given):
    """Status and code of the error that *call* ends with."""
    with pytest.raises(ClientError) as caught:
        call(Bucket=given.pop("Bucket", BUCKET), **given)
    answer = caught.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]


def keys(answer):
    return [found["Key"] for found in answer.get("Contents", [])]


def folders(answer):
    return [found["Prefix"] for found in answer.get("CommonPrefixes", [])]


@pytest.mark.parametrize("version", ["list_objects", "list_objects_v2"])
def test_a_prefix_of_nothing_is_an_empty_list(s3, did, version):
    answer = getattr(s3, version)(Bucket=BUCKET, Prefix=f"tmp/{did}/")

    assert (keys(answer), folders(answer), answer["IsTruncated"]) == ([], [], False)
    assert (answer["MaxKeys"], answer["Name"]) == (1000, BUCKET)


def test_pages_of_the_first_version_follow_the_marker(s3, did, staged):
    wanted = [staged(name) for name in ("bar", "baz", "foo")]

    first = s3.list_objects(Bucket=BUCKET, Prefix=f"tmp/{did}/", MaxKeys=2)
    second = s3.list_objects(Bucket=BUCKET, Prefix=f"tmp/{did}/", MaxKeys=2, Marker=wanted[1])

    assert (keys(first), first["IsTruncated"]) == (wanted[:2], True)
    assert (keys(second), second["IsTruncated"], second["Marker"]) == (wanted[2:], False, wanted[1])


def test_pages_of_the_second_version_follow_the_token(s3, did, staged):
    wanted = [staged(name) for name in ("bar", "baz", "foo", "quxx")]

    first = s3.list_objects_v2(
        Bucket=BUCKET, Prefix=f"tmp/{did}/", MaxKeys=1, StartAfter=f"tmp/{did}/bar"
    )
    token = first["NextContinuationToken"]
    second = s3.list_objects_v2(
        Bucket=BUCKET,
        Prefix=f"tmp/{did}/",
        StartAfter=f"tmp/{did}/bar",
        ContinuationToken=token,
    )

    assert (keys(first), first["KeyCount"], first["StartAfter"]) == (
        wanted[1:2],
        1,
        f"tmp/{did}/bar",
    )
    assert keys(second) == wanted[2:]
    assert (second["ContinuationToken"], second["IsTruncated"]) == (token, False)


@pytest.mark.parametrize("version", ["list_objects", "list_objects_v2"])
def test_a_list_of_no_rows_is_whole(s3, did, staged, version):
    staged("bar")

    answer = getattr(s3, version)(Bucket=BUCKET, Prefix=f"tmp/{did}/", MaxKeys=0)

    assert (keys(answer), answer["IsTruncated"]) == ([], False)


@pytest.mark.parametrize(
    "after, expected",
    [("blah", ["foo"]), ("zzz", []), ("\n", ["bar", "foo"]), ("", ["bar", "foo"])],
    ids=["between", "behind all", "before all", "nothing"],
)
def test_a_list_goes_on_behind_what_need_not_be_a_key(s3, did, staged, after, expected):
    for name in ("bar", "foo"):
        staged(name)
    prefix = f"tmp/{did}/"

    first = s3.list_objects(Bucket=BUCKET, Prefix=prefix, Marker=prefix + after)
    second = s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix, StartAfter=prefix + after)

    assert keys(first) == keys(second) == [prefix + name for name in expected]


@pytest.mark.parametrize("version", ["list_objects", "list_objects_v2"])
def test_with_a_delimiter_folders_are_rows(s3, did, staged, version):
    staged("a")
    s3.put_object(Bucket=BUCKET, Key=f"blocks/{did}/{cid_of(b'x')}", Body=b"x")
    call = getattr(s3, version)

    top = call(Bucket=BUCKET, Delimiter="/")
    inner = call(Bucket=BUCKET, Delimiter="/", Prefix=f"blocks/{did}")
    innermost = call(Bucket=BUCKET, Delimiter="/", Prefix=f"blocks/{did}/")

    assert {"blocks/", "tmp/"} <= set(folders(top))
    assert (keys(top), top["Delimiter"]) == ([], "/")
    assert (keys(inner), folders(inner)) == ([], [f"blocks/{did}/"])
    assert keys(innermost) == [f"blocks/{did}/{cid_of(b'x')}"]


def test_names_in_a_list_are_escaped_where_that_is_asked_for(s3, did, staged):
    staged("a~b")

    answer = s3.list_objects_v2(Bucket=BUCKET, Prefix=f"tmp/{did}/", EncodingType="url")

    assert answer["EncodingType"] == "url"
    assert [key.replace("%3A", ":") for key in keys(answer)] == [f"tmp/{did}/a~b"]


def test_a_row_tells_size_and_tag_as_the_object_does(s3, did, staged):
    key = staged("bar", b"x" * 1000)

    [row] = s3.list_objects_v2(Bucket=BUCKET, Prefix=key)["Contents"]
    head = s3.head_object(Bucket=BUCKET, Key=key)

    assert (
        (row["Size"], row["ETag"]) == (head["ContentLength"], head["ETag"]) == (1000, row["ETag"])
    )
    assert row["LastModified"].replace(microsecond=0) == head["LastModified"]


@pytest.mark.parametrize("call", ["list_objects", "list_objects_v2", "get_bucket_location"])
def test_another_bucket_is_none(s3, call):
    assert refusal(getattr(s3, call), Bucket="nothing") == (404, "NoSuchBucket")


@pytest.mark.parametrize(
    "call, given", [("get_object", {}), ("put_object", {"Body": b"x"}), ("delete_object", {})]
)
def test_objects_of_another_bucket_are_none(s3, call, given):
    assert refusal(getattr(s3, call), Bucket="nothing", Key="foo", **given) == (404, "NoSuchBucket")


def test_what_is_not_there_is_told_by_name(s3, did):
    key, target = f"tmp/{did}/bar", f"blocks/{did}/{cid_of(b'x')}"

    copied = refusal(s3.copy_object, Key=target, CopySource=f"{BUCKET}/{key}")

    assert copied == refusal(s3.get_object, Key=key) == (404, "NoSuchKey")
    assert refusal(s3.head_object, Key=key) == (404, "404")


def test_deleting_what_is_not_there_is_success(s3, did, staged):
    names = [staged("a"), staged("b"), f"tmp/{did}/nothing"]
    rows = {"Objects": [{"Key": name} for name in names]}

    first = s3.delete_objects(Bucket=BUCKET, Delete=rows)
    again = s3.delete_objects(Bucket=BUCKET, Delete=rows | {"Quiet": True})
    one = s3.delete_object(Bucket=BUCKET, Key=names[0])

    assert [row["Key"] for row in first["Deleted"]] == names
    assert "Errors" not in first
    assert "Deleted" not in again
    assert one["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert keys(s3.list_objects_v2(Bucket=BUCKET, Prefix=f"tmp/{did}/")) == []


def test_a_thousand_keys_are_deleted_at_once_and_no_more(s3, did):
    rows = [{"Key": f"tmp/{did}/{number}"} for number in range(1001)]

    s3.delete_objects(Bucket=BUCKET, Delete={"Objects": rows[:1000]})

    assert refusal(s3.delete_objects, Delete={"Objects": rows}) == (400, "MalformedXML")


def test_an_object_is_what_was_written_last(s3, did, staged):
    key = staged("foo", b"bar")
    first = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    staged("foo", b"soup")
    second = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    s3.delete_object(Bucket=BUCKET, Key=key)

    assert (first, second) == (b"bar", b"soup")
    assert refusal(s3.get_object, Key=key) == (404, "NoSuchKey")


def test_tags_are_conditions_of_reading(s3, staged):
    key = staged("foo", b"bar")
    tag = s3.head_object(Bucket=BUCKET, Key=key)["ETag"]

    same = s3.get_object(Bucket=BUCKET, Key=key, IfMatch=tag)["Body"].read()
    other = s3.get_object(Bucket=BUCKET, Key=key, IfNoneMatch='"ABCORZ"')["Body"].read()

    assert same == other == b"bar"
    assert refusal(s3.get_object, Key=key, IfMatch='"ABCORZ"') == (412, "PreconditionFailed")
    assert refusal(s3.get_object, Key=key, IfNoneMatch=tag)[0] == 304


@pytest.mark.parametrize("call", ["put_object", "copy_object"])
@pytest.mark.parametrize("condition", ["IfMatch", "IfNoneMatch"])
def test_conditions_of_writing_are_refused_and_nothing_is_written(s3, did, staged, call, condition):
    given = {"put_object": {"Body": b"x"}, "copy_object": {"CopySource": f"{BUCKET}/{staged('a')}"}}
    key = f"blocks/{did}/{cid_of(b'hello world')}"
    told = {"Key": key, condition: "*", **given[call]}

    assert refusal(getattr(s3, call), **told) == (501, "NotImplemented")
    assert refusal(s3.head_object, Key=key)[0] == 404


@pytest.mark.parametrize(
    "wanted, part, told",
    [
        ("bytes=4-7", b"o wo"[:4], "bytes 4-7/11"),
        ("bytes=4-", b"o world", "bytes 4-10/11"),
        ("bytes=-7", b"o world", "bytes 4-10/11"),
    ],
)
def test_a_range_is_a_part(s3, staged, wanted, part, told):
    answer = s3.get_object(Bucket=BUCKET, Key=staged("foo"), Range=wanted)

    assert answer["Body"].read() == part
    assert (answer["ContentRange"], answer["ResponseMetadata"]["HTTPStatusCode"]) == (told, 206)


def test_a_range_behind_the_end_is_refused(s3, staged):
    key = staged("foo")

    assert refusal(s3.get_object, Key=key, Range="bytes=40-50") == (416, "InvalidRange")


@pytest.mark.parametrize("size", [0, 1, 1024, 16 * 2**20])
def test_a_copy_is_its_source(s3, did, staged, size):
    data = random.Random(size).randbytes(size)
    key = f"blocks/{did}/{cid_of(data)}"

    told = s3.copy_object(Bucket=BUCKET, Key=key, CopySource=f"{BUCKET}/{staged('foo', data)}")
    head = s3.head_object(Bucket=BUCKET, Key=key)

    assert (head["ContentLength"], head["ETag"]) == (size, told["CopyObjectResult"]["ETag"])
    assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == data


def test_a_copy_from_another_bucket_is_refused(s3, did):
    key = f"blocks/{did}/{cid_of(b'x')}"

    assert refusal(s3.copy_object, Key=key, CopySource="nothing/foo") == (404, "NoSuchBucket")


class Parts:
    """An upload in parts of *key*."""

    def __init__(self, s3, key):
        self._s3, self.key, self.tags = s3, key, {}
        self.id = s3.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]

    @property
    def named(self):
        return {"Bucket": BUCKET, "Key": self.key, "UploadId": self.id}

    def put(self, number, data):
        answer = self._s3.upload_part(PartNumber=number, Body=data, **self.named)
        self.tags[number] = answer["ETag"]

    def rows(self):
        return {"Parts": [{"PartNumber": n, "ETag": tag} for n, tag in self.tags.items()]}


@pytest.fixture
def parts(s3, did):
    return Parts(s3, f"tmp/{did}/parts")


def test_a_part_that_is_sent_again_replaces_the_first(s3, parts):
    parts.put(1, bytes(PART))
    parts.put(2, b"x")
    parts.put(1, b"\1" * PART)

    s3.complete_multipart_upload(MultipartUpload=parts.rows(), **parts.named)

    whole = s3.get_object(Bucket=BUCKET, Key=parts.key)["Body"].read()
    assert whole == b"\1" * PART + b"x"


@pytest.mark.parametrize(
    "rows, expected",
    [
        ([], "MalformedXML"),
        ([{"PartNumber": 9999, "ETag": '"x"'}], "InvalidPart"),
        ([{"PartNumber": 1, "ETag": '"ffffffffffffffffffffffffffffffff"'}], "InvalidPart"),
    ],
    ids=["no part", "one that never came", "another tag"],
)
def test_an_upload_of_other_parts_is_refused(s3, parts, rows, expected):
    parts.put(1, b"x")

    assert refusal(
        s3.complete_multipart_upload, **parts.named | {"MultipartUpload": {"Parts": rows}}
    ) == (400, expected)


def test_parts_that_are_too_small_are_refused(s3, parts):
    for number in (1, 2):
        parts.put(number, b"x" * 10_000)

    assert refusal(
        s3.complete_multipart_upload, **parts.named | {"MultipartUpload": parts.rows()}
    ) == (400, "EntityTooSmall")


def test_an_upload_that_is_aborted_is_none(s3, parts):
    parts.put(1, b"x")

    s3.abort_multipart_upload(**parts.named)

    assert refusal(s3.abort_multipart_upload, **parts.named) == (404, "NoSuchUpload")
    assert refusal(s3.list_parts, **parts.named) == (404, "NoSuchUpload")
    assert refusal(s3.head_object, Key=parts.key)[0] == 404


def test_an_upload_in_parts_replaces_what_was_there(s3, did, staged):
    key, data = staged("parts", b"before"), random.Random(1).randbytes(PART + 10)
    config = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART)

    s3.upload_fileobj(io.BytesIO(data), BUCKET, key, Config=config)

    assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == data


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
def test_a_wrong_checksum_leaves_nothing(s3, did, algorithm):
    wrong = {"CRC32": "AAAAAA==", "SHA1": "A" * 27 + "=", "SHA256": "A" * 43 + "="}[algorithm]
    given = {f"Checksum{algorithm}": wrong, "Key": f"tmp/{did}/foo", "Body": b"bar"}

    assert refusal(s3.put_object, **given) == (400, "BadDigest")
    assert refusal(s3.head_object, Key=f"tmp/{did}/foo")[0] == 404


@pytest.mark.parametrize(
    "value, code",
    [("rL0Y20xC+Fzt72VPzMSk2A==", "BadDigest"), ("YWJyYWNhZGFicmE=", "InvalidDigest")],
    ids=["of other bytes", "of another length"],
)
def test_a_wrong_md5_leaves_nothing(s3, did, value, code):
    key = f"tmp/{did}/foo"

    assert refusal(s3.put_object, Key=key, Body=b"bar", ContentMD5=value) == (400, code)
    assert refusal(s3.head_object, Key=key)[0] == 404


def test_a_link_reads_what_it_names_and_nothing_else(s3, staged):
    named = {"Bucket": BUCKET, "Key": staged("foo", b"bar")}
    link = s3.generate_presigned_url("get_object", Params=named, ExpiresIn=100)

    with urlopen(link) as answer:
        data = answer.read()
    with pytest.raises(HTTPError) as refused:
        urlopen(link.replace("/foo?", "/fop?"))
    refused.value.close()

    assert data == b"bar"
    assert refused.value.code == 403
