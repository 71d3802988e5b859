"""A mirror in this process: an application, and a thread that follows as the command does."""

import threading

from support.accounts import blob_path
from support.cids import cid_of
from support.live_service import becomes
from support.services import services_of

from aurora_blobs.catalog import upstream
from aurora_blobs.mirror.follower import follow

UPSTREAM_TABLES = ("upstream_host", "upstream_account", "upstream_blob")


class Mirror:
    def __init__(self, app):
        self.services = services_of(app)
        self.client = app.test_client()
        self._stop = threading.Event()
        self._thread = None
        self.failure = None

    @property
    def url(self):
        return self.services.config.follow[0]

    def begin(self):
        """Follow."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()

    def start(self):
        """Follow, and wait until the accounts were compared."""
        self.begin()
        assert becomes(lambda: self.host() is not None and self.host().listed_at is not None, 30)
        return self

    def _follow(self):
        found = self.services
        try:
            follow(
                found.config,
                found.mirrored_blobs,
                found.identities,
                found.leases,
                found.clock,
                self._stop,
            )
        except BaseException as error:
            self.failure = error
            raise

    def stop(self):
        self._stop.set()
        if self._thread is not None:
            self._thread.join(30)
            assert not self._thread.is_alive()
            assert self.failure is None
            self._thread = None

    def host(self):
        with self.services.database.read() as tx:
            return upstream.find_host(tx, self.url)

    def account(self, did):
        """What is known of *did* at its PDS."""
        with self.services.database.read() as tx:
            return upstream.find(tx, did)

    def rows(self):
        """Every row about the PDS, without times."""
        with self.services.database.read() as tx:
            return {table: tx.all(f"SELECT * FROM {table}") for table in UPSTREAM_TABLES}

    def get(self, did, data):
        """The bytes of the blob *data* of *did* as they are served, or the name of the error."""
        answer = self.client.get(blob_path(did, cid_of(data)))
        return answer.data if answer.status_code == 200 else answer.json["error"]

    def listed(self, did):
        """The blobs of *did*, or the name of the error."""
        answer = self.client.get(f"/xrpc/com.atproto.sync.listBlobs?did={did}&limit=1000")
        return answer.json["cids"] if answer.status_code == 200 else answer.json["error"]

    def serves(self, did, data, seconds=10):
        """Whether the blob is served within *seconds*."""
        return becomes(lambda: self.get(did, data) == data, seconds)

    def has_handled(self, pds, seconds=10):
        """Whether all events of *pds* were handled, and no account has anything to catch up."""
        return becomes(lambda: self._is_idle(pds), seconds)

    def _is_idle(self, pds):
        with self.services.database.read() as tx:
            host = upstream.find_host(tx, self.url)
            waiting = upstream.due(tx, self.url, self.services.clock(), 1)
        return (host.cursor or 0) >= pds.seq and not waiting
