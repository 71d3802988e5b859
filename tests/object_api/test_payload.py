"""The body of a request is handed out when all that was said of it is true."""

import io
import zlib
from base64 import b64encode
from hashlib import md5, sha1, sha256

import pytest

from aurora_blobs.errors import UploadIncomplete
from aurora_blobs.object_api.payload import Payload
from aurora_blobs.object_api.refusals import Refusal
from aurora_blobs.object_api.signature import Key, Request, Signed, verify

KEY = Key("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
MOMENT = 1_369_353_600
DATA = b"a" * 65536 + b"a" * 1024
PLAIN = Signed("UNSIGNED-PAYLOAD", "", "", b"", "")
TRAILING = Signed("STREAMING-UNSIGNED-PAYLOAD-TRAILER", "", "", b"", "")


class Stream(io.BytesIO):
    """Gives few bytes at a time, as a connection may."""

    def read(self, size=-1):
        return super().read(min(size, 1000))


def read(body, headers, signed=PLAIN, *, skips_sha256=False):
    payload = Payload(Stream(body), headers, signed, skips_sha256=skips_sha256)
    pieces = []
    while data := payload.read(10_000):
        pieces.append(data)
    return b"".join(pieces)


def plain(body, **headers):
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return read(body, {"content-length": str(len(body)), **given})


def refused(*given, **named):
    with pytest.raises((Refusal, UploadIncomplete)) as caught:
        read(*given, **named)
    return caught.value.error


def in_base64(data):
    return b64encode(data).decode()


# https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html, and …-trailers.html
SEED = (
    "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
    "SignedHeaders={},Signature={}"
)
CHUNKED = {
    "host": "s3.amazonaws.com",
    "x-amz-date": "20130524T000000Z",
    "x-amz-storage-class": "REDUCED_REDUNDANCY",
    "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    "content-encoding": "aws-chunked",
    "x-amz-decoded-content-length": "66560",
    "content-length": "66824",
    "authorization": SEED.format(
        "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;"
        "x-amz-decoded-content-length;x-amz-storage-class",
        "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
    ),
}
WITH_TRAILER = {
    "host": "s3.amazonaws.com",
    "x-amz-date": "20130524T000000Z",
    "x-amz-storage-class": "REDUCED_REDUNDANCY",
    "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    "content-encoding": "aws-chunked",
    "x-amz-decoded-content-length": "66560",
    "x-amz-trailer": "x-amz-checksum-crc32c",
    "authorization": SEED.format(
        "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;"
        "x-amz-storage-class;x-amz-trailer",
        "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
    ),
}


def chunks(first, second, last, trailer=b""):
    return b"".join(
        (
            b"10000;chunk-signature=%b\r\n" % first,
            DATA[:65536],
            b"\r\n400;chunk-signature=%b\r\n" % second,
            DATA[65536:],
            b"\r\n0;chunk-signature=%b\r\n" % last,
            trailer,
            b"\r\n",
        )
    )


BODY = chunks(
    b"ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
    b"0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
    b"b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
)
BODY_WITH_TRAILER = chunks(
    b"b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
    b"1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
    b"2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
    b"x-amz-checksum-crc32c:sOO8/Q==\r\n"
    b"x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n",
)


def signed_chunks(headers):
    return verify(Request("PUT", b"/examplebucket/chunkObject.txt", [], headers), KEY, MOMENT)


@pytest.mark.parametrize(
    "body, headers",
    [(BODY, CHUNKED), (BODY_WITH_TRAILER, WITH_TRAILER)],
    ids=["without a trailer", "with a trailer"],
)
def test_the_chunks_of_aws_are_right_and_any_other_byte_is_not(body, headers):
    signed = signed_chunks(headers)
    headers = headers | {"content-length": str(len(body))}

    assert read(body, headers, signed) == DATA
    for place in [70, 5000, 65700, len(body) - 100, len(body) - 20]:
        wrong = body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]
        assert refused(wrong, headers, signed) in ("SignatureDoesNotMatch", "InvalidRequest")


def unsigned(body, trailer="x-amz-checksum-crc32", size=None):
    return body, {
        "content-length": str(len(body)),
        "x-amz-decoded-content-length": str(len(DATA) if size is None else size),
        "x-amz-trailer": trailer,
    }


CRC = in_base64(zlib.crc32(DATA).to_bytes(4, "big")).encode()
UNSIGNED = b"10000\r\n%b\r\n400\r\n%b\r\n0\r\nx-amz-checksum-crc32:%b\r\n\r\n" % (
    *(DATA[:65536], DATA[65536:]),
    CRC,
)


def test_an_unsigned_body_in_chunks_is_held_to_its_trailer():
    assert read(*unsigned(UNSIGNED), TRAILING) == DATA
    wrong = UNSIGNED.replace(b"aaaa", b"aaab", 1)
    assert refused(*unsigned(wrong), TRAILING) == "BadDigest"


@pytest.mark.parametrize(
    "body, size, code",
    [
        (UNSIGNED, len(DATA) + 1, "InvalidRequest"),
        (UNSIGNED, len(DATA) - 1, "IncompleteBody"),
        (UNSIGNED[:60_000], None, "InvalidRequest"),
        (UNSIGNED.replace(b"10000\r\n", b"1000g\r\n"), None, "InvalidRequest"),
        (UNSIGNED.replace(b"\r\n400\r\n", b"400\r\n"), None, "InvalidRequest"),
        (
            UNSIGNED.replace(b"x-amz-checksum-crc32", b"x-amz-checksum-crc33"),
            None,
            "InvalidRequest",
        ),
        (UNSIGNED.replace(b"x-amz-checksum-crc32:" + CRC, b""), None, "InvalidRequest"),
        (UNSIGNED + b"0\r\n\r\n", None, "InvalidRequest"),
        (b"1" * 100_000, None, "InvalidRequest"),
        (b"10000\r\n" + DATA[:65536] + b"\r\n" + b"1\r\na\r\n" * 20_000, 90_000, "InvalidRequest"),
    ],
    ids=[
        *("too short", "too long", "cut", "no number", "no end of a chunk", "another trailer"),
        *("no trailer", "more behind it", "a line without end", "very many chunks"),
    ],
)
def test_a_body_that_is_no_chunks_is_refused(body, size, code):
    assert refused(*unsigned(body, size=size), TRAILING) in (code, "InvalidRequest")


HASHES = {
    "x_amz_checksum_crc32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
    "x_amz_checksum_sha1": lambda data: sha1(data).digest(),
    "x_amz_checksum_sha256": lambda data: sha256(data).digest(),
    "content_md5": lambda data: md5(data).digest(),
}


MALFORMED = dict.fromkeys(HASHES, "InvalidRequest") | {"content_md5": "InvalidDigest"}


@pytest.mark.parametrize("name", HASHES)
@pytest.mark.parametrize("data", [b"", DATA], ids=["nothing", "bytes"])
def test_a_checksum_in_the_head_is_compared(name, data):
    assert plain(data, **{name: in_base64(HASHES[name](data))}) == data
    with pytest.raises(Refusal) as wrong:
        plain(data, **{name: in_base64(HASHES[name](b"x"))})
    with pytest.raises(Refusal) as malformed:
        plain(data, **{name: "no base64"})
    assert (wrong.value.error, malformed.value.error) == ("BadDigest", MALFORMED[name])


def test_a_checksum_that_is_not_known_is_not_passed_over():
    with pytest.raises(Refusal) as caught:
        plain(DATA, x_amz_checksum_crc64nvme="AAAAAAAAAAA=")

    assert caught.value.error == "NotImplemented"


def test_a_signed_body_has_the_sha256_that_was_signed():
    signed = Signed(sha256(DATA).hexdigest(), "", "", b"", "")
    headers = {"content-length": str(len(DATA))}

    assert read(DATA, headers, signed) == DATA
    assert refused(DATA[:-1] + b"b", headers, signed) == "XAmzContentSHA256Mismatch"
    assert read(DATA[:-1] + b"b", headers, signed, skips_sha256=True) != DATA


def test_the_last_bytes_are_given_out_when_they_are_right():
    payload = Payload(
        io.BytesIO(DATA),
        {"content-length": str(len(DATA)), "content-md5": in_base64(bytes(16))},
        PLAIN,
        skips_sha256=False,
    )

    assert payload.read(len(DATA) - 1) == DATA[:-1]
    with pytest.raises(Refusal):
        payload.read(1)


def test_a_body_of_unknown_length_is_refused():
    assert refused(DATA, {}) == "MissingContentLength"


def test_a_body_that_ends_early_is_not_whole():
    assert refused(DATA, {"content-length": str(len(DATA) + 1)}) == "InvalidRequest"
