"""Slow DID directories and issuers delay no local account, on the real service."""

import threading
import time

import pytest
from support.accounts import CAROL, UPLOAD
from support.credentials import Signer, Wallet, signed
from support.document_server import send, serving
from support.live_service import Service, becomes

from aurora_blobs.auth.dpop import Nonces
from aurora_blobs.clock import system_clock

pytestmark = pytest.mark.live

NSID = "com.atproto.repo.uploadBlob"
CREATE = "com.atproto.server.createAccount"
SERVICE_DID = "did:web:localhost"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


class Authority:
    """A server of *documents* by path. While held, it answers only after its release."""

    def __init__(self):
        self.documents = {}
        self.asked = []
        self.is_held = lambda path: False
        self.waiting = threading.Semaphore(0)
        self._hold = threading.Event()

    def __call__(self, handler):
        self.asked.append(handler.path)
        if self.is_held(handler.path):
            self.waiting.release()
            self._hold.wait(60)
        found = self.documents.get(handler.path)
        send(handler, found or {}, 200 if found else 404)

    def let_go(self):
        self._hold.set()


@pytest.fixture
def authority():
    """An authority, and its ``host:port``."""
    found = Authority()
    with serving(found) as address:
        yield found, address
        found.let_go()


@pytest.fixture
def start(tmp_path, authority):
    """Starts a service with one worker, so that all meet in it."""
    started = []

    def start(**settings):
        named = {f"AURORA_BLOBS_{name}": value for name, value in settings.items()}
        service = Service(
            tmp_path / "service",
            AURORA_BLOBS_WORKERS="1",
            AURORA_BLOBS_DURABILITY="os",
            **named,
        ).start()
        started.append(service)
        return service

    yield start
    authority[0].let_go()
    for service in started:
        service.stop()


@pytest.fixture
def in_background():
    """Makes calls in threads of their own, which end before the test does."""
    threads = []

    def begin(call):
        thread = threading.Thread(target=call)
        thread.start()
        threads.append(thread)

    yield begin
    for thread in threads:
        thread.join(60)


def bearer(token):
    return {"Authorization": f"Bearer {token}", "Content-Type": "image/png"}


def token_of(signer, did, nsid=NSID):
    now = int(time.time())
    return signer.token(iss=did, aud=SERVICE_DID, lxm=nsid, iat=now, exp=now + 60)


def bring(service, signer, did, handle):
    """createAccount with the DID *did* of elsewhere."""
    return service.post(
        f"/xrpc/{CREATE}",
        json={
            "handle": handle,
            "email": f"{handle}@example.com",
            "password": "correct horse",
            "did": did,
        },
        headers={"Authorization": f"Bearer {token_of(signer, did, CREATE)}"},
    )


def test_slow_unknown_dids_delay_no_local_account(start, authority, in_background):
    directory, address = authority
    signer = Signer()
    directory.documents[f"/{CAROL}"] = signer.document(CAROL)
    service = start(PLC_URL=f"http://{address}", ALLOW_LOOPBACK_IDENTITY="1")
    assert bring(service, signer, CAROL, "carol.test").status_code == 200
    # Its owner has rotated the key, so it has to be fetched anew.
    rotated = Signer()
    directory.documents[f"/{CAROL}"] = rotated.document(CAROL)
    directory.is_held = lambda path: path != f"/{CAROL}"
    answers = []

    def stranger(number):
        did = f"did:plc:{'abcdefghijklmnopq'[number]}{'2' * 23}"
        answers.append(bring(service, signer, did, f"stranger{number}.test").status_code)

    for number in range(16):
        in_background(lambda number=number: stranger(number))
    for _ in range(2):
        assert directory.waiting.acquire(timeout=10)

    answer = service.post(UPLOAD, data=PNG, headers=bearer(token_of(rotated, CAROL)))

    assert answer.status_code == 200, answer.data
    directory.let_go()
    assert becomes(lambda: len(answers) == 16)
    assert set(answers) <= {401, 503}


def test_a_slow_issuer_delays_only_tokens_it_signed(start, authority, in_background):
    issuer, address = authority
    known, wallet = Wallet(), Wallet()
    issuer.documents["/jwks"] = {"keys": [known.jwk | {"kid": "k1"}]}
    secret = bytes(range(32))
    service = start(
        ACCOUNTS="external",
        JWT_SECRET="0123456789abcdef0123456789abcdef",
        OAUTH_ISSUER="https://pds.test",
        OAUTH_JWKS_URL=f"http://{address}/jwks",
        DPOP_SECRET=secret.hex(),
        PUBLIC_URL="https://pds.test",
    )

    def upload(signer, kid, **changes):
        now = int(time.time())
        claims = {
            "iss": "https://pds.test",
            "aud": SERVICE_DID,
            "sub": CAROL,
            "iat": now,
            "exp": now + 600,
            "scope": "atproto blob:*/*",
            "cnf": {"jkt": wallet.thumbprint},
        }
        token = signed(signer.signer.key, {"alg": "ES256", "typ": "at+jwt", "kid": kid}, claims)
        nonce = Nonces(secret, system_clock).next()
        proof = wallet.proof(token, nonce, htu=f"https://pds.test{UPLOAD}", iat=now, **changes)
        shown = {"Authorization": f"DPoP {token}", "DPoP": proof, "Content-Type": "image/png"}
        return service.post(UPLOAD, data=PNG, headers=shown)

    assert upload(known, "k1").status_code == 200
    issuer.is_held = lambda path: True
    began = len(issuer.asked)
    for _ in range(3):
        assert upload(Wallet(), "k2", ath="not of this token").status_code == 401
    begun, answered = [], []

    def stranger():
        answered.append(upload(Wallet(), "k2").status_code)

    def is_asked():
        begun.append(in_background(stranger))
        return issuer.waiting.acquire(timeout=1)

    assert becomes(is_asked, 30)  # ten seconds after the last time

    assert [upload(known, "k1").status_code for _ in range(3)] == [200] * 3
    assert len(answered) < len(begun)  # who made us ask still waits for the issuer
    issuer.let_go()
    assert upload(known, "k1").status_code == 200
    assert len(issuer.asked) == began + 1
