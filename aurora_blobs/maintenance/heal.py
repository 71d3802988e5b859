"""Fetches missing blobs from another server that still has them, and keeps only intact ones."""

import http.client
import io
import socket
import ssl
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from aurora_blobs.blobs.manager import BlobManager
from aurora_blobs.blobs.upload import Incoming
from aurora_blobs.catalog import inventory
from aurora_blobs.catalog.inventory import Missing
from aurora_blobs.db import Database
from aurora_blobs.errors import STORE_AWAY, BlobServiceError, BlobTooLarge, UploadIncomplete
from aurora_blobs.intake.body import Reader
from aurora_blobs.maintenance.walk import Finding

_STEP = 1000  # pairs per statement
# A blob may take so long in all: for the answer, which the other server may have to fetch itself,
# and for its bytes at the slowest that is borne. Guesses.
ANSWER_SECONDS = 30.0
SLOWEST = 64 * 1024  # bytes per second
_CONNECT_SECONDS = 10.0  # per address
_MAX_SILENT = 5  # blobs in a row without an answer; then the other server is away


class Heal:
    """One pass over all missing blobs. `healed` counts those that came back."""

    def __init__(
        self,
        database: Database,
        blobs: BlobManager,
        origin: str,
        *,
        max_blob_bytes: int,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        """*origin* is the other server's URL; *blobs* takes what comes.

        A blob that was here may have the size that it had. One that records merely name may have
        the size that they state, and *max_blob_bytes* at most. Raises ValueError.
        """
        self._database = database
        self._blobs = blobs
        self._origin = _Origin(origin)
        self._max_blob_bytes = max_blob_bytes
        self._answer_seconds = answer_seconds
        self.healed = 0

    def run(self) -> Iterator[Finding]:
        """Each blob that could not be fetched.

        Raises BackendUnavailable, BackendTimeout, ServiceBusy for our own store.
        """
        silent = 0
        for missing in self._missing():
            try:
                reason = self._fetch(missing)
            except _NoAnswer as error:
                reason = f"the other server cannot be reached: {error}"
                silent += 1
            else:
                silent = 0
            if reason is None:
                self.healed += 1
            else:
                yield Finding("not fetched", missing.cid, f"{missing.did}: {reason}")
            if silent == _MAX_SILENT:
                yield Finding("not fetched", "all others", "the other server seems to be away")
                return

    def _missing(self) -> Iterator[Missing]:
        return self._database.in_pages(
            inventory.missing, ("", ""), lambda last: (last.did, last.cid), limit=_STEP
        )

    def _fetch(self, missing: Missing) -> str | None:
        """Store the blob; why it could not be stored, or None. Raises _NoAnswer."""
        size = missing.size
        if not missing.is_owned and size is not None:
            size = min(size, self._max_blob_bytes)
        most = self._max_blob_bytes if size is None else size
        deadline = time.monotonic() + self._answer_seconds + most / SLOWEST
        try:
            with self._origin.blob(missing.did, missing.cid, deadline) as answer:
                if answer.status != 200:
                    return f"the other server answers {answer.status}"
                if answer.length is not None and answer.length > most:
                    return f"it has {answer.length} bytes there, and should have {most}"
                incoming = Incoming(
                    stream=answer if size is not None else _Bounded(answer, most),
                    did=missing.did,
                    declared_type=answer.headers.get_content_type(),
                    # No more than this is read, whatever else comes.
                    declared_size=answer.length if size is None else size,
                    expected_cid=missing.cid,
                )
                self._blobs.upload(incoming)
        except STORE_AWAY:
            raise
        except UploadIncomplete:
            return "its bytes did not come to their end, or not in time"
        except BlobServiceError as error:
            return error.message
        return None


class _NoAnswer(Exception):
    """The other server did not answer, or not in time."""


class _Origin:
    """The one server that is asked: no redirect, proxy or other scheme leads elsewhere."""

    def __init__(self, url: str) -> None:
        self._host, self._port, self._path = "", 0, ""
        try:
            parts = urllib.parse.urlsplit(url)
            self._is_tls = parts.scheme == "https"
            self._port = parts.port or (443 if self._is_tls else 80)
        except ValueError:
            parts = urllib.parse.SplitResult("", "", "", "", "")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
            raise ValueError(f"{url}: accepted is a URL like https://pds.example.com")
        self._host = parts.hostname
        self._path = parts.path.rstrip("/")

    @contextmanager
    def blob(self, did: str, cid: str, deadline: float) -> Iterator[http.client.HTTPResponse]:
        """The answer to getBlob. Its body may be read until *deadline*, a monotonic time."""
        query = urllib.parse.urlencode({"did": did, "cid": cid})
        target = f"{self._path}/xrpc/com.atproto.sync.getBlob?{query}"
        try:
            connected = self._connect(deadline)
        except OSError as error:
            raise _NoAnswer(str(error)) from error
        with connected:
            client = http.client.HTTPConnection(self._host, self._port)
            client.sock = cast(socket.socket, _Timed(connected, deadline))
            try:
                client.request("GET", target, headers={"Accept": "*/*", "Connection": "close"})
                answer = client.getresponse()
            except (OSError, http.client.HTTPException) as error:
                raise _NoAnswer(str(error) or type(error).__name__) from error
            with answer:
                yield answer

    def _connect(self, deadline: float) -> socket.socket:
        connected = socket.create_connection(
            (self._host, self._port), timeout=min(_CONNECT_SECONDS, _left(deadline))
        )
        if not self._is_tls:
            return connected
        try:
            connected.settimeout(_left(deadline))
            return ssl.create_default_context().wrap_socket(connected, server_hostname=self._host)
        except OSError:
            connected.close()
            raise


class _Timed:
    """A socket in the form that http.client needs, with one deadline for the whole exchange."""

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        self._socket = connected
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        self._socket.settimeout(_left(self._deadline))
        self._socket.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self._socket, self._deadline))

    def close(self) -> None:
        """Do nothing: http.client closes before the body is read."""


class _TimedReader(io.RawIOBase):
    def __init__(self, connected: socket.socket, deadline: float) -> None:
        self._socket = connected
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        # A socket's timeout is for one call. A server that sends a byte now and then never hits it.
        self._socket.settimeout(_left(self._deadline))
        return self._socket.recv_into(buffer)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


class _Bounded:
    """At most *most* bytes of *stream*; the next read raises BlobTooLarge."""

    def __init__(self, stream: Reader, most: int) -> None:
        self._stream = stream
        self._left = most
        self._most = most

    def read(self, size: int, /) -> bytes:
        data = self._stream.read(min(size, self._left + 1))
        self._left -= len(data)
        if self._left < 0:
            raise BlobTooLarge(f"it has more than {self._most} bytes there")
        return data
