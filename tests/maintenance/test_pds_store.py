"""The store of a PDS comes here and goes back: each object under its name, as what it was."""

import io
import os

import pytest
from support.accounts import ALICE, BOB
from support.cids import cid_of

from aurora_blobs.errors import BlobNotFound
from aurora_blobs.maintenance.blob_import import in_folder
from aurora_blobs.maintenance.pds_store import Handover, Takeover
from aurora_blobs.object_api.layout import Key, Kind, parse_place
from aurora_blobs.object_api.objects import Body, Objects

CAROL = "did:plc:carolcarolcarolcarolcaro"
GRACE = 86_400
PHOTO, NOTE, DRAFT = b"\xff\xd8\xff\xe0 a photo", b"a note", b"a draft"
STORED = Key(Kind.STORED, CAROL, cid_of(PHOTO))
ASIDE = Key(Kind.QUARANTINED, CAROL, cid_of(NOTE))
STAGED = Key(Kind.STAGED, CAROL, "abc")
LAYOUTS = {
    "folder": {STORED: "", ASIDE: "quarantine/", STAGED: "tempt/"},
    "bucket": {STORED: "blocks/", ASIDE: "quarantine/", STAGED: "tmp/"},
}


def skip(size):
    pass


@pytest.fixture
def objects(core):
    return Objects(core.blobs, core.database, core.repos, grace_seconds=GRACE, clock=core.clock)


@pytest.fixture
def pds(tmp_path):
    """``pds(path, data, modified)`` writes a file of the PDS, changed then; without data it goes.

    *modified* is in seconds since the epoch.
    """

    def lay(name, data, modified=None):
        path = tmp_path / "pds" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        if data is not None:
            path.write_bytes(data)
            os.utime(path, (modified or 2**31,) * 2)

    return lay


@pytest.fixture
def take_over(core, objects, tmp_path):
    """Take the folder of the PDS over; the findings' details, and what was taken and released."""

    def take_over(*, releases=False):
        job = Takeover(
            core.database, objects, core.clock, grace_seconds=GRACE, releases=releases, jobs=2
        )
        found = in_folder(tmp_path / "pds", parse_place)
        findings = [finding.detail for finding in job.run(found, skip)]
        core.clock.advance(1)
        return findings, job.taken, job.released

    return take_over


def is_public(core, did, cid):
    try:
        return core.blobs.describe(did, cid).cid == cid
    except BlobNotFound:
        return False


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_each_object_comes_as_what_it_is(core, objects, pds, take_over, layout):
    for key, data in ((STORED, PHOTO), (ASIDE, NOTE), (STAGED, DRAFT)):
        pds(f"{layout[key]}{CAROL}/{key.name}", data)

    assert take_over() == ([], 3, 0)
    assert is_public(core, CAROL, STORED.name)
    assert not is_public(core, CAROL, ASIDE.name)
    assert core.read(objects.find(ASIDE)) == NOTE
    assert core.read(objects.find(STAGED)) == DRAFT
    assert take_over() == ([], 0, 0)


def test_a_blob_that_was_temporary_here_is_public(core, pds, take_over):
    core.add_account(CAROL)
    core.upload(PHOTO, "image/jpeg", CAROL)
    pds(f"{CAROL}/{STORED.name}", PHOTO)

    take_over()

    assert is_public(core, CAROL, STORED.name)


def test_what_was_put_aside_or_back_since_is_so_here(core, pds, take_over):
    pds(f"{CAROL}/{cid_of(PHOTO)}", PHOTO)
    pds(f"quarantine/{CAROL}/{cid_of(NOTE)}", NOTE)
    take_over()
    for name, data in ((cid_of(PHOTO), None), (cid_of(NOTE), NOTE)):
        pds(f"{CAROL}/{name}", data)
    for name, data in ((cid_of(PHOTO), PHOTO), (cid_of(NOTE), None)):
        pds(f"quarantine/{CAROL}/{name}", data)

    assert take_over(releases=True)[0] == []

    assert not is_public(core, CAROL, cid_of(PHOTO))
    assert is_public(core, CAROL, cid_of(NOTE))


def test_an_upload_that_was_under_way_is_whole_the_next_time(core, objects, pds, take_over):
    pds(f"tempt/{CAROL}/abc", DRAFT[:3])
    take_over()
    pds(f"tempt/{CAROL}/abc", DRAFT)

    take_over()

    assert core.read(objects.find(STAGED)) == DRAFT


def test_an_upload_that_would_be_over_here_does_not_come(core, pds, take_over):
    now = core.clock() // 1_000_000
    pds(f"tempt/{CAROL}/old", NOTE, now - GRACE - 1)
    pds(f"tempt/{CAROL}/new", DRAFT, now - GRACE + 60)

    assert take_over() == ([], 1, 0)


def test_wrong_bytes_are_a_finding_and_the_rest_comes(core, pds, take_over):
    pds(f"{CAROL}/{cid_of(PHOTO)}", NOTE)
    pds(f"quarantine/{CAROL}/{cid_of(DRAFT)}", NOTE)
    pds(f"{CAROL}/{cid_of(NOTE)}", NOTE)

    findings, taken, _ = take_over()

    assert findings == [f"The bytes are those of {cid_of(NOTE)}"] * 2
    assert taken == 1
    assert is_public(core, CAROL, cid_of(NOTE))


def test_what_the_pds_has_not_is_deleted_here_only_if_asked(core, objects, pds, take_over):
    for did in (ALICE, CAROL):
        for data in (PHOTO, NOTE):
            pds(f"{did}/{cid_of(data)}", data)
    take_over()
    for did in (ALICE, CAROL):
        pds(f"{did}/{cid_of(PHOTO)}", None)
    pds(f"{ALICE}/{cid_of(NOTE)}", None)

    kept = take_over()
    deleted = take_over(releases=True)

    assert (kept[2], deleted[2]) == (0, 3)
    assert [str(key) for key, _ in objects.listed(None, Kind.STORED)] == [
        f"blocks/{CAROL}/{cid_of(NOTE)}"
    ]


def test_what_came_during_the_run_is_not_deleted(core, objects, pds, tmp_path):
    pds(f"{CAROL}/{cid_of(NOTE)}", NOTE)
    job = Takeover(core.database, objects, core.clock, grace_seconds=GRACE, releases=True, jobs=2)
    core.clock.advance(1)
    core.add_account(CAROL)
    objects.put(STORED, Body(io.BytesIO(PHOTO), len(PHOTO)))

    assert list(job.run(in_folder(tmp_path / "pds", parse_place), skip)) == []

    assert job.released == 0
    assert is_public(core, CAROL, STORED.name)


def test_a_file_that_went_since_it_was_found_is_no_finding(core, objects, pds, tmp_path):
    pds(f"{CAROL}/{STORED.name}", PHOTO)
    found = list(in_folder(tmp_path / "pds", parse_place))
    pds(f"{CAROL}/{STORED.name}", None)
    job = Takeover(core.database, objects, core.clock, grace_seconds=GRACE, releases=False, jobs=2)

    assert list(job.run(iter(found), skip)) == []
    assert job.taken == 0


def test_what_came_goes_back_byte_for_byte(core, objects, pds, take_over, tmp_path):
    layout = LAYOUTS["folder"]
    files = {
        f"{layout[key]}{key.did}/{key.name}": data
        for key, data in ((STORED, PHOTO), (ASIDE, NOTE), (STAGED, DRAFT))
    } | {f"{BOB}/{cid_of(PHOTO)}": PHOTO}
    for name, data in files.items():
        pds(name, data)
    take_over()
    core.upload(b"temporary", did=ALICE)
    job = Handover(objects, core.backend)

    assert list(job.to_folder(tmp_path / "back", skip)) == []

    assert job.written == 4
    assert files == {
        path.relative_to(tmp_path / "back").as_posix(): path.read_bytes()
        for path in (tmp_path / "back").rglob("*")
        if path.is_file()
    }


def test_bytes_that_are_lost_are_no_file_of_the_pds(core, objects, pds, take_over, tmp_path):
    pds(f"{CAROL}/{STORED.name}", PHOTO)
    take_over()
    core.backend.delete(core.entry(CAROL, STORED.name).name)

    findings = list(Handover(objects, core.backend).to_folder(tmp_path / "back", skip))

    assert [(finding.kind, finding.subject) for finding in findings] == [("lost", STORED.name)]
    assert not (tmp_path / "back" / CAROL / STORED.name).exists()
