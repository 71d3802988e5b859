"""The audit trail: who ordered what, when and why."""

import re
from collections.abc import Iterator
from functools import partial
from typing import Unpack, get_args

from aurora_blobs.catalog import audit
from aurora_blobs.catalog.audit import FIRST, Act, Action, Author, Filters
from aurora_blobs.db import Database
from aurora_blobs.disk_space import Spend
from aurora_blobs.protocol.cid import parse_blob_cid
from aurora_blobs.protocol.syntax import parse_did

ACTIONS: tuple[str, ...] = get_args(Action)
_PAGE = 500  # acts per statement when all are listed
_POSITION = re.compile(r"(\d{1,16})-(\d{1,19})", re.ASCII)


def parse_did_or_cid(text: str) -> str:
    """*text*, whom or what an act was about. Raises ValueError."""
    return parse_did(text) if text.startswith("did:") else parse_blob_cid(text)


def parse_action(text: str) -> str:
    """*text*, one of `ACTIONS`. Raises ValueError."""
    if text not in ACTIONS:
        raise ValueError(f"accepted are {', '.join(ACTIONS)}")
    return text


def position_of(act: Act) -> str:
    """Where a list goes on after *act*: what `parse_position` reads."""
    return f"{act.acted_at}-{act.number}"


def parse_position(text: str) -> tuple[int, int]:
    """The time and number of an act, of its `position_of`. Raises ValueError."""
    match = _POSITION.fullmatch(text)
    if match is None or int(match[2]) > FIRST[1]:
        raise ValueError("accepted is the cursor of the page before")
    return int(match[1]), int(match[2])


class AuditTrail:
    """Lists what the functions of the catalog have noted. Filters are those of `audit.page`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note(self, by: Author, action: Action, *, did: str = "", new: str) -> None:
        """Note an act of many transactions, or of none here, before it begins."""
        with self._database.write(Spend.ALL) as tx:
            audit.add(tx, by, action, did=did, new=new)

    def page(self, after: tuple[int, int], limit: int, **filters: Unpack[Filters]) -> list[Act]:
        """The acts after *after*, the time and number of one, or `FIRST`; the newest first."""
        with self._database.read() as tx:
            return audit.page(tx, after, limit, **filters)

    def acts(self, **filters: Unpack[Filters]) -> Iterator[Act]:
        """Every act, the newest first."""
        return self._database.in_pages(
            partial(audit.page, **filters),
            FIRST,
            lambda last: (last.acted_at, last.number),
            limit=_PAGE,
        )
