"""Several uploads, stored side by side and written in one transaction: for who fetches many blobs.

A blob by itself waits for the disk three times: for its bytes, their name and its row. Together
they wait about as often as one of them does.
"""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import chain

from aurora_blobs.blobs.upload import Incoming, Upload
from aurora_blobs.catalog.blobs import Entry
from aurora_blobs.db import Transaction
from aurora_blobs.errors import BlobServiceError, ServiceBusy

# Blobs that are kept at a time; fewer where they have so many bytes, which may be in memory.
MOST_TOGETHER = 16
TOGETHER_BYTES = 2**20


class Together:
    """Uploads that are received one after the other, until `keep` stores them all.

    What was received lies in *held* until it is kept. `size` is the number of its bytes. How much
    is received before it is kept is the caller's to bound: of each blob as much is in memory as of
    one that is uploaded, and the transaction is as long as that of each of them together.
    """

    def __init__(self, begin: Callable[[Incoming], Upload], held: ExitStack) -> None:
        """*begin* gives the upload of an `Incoming`."""
        self.size = 0
        self._begin = begin
        self._uploads: list[Upload] = []
        self._held = held

    def receive(self, incoming: Incoming) -> Entry | None:
        """Read the stream of *incoming*; the entry where nothing has to be stored or written.

        Raises what `BlobManager.upload` raises.
        """
        upload = self._begin(incoming)
        upload.backend.confirm()
        with ExitStack() as held:
            held.enter_context(upload.share)
            upload.blob = held.enter_context(upload.receive())
            known = upload.look()
            if known is None:
                self._held.push(held.pop_all())
                self._uploads.append(upload)
                self.size += upload.blob.size
        return known

    def keep(self) -> list[Entry | BlobServiceError]:
        """Store what was received since the last time; of each, in order, its entry or a refusal.

        Who is refused is refused alone. An entry is durable on return.
        """
        uploads, self._uploads, self.size = self._uploads, [], 0
        with self._held.pop_all():
            return _kept(uploads)


def _kept(uploads: list[Upload]) -> list[Entry | BlobServiceError]:
    if len(uploads) < 2:
        return [_alone(upload) for upload in uploads]
    try:
        entries = _written(uploads)
    except ServiceBusy as error:
        for upload in uploads:
            upload.leave(error)
        return [error for _ in uploads]
    except BlobServiceError:
        _undo(uploads)
        entries = [None for _ in uploads]
    except BaseException:
        _undo(uploads)
        raise
    return [entry or _alone(upload) for entry, upload in zip(entries, uploads, strict=True)]


def _written(uploads: list[Upload]) -> list[Entry | None]:
    """The entries; None where the bytes were collected in the meantime. All are undone or none."""
    first = uploads[0]
    first.backend.put_many([upload.blob for upload in uploads if upload.place()])
    keys = [upload.keys for upload in uploads]
    entries = first.database.transact(
        partial(_write, uploads, first.clock()), keys=() if () in keys else tuple({*chain(*keys)})
    )
    for entry, upload in zip(entries, uploads, strict=True):
        if entry is not None:
            upload.tidy(entry)
    return entries


def _write(uploads: list[Upload], now: int, tx: Transaction) -> list[Entry | None]:
    return [upload.write(now, tx) for upload in uploads]


def _alone(upload: Upload) -> Entry | BlobServiceError:
    try:
        return upload.keep()
    except BlobServiceError as error:
        return error


def _undo(uploads: list[Upload]) -> None:
    for upload in uploads:
        upload.undo()
