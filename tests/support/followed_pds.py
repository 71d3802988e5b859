"""A PDS, its accounts, and the service as a mirror of it, as processes."""

import json
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

from support.accounts import GET_BLOB
from support.cids import cid_of
from support.http_client import HttpClient
from support.live_service import Service, becomes
from support.project import ROOT

COLLECTION = "com.example.file"
PASSWORD = "correct horse"


class PdsError(Exception):
    """The PDS's own fault; whether it did what it was asked for is not known."""


class Upstream(HttpClient):
    """Calls the PDS itself."""

    def __init__(self, pds):
        self.pds = pds

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.pds.facts["port"]), timeout=60)

    def call(self, method, token=None, **given):
        answer = self.done(f"/xrpc/{method}", token, json=given)
        return answer.json if answer.data else {}

    def done(self, path, token=None, headers=None, **given):
        """The answer to a POST, which has to be 200. Raises PdsError."""
        own = {} if token is None else {"Authorization": f"Bearer {token}"}
        answer = self.post(path, headers={**own, **(headers or {})}, **given)
        if answer.status_code >= 500:
            raise PdsError(f"{path}: {answer.text} {self.pds.errors()}")
        assert answer.status_code == 200, answer.text
        return answer


class Member:
    """An account of the PDS."""

    def __init__(self, upstream, handle):
        made = upstream.call(
            "com.atproto.server.createAccount",
            handle=handle,
            email=f"{handle}@example.com",
            password=PASSWORD,
        )
        self.did, self.token = made["did"], made["accessJwt"]
        self.upstream = upstream
        self.is_active = True
        self.published = {}

    def upload(self, data):
        return self.upstream.done(
            "/xrpc/com.atproto.repo.uploadBlob",
            self.token,
            data=data,
            headers={"Content-Type": "image/jpeg"},
        ).json["blob"]

    def put(self, rkey, *files):
        blobs = [self.upload(data) for data in files]
        self.call(
            "repo.putRecord",
            repo=self.did,
            collection=COLLECTION,
            rkey=rkey,
            record={"$type": COLLECTION, "files": blobs},
        )
        self.published[rkey] = files

    def delete(self, rkey):
        self.call("repo.deleteRecord", repo=self.did, collection=COLLECTION, rkey=rkey)
        self.published.pop(rkey, None)

    def call(self, method, **given):
        return self.upstream.call(f"com.atproto.{method}", self.token, **given)

    def set_active(self, is_active):
        self.is_active = False  # for all that is known if the PDS fails
        self.upstream.done(
            f"/xrpc/com.atproto.server.{'activate' if is_active else 'deactivate'}Account",
            self.token,
            **({} if is_active else {"json": {}}),
        )
        self.is_active = is_active


class Mirror:
    """The service and its follower, as two processes.

    `prefix` gives what the follower's command begins with.
    """

    def __init__(self, service, folder):
        self.service = service
        self.prefix = list
        self._folder = folder
        self._process = None

    def start(self):
        with (self._folder / "follow.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self.prefix(), sys.executable, "-m", "aurora_blobs", "follow"],
                cwd=ROOT,
                env=self.service.environ(),
                stdout=log,
                stderr=log,
            )

    @property
    def pid(self):
        return self._process.pid

    @property
    def has_ended(self):
        return self._process.poll() is not None

    def end(self, number=signal.SIGTERM):
        self._process.send_signal(number)
        return self._process.wait(60)

    @property
    def log(self):
        return (self._folder / "follow.log").read_text()

    def serves(self, member, data):
        return answer_of(self.service, member.did, data) != 400

    def hides(self, member, data):
        return not self.serves(member, data)

    def status(self):
        return json.loads(self.service.run("mirror", "status", "--json").stdout)


@contextmanager
def following(pds, folder, **settings):
    service = Service(
        folder / "mirror",
        AURORA_BLOBS_MIRROR="pds",
        AURORA_BLOBS_FOLLOW=pds.url,
        AURORA_BLOBS_PLC_URL=pds.plc_url,
        **settings,
    )
    with service:
        mirror = Mirror(service, folder)
        mirror.start()
        try:
            assert becomes(lambda: "lists" in mirror.log, 30), mirror.log
            yield mirror
        finally:
            assert mirror.end() == 0
            assert "Traceback" not in mirror.log


def answer_of(server, did, data):
    """Status, bytes and media type of getBlob, an error without its name."""
    answer = server.get(GET_BLOB, query_string={"did": did, "cid": cid_of(data)})
    if answer.status_code != 200:
        return answer.status_code
    return answer.status_code, answer.data, answer.headers["Content-Type"].partition(";")[0]


def lists(server, did):
    answer = server.get(f"/xrpc/com.atproto.sync.listBlobs?did={did}&limit=1000")
    return answer.json["cids"] if answer.status_code == 200 else answer.json["error"]
