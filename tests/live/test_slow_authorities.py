"""Servers that are asked who somebody is, and take their time: whom that holds up, on the real service."""

import threading
import time

import pytest
from support.accounts import CAROL, UPLOAD
from support.credentials import Signer
from support.document_server import send, serving
from support.live_service import Service, becomes

pytestmark = pytest.mark.live

NSID = "com.atproto.repo.uploadBlob"
CREATE = "com.atproto.server.createAccount"
SERVICE_DID = "did:web:localhost"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


class Authority:
    """A server on loopback that answers with *documents* by path, after it is let go if it is held."""

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


def test_strangers_with_slow_dids_hold_up_no_account(start, authority, in_background):
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
