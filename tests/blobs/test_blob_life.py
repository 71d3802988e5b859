"""The life of a blob: temporary, public, listed, unreferenced, deleted with its account."""

import io

import pytest
from PIL import Image
from support.accounts import Account, sign_up
from support.cids import cid_in
from support.media_samples import jpeg

from aurora_blobs.storage.base import MARK

COLLECTION = "com.example.file"
WRITES = "com.atproto.repo.applyWrites"
GRACE = 86_400


def stored(member):
    return {stored.cid for stored in member.services.blobs.backend.scan()}


def put(member, rkey, **value):
    answer = member.post(
        "com.atproto.repo.putRecord",
        repo=member.did,
        collection=COLLECTION,
        rkey=rkey,
        record=value,
    )
    assert answer.status_code == 200, answer.text


def delete(member, rkey):
    answer = member.post(
        "com.atproto.repo.deleteRecord", repo=member.did, collection=COLLECTION, rkey=rkey
    )
    assert answer.status_code == 200, answer.text


def listed(member, **parameters):
    return member.client.get(
        "/xrpc/com.atproto.sync.listBlobs", query_string={"did": member.did, **parameters}
    ).json


@pytest.fixture
def collect(app, clock):
    def collect():
        clock.advance(GRACE + 1)
        assert app.test_cli_runner().invoke(args=["blobs", "gc"]).exit_code == 0

    return collect


@pytest.fixture
def bob(app):
    return sign_up(app.test_client(), "bobby.test")


def test_a_blob_goes_with_the_record_that_named_it(alice, collect):
    blob = alice.blob(jpeg("cat"))
    put(alice, "1", file=blob)
    delete(alice, "1")

    assert alice.fetch(cid_in(blob)).json["error"] == "BlobNotFound"
    assert stored(alice) == {cid_in(blob)}
    collect()
    assert stored(alice) == set()
    assert alice.services.blobs.usage(alice.did).blob_count == 0


def test_a_blob_goes_when_its_record_names_another(alice, collect):
    old, new = alice.blob(jpeg("cat")), alice.blob(jpeg("dog"))
    put(alice, "1", file=old)
    put(alice, "1", file=new)

    collect()

    assert stored(alice) == {cid_in(new)}
    assert listed(alice)["cids"] == [cid_in(new)]


def test_a_blob_stays_when_another_field_of_its_record_changes(alice, collect):
    kept, old, new = alice.blob(jpeg("cat")), alice.blob(jpeg("dog")), alice.blob(jpeg("owl"))
    put(alice, "1", file=kept, other=old)
    put(alice, "1", file=kept, other=new)

    collect()

    assert stored(alice) == {cid_in(kept), cid_in(new)}


def test_a_blob_stays_when_another_record_takes_it_over_in_the_same_writes(alice, collect):
    blob = alice.blob(jpeg("cat"))
    put(alice, "1", file=blob)

    alice.post(
        WRITES,
        repo=alice.did,
        writes=[
            {"$type": f"{WRITES}#delete", "collection": COLLECTION, "rkey": "1"},
            {
                "$type": f"{WRITES}#create",
                "collection": COLLECTION,
                "rkey": "2",
                "value": {"file": blob},
            },
        ],
    )
    assert alice.fetch(cid_in(blob)).status_code == 200
    collect()

    assert stored(alice) == {cid_in(blob)}
    assert alice.services.blobs.usage(alice.did).blob_count == 1


def test_a_blob_that_is_named_and_dropped_in_the_same_writes_is_temporary(alice, collect):
    blob = alice.blob(jpeg("cat"))

    alice.post(
        WRITES,
        repo=alice.did,
        writes=[
            {
                "$type": f"{WRITES}#create",
                "collection": COLLECTION,
                "rkey": "1",
                "value": {"file": blob},
            },
            {"$type": f"{WRITES}#delete", "collection": COLLECTION, "rkey": "1"},
        ],
    )

    assert alice.fetch(cid_in(blob)).json["error"] == "BlobNotFound"
    collect()
    assert stored(alice) == set()


def test_a_blob_of_one_account_goes_although_another_account_names_the_same_bytes(
    alice, bob, collect
):
    blob = alice.blob(jpeg("cat"))
    put(alice, "1", file=blob)
    put(bob, "1", file=bob.blob(jpeg("cat")))
    delete(alice, "1")

    collect()

    assert alice.fetch(cid_in(blob)).json["error"] == "BlobNotFound"
    assert bob.fetch(cid_in(blob)).data == jpeg("cat")
    assert alice.services.blobs.usage(alice.did).blob_count == 0
    assert alice.services.blobs.usage(bob.did).blob_count == 1


def test_a_record_that_is_deleted_and_written_again_loses_nothing(alice, clock):
    blob = alice.blob(jpeg("cat"))
    put(alice, "1", file=blob)
    delete(alice, "1")
    clock.advance(GRACE // 100)
    put(alice, "1", file=blob)

    assert alice.fetch(cid_in(blob)).data == jpeg("cat")


def test_a_collected_blob_can_be_uploaded_again(alice, app, collect):
    blob = alice.blob(jpeg("cat"))
    collect()
    alice = Account(
        alice.did,
        alice.services.accounts.access_token(alice.services.accounts.find(alice.did)),
        alice.client,
    )

    assert alice.publish(jpeg("cat"))[0] == blob
    assert alice.fetch(cid_in(blob)).data == jpeg("cat")


def test_only_blobs_that_records_name_are_listed(alice):
    alice.blob(jpeg("temporary"))
    names = [alice.publish(jpeg(number))[0] for number in range(5)]

    assert listed(alice)["cids"] == sorted(map(cid_in, names))


def test_an_account_without_blobs_lists_none(alice):
    assert listed(alice) == {"cids": []}


def test_pages_of_blobs_follow_each_other_until_there_is_no_cursor(alice):
    names = sorted(cid_in(alice.publish(jpeg(number))[0]) for number in range(5))

    pages, cursor = [], None
    for _ in range(4):
        page = listed(alice, limit=2, **({"cursor": cursor} if cursor else {}))
        pages.append(page["cids"])
        cursor = page.get("cursor")

    assert pages == [names[:2], names[2:4], names[4:], []]
    assert cursor is None


def test_every_page_that_is_not_empty_has_a_cursor(alice):
    blob, _ = alice.publish(jpeg("cat"))

    assert listed(alice) == {"cursor": cid_in(blob), "cids": [cid_in(blob)]}


def test_blobs_named_since_a_revision_are_listed(alice):
    alice.publish(jpeg("old"))
    rev = alice.services.repos.find(alice.did).rev
    new, _ = alice.publish(jpeg("new"))

    assert listed(alice, since=rev)["cids"] == [cid_in(new)]
    assert listed(alice, since="7zzzzzzzzzzzz") == {"cids": []}


def test_a_blob_that_two_records_name_is_listed_once(alice):
    blob = alice.blob(jpeg("cat"))
    put(alice, "1", file=blob)
    put(alice, "2", file=blob)

    assert listed(alice)["cids"] == [cid_in(blob)]


def test_the_owner_can_list_the_records_that_name_a_blob(alice, bob):
    blob = alice.blob(jpeg("cat"))
    uris = [f"at://{alice.did}/{COLLECTION}/{number}" for number in range(5)]
    for number in range(5):
        put(alice, str(number), file=blob)

    whole = alice.get("blue.aurora.blob.listRecords", cid=cid_in(blob)).json
    first = alice.get("blue.aurora.blob.listRecords", cid=cid_in(blob), limit=3).json
    rest = alice.get(
        "blue.aurora.blob.listRecords", cid=cid_in(blob), limit=3, cursor=first["cursor"]
    ).json

    assert whole["records"] == [{"uri": uri} for uri in uris]
    assert first["records"] + rest["records"] == whole["records"]
    assert bob.get("blue.aurora.blob.listRecords", cid=cid_in(blob)).json == {"records": []}


def test_usage_counts_what_the_account_holds(alice, open_app):
    alice.publish(jpeg("public"))
    alice.blob(jpeg("temporary"))

    assert alice.get("blue.aurora.blob.getUsage").json == {
        "blobCount": 2,
        "blobBytes": len(jpeg("public")) + len(jpeg("temporary")),
        "temporaryBytes": len(jpeg("temporary")),
    }


def test_usage_shows_the_quota_that_is_in_force(open_app):
    app = open_app(QUOTA="1000")
    alice = sign_up(app.test_client(), "alice.test")

    assert alice.get("blue.aurora.blob.getUsage").json["quotaBytes"] == 1000
    app.test_cli_runner().invoke(args=["account", "quota", "alice.test", "2000"])
    assert alice.get("blue.aurora.blob.getUsage").json["quotaBytes"] == 2000


def test_missing_blobs_are_listed_by_cid_in_pages(alice):
    names = sorted(cid_in(alice.publish(jpeg(number))[0]) for number in range(5))
    for cid in names[1:4]:
        alice.services.blobs.backend.delete(cid)

    first = alice.get("com.atproto.repo.listMissingBlobs", limit=2).json
    rest = alice.get("com.atproto.repo.listMissingBlobs", limit=2, cursor=first["cursor"]).json
    end = alice.get("com.atproto.repo.listMissingBlobs", limit=2, cursor=rest["cursor"]).json

    assert [blob["cid"] for blob in first["blobs"] + rest["blobs"]] == names[1:4]
    assert all(
        blob["recordUri"].startswith(f"at://{alice.did}/{COLLECTION}/") for blob in first["blobs"]
    )
    assert end == {"blobs": []}


def test_a_temporary_or_taken_down_blob_is_not_missing(app, alice):
    alice.blob(jpeg("temporary"))
    blob, _ = alice.publish(jpeg("taken down"))
    app.test_cli_runner().invoke(args=["blobs", "takedown", cid_in(blob)])

    assert alice.get("com.atproto.repo.listMissingBlobs").json == {"blobs": []}


def test_a_deleted_account_leaves_no_file_wherever_it_had_some(app, alice):
    picture = io.BytesIO()
    Image.new("RGB", (200, 100)).save(picture, "JPEG")
    shown, _ = alice.publish(picture.getvalue())
    damaged, _ = alice.publish(jpeg("damaged"))
    alice.blob(jpeg("temporary"))
    found = alice.services
    data = found.config.data_dir
    thumbnail = f"/img/avatar_thumbnail/plain/{alice.did}/{cid_in(shown)}@jpeg"
    assert alice.client.get(thumbnail, buffered=True).status_code == 200
    (data / "blobs" / found.blobs.backend.path(cid_in(damaged))).write_bytes(b"other bytes")
    app.test_cli_runner().invoke(args=["blobs", "scrub", "--repair"])
    before = {path.relative_to(data).parts[0] for path in files(data)}
    aside = list((data / "blobs" / "quarantine").iterdir())

    alice.post(
        "com.atproto.server.deleteAccount", did=alice.did, password="correct horse", token="x"
    )

    assert (before, len(aside)) == ({"blobs", "images"}, 1)
    assert files(data) == []


def files(data):
    """The files in the folders of blobs, uploads and pictures."""
    found = [
        path
        for name in ("blobs", "spool", "images")
        for path in (data / name).rglob("*")
        if path.is_file() and path.name != MARK
    ]
    return [path for path in found if path.parent.name != "locks"]


def test_deleting_an_account_removes_its_bytes_and_leaves_those_of_others(alice, bob):
    mine, _ = alice.publish(jpeg("mine"))
    alice.blob(jpeg("temporary"))
    shared, _ = alice.publish(jpeg("shared"))
    bob.publish(jpeg("shared"))

    alice.post(
        "com.atproto.server.deleteAccount", did=alice.did, password="correct horse", token="x"
    )

    assert stored(bob) == {cid_in(shared)}
    assert bob.fetch(cid_in(shared)).data == jpeg("shared")
    assert alice.fetch(cid_in(mine)).json["error"] == "RepoNotFound"
    with bob.services.database.read() as tx:
        for table, column in (
            ("blob_metadata", "creator_did"),
            ("record", "did"),
            ("record_blob", "did"),
        ):
            assert {row[0] for row in tx.all(f"SELECT {column} FROM {table}")} == {bob.did}
        assert tx.all("SELECT cid FROM blob") == [(cid_in(shared),)]
