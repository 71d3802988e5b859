"""Wrong credentials are refused as by the reference PDS: status, name and message."""

import socket
import time
from base64 import b64encode, urlsafe_b64encode
from types import SimpleNamespace

import pytest
from support.accounts import UPLOAD
from support.http_client import call
from support.live_service import Service
from support.reference_pds import ReferencePds

from aurora_blobs.auth.jwts import secret_key

pytestmark = pytest.mark.live

MISSING = "/xrpc/com.atproto.repo.listMissingBlobs"


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The reference PDS and this service, with the same secret and account."""
    folder = tmp_path_factory.mktemp("alike")
    with ReferencePds(folder / "pds", "http://localhost:1") as pds:
        facts = pds.facts
        ours = Service(
            folder / "service",
            AURORA_BLOBS_ACCOUNTS="external",
            AURORA_BLOBS_JWT_SECRET=facts["jwtSecret"],
            AURORA_BLOBS_SERVICE_DID="did:web:localhost",
            AURORA_BLOBS_PLC_URL=pds.plc_url,
            AURORA_BLOBS_OAUTH_ISSUER="http://localhost:1",
            AURORA_BLOBS_ALLOWED_MIME_TYPES="*/*",
        )
        with ours as service:
            yield SimpleNamespace(service=service, pds=pds, facts=facts)


def part(text):
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


class Mint:
    """Makes the credentials of a case, with the facts of the running PDS."""

    def __init__(self, facts):
        self.facts = facts
        self.did = facts["did"]
        self.now = int(time.time())

    def session(self, typ="at+jwt", secret=None, **changes):
        claims = {
            "scope": "com.atproto.access",
            "sub": self.did,
            "aud": "did:web:localhost",
            "iat": self.now,
            "exp": self.now + 600,
        }
        claims = {name: value for name, value in (claims | changes).items() if value is not None}
        return "Bearer " + secret_key(secret or self.facts["jwtSecret"]).sign(typ, claims)


CASES = {
    "nothing": lambda mint: None,
    "an access token": lambda mint: mint.session(),
    "an app password's": lambda mint: mint.session(scope="com.atproto.appPass"),
    "a privileged app password's": lambda mint: mint.session(scope="com.atproto.appPassPrivileged"),
    "lower case": lambda mint: mint.session().replace("Bearer", "bearer"),
    "a scheme alone": lambda mint: "Bearer",
    "three words": lambda mint: "Bearer a b",
    "two spaces": lambda mint: "Bearer  x",
    "Digest": lambda mint: "Digest abc",
    "Basic": lambda mint: "Basic " + b64encode(b"admin:x").decode(),
    "expired": lambda mint: mint.session(exp=mint.now - 10),
    "expired, of another audience": lambda mint: mint.session(
        exp=mint.now - 10, aud="did:web:other"
    ),
    "no expiry of another secret": lambda mint: mint.session(exp=None, secret="f" * 32),
    "not yet": lambda mint: mint.session(nbf=mint.now + 600),
    "another audience": lambda mint: mint.session(aud="did:web:other"),
    "an audience that is no DID": lambda mint: mint.session(aud="https://localhost"),
    "no audience": lambda mint: mint.session(aud=None),
    "a list of audiences": lambda mint: mint.session(aud=["did:web:localhost"]),
    "type JWT": lambda mint: mint.session("JWT"),
    "no type": lambda mint: mint.session(None),
    "type in capitals": lambda mint: mint.session("AT+JWT"),
    "another secret": lambda mint: mint.session(secret="f" * 32),
    "a refresh token": lambda mint: "Bearer " + mint.facts["refreshJwt"],
    "refresh scope": lambda mint: mint.session(scope="com.atproto.refresh"),
    "takendown scope": lambda mint: mint.session(scope="com.atproto.takendown"),
    "signup scope": lambda mint: mint.session(scope="com.atproto.signupQueued"),
    "unknown scope": lambda mint: mint.session(scope="anything"),
    "no scope": lambda mint: mint.session(scope=None),
    "a handle for a subject": lambda mint: mint.session(sub="bench.test"),
    "no subject": lambda mint: mint.session(sub=None),
    "a number for a subject": lambda mint: mint.session(sub=5),
    "bound": lambda mint: mint.session(cnf={"jkt": "x"}),
    "bound to nothing": lambda mint: mint.session(cnf={}),
    "no algorithm": lambda mint: (
        "Bearer "
        + ".".join(map(part, ('{"alg":"none","typ":"at+jwt"}', '{"sub":"did:web:x"}', "")))
    ),
}
SERVICE = {
    "of a stranger's method": lambda mint: mint.session(
        "JWT", iss=mint.did, lxm="com.atproto.repo.getRecord"
    ),
    "in a session's type": lambda mint: mint.session(
        "at+jwt", iss=mint.did, lxm="com.atproto.repo.uploadBlob"
    ),
    "expired": lambda mint: mint.session(
        "JWT", iss=mint.did, lxm="com.atproto.repo.uploadBlob", exp=mint.now - 5
    ),
    "not from a DID": lambda mint: mint.session(
        "JWT", iss="bench.test", lxm="com.atproto.repo.uploadBlob"
    ),
    "with a forged signature": lambda mint: mint.session(
        "JWT", iss=mint.did, lxm="com.atproto.repo.uploadBlob"
    ),
}


def compare(both, method, path, body, case):
    mint = Mint(both.facts)
    header = case(mint)
    headers = {"Content-Type": "text/plain"} if body is not None else {}
    if header is not None:
        headers["Authorization"] = header
    pds = socket.create_connection(("127.0.0.1", both.facts["port"]), timeout=30)
    theirs = call(pds, method, path, body, headers)
    ours = both.service.open(path, method=method, data=body, headers=headers)
    return [
        (answer.status_code, answer.json.get("error"), answer.json.get("message"))
        for answer in (ours, theirs)
    ]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_uploads_are_authorized_as_on_the_reference(both, case):
    ours, theirs = compare(both, "POST", UPLOAD, b"text", case)

    assert ours == theirs


@pytest.mark.parametrize("case", SERVICE.values(), ids=SERVICE)
def test_service_tokens_are_refused_as_on_the_reference(both, case):
    ours, theirs = compare(both, "POST", UPLOAD, b"text", case)

    assert ours == theirs


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_queries_are_authorized_as_on_the_reference(both, case):
    ours, theirs = compare(both, "GET", MISSING, None, case)

    assert ours == theirs


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_public_queries_are_authorized_as_on_the_reference(both, case):
    ours, theirs = compare(
        both, "GET", f"/xrpc/com.atproto.sync.listBlobs?did={both.facts['did']}", None, case
    )

    assert ours == theirs
