"""Commits of the stream, checked: their blocks, their commit, and that they tell of every change.

https://atproto.com/specs/sync#commit-validation-and-verification
"""

import io
from dataclasses import dataclass
from typing import Any

from aurora_blobs.errors import InvalidRequest
from aurora_blobs.mirror.frames import Commit, Sync
from aurora_blobs.protocol.blob_refs import Reference, find_references
from aurora_blobs.protocol.car import Blocks, read_record, record_name
from aurora_blobs.protocol.car_index import CarIndex
from aurora_blobs.protocol.commits import SignedCommit, parse_commit
from aurora_blobs.protocol.dag_cbor import cid_text
from aurora_blobs.protocol.tree import Tree

# A commit has one for each operation and for each node on the way: some 10 for each (a guess).
_MAX_BLOCKS = 10_000


class BadCommit(ValueError):
    """What the event says is wrong, or cannot be checked: the repository has to be fetched."""


@dataclass(frozen=True, slots=True)
class RecordChange:
    """A record that was written, or deleted: then *value* is None."""

    collection: str
    rkey: str
    cid: str
    value: dict[str, Any] | None
    references: list[Reference]


class Checked:
    """The commit of *event*, whose blocks match their CIDs. Its signature is the caller's to check.

    Raises BadCommit.
    """

    def __init__(self, event: Commit | Sync) -> None:
        index = CarIndex(max_blocks=_MAX_BLOCKS)
        try:
            index.feed(event.blocks)
            index.close()
            self.signed: SignedCommit = parse_commit(index.commit)
        except (InvalidRequest, ValueError) as error:
            raise BadCommit(str(error)) from None
        self._root = index.root
        self._blocks = Blocks(io.BytesIO(event.blocks), index)
        if (self.signed.did, self.signed.rev) != (event.did, event.rev):
            raise BadCommit("the commit is of another account or revision than its event")

    def changes(self, event: Commit) -> list[RecordChange]:
        """The changes of *event*, which lead from its `prev_data` to this commit, and no others.

        Raises BadCommit.
        """
        if self._root != event.commit:
            raise BadCommit("the commit is not the one that its event names")
        try:
            self._undo(event)
            return [self._change(operation.key, operation.cid) for operation in event.operations]
        except (InvalidRequest, ValueError) as error:
            raise BadCommit(str(error)) from None

    def _undo(self, event: Commit) -> None:
        if event.prev_data is None:
            raise ValueError("the event does not say what was before")
        if len({operation.key for operation in event.operations}) < len(event.operations):
            raise ValueError("an event changes a record twice")
        tree = Tree(self.signed.data, self._blocks.read)
        for operation in event.operations:
            if operation.cid is None:
                assert operation.prev is not None
                tree.insert(operation.key, operation.prev)
            elif operation.prev is None:
                tree.remove(operation.key, operation.cid)
            else:
                tree.replace(operation.key, operation.cid, operation.prev)
        if tree.root() != event.prev_data:
            raise ValueError("the operations are not all that was changed")

    def _change(self, key: bytes, cid: bytes | None) -> RecordChange:
        collection, rkey = record_name(key)
        if cid is None:
            return RecordChange(collection, rkey, "", None, [])
        value = read_record(key, self._blocks.read(cid))
        return RecordChange(collection, rkey, cid_text(cid), value, list(find_references(value)))
