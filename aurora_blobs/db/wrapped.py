"""A database that passes on to another what is asked of it, for one that changes some of that."""

from contextlib import AbstractContextManager
from pathlib import Path

from aurora_blobs.db.keys import Key
from aurora_blobs.db.seam import Database, Transaction
from aurora_blobs.disk_space import Spend


class WrappedDatabase(Database):
    """*database*. What the seam makes of its other methods goes through those of the subclass."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.space = database.space

    def read(self) -> AbstractContextManager[Transaction]:
        return self._database.read()

    def one_shot(self) -> Transaction:
        return self._database.one_shot()

    def write(
        self, spend: Spend = Spend.NOTHING, *, keys: tuple[Key, ...] = ()
    ) -> AbstractContextManager[Transaction]:
        return self._database.write(spend, keys=keys)

    def alone(self) -> AbstractContextManager[Transaction]:
        return self._database.alone()

    def flush_log(self) -> None:
        self._database.flush_log()

    def close(self) -> None:
        self._database.close()

    def version(self) -> int | None:
        return self._database.version()

    def upgrade(self, schema: str) -> None:
        self._database.upgrade(schema)

    def copy_to(self, path: Path) -> None:
        self._database.copy_to(path)
