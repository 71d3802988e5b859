"""Gives blobs back to a PDS that has lost them: into its store, or by the account's uploads."""

import http.client
import json
import os
import shutil
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, BinaryIO, Protocol
from urllib.parse import urlencode, urlsplit

from aurora_blobs.auth.fetch import FetchFailed, fetch, tls_context
from aurora_blobs.blobs.manager import BlobManager
from aurora_blobs.catalog import upstream
from aurora_blobs.catalog.blobs import Entry
from aurora_blobs.db import Database
from aurora_blobs.errors import BlobNotFound
from aurora_blobs.intake.spool import CHUNK
from aurora_blobs.maintenance.export import has_blob, write_whole
from aurora_blobs.maintenance.walk import Finding, lost
from aurora_blobs.protocol.cid import cid_of_digest, digest_of
from aurora_blobs.protocol.quoting import shown
from aurora_blobs.storage.group_fsync import sync_folder
from aurora_blobs.storage.s3_bucket import Bucket
from aurora_blobs.storage.s3_client import SLOWEST_PUT

_PAGE = 100  # blobs; a listing of them is far below what `fetch` reads
_MAX_PAGES = 10_000
_SILENCE_SECONDS = 60.0  # a guess: the PDS answers when the bytes are in its store
_MAX_ANSWER = 64 * 1024  # bytes


class NotGiven(Exception):
    """The PDS or its store did not take a blob, or does not answer."""


class Target(Protocol):
    """A PDS, or its store. Methods raise NotGiven, and BlobServiceError of a store."""

    def lacks(self, entry: Entry) -> bool:
        """Whether the blob is to be given: it is not there, or other bytes are."""

    def give(self, entry: Entry, blobs: BlobManager) -> None:
        """Put the blob there, if its bytes here are right. Raises BlobNotFound."""


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder of the blobs of a reference PDS: ``<path>/<did>/<cid>``."""

    path: Path

    def lacks(self, entry: Entry) -> bool:
        if (self.path / "quarantine" / entry.did / entry.cid).exists():
            return False
        return not has_blob(self.path / entry.did / entry.cid, entry)

    def give(self, entry: Entry, blobs: BlobManager) -> None:
        def fill(file: BinaryIO) -> None:
            with blobs.open(entry, verify=True) as source:
                shutil.copyfileobj(source, file, CHUNK)
            file.flush()
            # The PDS reads it under an account of its own, which has the folder.
            if os.geteuid() == 0:
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            os.fsync(file.fileno())

        folder = self.path / entry.did
        try:
            owner = self.path.stat()
            if not folder.is_dir():
                folder.mkdir()
                if os.geteuid() == 0:
                    os.chown(folder, owner.st_uid, owner.st_gid)
                sync_folder(self.path)
            finding = write_whole(folder / entry.cid, fill)
            sync_folder(folder)
        except OSError as error:
            raise NotGiven(str(error)) from error
        if finding is not None:
            raise NotGiven(finding.detail)


@dataclass(frozen=True, slots=True)
class Objects:
    """The bucket of a reference PDS: ``<prefix>blocks/<did>/<cid>``."""

    bucket: Bucket
    prefix: str

    def lacks(self, entry: Entry) -> bool:
        if self.bucket.size(f"{self.prefix}quarantine/{entry.did}/{entry.cid}") is not None:
            return False
        if self.bucket.size(self._key(entry)) != entry.size:
            return True
        digest = sha256()
        with self.bucket.open(self._key(entry)) as file:
            while piece := file.read(CHUNK):
                digest.update(piece)
        return cid_of_digest(digest.digest()) != entry.cid

    def give(self, entry: Entry, blobs: BlobManager) -> None:
        # A copy, since each attempt reads from the beginning, and only right bytes are sent.
        with NamedTemporaryFile() as copy:
            with blobs.open(entry, verify=True) as source:
                shutil.copyfileobj(source, copy, CHUNK)
            copy.flush()
            checksum = b64encode(digest_of(entry.cid)).decode()
            self.bucket.call_with(
                {"checksums": {"ChecksumSHA256": checksum}},
                "put_object",
                body=partial(open, copy.name, "rb"),
                extra_seconds=entry.size / SLOWEST_PUT,
                Key=self._key(entry),
                ContentLength=entry.size,
            )

    def _key(self, entry: Entry) -> str:
        return f"{self.prefix}blocks/{entry.did}/{entry.cid}"


class Uploads:
    """The PDS at *url*, to which the owner of *did* uploads with *token*, an access token."""

    def __init__(self, url: str, did: str, token: str) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"}
        self._missing = set(self._ask_missing())
        self._did = did

    def lacks(self, entry: Entry) -> bool:
        return entry.did == self._did and entry.cid in self._missing

    def give(self, entry: Entry, blobs: BlobManager) -> None:
        parts = urlsplit(f"{self._url}/xrpc/com.atproto.repo.uploadBlob")
        # Opened first: what is not here is not begun to be sent.
        with blobs.open(entry, verify=True) as source:
            connection = _connection(parts.scheme, parts.netloc)
            headers = {
                "Content-Type": blobs.content_type(entry),
                "Content-Length": str(entry.size),
            }
            try:
                connection.request("POST", parts.path, source, {**self._headers, **headers})
                answer = connection.getresponse()
                text = answer.read(_MAX_ANSWER)
            except (OSError, http.client.HTTPException) as error:
                raise NotGiven(f"the PDS does not answer: {error}") from error
            finally:
                connection.close()
        if answer.status != 200:
            raise NotGiven(f"the PDS answers {answer.status} {_shown_error(text)}")
        if entry.cid not in text.decode(errors="replace"):
            raise NotGiven("the PDS has received other bytes")

    def _ask_missing(self) -> Iterator[str]:
        cursor: str | None = None
        for _ in range(_MAX_PAGES):
            given = {"limit": _PAGE} if cursor is None else {"limit": _PAGE, "cursor": cursor}
            url = f"{self._url}/xrpc/com.atproto.repo.listMissingBlobs?{urlencode(given)}"
            try:
                answer = json.loads(fetch(url, allowed=None, headers=self._headers))
                yield from [str(blob["cid"]) for blob in answer["blobs"]]
                cursor = answer.get("cursor")
            except FetchFailed as error:
                raise NotGiven(f"the PDS does not say what it misses: {error}") from error
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise NotGiven("the PDS does not say what it misses") from error
            if cursor is None:
                return


class GiveBack:
    """Gives what *target* lacks of the public blobs of *did*, or of every account.

    `given` and `there` count the blobs that were given, and that needed not to be.
    """

    def __init__(
        self, database: Database, blobs: BlobManager, target: Target, did: str | None
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._target = target
        self._did = did
        self.given = self.there = 0

    def lacking(self, progress: Callable[[int], None]) -> Iterator[Entry]:
        """Each blob that the target lacks. *progress* gets the size of each that was looked at.

        What its PDS refuses is among them, unless it has put it aside itself. Raises NotGiven, and
        BlobServiceError if the store there is away.
        """
        for did, held in groupby(
            self._blobs.holdings(self._did), key=lambda holding: holding.entry.did
        ):
            known = upstream.find(self._database.one_shot(), did)
            if known is not None and known.status == upstream.DELETED:
                continue
            for holding in held:
                if holding.state == "public":
                    if self._target.lacks(holding.entry):
                        yield holding.entry
                    else:
                        self.there += 1
                progress(holding.entry.size)

    def run(self, progress: Callable[[int], None]) -> Iterator[Finding]:
        """Give them; each that could not be given. Raises as `lacking`, also for the store here."""
        for entry in self.lacking(progress):
            try:
                self._target.give(entry, self._blobs)
            except BlobNotFound:
                yield lost(entry.cid, entry.size)
            except NotGiven as error:
                yield Finding("not given", entry.cid, f"{entry.did}: {error}")
            else:
                self.given += 1


def _connection(scheme: str, netloc: str) -> http.client.HTTPConnection:
    if scheme == "https":
        return http.client.HTTPSConnection(netloc, timeout=_SILENCE_SECONDS, context=tls_context())
    return http.client.HTTPConnection(netloc, timeout=_SILENCE_SECONDS)


def _shown_error(text: bytes) -> str:
    try:
        answer: dict[str, Any] = json.loads(text)
        return shown(f"{answer['error']}: {answer.get('message', '')}")
    except (KeyError, TypeError, ValueError, RecursionError):
        return ""
