"""Record writes and the blobs they name: checks, refusals, all or nothing."""

import gzip
import json

import pytest
from support.accounts import sign_up
from support.cids import cid_in
from support.media_samples import jpeg

from aurora_blobs.errors import BlobServiceError

COLLECTION = "com.example.file"
WRITES = "com.atproto.repo.applyWrites"


def text(content):
    return content.encode()


@pytest.fixture
def app(open_app):
    return open_app(ADMIN_PASSWORD="open sesame", ALLOWED_MIME_TYPES="*/*")


def refused(answer, error="InvalidRequest"):
    assert (answer.status_code, answer.json["error"]) == (400, error), answer.text
    return answer.json["message"]


def put(member, value, rkey="1", **more):
    return member.post(
        "com.atproto.repo.putRecord",
        repo=member.did,
        collection=COLLECTION,
        rkey=rkey,
        record=value,
        **more,
    )


def delete(member, rkey="1", **more):
    return member.post(
        "com.atproto.repo.deleteRecord", repo=member.did, collection=COLLECTION, rkey=rkey, **more
    )


def create(rkey, value, collection=COLLECTION):
    return {"$type": f"{WRITES}#create", "collection": collection, "rkey": rkey, "value": value}


def listed(member):
    return member.client.get(f"/xrpc/com.atproto.sync.listBlobs?did={member.did}").json["cids"]


def records(member):
    answer = member.client.get(
        f"/xrpc/com.atproto.repo.listRecords?repo={member.did}&collection={COLLECTION}"
    )
    return {record["uri"].rpartition("/")[2]: record["value"] for record in answer.json["records"]}


def test_a_profile_keeps_the_picture_that_it_names(alice):
    blob = alice.blob(jpeg("me"))

    answer = alice.record({"avatar": blob}, collection="app.bsky.actor.profile", rkey="self")

    assert answer.json["validationStatus"] == "valid"
    found = alice.client.get(
        f"/xrpc/com.atproto.repo.getRecord?repo={alice.did}&collection=app.bsky.actor.profile&rkey=self"
    ).json
    assert found["value"] == {"$type": "app.bsky.actor.profile", "avatar": blob}
    assert found["cid"] == answer.json["cid"]


def test_a_blob_in_a_record_of_an_unknown_type_is_kept_for_it(alice):
    blob = alice.blob(jpeg("cat"))

    answer = alice.record({"deep": [{"er": {"picture": blob}}]})

    assert answer.json["validationStatus"] == "unknown"
    assert listed(alice) == [cid_in(blob)]


@pytest.mark.parametrize("validate", [True, None])
def test_a_blob_outside_the_constraints_of_its_schema_is_refused(alice, validate):
    blob = alice.blob(jpeg("x" * 1_000_000))

    answer = alice.record(
        {"avatar": blob}, collection="app.bsky.actor.profile", rkey="self", validate=validate
    )

    assert refused(answer) == (
        f"Invalid app.bsky.actor.profile record: blob too big (maximum 1000000, got "
        f"{blob['size']}) at $.record.avatar"
    )
    assert listed(alice) == []
    assert alice.fetch(cid_in(blob)).json["error"] == "BlobNotFound"


def test_a_blob_outside_the_constraints_is_accepted_where_validation_is_declined(alice):
    blob = alice.blob(text("hello"), "text/plain")

    answer = alice.record(
        {"avatar": blob}, collection="app.bsky.actor.profile", rkey="self", validate=False
    )

    assert answer.status_code == 200
    assert "validationStatus" not in answer.json


def test_an_unknown_type_is_refused_where_validation_is_asked_for(alice):
    answer = alice.record({}, validate=True)

    assert refused(answer) == f"Unknown lexicon type: {COLLECTION}"


def test_a_blob_that_was_never_uploaded_is_refused(alice):
    blob = {
        **alice.blob(jpeg("cat")),
        "ref": {"$link": "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"},
    }

    message = refused(alice.record({"file": blob}), "BlobNotFound")

    assert message == f"Could not find blob: {cid_in(blob)}"


def test_a_blob_that_lost_its_bytes_is_refused(services, alice):
    blob = alice.blob(text("lost"), "text/x-test")
    services.blobs.backend.delete(blob["ref"]["$link"])

    refused(put(alice, {"file": blob}), "BlobNotFound")


def test_a_blob_of_another_account_is_refused(app, alice):
    bob = sign_up(app.test_client(), "bobby.test")
    blob, _ = bob.publish(jpeg("cat"))

    assert (
        refused(alice.record({"file": blob}), "BlobNotFound")
        == f"Could not find blob: {cid_in(blob)}"
    )


STATES = {
    "temporary": lambda member, blob: None,
    "public": lambda member, blob: put(member, {"file": blob}, "other"),
}


@pytest.mark.parametrize("prepare", STATES.values(), ids=STATES.keys())
def test_a_reference_must_state_the_stored_type_every_time(alice, prepare):
    blob = alice.blob(text("hello world"), "text/plain")
    prepare(alice, blob)
    before = records(alice)

    message = refused(alice.record({"file": {**blob, "mimeType": "text/html"}}), "InvalidMimeType")

    assert (
        message
        == "Referenced Mimetype does not match stored blob. Expected: text/plain, Got: text/html"
    )
    assert records(alice) == before


@pytest.mark.parametrize("prepare", STATES.values(), ids=STATES.keys())
def test_a_reference_must_state_the_stored_size_every_time(alice, prepare):
    blob = alice.blob(text("hello world"), "text/plain")
    prepare(alice, blob)

    message = refused(alice.record({"file": {**blob, "size": 12}}), "InvalidSize")

    assert message == "Referenced Size does not match stored blob. Expected: 11, Got: 12"


def test_the_type_is_compared_before_the_size(alice):
    blob = alice.blob(text("hello world"), "text/plain")

    refused(
        alice.record({"file": {**blob, "size": 12, "mimeType": "text/html"}}), "InvalidMimeType"
    )


def test_every_reference_of_a_record_is_checked(alice):
    good = alice.blob(jpeg("cat"))

    refused(alice.record({"one": good, "two": {**good, "size": 1}}), "InvalidSize")

    assert listed(alice) == []


@pytest.mark.parametrize("validate", [None, False])
@pytest.mark.parametrize("collection", [COLLECTION, "app.bsky.actor.profile"])
def test_a_legacy_reference_is_refused(alice, collection, validate):
    cid = cid_in(alice.blob(jpeg("cat")))

    answer = alice.record(
        {"avatar": {"cid": cid, "mimeType": "image/jpeg"}},
        collection=collection,
        rkey="self",
        validate=validate,
    )

    assert refused(answer) == f"Legacy blobs are not allowed ({cid})"


def test_an_update_turns_a_legacy_avatar_into_a_typed_one(alice):
    blob = alice.blob(jpeg("cat"))
    legacy = {"cid": cid_in(blob), "mimeType": "image/jpeg"}
    profile = {"repo": alice.did, "collection": "app.bsky.actor.profile", "rkey": "self"}
    alice.post("com.atproto.repo.putRecord", **profile, record={"displayName": "Alice"})

    answer = alice.post("com.atproto.repo.putRecord", **profile, record={"avatar": legacy})

    assert answer.status_code == 200, answer.text
    found = alice.client.get("/xrpc/com.atproto.repo.getRecord", query_string=profile).json
    assert found["value"]["avatar"] == blob
    assert listed(alice) == [cid_in(blob)]


def test_a_legacy_avatar_of_an_unknown_blob_is_not_found(alice):
    legacy = {
        "cid": "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",
        "mimeType": "image/jpeg",
    }
    profile = {"repo": alice.did, "collection": "app.bsky.actor.profile", "rkey": "self"}
    alice.post("com.atproto.repo.putRecord", **profile, record={})

    answer = alice.post("com.atproto.repo.putRecord", **profile, record={"avatar": legacy})

    assert (
        "Blob not found" in answer.json["message"]
        or "Could not find blob" in answer.json["message"]
    )
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "change",
    [
        {"size": "11"},
        {"size": None},
        {"extra": 1},
        {"ref": "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"},
        {"mimeType": "png"},
        {"size": -2},
    ],
    ids=str,
)
def test_a_malformed_reference_in_an_unknown_type_is_plain_data(alice, change):
    blob = {**alice.blob(jpeg("cat")), **change}

    assert alice.record({"file": blob}).status_code == 200
    assert listed(alice) == []


@pytest.mark.parametrize("change", [{"size": "11"}, {"extra": 1}, {"mimeType": "png"}], ids=str)
def test_a_malformed_reference_where_a_blob_belongs_is_refused(alice, change):
    blob = {**alice.blob(jpeg("cat")), **change}

    answer = alice.record({"avatar": blob}, collection="app.bsky.actor.profile", rkey="self")

    assert refused(answer).startswith(
        "Invalid app.bsky.actor.profile record: Expected blob value type (got {"
    )


def test_a_number_that_is_not_whole_is_refused(alice):
    blob = {**alice.blob(jpeg("cat")), "size": 11.5}

    message = refused(alice.record({"b": blob}))

    assert message.startswith("Expected one of null, boolean, integer, ")
    assert message.endswith("(got 11.5) at $.record.b.size")


def test_a_dag_cbor_cid_is_no_blob(alice):
    cid = "bafyreihffx5a2e7k5uwrmmgofbvzujc5cmw5h4espouwuxt3liqoflx3ee"
    blob = {**alice.blob(jpeg("cat")), "ref": {"$link": cid}}

    assert refused(alice.record({"file": blob}), "BlobNotFound") == f"Could not find blob: {cid}"


def test_one_bad_reference_leaves_nothing_written(alice):
    good, other = alice.blob(jpeg("cat")), alice.blob(jpeg("dog"))
    put(alice, {"file": other}, "kept")

    answer = alice.post(
        WRITES,
        repo=alice.did,
        writes=[
            create("1", {"file": good}),
            {"$type": f"{WRITES}#delete", "collection": COLLECTION, "rkey": "kept"},
            create("2", {"file": {**good, "size": 1}}),
        ],
    )

    refused(answer, "InvalidSize")
    assert set(records(alice)) == {"kept"}
    assert listed(alice) == [cid_in(other)]
    assert alice.get("com.atproto.repo.listMissingBlobs").json == {"blobs": []}
    assert alice.fetch(cid_in(good)).json["error"] == "BlobNotFound"
    assert alice.get("com.atproto.sync.getBlob", did=alice.did, cid=cid_in(good)).status_code == 200


def test_200_writes_are_made_and_201_refused(alice):
    writes = [create(f"{number:03}", {"n": number}) for number in range(201)]

    assert refused(alice.post(WRITES, repo=alice.did, writes=writes)) == "Too many writes. Max: 200"
    answer = alice.post(WRITES, repo=alice.did, writes=writes[:200])

    assert answer.status_code == 200
    assert [result["$type"] for result in answer.json["results"]] == [
        f"{WRITES}#createResult"
    ] * 200
    assert len(records(alice)) == 50  # a page


@pytest.mark.parametrize(
    "write", [1, [], {}, {"$type": []}, {"$type": {}}, {"$type": f"{WRITES}#merge"}], ids=str
)
def test_a_write_of_no_kind_is_refused(alice, write):
    message = refused(alice.post(WRITES, repo=alice.did, writes=[write]))

    assert message.startswith(f"Invalid {WRITES} input: $.writes[0] has no $type of ")


def test_writes_of_every_kind_are_applied_together(alice):
    first = put(alice, {"n": 1}, "1").json
    put(alice, {"n": 2}, "2")

    answer = alice.post(
        WRITES,
        repo=alice.did,
        writes=[
            {
                "$type": f"{WRITES}#update",
                "collection": COLLECTION,
                "rkey": "1",
                "value": {"n": 10},
            },
            {"$type": f"{WRITES}#delete", "collection": COLLECTION, "rkey": "2"},
            create("3", {"n": 3}),
        ],
    )

    update, deletion, creation = answer.json["results"]
    assert update["uri"] == first["uri"] and update["cid"] != first["cid"]
    assert deletion == {"$type": f"{WRITES}#deleteResult"}
    assert creation["uri"] == f"at://{alice.did}/{COLLECTION}/3"
    assert {rkey: value["n"] for rkey, value in records(alice).items()} == {"1": 10, "3": 3}


def test_a_swap_of_another_record_is_refused(alice):
    cid = put(alice, {"n": 1}).json["cid"]
    other = put(alice, {"n": 2}, "2").json["cid"]

    assert refused(put(alice, {"n": 3}, swapRecord=other), "InvalidSwap") == f"Record was at {cid}"
    assert refused(put(alice, {"n": 3}, swapRecord=None), "InvalidSwap") == f"Record was at {cid}"
    assert refused(delete(alice, swapRecord=other), "InvalidSwap") == f"Record was at {cid}"
    assert (
        refused(put(alice, {"n": 3}, "none", swapRecord=other), "InvalidSwap")
        == "Record was at null"
    )
    assert put(alice, {"n": 3}, swapRecord=cid).status_code == 200
    assert put(alice, {"n": 4}, "new", swapRecord=None).status_code == 200


@pytest.mark.parametrize(
    "swap",
    [None, "bafyreihffx5a2e7k5uwrmmgofbvzujc5cmw5h4espouwuxt3liqoflx3ee"],
    ids=["none", "a record"],
)
def test_a_record_that_is_gone_may_be_deleted_whatever_it_was(alice, swap):
    answer = delete(alice, swapRecord=swap)

    assert (answer.status_code, answer.json) == (200, {})


def test_a_swap_of_a_commit_is_refused_clearly(alice):
    cid = put(alice, {"n": 1}).json["cid"]

    message = refused(put(alice, {"n": 2}, swapCommit=cid), "InvalidSwap")

    assert "commit" in message
    assert records(alice)["1"]["n"] == 1


def test_a_record_put_again_unchanged_keeps_its_revision(alice):
    blob = alice.blob(jpeg("cat"))
    put(alice, {"file": blob})
    rows = alice.services.database

    def revisions():
        with rows.read() as tx:
            return tx.all("SELECT rev FROM record"), tx.all("SELECT rev FROM record_blob")

    before = revisions()
    put(alice, {"file": blob})

    assert revisions() == before


def test_an_existing_record_is_not_created_again(alice):
    put(alice, {"n": 1})

    assert "already exists" in refused(alice.record({"n": 2}, rkey="1"))


def test_deleting_a_missing_record_succeeds(alice):
    assert delete(alice, "nothing").status_code == 200


def test_another_accounts_records_cannot_be_written(app, alice):
    bob = sign_up(app.test_client(), "bobby.test")

    for method, more in (
        ("createRecord", {"record": {}}),
        ("putRecord", {"record": {}, "rkey": "1"}),
        ("deleteRecord", {"rkey": "1"}),
    ):
        answer = bob.post(
            f"com.atproto.repo.{method}", repo=alice.did, collection=COLLECTION, **more
        )
        assert answer.status_code == 401, method
    assert bob.post(WRITES, repo=alice.did, writes=[create("1", {})]).status_code == 401
    assert records(alice) == {}


def test_a_reference_is_checked_against_the_answer_to_the_last_upload(alice):
    first = alice.blob(text("hello world"), "text/plain")
    second = alice.blob(text("hello world"), "text/html")
    public = alice.record({"file": second})
    third = alice.blob(text("hello world"), "application/json")

    assert first == second == third
    assert public.status_code == 200
    assert alice.record({"file": third}).status_code == 200


def test_records_of_ten_writers_at_once_all_name_the_blob(alice, app):
    from concurrent.futures import ThreadPoolExecutor

    blob = alice.blob(jpeg("cat"))

    def write(number):
        try:
            answer = app.test_client().post(
                "/xrpc/com.atproto.repo.createRecord",
                json={
                    "repo": alice.did,
                    "collection": COLLECTION,
                    "record": {"n": number, "file": blob},
                },
                headers=alice.headers,
            )
            return answer.status_code
        except BlobServiceError as error:  # pragma: no cover
            return error.status

    with ThreadPoolExecutor(10) as pool:
        assert list(pool.map(write, range(10))) == [200] * 10
    found = alice.get("blue.aurora.blob.listRecords", cid=cid_in(blob)).json["records"]
    assert len(found) == 10


@pytest.mark.parametrize(
    "size", ["{size}.0", "{size}e0"], ids=["with a fraction of nothing", "with an exponent"]
)
def test_a_size_is_an_integer_however_it_is_written(alice, size):
    blob = alice.blob(jpeg("counted"))
    body = json.dumps(
        {"repo": alice.did, "collection": COLLECTION, "record": {"file": {**blob, "size": "SIZE"}}}
    )
    body = body.replace('"SIZE"', size.format(size=blob["size"]))

    answer = alice.client.post(
        "/xrpc/com.atproto.repo.createRecord",
        data=body,
        content_type="application/json",
        headers=alice.headers,
    )

    assert answer.status_code == 200, answer.text
    assert listed(alice) == [cid_in(blob)]
    assert [value["file"] for value in records(alice).values()] == [blob]


def test_a_compressed_request_is_read(alice):
    body = json.dumps(
        {"repo": alice.did, "collection": COLLECTION, "rkey": "1", "record": {"n": 1}}
    ).encode()

    answer = sent(alice, gzip.compress(body), "gzip")

    assert answer.status_code == 200, answer.text
    assert records(alice)["1"]["n"] == 1


@pytest.mark.parametrize(
    "body, encoding, status, error",
    [
        (b"{}", "zstd", 415, "UnsupportedMediaType"),
        (b"{}", "gzip", 400, "InvalidRequest"),
        (gzip.compress(b"{}" + b" " * 10_000_000), "gzip", 413, "PayloadTooLarge"),
    ],
    ids=["unknown", "not what it says", "a bomb"],
)
def test_a_request_that_cannot_be_decompressed_is_refused(alice, body, encoding, status, error):
    answer = sent(alice, body, encoding)

    assert (answer.status_code, answer.json["error"]) == (status, error), answer.text


def sent(member, body, encoding):
    return member.client.post(
        "/xrpc/com.atproto.repo.createRecord",
        data=body,
        content_type="application/json",
        headers={**dict(member.headers), "Content-Encoding": encoding},
    )


@pytest.mark.parametrize("depth", [300, 900, 100_000])
def test_a_record_that_is_nested_too_deeply_is_refused_in_plain_words(alice, depth):
    record = f'{{"x": {"[" * depth}1{"]" * depth}}}'
    body = f'{{"repo": "{alice.did}", "collection": "{COLLECTION}", "record": {record}}}'

    answer = sent(alice, body.encode(), "identity")

    assert refused(answer).endswith("nested too deeply: at most 132 levels are accepted")
