"""DPoP on a real server: the URL in a proof, with and without proxies, and nonces."""

import time
from contextlib import ExitStack

import pytest
from support.accounts import CAROL, UPLOAD
from support.credentials import Wallet
from support.live_service import Service

from aurora_blobs.auth.dpop import Nonces
from aurora_blobs.auth.jwts import secret_key
from aurora_blobs.clock import system_clock

pytestmark = pytest.mark.live

SECRET = "0123456789abcdef0123456789abcdef"
NONCE_SECRET = bytes(range(32))
ISSUER = PUBLIC_URL = "https://pds.test"
WALLET = Wallet()
HERE = f"http://127.0.0.1{UPLOAD}"  # the Host header of the tests' client
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    """By a number of proxies and a public URL the service that is behind so many and has it."""
    with ExitStack() as running:
        yield {
            (hops, public_url): running.enter_context(
                Service(
                    tmp_path_factory.mktemp(f"hops{hops}"),
                    AURORA_BLOBS_PUBLIC_URL=public_url,
                    AURORA_BLOBS_PROXY_HOPS=str(hops),
                    AURORA_BLOBS_ACCOUNTS="external",
                    AURORA_BLOBS_JWT_SECRET=SECRET,
                    AURORA_BLOBS_OAUTH_ISSUER=ISSUER,
                    AURORA_BLOBS_DPOP_SECRET=NONCE_SECRET.hex(),
                    AURORA_BLOBS_WORKERS="2",
                    AURORA_BLOBS_DURABILITY="os",
                )
            )
            for hops in (0, 2)
            for public_url in ("", PUBLIC_URL)
        }


def nonce(minutes=0):
    """The nonce that the service gives out in *minutes* from now."""
    return Nonces(NONCE_SECRET, lambda: system_clock() + minutes * 60_000_000).next()


def upload(service, htu, proof_nonce, **headers):
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": "did:web:localhost", "sub": CAROL, "iat": now, "exp": now + 600}
    token = secret_key(SECRET).sign(
        "at+jwt", claims | {"scope": "atproto blob:*/*", "cnf": {"jkt": WALLET.thumbprint}}
    )
    proof = WALLET.proof(token, proof_nonce, htu=htu, iat=now)
    shown = {
        "Authorization": f"DPoP {token}",
        "DPoP": proof,
        "Content-Type": "image/png",
        **headers,
    }
    return service.post(UPLOAD, data=PNG, headers=shown)


def forwarded(proto, host, client="192.0.2.1"):
    return {"X-Forwarded-Proto": proto, "X-Forwarded-Host": host, "X-Forwarded-For": client}


MISMATCH = (401, "invalid_dpop_proof")
OK = (200, None)


@pytest.mark.parametrize(
    "hops, htu, headers, expected",
    [
        (0, "http://127.0.0.1", {}, OK),
        (0, "http://pds.test", {"Host": "pds.test"}, OK),
        (0, "https://pds.test", {"Host": "pds.test"}, MISMATCH),
        (0, "https://pds.test", forwarded("https", "pds.test"), MISMATCH),
        (0, "http://127.0.0.1", forwarded("https", "pds.test"), OK),
        (
            2,
            "https://pds.test",
            forwarded("https, http", "pds.test, inner.test", "192.0.2.1, 10.0.0.1"),
            OK,
        ),
        (
            2,
            "http://inner.test",
            forwarded("https, http", "pds.test, inner.test", "192.0.2.1, 10.0.0.1"),
            MISMATCH,
        ),
        # Values forged by the client are to the left of those of the two proxies.
        (
            2,
            "https://pds.test",
            forwarded("http, https, http", "evil.test, pds.test, inner.test"),
            OK,
        ),
        (
            2,
            "http://evil.test",
            forwarded("http, https, http", "evil.test, pds.test, inner.test"),
            MISMATCH,
        ),
        (2, "https://pds.test", forwarded("https", "pds.test"), MISMATCH),
    ],
)
def test_a_proof_is_for_the_address_that_the_client_used(services, hops, htu, headers, expected):
    answer = upload(services[hops, ""], htu + UPLOAD, nonce(), **headers)

    assert (answer.status_code, answer.json.get("error")) == expected, answer.data


@pytest.mark.parametrize(
    "hops, htu, headers, expected",
    [
        (0, "https://pds.test", {}, OK),
        (0, "https://pds.test", {"Host": "evil.test"}, OK),
        (0, "http://evil.test", {"Host": "evil.test"}, MISMATCH),
        (0, "http://127.0.0.1", {}, MISMATCH),
        (0, "http://pds.test", {"Host": "pds.test"}, MISMATCH),
        (2, "https://pds.test", forwarded("http, http", "evil.test, inner.test"), OK),
        (2, "http://evil.test", forwarded("http, http", "evil.test, inner.test"), MISMATCH),
    ],
)
def test_a_proof_is_for_the_url_of_the_service_where_that_is_configured(
    services, hops, htu, headers, expected
):
    answer = upload(services[hops, PUBLIC_URL], htu + UPLOAD, nonce(), **headers)

    assert (answer.status_code, answer.json.get("error")) == expected, answer.data


@pytest.mark.parametrize("minutes", [-1, 0])
def test_nonces_of_the_last_minutes_are_good_in_every_process(services, minutes):
    answers = [upload(services[0, ""], HERE, nonce(minutes)) for _ in range(8)]

    assert {answer.status_code for answer in answers} == {200}


@pytest.mark.parametrize("minutes", [-60, -4, 3])
def test_an_expired_nonce_is_answered_with_a_valid_one(services, minutes):
    old = upload(services[0, ""], HERE, nonce(minutes))
    new = upload(services[0, ""], HERE, old.headers["DPoP-Nonce"])

    assert (old.status_code, old.json["error"]) == (401, "use_dpop_nonce")
    assert new.status_code == 200
    assert new.headers["DPoP-Nonce"] in (nonce(), nonce(-1))
