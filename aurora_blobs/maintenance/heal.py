"""Fetches missing blobs from another server that still has them, and keeps only intact ones."""

import http.client
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator

from aurora_blobs.blobs.manager import BlobManager
from aurora_blobs.blobs.upload import Incoming
from aurora_blobs.catalog import inventory
from aurora_blobs.db import Database
from aurora_blobs.errors import STORE_AWAY, BlobServiceError
from aurora_blobs.maintenance.walk import Finding

_STEP = 1000  # pairs per statement
_SILENCE_SECONDS = 30  # a guess: the other server may have to fetch the bytes itself


class Heal:
    """One pass over all missing blobs. `healed` counts those that came back."""

    def __init__(self, database: Database, blobs: BlobManager, origin: str) -> None:
        """*origin* is the other server's URL; *blobs* sets the limits. Raises ValueError."""
        if not origin.startswith(("http://", "https://")):
            raise ValueError(f"{origin}: accepted is a URL like https://pds.example.com")
        self._database = database
        self._blobs = blobs
        self._origin = origin.rstrip("/")
        self.healed = 0

    def run(self) -> Iterator[Finding]:
        """Each blob that could not be fetched.

        Raises BackendUnavailable, BackendTimeout, ServiceBusy for our own store.
        """
        after = ("", "")
        while True:
            with self._database.read() as tx:
                step = inventory.missing(tx, after, _STEP)
            for did, cid in step:
                reason = self._fetch(did, cid)
                if reason is None:
                    self.healed += 1
                else:
                    yield Finding("not fetched", cid, f"{did}: {reason}")
            if len(step) < _STEP:
                return
            after = step[-1]

    def _fetch(self, did: str, cid: str) -> str | None:
        """Store the blob; why it could not be fetched, or None."""
        query = urllib.parse.urlencode({"did": did, "cid": cid})
        url = f"{self._origin}/xrpc/com.atproto.sync.getBlob?{query}"
        try:
            with urllib.request.urlopen(url, timeout=_SILENCE_SECONDS) as answer:
                length = answer.headers.get("Content-Length", "")
                incoming = Incoming(
                    stream=answer,
                    did=did,
                    declared_type=answer.headers.get_content_type(),
                    declared_size=int(length) if length.isdigit() else None,
                    expected_cid=cid,
                )
                self._blobs.upload(incoming)
        except STORE_AWAY:
            raise
        except BlobServiceError as error:
            return error.message
        except urllib.error.HTTPError as error:
            with error:
                return f"the other server answers {error.code}"
        except (OSError, http.client.HTTPException) as error:
            return f"the other server cannot be reached: {error}"
        return None
