"""import --db: an account database of another server that is not as it should be ends nothing."""

import os
import sqlite3
from contextlib import closing

import pytest
from support.cids import cid_of
from support.reference_accounts import BLOB, RECORD, RECORD_BLOB, REV, account_database

from aurora_blobs.catalog import takedowns
from aurora_blobs.errors import InvalidRequest
from aurora_blobs.maintenance.blob_import import BlobImporter, in_folder, read_name

CAROL = "did:plc:carolcarolcarolcarolcaro"
DAVE = "did:plc:davedavedavedavedavedave"  # comes after Carol
NOTE, PHOTO = b"a note", b"\xff\xd8\xff\xe0 a photo"
NOTE_CID = cid_of(NOTE)
URI = f"at://{CAROL}/app.bsky.feed.post/3kabc"
ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT"


@pytest.fixture
def pds(tmp_path):
    """The folder of another server with two blobs of Carol and one of Dave, and Dave's database."""
    for did, data in ((CAROL, NOTE), (CAROL, PHOTO), (DAVE, NOTE)):
        path = tmp_path / "blocks" / did / cid_of(data)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    account_database(tmp_path / "actors" / "cd" / DAVE, [(cid_of(NOTE), "text/x-note", None)])
    return tmp_path


@pytest.fixture
def carol(pds):
    return pds / "actors" / "ab" / CAROL


@pytest.fixture
def bring(core, pds):
    """Import everything; the findings, and the number of imported blobs."""

    def bring():
        job = BlobImporter(
            core.database, core.blobs, core.clock, did=None, databases=pds / "actors", jobs=2
        )
        findings = list(job.run(in_folder(pds / "blocks", read_name), lambda size: None))
        return findings, job.imported

    return bring


def with_rows(*rows):
    return lambda folder: account_database(folder, rows)


def with_schema(*schema, then=()):
    return lambda folder: account_database(folder, schema=schema, then=then)


def with_record(uri=URI, cid=NOTE_CID, rev=REV):
    then = (
        f"INSERT INTO record VALUES ('{uri}', {rev!r})",
        f"INSERT INTO record_blob VALUES ('{cid}', '{uri}')",
    )
    return with_schema(BLOB, RECORD_BLOB, RECORD, then=then)


def with_bytes(data):
    def write(folder):
        folder.mkdir(parents=True)
        (folder / "store.sqlite").write_bytes(data)

    return write


def torn(folder):
    path = account_database(folder, [(cid_of(b"%d" % n), "text/x-note", None) for n in range(999)])
    path.write_bytes(path.read_bytes()[:20_000])


def fifo(folder):
    folder.mkdir(parents=True)
    os.mkfifo(folder / "store.sqlite")


def fifo_as_log(folder):
    path = account_database(folder)
    os.mkfifo(f"{path}-wal")


def disguised(folder):
    """A view that the list of tables calls a table."""
    view = f"CREATE VIEW blob(cid, mimeType, takedownRef) AS {ENDLESS} x, 'a/b', NULL FROM n"
    path = account_database(folder)
    with closing(sqlite3.connect(path, isolation_level=None)) as store:
        store.execute("PRAGMA writable_schema = ON")
        store.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'blob'", (view,))


def without_index(folder):
    account_database(
        folder,
        schema=(BLOB.replace(" PRIMARY KEY", ""), RECORD_BLOB, RECORD),
        blobs=[(cid_of(b"%d" % number), "text/x-note", None) for number in range(20_000)],
    )


BAD = {
    "no database": with_bytes(b"SQLite format 4" * 1000),
    "an empty file": with_bytes(b""),
    "a torn file": torn,
    "a FIFO": fifo,
    "a FIFO as its log": fifo_as_log,
    "no table record": with_schema(BLOB, RECORD_BLOB),
    "no column takedownRef": with_schema(BLOB.replace(", takedownRef varchar", ""), RECORD_BLOB),
    "an endless view of blobs": with_schema(
        f"CREATE VIEW blob(cid, mimeType, takedownRef) AS {ENDLESS} x, 'a/b', NULL FROM n",
        *(RECORD_BLOB, RECORD),
    ),
    "an endless view of references": with_schema(
        f"CREATE VIEW record_blob(blobCid, recordUri) AS {ENDLESS} x, x FROM n", BLOB, RECORD
    ),
    "a view in disguise": disguised,
    "a virtual table": with_schema(
        "CREATE VIRTUAL TABLE blob USING fts5(cid, mimeType, takedownRef)", RECORD_BLOB, RECORD
    ),
    "a column that is computed": with_schema(
        "CREATE TABLE blob (cid TEXT PRIMARY KEY, mimeType TEXT,"
        " takedownRef TEXT AS (hex(zeroblob(20000))))",
        *(RECORD_BLOB, RECORD),
        then=(f"INSERT INTO blob VALUES ('{NOTE_CID}', 'text/x-note')",),
    ),
    "a table without its index": without_index,
    "bytes for a CID": with_rows((b"\x01\x55", "text/x-note", None)),
    "no CID": with_rows((None, "text/x-note", None)),
    "a CID of something else": with_rows(("bafyrei", "text/x-note", None)),
    "bytes for a type": with_rows((cid_of(NOTE), b"\xff", None)),
    "bytes for a takedown": with_rows((cid_of(NOTE), "text/x-note", b"\xff")),
    "a takedown of a megabyte": with_rows((cid_of(NOTE), "text/x-note", "x" * 2**20)),
    "text that is no UTF-8": with_schema(
        *(BLOB, RECORD_BLOB, RECORD),
        then=(f"INSERT INTO blob VALUES ('{cid_of(NOTE)}', CAST(x'ff' AS TEXT), NULL)",),
    ),
    "a record of another account": with_record(uri=f"at://{DAVE}/app.bsky.feed.post/3kabc"),
    "a record without an address": with_record(uri="at://x"),
    "a record without a revision": with_record(rev="soon"),
    "a reference to nothing": with_record(cid="nothing"),
}


@pytest.mark.parametrize("make", BAD.values(), ids=BAD.keys())
def test_a_bad_database_is_one_finding_and_the_others_come(core, bring, carol, make):
    make(carol)

    findings, imported = bring()

    assert [(finding.kind, finding.subject) for finding in findings] == [("not imported", CAROL)]
    assert f"{carol}/store.sqlite: " in findings[0].detail
    assert "\n" not in findings[0].detail
    assert imported == 1
    assert core.blobs.describe(DAVE, cid_of(NOTE), viewer=DAVE).mime_type == "text/x-note"
    assert core.repos.find(DAVE).did == DAVE
    with core.database.read() as tx:
        assert tx.all("SELECT did FROM account WHERE did = ?", CAROL) == []
        assert tx.all("SELECT cid FROM record_blob") == []


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_nothing_is_written_beside_the_database_of_another_server(bring, carol):
    account_database(carol, [(cid_of(NOTE), "text/x-note", None)], {URI: cid_of(NOTE)})
    before = content(carol)

    assert bring() == ([], 3)
    assert content(carol) == before


def test_what_another_server_has_not_closed_yet_is_read(core, bring, carol):
    path = account_database(carol)
    with closing(sqlite3.connect(path, isolation_level=None)) as store:
        store.execute("INSERT INTO blob VALUES (?, 'text/x-note', 'mod-1')", (cid_of(NOTE),))
        before = {name: data for name, data in content(carol).items() if "shm" not in name}

        assert bring() == ([], 3)

        after = {name: data for name, data in content(carol).items() if "shm" not in name}
    assert after == before
    assert core.entry(CAROL, cid_of(NOTE)).mime_type == "text/x-note"


@pytest.fixture
def commits(core, monkeypatch):
    """A list with an item for each transaction that writes."""
    commits = []
    write = core.database.write

    def counted(*spend, **keys):
        commits.append(1)
        return write(*spend, **keys)

    monkeypatch.setattr(core.database, "write", counted)
    return commits


def test_a_takedown_comes_in_the_transaction_of_its_blob(core, bring, carol, commits):
    account_database(carol, [(NOTE_CID, "text/x-note", "a ref")])

    assert bring() == ([], 3)

    with core.database.read() as tx:
        assert [did for did, *_ in takedowns.of_blob(tx, NOTE_CID)] == [CAROL]
    # Accounts, and the blobs together.
    assert len(commits) == 2 + 1


def test_many_references_come_in_steps(core, bring, carol, commits):
    records = {f"{URI}{number}": cid_of(b"%d" % number) for number in range(2_500)}
    account_database(carol, records=records)

    bring()

    assert len(core.listed(CAROL)) == 2_500
    # Three for references; accounts; the blobs together.
    assert len(commits) == 3 + 2 + 1


def test_a_type_that_is_none_is_not_stated(core, bring, carol):
    account_database(carol, [(cid_of(PHOTO), "image/jpeg\r\nX: y", None)])

    assert bring() == ([], 3)
    assert core.entry(CAROL, cid_of(PHOTO)).mime_type == "image/jpeg"


@pytest.mark.parametrize("name", ["fifo", "gone"])
def test_a_blob_that_cannot_be_opened_is_a_finding_and_hangs_nobody(core, bring, pds, name):
    path = pds / "blocks" / CAROL / cid_of(NOTE)
    path.unlink()
    {"fifo": os.mkfifo, "gone": lambda path: path.symlink_to("gone")}[name](path)

    findings, imported = bring()

    assert [finding.subject for finding in findings] == [f"{CAROL}/{cid_of(NOTE)}"]
    assert findings[0].detail.startswith("it cannot be read: ")
    assert imported == 2


def test_a_file_is_opened_only_if_it_is_regular(tmp_path):
    os.mkfifo(tmp_path / cid_of(NOTE))
    (found,) = in_folder(tmp_path, read_name)

    with pytest.raises(InvalidRequest, match="not a regular file"):
        found.open()
