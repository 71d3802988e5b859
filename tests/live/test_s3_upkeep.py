"""fsck, scrub and migrate on an S3 store that fails midway or holds damaged objects."""

import io

import pytest
from support.accounts import ALICE
from support.s3_access import BUCKET

from aurora_blobs.blobs.upload import Incoming
from aurora_blobs.errors import BackendTimeout, BackendUnavailable, BlobServiceError, ServiceBusy
from aurora_blobs.maintenance.fsck import Fsck, delete_strays
from aurora_blobs.maintenance.migrate import Migration
from aurora_blobs.maintenance.scrub import Scrub

pytestmark = pytest.mark.live


@pytest.fixture
def filled(core):
    """Sixty blobs on disk: their bytes by CID."""
    return {
        core.upload(data).cid: data for data in (b"%d" % number * 2_000 for number in range(60))
    }


@pytest.fixture
def migrate(core, tmp_path):
    def migrate(source, target):
        job = Migration(core.database, source, target, core.spool, core.clock, jobs=4)
        return list(job.run(lambda size: None)) + list(job.verify()), job.progress

    return migrate


@pytest.mark.parametrize(
    "kind, error",
    [
        ("reset", BackendUnavailable),
        ("reset-after", BackendUnavailable),
        ("500", BackendUnavailable),
        ("503", ServiceBusy),
        ("stall", BackendTimeout),
        ("damage-up", BackendUnavailable),
    ],
)
def test_a_migration_that_a_fault_ends_goes_on_and_loses_nothing(
    core, filled, open_s3, link, migrate, kind, error
):
    target = open_s3(link.url)
    link.inject(kind, method="PUT", after=25)

    with pytest.raises(error):
        migrate(core.backend, target)
    arrived = {stored.cid for stored in open_s3().scan()}
    link.heal()
    findings, progress = migrate(core.backend, target)

    assert arrived < set(filled)
    assert arrived
    assert findings == []
    assert progress.copied_blobs == len(filled) - len(arrived)
    assert {cid: read(target, cid) for cid in filled} == filled


@pytest.mark.parametrize(
    "kind", ["reset", "reset-after", "truncate", "stall-half", "500", "503", "stall"]
)
def test_a_migration_back_survives_passing_faults(core, filled, open_s3, link, migrate, kind):
    store = open_s3(link.url)
    migrate(core.backend, store)
    for cid in filled:
        core.backend.delete(cid)
    link.inject(kind, method="GET", times=2, after=3)

    findings, _ = migrate(store, core.backend)

    assert findings == []
    assert {cid: read(core.backend, cid) for cid in filled} == filled


def test_a_migration_goes_over_a_slow_link_both_ways(core, filled, open_s3, link, migrate):
    store = open_s3(link.url)
    link.inject("slow", rate=200_000)

    there, _ = migrate(core.backend, store)
    for cid in filled:
        core.backend.delete(cid)
    back, _ = migrate(store, core.backend)

    assert there == back == []
    assert {cid: read(core.backend, cid) for cid in filled} == filled


def test_damaged_bytes_never_arrive_on_the_way_back(core, filled, open_s3, link, migrate):
    store = open_s3(link.url)
    migrate(core.backend, store)
    for cid in filled:
        core.backend.delete(cid)
    link.inject("damage-down", method="GET", head="^GET [^?]*/bafkrei", after=3, times=5)

    findings, _ = migrate(store, core.backend)
    again, _ = migrate(store, core.backend)

    assert {finding.kind for finding in findings} == {"wrong bytes", "not copied"}
    assert again == []
    assert {cid: read(core.backend, cid) for cid in filled} == filled


@pytest.fixture
def on_s3(open_core, open_s3):
    """A core whose bytes are in S3."""
    return open_core(backend=open_s3())


def fsck(core, repair=False):
    check = Fsck(core.database, core.backend, core.spool, core.clock, repair=repair)
    return {(finding.kind, finding.subject, finding.repaired) for finding in check.run()}


def scrub(core, dry_run=False):
    job = Scrub(core.database, core.backend, core.clock, dry_run=dry_run, bytes_per_second=0)
    return {
        (finding.kind, finding.subject, finding.repaired) for finding in job.run(lambda size: None)
    }


def test_each_planted_fault_is_found_and_healed(on_s3, s3_server, tmp_path):
    contents = (b"flipped", b"short", b"lost", b"fine", b"stray")
    entries = [on_s3.upload(content) for content in contents]
    flipped, short, lost, _, unknown = (entry.cid for entry in entries)
    keys = [on_s3.backend.key(entry.name) for entry in entries]
    store, stray = s3_server.client(), entries[-1].name
    with on_s3.database.write() as tx:
        tx.run("DELETE FROM blob_metadata WHERE cid = ?", unknown)
        tx.run("DELETE FROM blob WHERE cid = ?", unknown)
    store.put_object(Bucket=BUCKET, Key=keys[0], Body=b"flopped")
    store.put_object(Bucket=BUCKET, Key=keys[1], Body=b"sho")
    store.delete_object(Bucket=BUCKET, Key=keys[2])
    store.put_object(Bucket=BUCKET, Key=f"{tmp_path.name}/cat.jpg", Body=b"?")

    assert fsck(on_s3) == {
        ("wrong size", short, False),
        ("lost", lost, False),
        ("stray", stray, False),
        ("foreign", "cat.jpg", False),
        ("miscount", ALICE, False),
    }
    assert scrub(on_s3, dry_run=True) == {
        ("wrong bytes", flipped, False),
        ("wrong bytes", short, False),
        ("lost", lost, False),
    }
    fsck(on_s3, repair=True)
    scrub(on_s3)
    assert delete_strays(on_s3.database, on_s3.backend, [stray], on_s3.clock) == [stray]
    store.delete_object(Bucket=BUCKET, Key=f"{tmp_path.name}/cat.jpg")
    assert fsck(on_s3) == {("missing", cid, False) for cid in (flipped, short, lost)}
    for content in contents:
        on_s3.blobs.upload(Incoming(stream=io.BytesIO(content), did=ALICE))
    assert fsck(on_s3) == scrub(on_s3) == set()


@pytest.mark.parametrize("kind", ["reset", "500", "503", "stall"])
def test_a_check_of_a_failing_store_reports_no_lost_blob(on_s3, open_s3, link, kind):
    cid = on_s3.upload(b"here").cid
    on_s3.backend = open_s3(link.url)
    link.inject(kind, after=3)  # the canary passes

    with pytest.raises(BlobServiceError):
        fsck(on_s3, repair=True)
    with pytest.raises(BlobServiceError):
        scrub(on_s3)
    link.heal()

    assert fsck(on_s3) == set()
    assert on_s3.blobs.describe(ALICE, cid, viewer=ALICE).size == 4


def read(backend, cid):
    with backend.open(cid) as file:
        return file.read()
