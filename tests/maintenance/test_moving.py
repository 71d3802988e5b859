"""import, export, backup and restore: everything is moved, or reported."""

import io
import json
import os
import sqlite3
import tarfile
from contextlib import closing

import pytest
from support.accounts import ALICE, BOB
from support.cids import cid_of
from support.reference_accounts import account_database
from support.service_core import ServiceCore, blob_of

from aurora_blobs.blobs.store_marks import guard_stores
from aurora_blobs.db import SCHEMA, open_database
from aurora_blobs.db.replacement import DatabaseRefused
from aurora_blobs.errors import BackendUnavailable, BlobNotFound, StoreNotOurs
from aurora_blobs.maintenance.backup import Backup
from aurora_blobs.maintenance.blob_import import BlobImporter, in_folder, read_name
from aurora_blobs.maintenance.export import Export
from aurora_blobs.maintenance.fsck import Fsck
from aurora_blobs.protocol.cid import aurora_form
from aurora_blobs.storage.base import MARK
from aurora_blobs.storage.disk import DiskBackend

CAROL = "did:plc:carolcarolcarolcarolcaro"
PHOTO, NOTE = b"\xff\xd8\xff\xe0 a photo", b"a note"


def skip(size):
    pass


@pytest.fixture
def bring(core, tmp_path):
    """Import the folder ``pds``; the findings' details, and the number of imported blobs."""

    def bring(did=None, databases=None):
        job = BlobImporter(
            core.database, core.blobs, core.clock, did=did, databases=databases, jobs=4
        )
        findings = [
            finding.detail for finding in job.run(in_folder(tmp_path / "pds", read_name), skip)
        ]
        return findings, job.imported, job.present

    return bring


@pytest.fixture
def lay(tmp_path):
    """``place(path, data)`` writes a file of the other server."""

    def lay(name, data):
        path = tmp_path / "pds" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    return lay


@pytest.mark.parametrize("layout", ["{did}/{cid}", "blocks/{did}/{cid}"], ids=["folder", "bucket"])
def test_the_layouts_of_the_reference_pds_are_read(core, bring, lay, layout):
    for data in (PHOTO, NOTE):
        lay(layout.format(did=CAROL, cid=cid_of(data)), data)

    assert bring() == ([], 2, 0)
    assert core.read(core.entry(CAROL, cid_of(PHOTO))) == PHOTO
    assert core.entry(CAROL, cid_of(PHOTO)).mime_type == "image/jpeg"
    assert bring() == ([], 0, 2)


def test_the_layout_of_early_aurora_locus_needs_an_account(core, bring, lay):
    name = aurora_form(cid_of(NOTE))
    lay(f"{name[:2]}/{name}", NOTE)

    assert bring() == (["its place does not say whose it is: give --did"], 0, 0)
    assert bring(did=ALICE) == ([], 1, 0)
    assert core.read(core.entry(ALICE, cid_of(NOTE))) == NOTE


def test_what_many_accounts_own_comes_for_all_of_them_at_a_time(core, bring, lay):
    owners = [f"did:web:owner{number}.test" for number in range(20)]
    for did in owners:
        for data in (PHOTO, NOTE):
            lay(f"{did}/{cid_of(data)}", data)
            lay(f"again/{did}/{cid_of(data)}", data)

    findings, imported, present = bring()

    assert (findings, imported + present) == ([], 80)
    assert {core.read(core.entry(did, cid_of(PHOTO))) for did in owners} == {PHOTO}
    assert kinds(core) == []
    assert bring() == ([], 0, 80)


def test_wrong_bytes_are_not_taken(core, bring, lay):
    lay(f"{CAROL}/{cid_of(PHOTO)}", NOTE)

    assert bring() == ([f"The bytes are those of {cid_of(NOTE)}"], 0, 0)
    assert list(core.backend.scan()) == []


def test_unfinished_uploads_and_other_files_are_passed_over(bring, lay):
    lay(f"tempt/{CAROL}/{cid_of(NOTE)}", NOTE)
    lay(f"{CAROL}/notes.txt", NOTE)

    assert bring() == ([], 0, 0)


def test_the_marker_of_a_folder_in_a_bucket_is_no_blob():
    assert read_name(f"blocks/{CAROL}/{cid_of(NOTE)}") == (CAROL, cid_of(NOTE))
    assert read_name(f"blocks/{CAROL}/{cid_of(NOTE)}/") is None


@pytest.fixture
def actors(tmp_path):
    """The database of an account on the reference PDS: a photo with a record, a note taken down."""
    account_database(
        tmp_path / "actors" / "ab" / CAROL,
        blobs=[(cid_of(PHOTO), "image/jpeg", None), (cid_of(NOTE), "text/x-note", "mod-7")],
        records={f"at://{CAROL}/app.bsky.feed.post/3kabc": cid_of(PHOTO)},
    )
    return tmp_path / "actors"


def test_types_references_and_takedowns_come_from_the_account_s_database(core, bring, lay, actors):
    lay(f"{CAROL}/{cid_of(PHOTO)}", PHOTO)
    lay(f"quarantine/{CAROL}/{cid_of(NOTE)}", NOTE)

    assert bring(databases=actors) == ([], 2, 0)
    assert core.blobs.describe(CAROL, cid_of(PHOTO)).mime_type == "image/jpeg"
    assert core.listed(CAROL) == [cid_of(PHOTO)]
    assert kinds(core) == []
    assert core.entry(CAROL, cid_of(NOTE)).mime_type == "text/x-note"
    with pytest.raises(BlobNotFound):
        core.blobs.describe(CAROL, cid_of(NOTE), viewer=CAROL)


def test_a_takedown_comes_for_a_blob_that_is_here_already(core, bring, lay, actors):
    core.add_account(CAROL)
    entry = core.upload(NOTE, did=CAROL)
    lay(f"quarantine/{CAROL}/{entry.cid}", NOTE)

    assert bring(databases=actors) == ([], 0, 1)

    with pytest.raises(BlobNotFound):
        core.blobs.describe(CAROL, entry.cid, viewer=CAROL)


def test_quarantine_without_a_database_is_not_imported(bring, lay):
    lay(f"quarantine/{CAROL}/{cid_of(NOTE)}", NOTE)

    assert bring() == (["in quarantine, and no --db says that it is taken down"], 0, 0)


@pytest.fixture
def filled(core):
    """Alice owns a photo with a record and a note, Bob another blob."""
    photo = core.upload(PHOTO, "image/jpeg")
    core.write("com.example.file", "3kabc", {"file": blob_of(photo)})
    core.upload(NOTE, "text/x-note")
    core.upload(b"bob's", did=BOB)
    return core


def test_an_export_is_complete_and_describes_every_blob(filled, tmp_path):
    out = tmp_path / "out"
    job = Export(filled.database, filled.blobs, ALICE)

    assert list(job.to_folder(out, skip)) == []

    manifest = json.loads((out / "manifest.json").read_text())
    assert {blob["cid"]: (out / blob["cid"]).read_bytes() for blob in manifest["blobs"]} == {
        cid_of(PHOTO): PHOTO,
        cid_of(NOTE): NOTE,
    }
    assert manifest["did"] == ALICE
    (photo,) = [blob for blob in manifest["blobs"] if blob["cid"] == cid_of(PHOTO)]
    assert photo["mimeType"] == "image/jpeg"
    assert photo["records"] == [f"at://{ALICE}/com.example.file/3kabc"]
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [cid_of(PHOTO), cid_of(NOTE), "manifest.json"]
    )


def test_an_export_can_be_a_tar(filled):
    stream = io.BytesIO()

    assert list(Export(filled.database, filled.blobs, ALICE).to_tar(stream, skip)) == []

    stream.seek(0)
    with tarfile.open(fileobj=stream) as tar:
        held = {member.name: tar.extractfile(member).read() for member in tar}
    assert held[cid_of(PHOTO)] == PHOTO
    assert held[cid_of(NOTE)] == NOTE
    assert len(json.loads(held["manifest.json"])["blobs"]) == 2


def test_an_export_reports_lost_and_wrong_blobs(filled, tmp_path):
    filled.backend.delete(cid_of(PHOTO))
    (filled.backend.root / filled.backend.path(cid_of(NOTE))).write_bytes(b"A NOTE")

    for findings in (
        Export(filled.database, filled.blobs, ALICE).to_folder(tmp_path / "out", skip),
        Export(filled.database, filled.blobs, ALICE).to_tar(io.BytesIO(), skip),
    ):
        assert {(finding.kind, finding.subject) for finding in findings} == {
            ("lost", cid_of(PHOTO)),
            ("wrong bytes", cid_of(NOTE)),
        }


def test_an_export_can_be_imported(filled, bring, tmp_path):
    list(Export(filled.database, filled.blobs, ALICE).to_folder(tmp_path / "pds" / BOB, skip))

    assert bring() == ([], 2, 0)
    assert filled.entry(BOB, cid_of(NOTE)).size == len(NOTE)


@pytest.fixture
def backup(tmp_path):
    return Backup(tmp_path / "backup")


def begin(progress):
    return skip


def kinds(core, **options):
    check = Fsck(core.database, core.backend, core.spool, core.clock, repair=False)
    return [(finding.kind, finding.subject) for finding in check.run()]


def lose_everything(core):
    for stored in list(core.backend.scan()):
        core.backend.delete(stored.cid)
    with core.database.write() as tx:
        for table in ("record_blob", "record", "blob_metadata", "blob", "account"):
            tx.run(f"DELETE FROM {table}")


def test_a_restored_backup_is_what_was_there(filled, backup):
    before = filled.rows()
    assert list(backup.make(filled.database, filled.backend, 2, begin, filled.clock)) == []
    lose_everything(filled)

    assert (
        list(backup.restore(filled.database, filled.backend, filled.spool, 2, begin, filled.clock))
        == []
    )

    assert filled.rows() == before
    assert kinds(filled) == []
    assert filled.read(filled.entry(ALICE, cid_of(PHOTO))) == PHOTO


def test_a_backup_is_restored_into_either_engine(filled, backup, tmp_path):
    before = filled.rows()
    list(backup.make(filled.database, filled.backend, 2, begin, filled.clock))
    backend = DiskBackend(tmp_path / "other" / "blobs", durable=False)
    spool = tmp_path / "other" / "spool"
    second = Backup(tmp_path / "second")

    with closing(open_database(f"sqlite:{tmp_path}/other/db", durable=False)) as other:
        other.upgrade(SCHEMA.read_text())
        assert list(backup.restore(other, backend, spool, 2, begin, filled.clock)) == []
        list(second.make(other, backend, 2, begin, filled.clock))
    lose_everything(filled)
    again = second.restore(*(filled.database, filled.backend, filled.spool, 2, begin, filled.clock))

    assert list(again) == []
    assert filled.rows() == before
    assert filled.read(filled.entry(ALICE, cid_of(PHOTO))) == PHOTO


def test_a_second_backup_copies_what_is_new(filled, backup):
    list(backup.make(filled.database, filled.backend, 2, begin, filled.clock))
    filled.upload(b"new")

    list(backup.make(filled.database, filled.backend, 2, begin, filled.clock))

    assert (backup.progress.copied_blobs, backup.progress.blobs) == (1, 4)


def test_a_backup_is_not_replaced_by_that_of_an_empty_database(filled, backup, tmp_path):
    list(backup.make(filled.database, filled.backend, 2, begin, filled.clock))
    kept = (tmp_path / "backup" / "aurora.sqlite3").read_bytes()
    before = filled.rows()

    with closing(open_database(f"sqlite:{tmp_path}/new", durable=False)) as anew:
        anew.upgrade(SCHEMA.read_text())
        empty = DiskBackend(tmp_path / "empty", durable=False)
        with pytest.raises(DatabaseRefused, match=r"of 2 accounts .* this one has 0"):
            list(backup.make(anew, empty, 2, begin, filled.clock))

    assert (tmp_path / "backup" / "aurora.sqlite3").read_bytes() == kept
    lose_everything(filled)
    list(backup.restore(filled.database, filled.backend, filled.spool, 2, begin, filled.clock))
    assert filled.rows() == before


@pytest.mark.parametrize("content", [b"", b"no database"], ids=["empty", "damaged"])
def test_what_is_no_backup_any_more_is_replaced(filled, backup, tmp_path, content):
    list(backup.make(filled.database, filled.backend, 2, begin, filled.clock))
    (tmp_path / "backup" / "aurora.sqlite3").write_bytes(content)

    list(backup.make(filled.database, filled.backend, 2, begin, filled.clock))

    assert (tmp_path / "backup" / "aurora.sqlite3").read_bytes().startswith(b"SQLite format 3")


def test_a_backup_that_fails_half_way_leaves_the_one_before(filled, backup, tmp_path, monkeypatch):
    list(backup.make(filled.database, filled.backend, 2, begin, filled.clock))
    before = (tmp_path / "backup" / "aurora.sqlite3").read_bytes()

    def fail(path):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(filled.database, "copy_to", fail)
    with pytest.raises(OSError, match="No space"):
        list(backup.make(filled.database, filled.backend, 2, begin, filled.clock))

    assert (tmp_path / "backup" / "aurora.sqlite3").read_bytes() == before


def test_the_database_is_replaced_last_and_the_old_one_is_kept(filled, backup):
    list(backup.make(filled.database, filled.backend, 2, begin, filled.clock))
    new = filled.upload(b"new")
    seen = []

    restored = backup.restore(
        *(filled.database, filled.backend, filled.spool, 2, begin, filled.clock),
        before_swap=lambda: seen.append(filled.entry(ALICE, new.cid)),
    )

    assert list(restored) == []
    assert seen == [new]
    assert filled.entry(ALICE, new.cid) is None
    with closing(sqlite3.connect(backup.kept)) as kept:
        assert kept.execute("SELECT 1 FROM blob WHERE cid = ?", (new.cid,)).fetchall() == [(1,)]


class Failing(DiskBackend):
    """A store that fails at the second blob."""

    left = 1

    def put(self, blob):
        self.left -= 1
        if self.left < 0:
            raise BackendUnavailable("away")
        super().put(blob)


def test_a_restore_that_fails_half_way_leaves_the_present_database(filled, backup):
    list(backup.make(filled.database, filled.backend, 1, begin, filled.clock))
    lose_everything(filled)
    filled.add_account("did:web:new")
    failing = Failing(filled.backend.root, durable=False)

    with pytest.raises(BackendUnavailable):
        list(backup.restore(filled.database, failing, filled.spool, 1, begin, filled.clock))

    with filled.database.read() as tx:
        assert tx.all("SELECT did FROM account") == [("did:web:new",)]
    folder = filled.spool.parent
    assert [path.name for path in folder.iterdir() if "restore" in path.name] == []


@pytest.mark.parametrize(
    "data",
    [b"", b"another kind of file" * 500, b"SQLite format 3\0" + bytes(4080)],
    ids=["empty", "foreign", "half"],
)
def test_a_backup_without_a_database_of_ours_changes_nothing(filled, backup, tmp_path, data):
    list(backup.make(filled.database, filled.backend, 2, begin, filled.clock))
    (tmp_path / "backup" / "aurora.sqlite3").write_bytes(data)
    before = filled.rows()

    with pytest.raises(DatabaseRefused):
        list(backup.restore(filled.database, filled.backend, filled.spool, 2, begin, filled.clock))

    assert filled.rows() == before


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_regular_file_among_the_blobs_is_not_restored_and_hangs_nobody(
    filled, backup, tmp_path, make
):
    list(backup.make(filled.database, filled.backend, 2, begin, filled.clock))
    cid = cid_of(PHOTO)
    filled.backend.delete(cid)
    (path,) = (tmp_path / "backup" / "blobs").glob(f"??/{cid}")
    path.unlink()
    make(path)

    findings = list(
        backup.restore(filled.database, filled.backend, filled.spool, 2, begin, filled.clock)
    )

    assert [(finding.kind, finding.subject) for finding in findings] == [("lost", cid)]
    assert kinds(filled) == [("lost", cid)]


@pytest.mark.sqlite
def test_a_restore_under_a_running_service_is_refused_before_anything_is_copied(filled, backup):
    list(backup.make(filled.database, filled.backend, 2, begin, filled.clock))
    lose_everything(filled)
    url = f"sqlite:{filled.database.path}"
    with closing(open_database(url, durable=False)) as running:
        with running.read() as tx:
            tx.one("SELECT 1 FROM account")

        with pytest.raises(DatabaseRefused, match="is in use: stop the service"):
            list(
                backup.restore(
                    filled.database, filled.backend, filled.spool, 2, begin, filled.clock
                )
            )

    assert list(filled.backend.scan()) == []


def test_a_service_can_run_on_a_backup(filled, backup, tmp_path):
    guard_stores(filled.database, filled.backend, filled.clock)
    list(backup.make(filled.database, filled.backend, 2, begin, filled.clock))

    backend = DiskBackend(tmp_path / "backup" / "blobs", durable=False)
    url = f"sqlite:{tmp_path / 'backup' / 'aurora.sqlite3'}"
    with closing(open_database(url, durable=False)) as database:
        guard_stores(database, backend, filled.clock)

        backend.confirm()


def test_a_backup_is_restored_beside_the_store_of_its_database(filled, backup, tmp_path):
    guard_stores(filled.database, filled.backend, filled.clock)
    list(backup.make(filled.database, filled.backend, 2, begin, filled.clock))
    fresh = ServiceCore(tmp_path / "fresh", backend=filled.backend)
    guard_stores(fresh.database, fresh.backend, fresh.clock)

    list(backup.restore(fresh.database, fresh.backend, fresh.spool, 2, begin, fresh.clock))

    assert fresh.rows() == filled.rows()
    fresh.backend.confirm()
    fresh.database.close()


def test_a_backup_is_not_restored_into_a_store_that_is_away(filled, backup, tmp_path):
    guard_stores(filled.database, filled.backend, filled.clock)
    list(backup.make(filled.database, filled.backend, 2, begin, filled.clock))
    before = filled.rows()
    (filled.backend.root / MARK).unlink()

    with pytest.raises(StoreNotOurs):
        list(backup.restore(filled.database, filled.backend, filled.spool, 2, begin, filled.clock))

    assert filled.rows() == before


@pytest.mark.sqlite
def test_an_older_database_beside_newer_blobs_has_strays(filled, backup):
    list(backup.make(filled.database, filled.backend, 2, begin, filled.clock))
    new = filled.upload(b"new").cid

    list(backup.restore(filled.database, filled.backend, filled.spool, 2, begin, filled.clock))

    assert kinds(filled) == [("stray", new)]


@pytest.mark.sqlite
def test_a_newer_database_beside_older_blobs_lists_what_is_lost(filled, backup, tmp_path):
    list(backup.make(filled.database, filled.backend, 2, begin, filled.clock))
    new = filled.upload(b"new").cid
    filled.backend = DiskBackend(tmp_path / "backup" / "blobs", durable=False)

    assert kinds(filled) == [("lost", new)]
