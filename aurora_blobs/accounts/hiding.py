"""Finishes what hides a blob from the public for very many owners."""

from aurora_blobs.catalog import hiding
from aurora_blobs.db import Database
from aurora_blobs.disk_space import Spend


def finish_hiding(database: Database) -> None:
    """Hide every blob for all of its owners that a takedown, here or elsewhere, has left so far."""
    if hiding.is_unfinished(database.one_shot()):
        database.in_steps(hiding.hide_more, Spend.ALL)
