"""fsck, scrub and migrate find faults, repair what can be repaired, and lose nothing."""

import io
from contextlib import contextmanager

import pytest
from support.accounts import ALICE
from support.backends import MemoryBackend
from support.service_core import ServiceCore

from aurora_blobs.blobs.manager import BlobManager
from aurora_blobs.blobs.upload import Incoming, UploadRules
from aurora_blobs.blobs.verify import quarantine
from aurora_blobs.catalog import accounts, inventory, jobs, references, takedowns
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
    backend = {
        "memory": MemoryBackend,
        "disk": lambda: DiskBackend(tmp_path / "blobs", durable=False),
    }[request.param]()
    backend.prepare()
    return backend


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
    def scrub(dry_run=False):
        job = Scrub(database, manager.backend, clock, dry_run=dry_run, bytes_per_second=0)
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
    assert scrub(dry_run=True) == [("wrong bytes", cid, False)]
    assert manager.backend.size(cid) == 5
    assert scrub() == [("wrong bytes", cid, True)]
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


def test_a_stray_is_reported_and_removed_only_when_asked(database, manager, store, fsck, clock):
    cid = store(manager.backend, b"nobody's")

    assert fsck(repair=True) == [("stray", cid, False)]
    assert delete_strays(database, manager.backend, [cid], clock) == [cid]
    assert fsck() == []


def test_a_stray_that_was_uploaded_meanwhile_stays(database, manager, upload, clock):
    cid = upload(b"mine")

    assert delete_strays(database, manager.backend, [cid], clock) == []
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


@pytest.fixture
def own_nothing(database):
    """Nobody owns the blobs any more: a deletion died before it removed their rows."""

    def own_nothing():
        with database.write() as tx:
            tx.run("DELETE FROM blob_metadata")
            tx.run("UPDATE account SET blob_count = 0, blob_bytes = 0")

    return own_nothing


def test_a_row_without_bytes_that_nobody_misses_is_no_loss(
    manager, database, upload, own_nothing, clock, fsck, scrub
):
    cid = upload(b"deleted")
    own_nothing()
    manager.backend.delete(cid)

    assert fsck() == scrub(dry_run=True) == []
    clock.advance(3601)
    assert fsck() == [("abandoned", cid, False)]
    assert scrub() == []
    assert fsck(repair=True) == [("abandoned", cid, True)]
    with database.read() as tx:
        assert inventory.find_row(tx, cid) is None


def test_what_a_record_names_or_a_takedown_keeps_is_a_loss(
    manager, database, upload, own_nothing, clock, fsck, scrub
):
    named, kept = upload(b"named"), upload(b"kept")
    own_nothing()
    with database.write() as tx:
        uri = f"at://{ALICE}/app.test/1"
        references.add(tx, ALICE, uri, Reference(named, None, None), "3kabc")
        takedowns.apply(tx, kept, ALICE, "ref", clock())
    manager.backend.delete_many([named, kept])
    clock.advance(3601)

    found = [finding for finding in fsck() if finding[0] != "miscount"]
    assert sorted(found) == sorted([("lost", named, False), ("lost", kept, False)])
    assert sorted(scrub(dry_run=True)) == sorted([("lost", named, False), ("lost", kept, False)])


def test_a_row_without_bytes_that_nobody_misses_is_no_loss_to_a_move(
    manager, upload, own_nothing, migrate
):
    manager.backend.delete(upload(b"deleted"))
    own_nothing()

    findings, _ = migrate()

    assert findings == []


def test_leftovers_are_said_to_be_leftovers(
    manager, database, upload, own_nothing, clock, spool_folder
):
    upload(b"unowned")
    own_nothing()
    with database.write() as tx:
        tx.run("INSERT INTO blob (cid, size, created_at) VALUES (?, 0, ?)", NEVER_SEEN, clock())
    stale = spool_folder / "upload.0123456789abcdef"
    stale.write_bytes(b"half")
    clock.advance(3601)

    check = Fsck(database, manager.backend, spool_folder, clock, repair=False)
    found = {finding.kind: finding.leftover for finding in check.run()}

    stale.unlink()
    assert found == dict.fromkeys(["unheld", "abandoned", "stale upload"], True)


def test_bytes_that_count_as_missing_but_are_there_are_found_again(database, upload, fsck):
    cid = upload(b"here")
    with database.write() as tx:
        tx.run("UPDATE blob SET stored_at = NULL")

    assert fsck() == [("found again", cid, False)]
    assert fsck(repair=True) == [("found again", cid, True)]
    assert fsck() == []


def test_scrub_finds_bytes_again_that_count_as_missing(database, upload, scrub):
    cid = upload(b"here")
    with database.write() as tx:
        tx.run("UPDATE blob SET stored_at = NULL")

    assert scrub(dry_run=True) == [("found again", cid, False)]
    assert scrub() == [("found again", cid, True)]
    assert scrub() == []


@pytest.fixture
def lose(manager, upload):
    """Stores *total* blobs and loses *lost* of them."""

    def lose(lost, total):
        cids = [upload(b"%d" % number) for number in range(total)]
        manager.backend.delete_many(cids[:lost])

    return lose


@pytest.fixture
def repairs(database, manager, spool_folder, clock):
    """Every repair that may lose blobs."""

    def fsck(may_lose_many):
        check = Fsck(
            *(database, manager.backend, spool_folder, clock),
            repair=True,
            may_lose_many=may_lose_many,
        )
        return check, list(check.run())

    def scrub(may_lose_many):
        job = Scrub(
            *(database, manager.backend, clock),
            dry_run=False,
            bytes_per_second=0,
            may_lose_many=may_lose_many,
        )
        return job, list(job.run(lambda size: None))

    return {"fsck": fsck, "scrub": scrub}


@pytest.mark.parametrize("job", ["fsck", "scrub"])
@pytest.mark.parametrize(
    "lost, total", [(20, 21), (1, 1), (25, 500)], ids=["a score", "the only one", "5 of 100"]
)
def test_a_few_blobs_are_counted_as_missing_without_a_question(repairs, lose, job, lost, total):
    lose(lost, total)
    asked = []

    done, findings = repairs[job](lambda *counts: asked.append(counts))

    assert (asked, done.is_refused) == ([], False)
    assert [(finding.kind, finding.repaired) for finding in findings] == lost * [("lost", True)]


@pytest.mark.parametrize("job", ["fsck", "scrub"])
@pytest.mark.parametrize("agreed", [True, False])
@pytest.mark.parametrize("lost, total", [(21, 22), (26, 500)], ids=["all but one", "6 of 100"])
def test_many_blobs_are_counted_as_missing_if_somebody_agrees_and_else_none(
    repairs, lose, fsck, job, agreed, lost, total
):
    lose(lost, total)
    asked = []

    done, findings = repairs[job](lambda *counts: asked.append(counts) or agreed)

    assert asked == [(max(21, total // 20 + 1), total)]
    assert done.is_refused is not agreed
    assert [(finding.kind, finding.repaired) for finding in findings] == lost * [("lost", agreed)]
    assert {kind for kind, *_ in fsck()} == {{True: "missing", False: "lost"}[agreed]}


def test_short_files_are_many_losses_too(repairs, upload, plant):
    for number in range(30):
        plant(upload(b"whole %d" % number), b"")

    refused, findings = repairs["fsck"](lambda *counts: False)

    assert refused.is_refused
    assert {(finding.kind, finding.repaired) for finding in findings} == {("wrong size", False)}


def test_wrong_bytes_are_set_aside_however_many_they_are(repairs, manager, upload, plant):
    for number in range(30):
        plant(upload(b"right %02d" % number), b"wrong!!!")

    _, findings = repairs["scrub"](lambda *counts: False)

    assert [(finding.kind, finding.repaired) for finding in findings] == 30 * [
        ("wrong bytes", True)
    ]
    assert list(manager.backend.scan()) == []


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


def test_bytes_that_a_move_finds_wrong_are_set_aside(
    database, manager, upload, plant, target, spool_folder, clock
):
    wrong, short = upload(b"right"), upload(b"whole")
    plant(wrong, b"wrong")
    plant(short, b"who")
    job = Migration(
        *(database, manager.backend, target, spool_folder, clock),
        jobs=2,
        set_aside=lambda row: quarantine(database, manager.backend, row, clock),
    )

    findings = list(job.run(lambda size: None))

    assert sorted((finding.kind, finding.subject, finding.repaired) for finding in findings) == [
        ("wrong bytes", wrong, True),
        ("wrong size", short, True),
    ]
    assert list(manager.backend.scan()) == []
    for cid in (wrong, short):
        with pytest.raises(BlobNotFound):
            manager.describe(ALICE, cid, viewer=ALICE)


def test_a_file_of_the_wrong_size_is_hidden_from_nginx_whether_or_not_it_is_repaired(
    tmp_path, clock
):
    hidden = []

    @contextmanager
    def before_commit(tx):
        hidden.extend(tx.hidden)
        yield

    core = ServiceCore(tmp_path / "core", clock, before_commit=before_commit)
    core.add_account(ALICE)
    cid = core.upload(b"whole").cid
    (core.backend.root / core.backend.path(cid)).write_bytes(b"who")
    before = core.rows()

    list(Fsck(core.database, core.backend, core.spool, clock, repair=False).run())

    assert hidden == [(ALICE, cid)]
    assert core.rows() == before
    core.database.close()


def test_a_foreign_file_is_named(tmp_path, database, spool_folder, clock):
    backend = DiskBackend(tmp_path / "blobs", durable=False)
    backend.prepare()
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

    assert scrub(dry_run=True) == [("lost", cids[15], False)]
    assert scrub(dry_run=True) == [("lost", cids[3], False), ("lost", cids[15], False)]


@pytest.fixture
def target():
    return MemoryBackend()


@pytest.fixture
def migrate(database, manager, target, spool_folder, clock):
    def migrate():
        job = Migration(database, manager.backend, target, spool_folder, clock, jobs=2)
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
        Scrub(database, pair, clock, dry_run=False, bytes_per_second=0).run(lambda size: None)
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
