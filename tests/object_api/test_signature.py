"""Signature Version 4: AWS's own examples, what botocore signs, and what is refused."""

import random
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from aurora_blobs.clock import system_clock
from aurora_blobs.object_api.refusals import Refusal
from aurora_blobs.object_api.signature import Key, Request, parse_query, verify

KEY = Key("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
MOMENT = 1_369_353_600  # 2013-05-24T00:00:00Z
HEADERS = {
    "host": "examplebucket.s3.amazonaws.com",
    "x-amz-content-sha256": EMPTY,
    "x-amz-date": "20130524T000000Z",
}


def authorization(signature, *names, key_id=KEY.access_key_id, scope="us-east-1/s3/aws4_request"):
    signed = ";".join(sorted(["host", "x-amz-content-sha256", "x-amz-date", *names]))
    return (
        f"AWS4-HMAC-SHA256 Credential={key_id}/20130524/{scope},"
        f"SignedHeaders={signed},Signature={signature}"
    )


def request(method, path, query, signature, **headers):
    found = HEADERS | {name.replace("_", "-"): value for name, value in headers.items()}
    names = [name for name in found if name not in HEADERS]
    found["authorization"] = authorization(signature, *names)
    return Request(method, path, parse_query(query), found)


# https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
EXAMPLES = {
    "a part of an object": request(
        *("GET", b"/test.txt", ""),
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        range="bytes=0-9",
    ),
    "an object is put": request(
        *("PUT", b"/test$file.text", ""),
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        date="Fri, 24 May 2013 00:00:00 GMT",
        x_amz_storage_class="REDUCED_REDUNDANCY",
        x_amz_content_sha256="44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
    ),
    "a parameter without a value": request(
        *("GET", b"/", "lifecycle"),
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    ),
    "a list": request(
        *("GET", b"/", "max-keys=2&prefix=J"),
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    ),
}
# https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
PRESIGNED = (
    "X-Amz-Algorithm=AWS4-HMAC-SHA256"
    "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
    "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
    "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
)


def presigned(query=PRESIGNED, **headers):
    found = {"host": "examplebucket.s3.amazonaws.com", **headers}
    return Request("GET", b"/test.txt", parse_query(query), found)


def refused(one, now=MOMENT, key=KEY):
    with pytest.raises(Refusal) as caught:
        verify(one, key, now)
    return caught.value.error


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
def test_the_examples_of_aws_are_right(example):
    signed = verify(example, KEY, MOMENT)

    assert signed.payload == example.headers["x-amz-content-sha256"]


def test_the_link_of_aws_is_right_until_it_expires():
    assert verify(presigned(), KEY, MOMENT + 86_400).payload == "UNSIGNED-PAYLOAD"
    assert refused(presigned(), MOMENT + 86_401) == "AccessDenied"
    assert refused(presigned(), MOMENT - 901) == "RequestTimeTooSkewed"


@pytest.mark.parametrize("seed", range(200))
def test_what_botocore_signs_is_right(seed):
    chance = random.Random(seed)
    letters = "abcXYZ019 -_.~!$&'()*,;=:@%+ü漢/"

    def text():
        return "".join(chance.choices(letters, k=chance.randrange(1, 20)))

    path = "/" + text().lstrip("/")
    pairs = [(text(), text()) for _ in range(chance.randrange(4))]
    query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs)
    url = f"http://pds.example.com:8080{quote(path, safe='/~')}?{query}"
    kind, body = chance.choice([(S3SigV4Auth, b"body"), (S3SigV4QueryAuth, None)])
    sent = AWSRequest(
        chance.choice(["GET", "PUT", "POST", "DELETE", "HEAD"]),
        url,
        {"X-Amz-Meta-A": f"  {text()}  b  ", "Content-Type": "text/plain"},
        data=body,
    )
    kind(Credentials(KEY.access_key_id, KEY.secret_access_key), "s3", "auto").add_auth(sent)
    parts = urlsplit(sent.url)
    headers = {name.lower(): str(value) for name, value in sent.headers.items()}
    headers["host"] = parts.netloc
    # As WSGI has the bytes of a header.
    headers = {name: value.encode().decode("latin-1") for name, value in headers.items()}

    received = Request(sent.method, path.encode(), parse_query(parts.query), headers)

    verify(received, KEY, system_clock() / 1_000_000)
    wrong = Key(KEY.access_key_id, KEY.secret_access_key + "x")
    assert refused(received, system_clock() / 1_000_000, wrong) == "SignatureDoesNotMatch"


def changed(**changes):
    good = EXAMPLES["a part of an object"]
    fields = {name: getattr(good, name) for name in ("method", "path", "query", "headers")}
    return Request(**(fields | changes))


@pytest.mark.parametrize(
    "one, code",
    [
        (changed(method="DELETE"), "SignatureDoesNotMatch"),
        (changed(path=b"/test.txu"), "SignatureDoesNotMatch"),
        (changed(query=[(b"acl", b"")]), "SignatureDoesNotMatch"),
        (
            changed(headers=EXAMPLES["a part of an object"].headers | {"range": "bytes=0-8"}),
            "SignatureDoesNotMatch",
        ),
        (
            changed(headers=EXAMPLES["a part of an object"].headers | {"x-amz-copy-source": "b/k"}),
            "AccessDenied",
        ),
        (changed(headers=HEADERS), "AccessDenied"),
        (
            changed(headers=HEADERS | {"authorization": "Bearer abc"}),
            "AuthorizationHeaderMalformed",
        ),
        (
            changed(headers=HEADERS | {"authorization": authorization("0" * 64, key_id="AKIDX")}),
            "InvalidAccessKeyId",
        ),
        (
            changed(
                headers=HEADERS
                | {"authorization": authorization("0" * 64, scope="us-east-1/sts/aws4_request")}
            ),
            "AuthorizationHeaderMalformed",
        ),
        (
            changed(
                headers={"host": "x", "authorization": authorization("0" * 64)}
                | {"x-amz-date": "20130524T000000Z"}
            ),
            "InvalidRequest",
        ),
        (
            changed(
                headers=HEADERS | {"authorization": authorization("0" * 64), "x-amz-date": "today"}
            ),
            "AccessDenied",
        ),
        (presigned(PRESIGNED.replace("=86400", "=604801")), "AuthorizationQueryParametersError"),
        (presigned(PRESIGNED.replace("=86400", "=86399")), "SignatureDoesNotMatch"),
        (presigned(**{"x-amz-copy-source": "b/k"}), "AccessDenied"),
    ],
    ids=[
        *("method", "path", "query", "signed header", "unsigned header", "no signature"),
        *("another scheme", "unknown key", "another service", "no payload hash", "no time"),
        *("a link for too long", "a link made longer", "an unsigned header beside a link"),
    ],
)
def test_what_was_changed_or_is_not_whole_is_refused(one, code):
    assert refused(one) == code


@pytest.mark.parametrize("seconds", [-901, 901])
def test_a_request_is_good_for_fifteen_minutes(seconds):
    good = EXAMPLES["a list"]

    verify(good, KEY, MOMENT + seconds - seconds // 901)

    assert refused(good, MOMENT + seconds) == "RequestTimeTooSkewed"
