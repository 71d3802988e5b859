"""What the keys of a PDS mean: uploads, blobs and takedowns, with the rows of every other blob."""

import io

import pytest
from support.accounts import ALICE, BOB, CAROL
from support.cids import cid_of

from aurora_blobs.accounts.moderation import Subject
from aurora_blobs.catalog import objects as catalog_objects
from aurora_blobs.catalog import takedowns
from aurora_blobs.errors import (
    BlobNotFound,
    BlobTooLarge,
    InvalidRequest,
    QuotaExceeded,
    WrongBytes,
)
from aurora_blobs.object_api import listing
from aurora_blobs.object_api.layout import Key, Kind
from aurora_blobs.object_api.objects import Body, Objects
from aurora_blobs.object_api.refusals import Refusal

DATA = b"bytes of a PDS"
CID = cid_of(DATA)
STAGED = Key(Kind.STAGED, ALICE, "abc")
STORED = Key(Kind.STORED, ALICE, CID)
QUARANTINED = Key(Kind.QUARANTINED, ALICE, CID)
GRACE = 86_400


def objects_of(core):
    return Objects(core.blobs, core.database, core.repos, grace_seconds=GRACE, clock=core.clock)


@pytest.fixture
def objects(core):
    return objects_of(core)


def body(data):
    return Body(io.BytesIO(data), len(data))


def code(call, *given):
    with pytest.raises(Refusal) as caught:
        call(*given)
    return caught.value.error


def is_public(core, did=ALICE, cid=CID):
    try:
        return core.blobs.describe(did, cid).cid == cid
    except BlobNotFound:
        return False


def promoted(objects, data=DATA, did=ALICE):
    """*data* as a blob of *did*, uploaded and promoted as the reference PDS does it."""
    staged = Key(Kind.STAGED, did, "promoted")
    objects.put(staged, body(data))
    objects.copy(staged, Key(Kind.STORED, did, cid_of(data)))
    objects.delete([staged])


def test_an_upload_is_temporary_until_it_is_copied_to_its_cid(core, objects):
    objects.put(STAGED, body(DATA))
    was_public = is_public(core)

    objects.copy(STAGED, STORED)

    assert (was_public, is_public(core)) == (False, True)
    assert objects.find(STORED).cid == objects.find(STAGED).cid == CID


def test_everything_may_be_done_twice(core, objects):
    objects.put(STAGED, body(DATA))
    objects.put(STAGED, body(DATA))
    for source, target in [(STAGED, STORED), (STORED, QUARANTINED), (QUARANTINED, STORED)]:
        objects.copy(source, target)
        objects.copy(source, target)
    objects.delete([STAGED])
    objects.delete([STAGED])

    assert is_public(core)
    assert core.blobs.usage(ALICE).blob_count == 1
    objects.delete([STORED, STORED])
    objects.delete([STORED])
    assert not is_public(core)


def test_a_copy_to_another_cid_changes_nothing(core, objects):
    objects.put(STAGED, body(DATA))

    assert code(objects.copy, STAGED, Key(Kind.STORED, ALICE, cid_of(b"other"))) == "BadDigest"

    assert not is_public(core)
    assert objects.find(STAGED).cid == CID


def test_what_is_not_there_is_not_copied(core, objects):
    promoted(objects)

    assert code(objects.copy, STAGED, STORED) == "NoSuchKey"
    assert code(objects.copy, Key(Kind.STAGED, CAROL, "abc"), Key(Kind.STORED, CAROL, CID)) == (
        "NoSuchKey"
    )
    assert is_public(core)


@pytest.mark.parametrize(
    "source, target",
    [
        (STAGED, QUARANTINED),
        (STORED, STAGED),
        (STORED, Key(Kind.STORED, BOB, CID)),
        (STAGED, Key(Kind.STORED, BOB, CID)),
    ],
    ids=str,
)
def test_what_no_pds_copies_is_refused_and_changes_nothing(core, objects, source, target):
    objects.put(STAGED, body(DATA))
    objects.copy(STAGED, STORED)

    assert code(objects.copy, source, target) == "NotImplemented"
    assert not is_public(core, BOB)


def test_bytes_put_under_a_cid_are_those_of_the_cid_or_nothing_is_kept(core, objects):
    with pytest.raises(InvalidRequest):
        objects.put(STORED, body(b"other bytes"))
    assert core.blobs.inspect(cid_of(b"other bytes")) is None
    assert core.backend.size(cid_of(b"other bytes")) is None

    objects.put(STORED, body(DATA))

    assert is_public(core)


def test_two_accounts_have_one_copy_and_each_its_own_entry(core, objects):
    promoted(objects)
    promoted(objects, did=BOB)

    objects.delete([STORED])

    assert (is_public(core, ALICE), is_public(core, BOB)) == (False, True)
    assert sum(1 for _ in core.backend.scan()) == 1


def test_a_deleted_object_is_hidden_at_once_and_its_bytes_go_after_the_grace_time(core, objects):
    promoted(objects)

    objects.delete([STORED])
    kept = core.backend.size(CID)
    core.clock.advance(GRACE + 1)
    list(core.collector(GRACE).run())

    assert code(objects.find, STORED) == "NoSuchKey"
    assert (kept, core.backend.size(CID)) == (len(DATA), None)


def test_an_object_that_is_deleted_and_put_again_is_there(core, objects):
    promoted(objects)
    objects.delete([STORED])

    promoted(objects)
    core.clock.advance(GRACE + 1)
    list(core.collector(GRACE).run())

    assert is_public(core)
    assert core.read(objects.find(STORED)) == DATA


def test_an_upload_that_nobody_names_is_collected(core, objects):
    """The PDS never does: https://github.com/bluesky-social/atproto/issues/2051"""
    objects.put(STAGED, body(DATA))

    core.clock.advance(GRACE + 1)
    late = code(objects.find, STAGED)
    kinds = [found.kind for found in core.collector(GRACE).run()]

    assert late == "NoSuchKey"
    assert kinds == ["temporary"]  # the name goes with the blob
    assert core.backend.size(CID) is None
    assert code(objects.copy, STAGED, STORED) == "NoSuchKey"


def test_a_name_that_was_left_behind_is_collected_and_its_blob_stays(core, objects):
    objects.put(STAGED, body(DATA))
    objects.copy(STAGED, STORED)  # and the PDS died before it deleted the upload

    core.clock.advance(GRACE + 1)
    found = [(found.kind, found.count) for found in core.collector(GRACE).run()]

    assert found == [("object", 1)]
    assert is_public(core)


def test_one_name_means_what_was_put_there_last(objects):
    objects.put(STAGED, body(b"first"))
    objects.put(STAGED, body(b"second"))

    assert objects.find(STAGED).cid == cid_of(b"second")


def test_what_is_put_aside_is_taken_down_and_never_shown(core, objects):
    objects.put(QUARANTINED, body(DATA))
    again = objects.put(QUARANTINED, body(DATA))
    was_public = is_public(core)
    objects.copy(QUARANTINED, STORED)

    assert again.cid == CID
    assert not was_public
    assert is_public(core)


def test_what_is_put_aside_is_the_blob_of_its_cid(core, objects):
    with pytest.raises(WrongBytes):
        objects.put(QUARANTINED, body(b"other bytes"))
    assert core.entry(ALICE, CID) is None
    objects.put(QUARANTINED, body(DATA))

    with pytest.raises(WrongBytes):
        objects.put(QUARANTINED, body(b"other bytes"))

    assert core.read(objects.find(QUARANTINED)) == DATA


def test_a_quarantined_blob_is_taken_down_and_kept(core, objects):
    promoted(objects)

    objects.copy(STORED, QUARANTINED)
    objects.delete([STORED])
    core.clock.advance(GRACE + 1)
    list(core.collector(GRACE).run())

    assert not is_public(core)
    assert code(objects.find, STORED) == "NoSuchKey"
    assert objects.find(QUARANTINED).cid == CID
    objects.copy(QUARANTINED, STORED)
    objects.delete([QUARANTINED])
    assert is_public(core)
    assert core.read(objects.find(STORED)) == DATA


@pytest.mark.parametrize("did", [ALICE, takedowns.EVERY_ACCOUNT], ids=["for one", "for everybody"])
def test_the_operator_s_takedown_is_not_the_pds_s_to_lift(core, objects, did):
    promoted(objects)
    core.take_down(CID, did)

    assert code(objects.find, STORED) == "NoSuchKey"
    assert code(objects.copy, QUARANTINED, STORED) == "NoSuchKey"
    assert code(objects.copy, STORED, QUARANTINED) == "NoSuchKey"
    with pytest.raises(InvalidRequest):
        objects.put(STAGED, body(DATA))
    assert not is_public(core)


def test_a_takedown_for_everybody_stays_when_the_pds_lifts_its_own(core, objects):
    promoted(objects)
    objects.copy(STORED, QUARANTINED)
    core.take_down(CID, takedowns.EVERY_ACCOUNT)

    assert code(objects.copy, QUARANTINED, STORED) == "AccessDenied"
    core.lift(CID, takedowns.EVERY_ACCOUNT)
    objects.copy(QUARANTINED, STORED)

    assert is_public(core)


def test_an_account_that_is_taken_down_uploads_nothing(core, objects):
    core.moderation.take_down(Subject(ALICE, None), "ref")

    assert code(objects.put, STAGED, body(DATA)) == "AccessDenied"
    assert core.blobs.inspect(CID) is None


def test_an_account_is_made_by_its_first_upload_and_by_nothing_else(core, objects):
    for call in (
        lambda: objects.copy(Key(Kind.STAGED, CAROL, "abc"), Key(Kind.STORED, CAROL, CID)),
        lambda: objects.find(Key(Kind.STORED, CAROL, CID)),
    ):
        assert code(call) == "NoSuchKey"
    objects.delete([Key(Kind.STORED, CAROL, CID)])
    with pytest.raises(Exception, match="Could not find repo"):
        core.repos.find(CAROL)

    promoted(objects, did=CAROL)

    assert is_public(core, CAROL)


def test_the_limits_of_uploads_hold(open_core):
    core = open_core(quota_bytes=20, max_bytes=15)
    objects = objects_of(core)
    promoted(objects)

    with pytest.raises(QuotaExceeded):
        objects.put(STAGED, body(b"more bytes"))
    with pytest.raises(BlobTooLarge):
        objects.put(STAGED, body(bytes(16)))
    assert [found.cid for found in core.blobs.entries(ALICE)] == [CID]


def test_a_record_here_and_an_object_are_two_ways_to_name_a_blob(core, objects):
    entry = core.upload(DATA)
    core.write(
        "com.example.file",
        "one",
        {"file": {"$type": "blob", "ref": {"$link": CID}, "mimeType": entry.mime_type, "size": 14}},
    )

    assert objects.find(STORED).cid == CID
    objects.delete([STORED])
    assert not is_public(core)
    core.clock.advance(GRACE + 1)
    list(core.collector(GRACE).run())
    assert core.backend.size(CID) is not None  # the record is still there


def test_lost_bytes_are_not_promoted(core, objects):
    objects.put(STAGED, body(DATA))
    core.backend.delete(CID)
    core.blobs.mark_lost(CID)

    assert code(objects.copy, STAGED, STORED) == "NoSuchKey"
    objects.put(STAGED, body(DATA))
    objects.copy(STAGED, STORED)
    assert core.read(objects.find(STORED)) == DATA


def test_a_list_of_folders_reads_a_row_of_each(core, objects, monkeypatch):
    for number in range(3):
        did = f"did:web:a{number}.test"
        for data in (b"1", b"2", b"3"):
            objects.put(Key(Kind.STORED, did, cid_of(data)), body(data))
    read = []
    page = catalog_objects.page_of_stored
    monkeypatch.setattr(
        catalog_objects, "page_of_stored", lambda *given: read.extend(page(*given)) or page(*given)
    )

    found = listing.result(objects, "pds", {"prefix": "blocks/", "delimiter": "/"})

    assert sum(name == "CommonPrefixes" for name, _ in found) == 3
    assert len(read) == 3
