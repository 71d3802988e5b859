"""Copies all rows from a database to one of either engine, and compares both afterwards.

A copy that was begun is brought to the source by comparing both in the order of their keys. So it
goes on after a break, whatever has changed in the source by then. The table `copy_source` is in the
target meanwhile, and no program uses such a database.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from aurora_blobs.db.seam import (
    COPY_SOURCE,
    SCHEMA,
    CopyBegun,
    Database,
    DatabaseRefused,
    Row,
    Transaction,
)
from aurora_blobs.db.sqlite import SqliteDatabase, add_functions, statements

_TYPES = {"TEXT": str, "BIGINT": int}
# Bytes of an entry in an index. PostgreSQL has room for 2,704, with some for each column and entry.
_MAX_INDEXED = 2600
_SHOWN = 100  # characters of a key
# A database says its own version. What its nodes are at is none of another one's business.
_NOT_COPIED = ("schema_version", "lease")
# What one transaction writes: nobody waits for it. With 1,000 rows each of them touches pages of
# indexes that the next one touches again.
_STEP_ROWS = 20_000
_STEP_BYTES = 16 * 2**20
_ROWS_AT_A_TIME = 500  # told to the progress
_ROWS_UNTIL_IDLE = 100_000  # are read in less than the ten minutes for which a server waits


@dataclass(frozen=True, slots=True)
class Table:
    """What a copy has to know of a table. Columns are named by their places where no name is said.

    *parents* are the tables that it refers to: each with the pairs of its own column and theirs.
    *has_names*: a column besides the key is unique.
    """

    name: str
    columns: tuple[str, ...]
    types: tuple[type, ...]
    required: tuple[bool, ...]
    key: tuple[int, ...]
    indexes: tuple[tuple[int, ...], ...]
    parents: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    has_names: bool

    def key_of(self, row: Row) -> Row:
        return tuple(row[place] for place in self.key)

    @property
    def _order(self) -> str:
        return ", ".join(self.columns[place] for place in self.key)

    def all_rows(self) -> str:
        return f"SELECT {', '.join(self.columns)} FROM {self.name} ORDER BY {self._order}"

    def rows_after(self) -> str:
        """Gets a key and a number of rows."""
        return (
            f"SELECT {', '.join(self.columns)} FROM {self.name}"
            f" WHERE ({self._order}) > ({_marks(len(self.key))}) ORDER BY {self._order} LIMIT ?"
        )

    def put(self) -> str:
        """Gets a row, which takes the place of one with the same key."""
        others = [name for place, name in enumerate(self.columns) if place not in self.key]
        changes = ", ".join(f"{name} = excluded.{name}" for name in others)
        return (
            f"INSERT INTO {self.name} ({', '.join(self.columns)})"
            f" VALUES ({_marks(len(self.columns))}) ON CONFLICT ({self._order})"
            f" DO {f'UPDATE SET {changes}' if changes else 'NOTHING'}"
        )

    def remove(self) -> str:
        """Gets a key."""
        return f"DELETE FROM {self.name} WHERE ({self._order}) = ({_marks(len(self.key))})"

    def orphans(self) -> Iterator[tuple[str, str]]:
        """The parents, and a statement each for the keys of rows without one."""
        keys = ", ".join(f"child.{self.columns[place]}" for place in self.key)
        for parent, pairs in self.parents:
            same = " AND ".join(f"parent.{theirs} = child.{own}" for own, theirs in pairs)
            yield (
                parent,
                f"SELECT {keys} FROM {self.name} AS child"
                f" WHERE NOT EXISTS (SELECT 1 FROM {parent} AS parent WHERE {same})",
            )


def _marks(count: int) -> str:
    return ", ".join("?" * count)


@dataclass(frozen=True, slots=True)
class Unfit:
    """A row that PostgreSQL does not take: its table and key, in words, and why."""

    subject: str
    reason: str


@dataclass(frozen=True, slots=True)
class Content:
    """How many rows a table has, and the SHA-256 of all of them in the order of their keys."""

    rows: int
    sha256: str


def tables(schema: str) -> list[Table]:
    """The tables that the statements of *schema* make, but for the version's and for leases.

    A table comes after those that it refers to.
    """
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as scratch:
        add_functions(scratch)
        for statement in statements(schema):
            scratch.execute(statement)
        names = scratch.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rowid"
        ).fetchall()
        return [_table(scratch, name) for (name,) in names if name not in _NOT_COPIED]


def _table(scratch: sqlite3.Connection, name: str) -> Table:
    columns = scratch.execute(
        'SELECT name, type, "notnull", pk FROM pragma_table_info(?) ORDER BY cid', (name,)
    ).fetchall()
    indexes = scratch.execute("SELECT name, origin FROM pragma_index_list(?)", (name,)).fetchall()
    parents: dict[tuple[int, str], tuple[tuple[str, str], ...]] = {}
    for number, parent, own, theirs in scratch.execute(
        'SELECT id, "table", "from", "to" FROM pragma_foreign_key_list(?) ORDER BY id, seq', (name,)
    ):
        parents[number, parent] = (*parents.get((number, parent), ()), (own, theirs))
    places = sorted((column[3], place) for place, column in enumerate(columns) if column[3])
    return Table(
        name,
        columns=tuple(column[0] for column in columns),
        types=tuple(_TYPES[column[1]] for column in columns),
        required=tuple(bool(column[2] or column[3]) for column in columns),
        key=tuple(place for _, place in places),
        indexes=tuple(
            tuple(place for (place,) in scratch.execute(_INDEXED, (index,))) for index, _ in indexes
        ),
        parents=tuple((parent, pairs) for (_, parent), pairs in parents.items()),
        has_names=any(origin == "u" for _, origin in indexes),
    )


_INDEXED = "SELECT cid FROM pragma_index_info(?) ORDER BY seqno"


class Copy:
    """A copy of what the transaction *source* sees, one state. Needs memory for a step alone.

    `progress` gets numbers of rows, and each row three times: from `look`, `bring` and
    `differences`. `contents` are those of the source, table by table, once `look` has seen them.
    """

    def __init__(self, source: Transaction) -> None:
        self._source = source
        self._tables = tables(SCHEMA.read_text())
        self.contents: dict[str, Content] = {}
        self.progress: Callable[[int], None] = lambda rows: None

    def rows(self) -> int:
        """How many rows the source has."""
        counts = [self._source.all(f"SELECT COUNT(*) FROM {table.name}") for table in self._tables]
        return sum(count for [(count,)] in counts)

    def keep_alive(self) -> None:
        """Keep the source's server from ending the transaction because it is idle.

        Raises ServiceBusy if it has ended: others may have written since.
        """
        self._source.one("SELECT 1")

    def look(self) -> Iterator[Unfit]:
        """Read all rows; yields those that PostgreSQL would not take."""
        for table in self._tables:
            fitting: set[Row] = set()  # the types of rows that were looked at
            digest = sha256()
            rows = 0
            for row in self._counted(self._source.each(table.all_rows())):
                text = repr(row)
                types = tuple(map(type, row))
                # Most rows are let through by this. A NUL is \x00 in the text; a character has up
                # to 4 bytes.
                if types not in fitting or len(text) > _MAX_INDEXED // 4 or r"\x00" in text:
                    reasons = list(_reasons(table, row))
                    yield from (Unfit(_shown(table, table.key_of(row)), why) for why in reasons)
                    if not reasons:
                        fitting.add(types)
                digest.update(text.encode())
                rows += 1
            self.contents[table.name] = Content(rows, digest.hexdigest())
        for table in self._tables:
            for parent, orphans in table.orphans():
                for key in self._source.each(orphans):
                    yield Unfit(_shown(table, key), f"there is no {parent} that it refers to")

    def bring(self, target: Database, *, is_new: bool) -> None:
        """Have *target*, which is a copy that was begun, hold the rows of the source and no others.

        Raises ServiceBusy and the like in the middle, after which it can be called again.
        """
        if not is_new:
            for table in reversed(self._tables):  # children before their parents
                self._prune(target, table)
        for table in self._tables:
            self._fill(target, table)

    def put_in_place(self, tx: Transaction) -> None:
        """Have the rows of the source take the place of all that *tx* sees, as one change."""
        for table in reversed(self._tables):
            tx.run(f"DELETE FROM {table.name}")
        for table in self._tables:
            for step in _steps(self._counted(self._source.each(table.all_rows()))):
                tx.run_each(table.put(), step)

    def differences(self, tx: Transaction) -> list[str]:
        """The tables of which *tx* sees other rows than the source has."""
        names = [
            table.name
            for table in self._tables
            if self._content(tx, table) != self.contents[table.name]
        ]
        self.keep_alive()
        return names

    def _content(self, tx: Transaction, table: Table) -> Content:
        digest = sha256()
        rows = 0
        for row in self._counted(tx.each(table.all_rows())):
            digest.update(repr(row).encode())
            rows += 1
            if rows % _ROWS_UNTIL_IDLE == 0:
                self.keep_alive()
        return Content(rows, digest.hexdigest())

    def _prune(self, target: Database, table: Table) -> None:
        """Remove what the source has not; where names are unique, also what differs.

        There what refers to the row goes with it, and comes again.
        """
        keys = (
            table.key_of(theirs)
            for own, theirs in _side_by_side(table, self._source.each(table.all_rows()), target)
            if theirs is not None and (own is None or (table.has_names and own != theirs))
        )
        for step in _steps(keys):
            with target.alone() as tx:  # what refers to an account may be many rows
                tx.run_each(table.remove(), step)

    def _fill(self, target: Database, table: Table) -> None:
        all_rows = self._counted(self._source.each(table.all_rows()))
        rows = (
            own
            for own, theirs in _side_by_side(table, all_rows, target)
            if own is not None and own != theirs
        )
        for step in _steps(rows):
            with target.write() as tx:
                tx.run_each(table.put(), step)

    def _counted(self, rows: Iterator[Row]) -> Iterator[Row]:
        number = 0
        for number, row in enumerate(rows, 1):
            yield row
            if number % _ROWS_AT_A_TIME == 0:
                self.progress(_ROWS_AT_A_TIME)
        self.progress(number % _ROWS_AT_A_TIME)


def _shown(table: Table, key: Row) -> str:
    return f"{table.name} {' '.join(map(str, key))[:_SHOWN]}"


def _reasons(table: Table, row: Row) -> Iterator[str]:
    """Why PostgreSQL does not take *row*."""
    for name, kind, is_required, value in zip(
        table.columns, table.types, table.required, row, strict=True
    ):
        if value is None:
            if is_required:
                yield f"{name} is NULL"
        elif type(value) is not kind:
            yield f"{name} is not {'a text' if kind is str else 'a whole number of 64 bits'}"
        elif isinstance(value, str) and "\0" in value:
            yield f"{name} has a NUL"
    for index in table.indexes:
        size = sum(len(str(row[place]).encode()) for place in index)
        if size > _MAX_INDEXED:
            names = ", ".join(table.columns[place] for place in index)
            yield f"{names}: {size} bytes, of which an index takes {_MAX_INDEXED}"


def _side_by_side(
    table: Table, own_rows: Iterator[Row], target: Database
) -> Iterator[tuple[Row | None, Row | None]]:
    """*own_rows* and those of *target*, in pairs of the same key; None where one has none."""
    key = table.key_of
    their_rows = _rows_in_pages(target, table)
    own, theirs = next(own_rows, None), next(their_rows, None)
    while own is not None or theirs is not None:
        if theirs is None or (own is not None and key(own) < key(theirs)):
            yield own, None
            own = next(own_rows, None)
        elif own is None or key(theirs) < key(own):
            yield None, theirs
            theirs = next(their_rows, None)
        else:
            yield own, theirs
            own, theirs = next(own_rows, None), next(their_rows, None)


def _steps(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """*rows* in lists that one transaction may change."""
    step: list[Row] = []
    size = 0
    for row in rows:
        step.append(row)
        size += _size(row)
        if len(step) >= _STEP_ROWS or size >= _STEP_BYTES:
            yield step
            step, size = [], 0
    if step:
        yield step


def _rows_in_pages(database: Database, table: Table) -> Iterator[Row]:
    # Not in one snapshot: SQLite's log would grow by all that is written meanwhile.
    sql = f"{table.all_rows()} LIMIT ?"
    after: Row = ()
    while True:
        with database.read() as tx:
            page = next(_steps(tx.each(sql, *after, _STEP_ROWS)), [])
        if not page:
            return
        yield from page
        sql, after = table.rows_after(), table.key_of(page[-1])


def _size(row: Row) -> int:
    return sum(len(value) for value in row if isinstance(value, str))


def is_begun(target: Database, source: str) -> bool:
    """Whether *target* is a copy of *source*, a name, that was begun; False if it is empty.

    Raises DatabaseRefused if it is neither.
    """
    try:
        if target.version() is None:
            return False
    except CopyBegun:
        with target.read() as tx:
            found = tx.one(f"SELECT source FROM {COPY_SOURCE}")
        if found not in (None, (source,)):
            raise DatabaseRefused(
                f"TO is a copy of {found[0]} that was begun: complete or remove it first"
            ) from None
        return True
    raise DatabaseRefused("TO is a database already: a copy needs an empty one")


def begin(target: Database, source: str, *, is_new: bool) -> None:
    """Make *target* a copy of *source* that is begun. If it *is_new*, it is empty."""
    if is_new:
        schema = SCHEMA.read_text()
        # Rows that a new database has are not the source's.
        rows = "".join(f"DELETE FROM {table.name};\n" for table in reversed(tables(schema)))
        with suppress(CopyBegun):  # which it is from now on
            target.upgrade(f"{schema}\n{rows}CREATE TABLE {COPY_SOURCE} (source TEXT NOT NULL);\n")
    with target.write() as tx:
        tx.run(f"DELETE FROM {COPY_SOURCE}")
        tx.run(f"INSERT INTO {COPY_SOURCE} (source) VALUES (?)", source)


def complete(tx: Transaction) -> None:
    """Have the copy that *tx* sees be a database that programs use."""
    tx.run(f"DROP TABLE {COPY_SOURCE}")


def copy_to_file(source: Transaction, path: Path) -> None:
    """Make *path*, a new file, a SQLite database with the rows that *source* sees, one state."""
    target = SqliteDatabase(path, durable=True)
    try:
        begin(target, "", is_new=True)
        Copy(source).bring(target, is_new=True)
        with target.write() as tx:
            complete(tx)
    finally:
        target.close()
        Path(f"{path}-lock").unlink(missing_ok=True)


def take_from_file(database: Database, path: Path) -> None:
    """Put the rows of the SQLite database *path* in place of those of *database*, as one change.

    Raises DatabaseRefused, with nothing changed, for rows that PostgreSQL does not take.
    """
    saved = SqliteDatabase(path, durable=False)
    try:
        with saved.read() as source:
            copy = Copy(source)
            for unfit in copy.look():
                raise DatabaseRefused(
                    f"the backup has what PostgreSQL does not take: {unfit.subject}: {unfit.reason}"
                )
            with database.alone() as tx:
                copy.put_in_place(tx)
                different = copy.differences(tx)
                if different:
                    raise DatabaseRefused(f"the copy differs in {', '.join(different)}")
    finally:
        saved.close()
