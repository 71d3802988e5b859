"""A page of a list is as long as it may be, and no longer, whatever was stored."""

import json
import os
import tracemalloc

import pytest
from support.cids import cid_of

from aurora_blobs.accounts.queries import MAX_COLLECTIONS, PAGE_BYTES
from aurora_blobs.catalog import records, references
from aurora_blobs.catalog.records import Record
from aurora_blobs.protocol.blob_refs import Reference
from aurora_blobs.protocol.cid import place_of

COLLECTION = "com.example.file"
REV = "3l4kjrzqhgc2a"


def keep(alice, *kept):
    """Put *kept* (collection, key, JSON text) into the index as they stand."""
    with alice.services.database.write() as tx:
        for collection, rkey, text in kept:
            records.put(tx, Record(alice.did, collection, rkey, cid_of(b""), text, REV))


def keep_texts(alice, *texts):
    keep(alice, *((COLLECTION, f"{number:03}", text) for number, text in enumerate(texts)))


def page(alice, **given):
    answer = alice.get(
        "com.atproto.repo.listRecords", repo=alice.did, collection=COLLECTION, **given
    )
    assert (answer.status_code, answer.mimetype) == (200, "application/json")
    return answer


def walk(alice, **given):
    """The pages of listRecords from the first to the last."""
    pages = [page(alice, **given)]
    while "cursor" in pages[-1].json:
        pages.append(page(alice, **given, cursor=pages[-1].json["cursor"]))
    return pages


def keys(pages):
    return [found["uri"].rpartition("/")[2] for page in pages for found in page.json["records"]]


def lists(size):
    return '{"x":[' + ",".join(["[]"] * (size // 3)) + "]}"


@pytest.mark.parametrize("reverse", ["true", "false"])
@pytest.mark.parametrize("limit", [1, 7, 100])
def test_pages_of_large_records_are_short_and_miss_none(alice, reverse, limit):
    keep_texts(alice, *(lists(300_000) for _ in range(10)), *["{}"] * 30)

    pages = walk(alice, reverse=reverse, limit=limit)

    expected = [f"{number:03}" for number in range(40)]
    assert keys(pages) == (expected if reverse == "true" else expected[::-1])
    assert max(len(page.data) for page in pages) < PAGE_BYTES + 40 * 200


def test_bytes_count_and_not_characters(alice):
    keep_texts(alice, *[json.dumps({"x": "😀" * 100_000}, ensure_ascii=False)] * 8)

    assert max(len(page.data) for page in walk(alice)) < PAGE_BYTES + 1000


def test_a_record_that_is_larger_than_a_page_is_listed_alone(alice):
    keep_texts(alice, "{}", lists(2 * PAGE_BYTES), "{}")

    assert [keys([page]) for page in walk(alice, reverse="true")] == [["000"], ["001"], ["002"], []]


@pytest.mark.parametrize("method", ["listRecords", "getRecord"])
def test_what_is_stored_is_not_parsed_to_be_sent(alice, method):
    keep_texts(alice, lists(900_000))
    given = {"repo": alice.did, "collection": COLLECTION}
    given |= {"rkey": "000"} if method == "getRecord" else {}
    alice.get(f"com.atproto.repo.{method}", **given)
    tracemalloc.start()

    answer = alice.get(f"com.atproto.repo.{method}", **given)

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert answer.status_code == 200
    assert peak < 8 * len(answer.data)


@pytest.mark.parametrize(
    "value",
    [{}, {"a": [1, None, True, '☃😀"\\\n\u2028</script>']}, {"$type": COLLECTION, "é": {"": []}}],
    ids=ascii,
)
def test_a_record_comes_back_as_it_was_written(alice, value):
    uri = alice.record(value, rkey="1").json["uri"]
    value = {"$type": COLLECTION, **value}

    found = alice.get("com.atproto.repo.getRecord", repo=alice.did, collection=COLLECTION, rkey="1")

    assert found.json["value"] == value
    assert page(alice).json == {"cursor": "1", "records": [found.json]}
    assert found.json["uri"] == uri


def test_a_profile_of_unusual_size_is_not_parsed_for_everybody(alice):
    keep(alice, ("app.bsky.actor.profile", "self", lists(900_000)))
    tracemalloc.start()

    answer = alice.client.get(f"/xrpc/app.bsky.actor.getProfile?actor={alice.did}")

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert answer.status_code == 200
    assert peak < 6_000_000


def test_as_many_collections_are_named_as_fit(alice):
    keep(alice, *((f"com.example.c{number:05}", "1", "{}") for number in range(1500)))

    answer = alice.get("com.atproto.repo.describeRepo", repo=alice.did)

    assert answer.json["collections"] == [f"com.example.c{n:05}" for n in range(MAX_COLLECTIONS)]


def missing_pages(alice, **given):
    pages = [alice.get("com.atproto.repo.listMissingBlobs", **given).json]
    while "cursor" in pages[-1]:
        pages.append(
            alice.get("com.atproto.repo.listMissingBlobs", **given, cursor=pages[-1]["cursor"]).json
        )
    return pages


def name_blobs(alice, cids, key="1"):
    with alice.services.database.write() as tx:
        for cid in cids:
            uri = f"at://{alice.did}/{COLLECTION}/{key}"
            references.add(tx, alice.did, uri, Reference(cid, None, None), REV)


def test_long_addresses_make_short_pages_of_missing_blobs(alice):
    cids = sorted(cid_of(str(number).encode()) for number in range(1000))
    name_blobs(alice, cids, "k" * 4000)

    pages = missing_pages(alice, limit=1000)

    assert [blob["cid"] for page in pages for blob in page["blobs"]] == cids
    assert max(len(json.dumps(page)) for page in pages) < 1.2 * PAGE_BYTES


def test_looking_for_missing_blobs_pauses_after_ten_thousand_that_are_here(alice):
    backend = alice.services.blobs.backend
    cids = sorted(cid_of(str(number).encode()) for number in range(10_500))
    name_blobs(alice, cids)
    (backend.root / "one").write_bytes(b"x")
    with alice.services.database.write() as tx:
        for cid in cids:
            tx.run("INSERT INTO blob VALUES (?, 1, 1, 1, NULL, 0)", cid)
            tx.run(
                "INSERT INTO blob_metadata (creator_did, cid, mime_type, size, created_at)"
                " VALUES (?, ?, 'a/b', 1, 1)",
                alice.did,
                cid,
            )
            (backend.root / place_of(cid)).parent.mkdir(exist_ok=True)
            os.link(backend.root / "one", backend.root / place_of(cid))
    (backend.root / place_of(cids[-1])).unlink()

    pages = missing_pages(alice)

    assert [[blob["cid"] for blob in page["blobs"]] for page in pages] == [[], [cids[-1]], []]
    assert pages[0]["cursor"] == cids[9999]
