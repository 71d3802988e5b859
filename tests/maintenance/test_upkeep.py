"""fsck, scrub and migrate find faults, repair what can be repaired, and lose nothing."""

import io

import pytest
from support.accounts import ALICE
from support.backends import MemoryBackend

from aurora_blobs.blobs.manager import BlobManager
from aurora_blobs.blobs.upload import Incoming, UploadRules
from aurora_blobs.blobs.verify import quarantine
from aurora_blobs.catalog import accounts, inventory, jobs, references
from aurora_blobs.catalog.inventory import Missing
from aurora_blobs.errors import BackendUnavailable, BlobNotFound
from aurora_blobs.maintenance.fsck import Fsck, delete_strays
from aurora_blobs.maintenance.migrate import Migration
from aurora_blobs.maintenance.scrub import Scrub
from aurora_blobs.protocol.blob_refs import Reference
from aurora_blobs.storage.disk import DiskBackend
from aurora_blobs.storage.pair import PairBackend

NEVER_SEEN = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"


@pytest.fixture(params=["memory", "disk"])
def backend(request, tmp_path):
    return {
        "memory": MemoryBackend,
        "disk": lambda: DiskBackend(tmp_path / "blobs", durable=False),
    }[request.param]()


@pytest.fixture
def manager(backend, database, spool_folder, clock):
    with database.write() as tx:
        accounts.make_external(tx, ALICE, clock())
    return BlobManager(backend, database, spool=spool_folder, rules=UploadRules(), clock=clock)


@pytest.fixture
def upload(manager):
    return lambda data: manager.upload(Incoming(stream=io.BytesIO(data), did=ALICE)).cid


@pytest.fixture
def fsck(database, manager, spool_folder, clock):
    def fsck(repair=False):
        check = Fsck(database, manager.backend, spool_folder, clock, repair=repair)
        return [(finding.kind, finding.subject, finding.repaired) for finding in check.run()]

    return fsck


@pytest.fixture
def scrub(database, manager, clock):
    def scrub(repair=False):
        job = Scrub(database, manager.backend, clock, repair=repair, bytes_per_second=0)
        return [
            (finding.kind, finding.subject, finding.repaired)
            for finding in job.run(lambda size: None)
        ]

    return scrub


@pytest.fixture
def plant(backend):
    """``plant(cid, data)`` stores *data* under another CID, like a damaged disk."""

    def in_memory(cid, data):
        backend.held[cid] = data

    def on_disk(cid, data):
        (backend.root / backend.path(cid)).write_bytes(data)

    return {MemoryBackend: in_memory, DiskBackend: on_disk}[type(backend)]


def test_a_clean_store_has_no_findings(upload, fsck, scrub):
    for number in range(300):
        upload(b"%d" % number)

    assert fsck() == []
    assert scrub() == []


def test_lost_bytes_are_found_counted_as_missing_and_healed_by_an_upload(manager, upload, fsck):
    cid = upload(b"here")
    upload(b"too")
    manager.backend.delete(cid)

    assert fsck() == [("lost", cid, False)]
    assert fsck(repair=True) == [("lost", cid, True)]
    assert fsck(repair=True) == [("missing", cid, False)]
    with pytest.raises(BlobNotFound):
        manager.describe(ALICE, cid, viewer=ALICE)
    upload(b"here")
    assert fsck() == []


def test_a_truncated_file_is_quarantined_and_healed_by_an_upload(manager, upload, plant, fsck):
    cid = upload(b"whole")
    plant(cid, b"who")

    assert fsck() == [("wrong size", cid, False)]
    assert fsck(repair=True) == [("wrong size", cid, True)]
    assert manager.backend.size(cid) is None
    assert fsck() == [("missing", cid, False)]
    upload(b"whole")
    assert fsck() == []


def test_a_truncated_file_is_found_right_after_a_read(manager, upload, plant, fsck):
    cid = upload(b"whole")
    entry = manager.describe(ALICE, cid, viewer=ALICE)
    plant(cid, b"who")
    with pytest.raises(BlobNotFound):
        manager.open(entry, 0, entry.size)

    assert fsck() == [("wrong bytes", cid, False)]


def test_a_flipped_byte_is_found_by_scrub_quarantined_and_never_served(
    manager, upload, plant, fsck, scrub
):
    cid = upload(b"right")
    plant(cid, b"riGht")

    assert fsck() == []
    assert scrub() == [("wrong bytes", cid, False)]
    assert scrub(repair=True) == [("wrong bytes", cid, True)]
    assert manager.backend.size(cid) is None
    with pytest.raises(BlobNotFound):
        manager.describe(ALICE, cid, viewer=ALICE)
    upload(b"right")
    assert scrub() == []


class EventfulBackend(MemoryBackend):
    """A backend that calls `happens` after each read."""

    def __init__(self):
        super().__init__()
        self.happens = lambda: None

    def open(self, cid, start=0, stop=None):
        file = super().open(cid, start, stop)
        self.happens()
        return file


@pytest.fixture
def eventful(database, spool_folder, clock):
    """A manager of such a backend, and ``quarantine(cid)``."""
    with database.write() as tx:
        accounts.make_external(tx, ALICE, clock())
    manager = BlobManager(
        EventfulBackend(), database, spool=spool_folder, rules=UploadRules(), clock=clock
    )

    def set_wrong_aside(cid):
        with database.read() as tx:
            row = inventory.find_row(tx, cid)
        return quarantine(database, manager.backend, row, clock)

    return manager, set_wrong_aside


def test_uploads_continue_while_wrong_bytes_are_quarantined(eventful):
    manager, set_wrong_aside = eventful
    cid = manager.upload(Incoming(stream=io.BytesIO(b"right"), did=ALICE)).cid
    manager.backend.held[cid] = b"wrong"
    manager.backend.happens = lambda: manager.upload(
        Incoming(stream=io.BytesIO(b"another"), did=ALICE)
    )

    assert set_wrong_aside(cid)
    assert manager.backend.size(cid) is None
    assert [data for _, data in manager.backend.aside] == [b"wrong"]


def test_bytes_that_were_replaced_while_they_were_read_stay(eventful):
    manager, set_wrong_aside = eventful
    cid = manager.upload(Incoming(stream=io.BytesIO(b"right"), did=ALICE)).cid
    manager.backend.held[cid] = b"wrong"
    manager.backend.happens = lambda: manager.backend.held.update({cid: b"right"})

    assert not set_wrong_aside(cid)
    assert manager.backend.held == {cid: b"right"}
    assert manager.describe(ALICE, cid, viewer=ALICE).size == 5


def test_a_stray_is_reported_and_removed_only_when_asked(database, manager, store, fsck):
    cid = store(manager.backend, b"nobody's")

    assert fsck(repair=True) == [("stray", cid, False)]
    assert delete_strays(database, manager.backend, [cid]) == [cid]
    assert fsck() == []


def test_a_stray_that_was_uploaded_meanwhile_stays(database, manager, upload):
    cid = upload(b"mine")

    assert delete_strays(database, manager.backend, [cid]) == []
    assert manager.backend.size(cid) == 4


def test_wrong_counters_are_found_and_counted_again(database, upload, fsck):
    upload(b"one")
    with database.write() as tx:
        tx.run("UPDATE account SET blob_count = 7, blob_bytes = 7")

    assert fsck() == [("miscount", ALICE, False)]
    assert fsck(repair=True) == [("miscount", ALICE, True)]
    assert fsck() == []


def test_a_holding_that_states_another_size_is_found_and_mended(database, upload, fsck):
    cid = upload(b"one")
    with database.write() as tx:
        tx.run("UPDATE blob_metadata SET size = 5")
        tx.run("UPDATE account SET blob_bytes = 5")

    assert fsck(repair=True) == [("misfit", f"{ALICE} {cid}", True)]
    assert fsck() == []


def test_a_row_that_an_upload_left_goes_when_it_is_old(database, clock, fsck):
    with database.write() as tx:
        tx.run("INSERT INTO blob (cid, size, created_at) VALUES (?, 0, ?)", NEVER_SEEN, clock())

    assert fsck() == []
    clock.advance(3601)
    assert fsck(repair=True) == [("abandoned", NEVER_SEEN, True)]
    assert fsck() == []


def test_bytes_that_count_as_missing_but_are_there_are_found_again(database, upload, clock, fsck):
    cid = upload(b"here")
    with database.write() as tx:
        tx.run("UPDATE blob SET stored_at = NULL")

    assert fsck() == []
    clock.advance(3601)
    assert fsck(repair=True) == [("found again", cid, True)]
    assert fsck() == []


def test_wrong_bytes_under_a_missing_blob_are_quarantined(
    manager, database, upload, plant, clock, fsck
):
    cid = upload(b"here")
    plant(cid, b"HERE")
    with database.write() as tx:
        tx.run("UPDATE blob SET stored_at = NULL")
    clock.advance(3601)

    assert fsck(repair=True) == [("wrong bytes", cid, True)]
    assert manager.backend.size(cid) is None


def test_an_upload_that_died_is_found_and_swept(spool_folder, fsck):
    (spool_folder / "upload.0123456789abcdef").write_bytes(b"half")

    assert fsck() == [("stale upload", "upload.0123456789abcdef", False)]
    assert fsck(repair=True) == [("stale upload", "upload.0123456789abcdef", True)]
    assert fsck() == []


def test_a_foreign_file_is_named(tmp_path, database, spool_folder, clock):
    backend = DiskBackend(tmp_path / "blobs", durable=False)
    (backend.root / "README").write_text("?")
    (backend.root / "00" / "cat.jpg").write_text("?")

    found = [
        finding.subject
        for finding in Fsck(database, backend, spool_folder, clock, repair=True).run()
    ]

    assert found == ["00/cat.jpg", "README"]


class AwayBackend(MemoryBackend):
    def probe(self):
        raise BackendUnavailable("away")


def test_a_store_that_is_down_has_not_lost_everything(database, spool_folder, clock):
    with pytest.raises(BackendUnavailable):
        list(Fsck(database, AwayBackend(), spool_folder, clock, repair=True).run())


def test_scrub_remembers_when_each_blob_was_found_right(database, upload, scrub, clock):
    cid = upload(b"right")
    clock.advance(60)

    scrub()

    with database.read() as tx:
        assert tx.one("SELECT verified_at FROM blob WHERE cid = ?", cid) == (clock.now,)


def test_scrub_goes_on_where_it_broke_off(database, manager, upload, scrub, clock):
    cids = sorted(upload(b"%d" % number) for number in range(20))
    manager.backend.delete(cids[3])
    manager.backend.delete(cids[15])
    with database.write() as tx:
        jobs.save_position(tx, "scrub", cids[10], clock())

    assert scrub() == [("lost", cids[15], False)]
    assert scrub() == [("lost", cids[3], False), ("lost", cids[15], False)]


@pytest.fixture
def target():
    return MemoryBackend()


@pytest.fixture
def migrate(database, manager, target, spool_folder):
    def migrate():
        job = Migration(database, manager.backend, target, spool_folder, jobs=2)
        findings = list(job.run(lambda size: None)) + list(job.verify())
        return [(finding.kind, finding.subject) for finding in findings], job.progress

    return migrate


def test_migrate_copies_everything_and_then_nothing(manager, upload, migrate, target):
    data = {upload(b"%d" % number): b"%d" % number for number in range(100)}

    findings, progress = migrate()
    assert findings == []
    assert progress.copied_blobs == progress.done_blobs == progress.blobs == 100
    assert target.held == data
    findings, progress = migrate()
    assert (findings, progress.copied_blobs, progress.done_blobs) == ([], 0, 100)


def test_migrate_reports_wrong_and_lost_bytes_and_does_not_copy_them(
    manager, upload, plant, migrate, target
):
    right, wrong, short, lost = (
        upload(b"right"),
        upload(b"wrong"),
        upload(b"short"),
        upload(b"lost"),
    )
    plant(wrong, b"gnorw")
    plant(short, b"sho")
    manager.backend.delete(lost)

    findings, _ = migrate()

    assert set(target.held) == {right}
    assert set(findings) >= {("wrong bytes", wrong), ("wrong size", short), ("lost", lost)}
    assert {subject for kind, subject in findings if kind == "not copied"} == {wrong, short, lost}


def test_a_pair_reads_from_either_store_and_writes_to_the_first(store):
    first, second = MemoryBackend(), MemoryBackend()
    pair = PairBackend(first, second)
    old, new = store(second, b"old"), store(pair, b"new")

    assert set(first.held) == {new}
    assert pair.open(old).read() == b"old"
    assert pair.open(new).read() == b"new"
    assert pair.size(old) == 3
    assert {stored.cid for stored in pair.scan()} == {old, new}


def test_a_pair_deletes_from_both_stores(store):
    first, second = MemoryBackend(), MemoryBackend()
    pair = PairBackend(first, second)
    cid = store(first, b"same")
    store(second, b"same")

    assert len(list(pair.scan())) == 1
    pair.delete(cid)

    assert first.held == second.held == {}


def test_scrub_of_a_pair_quarantines_the_wrong_copy_and_keeps_the_right_one(
    database, manager, upload, plant, spool_folder, clock, store
):
    cid = upload(b"right")
    second = MemoryBackend()
    store(second, b"right")
    plant(cid, b"wrong")
    pair = PairBackend(manager.backend, second)

    found = list(
        Scrub(database, pair, clock, repair=True, bytes_per_second=0).run(lambda size: None)
    )

    assert [(finding.kind, finding.repaired) for finding in found] == [("wrong bytes", True)]
    assert pair.open(cid).read() == b"right"
    assert manager.describe(ALICE, cid, viewer=ALICE).size == 5


def test_a_missing_blob_is_lost_or_was_never_uploaded(database, manager, upload, fsck):
    lost, kept = upload(b"lost"), upload(b"kept")
    manager.backend.delete(lost)
    fsck(repair=True)
    with database.write() as tx:
        for cid in (kept, NEVER_SEEN):
            references.add(
                tx, ALICE, f"at://{ALICE}/app.test/{cid[-3:]}", Reference(cid, None, None), "3kabc"
            )

    with database.read() as tx:
        found = inventory.missing(tx, ("", ""), 10)

    assert found == sorted(
        [Missing(ALICE, lost, 4, True), Missing(ALICE, NEVER_SEEN, None, False)],
        key=lambda missing: missing.cid,
    )
