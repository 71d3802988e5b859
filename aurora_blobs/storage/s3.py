"""Blobs as objects in an S3-compatible store: ``<prefix><xx>/<name>``, xx as on disk."""

import io
import logging
import os
import secrets
from base64 import b64encode
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from functools import partial
from hashlib import sha256
from typing import Any, BinaryIO

from aurora_blobs.errors import BackendUnavailable, BlobNotFound, BlobServiceError
from aurora_blobs.intake.spool import CHUNK, Spooled
from aurora_blobs.protocol.cid import cid_in, cid_of_name, digest_of, name_at, place_of
from aurora_blobs.storage.base import (
    CANARY,
    MARK,
    MAX_MARK_BYTES,
    Store,
    Stored,
    Unfinished,
)
from aurora_blobs.storage.s3_bucket import REFUSED_SECONDS, Bucket, unexpected
from aurora_blobs.storage.s3_client import SLOWEST_PUT, Damaged, Refused
from aurora_blobs.storage.s3_parts import MAX_PUT, PART, MultipartUpload, unfinished_uploads

log = logging.getLogger(__name__)

URL_SECONDS = 300  # in which a client must begin to read a link, not end
_QUARANTINE = "quarantine/"  # after the prefix
_DELETE_AT_ONCE = 1000  # keys that DeleteObjects takes
# A look at the mark is a request. For an upload or a removal one this old will do: another bucket
# takes a restart. A guess. That bytes are missing is never said without a look of its own.
_MARK_SECONDS = 5
_SONG = b"canary"  # the bytes of a canary


class S3Backend(Store):
    """A bucket. An object is whole or absent; its Content-Type is that of the first upload."""

    kind = "s3"

    def __init__(
        self,
        bucket: Bucket,
        *,
        prefix: str,
        max_put: int = MAX_PUT,
        part_bytes: int = PART,
    ) -> None:
        """Objects above *max_put* bytes are sent in parts of *part_bytes*, or larger ones if those
        are too many for S3.
        """
        self.bucket = bucket
        self._prefix = prefix
        self._max_put = max_put
        self._part_bytes = part_bytes
        # One name for all canaries, so that a store that does not delete is not filled; `probe`
        # adds the process, since a fork copies this object.
        self._canary = f"{CANARY}{secrets.token_hex(8)}"
        # When it was tried, and whether damaged bytes were refused.
        self._refuses_damage: tuple[float, bool] | None = None
        self._mark_seen_at: float | None = None  # when the mark was the right one

    @property
    def place(self) -> str:
        return (
            f"s3://{self.bucket.name}/{self._prefix} (AURORA_BLOBS_S3_BUCKET, "
            "AURORA_BLOBS_S3_PREFIX, AURORA_BLOBS_S3_ENDPOINT_URL)"
        )

    def prepare(self) -> None:
        pass

    def put(self, blob: Spooled) -> None:
        """Make the bytes durable under ``blob.name``.

        After a BackendTimeout the object may still appear, whole; never a part of it.
        """
        self.check_ours(recently=True)
        try:
            if blob.size <= self._max_put:
                is_checked = self._create(partial(self._put, blob), lambda: self._is_whole(blob))
            else:
                with self._multipart(self.key(blob.name), ContentType=blob.mime_type) as upload:
                    upload.send(blob)
                    self._create(upload.complete, upload.is_there)
                is_checked = upload.is_checked
        except Refused as refusal:
            raise unexpected(refusal) from refusal
        if not is_checked and not self._damage_is_refused():
            self._read_back(blob.name)

    def open(self, name: str, start: int = 0, stop: int | None = None) -> BinaryIO:
        try:
            return self.bucket.open(self.key(name), start, stop)
        except BlobNotFound:
            self.check_ours()
            raise

    def size(self, name: str) -> int | None:
        size = self.bucket.size(self.key(name))
        if size is None:
            self.check_ours()
        return size

    def delete(self, name: str) -> None:
        self.check_ours(recently=True)
        # Brief: the collector comes again.
        self.bucket.call("delete_object", brief=True, Key=self.key(name))

    def delete_many(self, names: Sequence[str]) -> dict[str, BlobServiceError]:
        self.check_ours(recently=True)
        if len(names) == 1:  # no store refuses DeleteObject
            return super().delete_many(names)
        failures: dict[str, BlobServiceError] = {}
        for start in range(0, len(names), _DELETE_AT_ONCE):
            batch = names[start : start + _DELETE_AT_ONCE]
            keys = {self.key(name): name for name in batch}
            listed = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
            try:
                # Brief, as above.
                answer = self.bucket.call("delete_objects", brief=True, Delete=listed)
            except Refused:
                # Swift and older MinIO want a Content-MD5, which boto3 no longer sends.
                failures |= super().delete_many(batch)
                continue
            # A batch is answered with 200 even where keys in it failed.
            for error in answer.get("Errors", ()):
                if error.get("Code") != "NoSuchKey":
                    failures[keys[error["Key"]]] = BackendUnavailable(
                        f"the store kept it: {error.get('Code')}"
                    )
        return failures

    def version(self, name: str) -> str | None:
        version = self.bucket.version(self.key(name))
        if version is None:
            self.check_ours()
        return version

    def quarantine(self, name: str) -> None:
        size = self.size(name)
        if size is None:
            raise BlobNotFound()
        source = {"Bucket": self.bucket.name, "Key": self.key(name)}
        aside = f"{self._prefix}{_QUARANTINE}{name}.{secrets.token_hex(8)}"
        if size <= self._max_put:
            self.bucket.call("copy_object", CopySource=source, Key=aside)
            return
        with self._multipart(aside) as upload:
            upload.copy(source, size)
            upload.complete()

    def purge_quarantine(self, cids: Collection[str]) -> None:
        self.check_ours(recently=True)
        aside = f"{self._prefix}{_QUARANTINE}"
        for listed in self.bucket.objects(aside):
            if listed.key.removeprefix(aside).partition(".")[0] in cids:
                self.bucket.call("delete_object", Key=listed.key)

    def count_quarantined(self) -> int:
        self.check_ours(recently=True)
        return sum(1 for _ in self.bucket.objects(f"{self._prefix}{_QUARANTINE}"))

    def url(self, name: str, *, content_type: str, disposition: str) -> str | None:
        parameters = {
            "Bucket": self.bucket.name,
            "Key": self.key(name),
            "ResponseContentType": content_type,
            "ResponseContentDisposition": disposition,
        }
        client = self.bucket.client.boto3_client()
        return str(
            client.generate_presigned_url("get_object", Params=parameters, ExpiresIn=URL_SECONDS)
        )

    def scan(
        self,
        skipped: Callable[[str], None] | None = None,
        start: str = "",
        stop: str | None = None,
    ) -> Iterator[Stored]:
        self.check_ours()
        # After the slash: SeaweedFS leaves out the whole folder that it is told to begin after.
        for listed in self.bucket.objects(self._prefix, start and f"{start}/"):
            place = listed.key[len(self._prefix) :]
            if stop is not None and place > f"{stop}/":
                return
            name = name_at(place)
            if name is not None:
                yield Stored(name, listed.size, listed.modified)
            elif skipped is not None and not place.startswith((_QUARANTINE, CANARY, MARK)):
                skipped(place)

    def unfinished(self, before: int) -> Iterator[Unfinished]:
        self.check_ours()  # another's uploads are not ours to abort
        for upload in unfinished_uploads(self.bucket, self._prefix):
            place = upload.key[len(self._prefix) :]
            is_aside = place.startswith(_QUARANTINE)
            cid = cid_in(place.removeprefix(_QUARANTINE) if is_aside else name_at(place) or "")
            if cid is None or upload.since >= before:
                continue
            # An upload over a slow link may have begun before that, and still be under way.
            size, since = upload.parts()
            if since < before:
                yield Unfinished(cid, size, since, upload.remove)
        for canary in self.bucket.objects(f"{self._prefix}{CANARY}"):
            if canary.modified < before:
                remove = partial(self._remove_object, canary.key)
                yield Unfinished(None, canary.size, canary.modified, remove)

    def probe(self) -> None:
        self.confirm()
        key = f"{self._prefix}{self._canary}.{os.getpid()}"
        try:
            # As an upload: health fails where uploads fail, and the log says what is refused.
            is_checked = self._create(partial(self._put_canary, key), lambda: False)
        except Refused as refusal:
            raise unexpected(refusal) from refusal
        try:
            with self.bucket.open(key, brief=True) as file:
                if file.read() != _SONG:
                    raise BackendUnavailable("the canary came back changed")
        finally:
            self.bucket.call("delete_object", brief=True, Key=key)
        if not is_checked:
            self._damage_is_refused()

    def read_mark_bytes(self) -> bytes | None:
        try:
            with self.bucket.open(f"{self._prefix}{MARK}", brief=True) as file:
                return file.read(MAX_MARK_BYTES)
        except BlobNotFound:
            return None

    def write_mark_bytes(self, data: bytes) -> None:
        self.bucket.call("put_object", brief=True, Key=f"{self._prefix}{MARK}", Body=data)

    def _carries_mark(self, *, recently: bool) -> bool:
        now = self.bucket.seconds()
        seen_at = self._mark_seen_at
        if recently and seen_at is not None and now - seen_at < _MARK_SECONDS:
            return True
        carries = super()._carries_mark(recently=recently)
        self._mark_seen_at = now if carries else None
        return carries

    def key(self, name: str) -> str:
        """The key of *name*."""
        return f"{self._prefix}{place_of(name)}"

    def _remove_object(self, key: str) -> bool:
        self.bucket.call("delete_object", Key=key)
        return True

    def _multipart(self, key: str, **options: str) -> MultipartUpload:
        return MultipartUpload(self.bucket, key, part_bytes=self._part_bytes, **options)

    def _create(self, write: Callable[..., bool], is_there: Callable[[], bool]) -> bool:
        """*write* an object unless one *is_there*, and whole.

        Returns whether the store has checked the digest of what it has, for sure.
        """
        try:
            return write(IfNoneMatch="*")
        except Refused as refusal:
            if refusal.http_status != 412:
                raise
        return is_there() or write()

    def _put(self, blob: Spooled, **condition: str) -> bool:
        return self._put_object(
            self.key(blob.name),
            blob.open,
            digest_of(blob.cid),
            condition,
            extra_seconds=blob.size / SLOWEST_PUT,
            ContentLength=blob.size,
            ContentType=blob.mime_type,
        )

    def _put_canary(self, key: str, **condition: str) -> bool:
        return self._put_object(
            key,
            lambda: io.BytesIO(_SONG),
            sha256(_SONG).digest(),
            condition,
            brief=True,
            ContentLength=len(_SONG),
            ContentType="application/octet-stream",
        )

    def _put_object(
        self,
        key: str,
        body: Callable[[], BinaryIO],
        digest: bytes,
        condition: dict[str, str],
        **parameters: Any,
    ) -> bool:
        # The CID's own digest: a store that checks it cannot hold other bytes under this name.
        checksum = b64encode(digest).decode()
        optional = {"checksums": {"ChecksumSHA256": checksum}, "conditions": condition}
        answer, _ = self.bucket.call_with(
            {kind: extra for kind, extra in optional.items() if extra},
            "put_object",
            body=body,
            Key=key,
            **parameters,
        )
        return bool(answer.get("ChecksumSHA256") == checksum)

    def _damage_is_refused(self) -> bool:
        """Whether the store refuses bytes that are not those of their signature, as it did lately.

        For stores that do not say which checksum they have checked. False also where that is not
        known.
        """
        now = self.bucket.seconds()
        tried = self._refuses_damage
        if tried is not None and now - tried[0] < REFUSED_SECONDS:
            return tried[1]
        is_refused = self._try_damage()
        if not is_refused and (tried is None or tried[1]):
            log.warning("the store does not check digests: each upload is read back")
        self._refuses_damage = now, is_refused
        return is_refused

    def _try_damage(self) -> bool:
        key = f"{self._prefix}{self._canary}.damaged.{os.getpid()}"
        try:
            self.bucket.call(
                "put_object",
                brief=True,
                expected=Damaged,
                body=lambda: _Altered(_SONG),
                Key=key,
                ContentLength=len(_SONG),
            )
        except Damaged:
            return True
        except BlobServiceError:
            return False
        with suppress(BlobServiceError):
            self.bucket.call("delete_object", brief=True, Key=key)
        return False

    def _read_back(self, name: str) -> None:
        """Raise BackendUnavailable if the object is not what the CID of *name* says.

        It stays: another upload may have replaced it, and the next one does.
        """
        digest = sha256()
        with self.bucket.open(self.key(name)) as file:
            while data := file.read(CHUNK):
                digest.update(data)
        if digest.digest() != digest_of(cid_of_name(name)):
            raise BackendUnavailable("the store has other bytes than were sent")

    def _is_whole(self, blob: Spooled) -> bool:
        # False in a store that keeps no checksum: the bytes at hand are right, and are sent again.
        try:
            head, _ = self.bucket.call_with(
                {"checksums": {"ChecksumMode": "ENABLED"}}, "head_object", Key=self.key(blob.name)
            )
        except BlobNotFound:
            return False  # deleted meanwhile
        digest = b64encode(digest_of(blob.cid)).decode()
        return bool(head["ContentLength"] == blob.size and head.get("ChecksumSHA256") == digest)


class _Altered(io.BytesIO):
    """Bytes that are others from their second reading on: what is signed is not what is sent."""

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if not data:
            with self.getbuffer() as view:
                view[0] ^= 1
        return data
