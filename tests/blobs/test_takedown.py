"""Takedowns of blobs and accounts, and their lifting."""

import pytest
from support.accounts import ADMIN, ALICE, GET_BLOB, sign_up
from support.cids import cid_in
from support.media_samples import jpeg

CID = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
UPDATE = "/xrpc/com.atproto.admin.updateSubjectStatus"
STATUS = "/xrpc/com.atproto.admin.getSubjectStatus"
COLLECTION = "com.example.file"
DAY = 86_400


@pytest.fixture
def admin(app):
    return Admin(app.test_client())


@pytest.fixture
def bob(app):
    return sign_up(app.test_client(), "bobby.test")


class Admin:
    def __init__(self, client):
        self.client = client

    def update(self, **given):
        return self.client.post(UPDATE, json=given, auth=ADMIN)

    def status(self, **parameters):
        return self.client.get(STATUS, query_string=parameters, auth=ADMIN)

    def take_down(self, did, cid, ref="test-blob"):
        answer = self.update(subject=blob_of(did, cid), takedown={"applied": True, "ref": ref})
        assert answer.status_code == 200, answer.text
        return answer.json

    def lift(self, did, cid):
        answer = self.update(subject=blob_of(did, cid), takedown={"applied": False})
        assert answer.status_code == 200, answer.text

    def take_down_account(self, did, applied=True):
        answer = self.update(
            subject=repo_of(did), takedown={"applied": applied, "ref": "test-account"}
        )
        assert answer.status_code == 200, answer.text


def blob_of(did, cid):
    return {"$type": "com.atproto.admin.defs#repoBlobRef", "did": did, "cid": cid}


def repo_of(did):
    return {"$type": "com.atproto.admin.defs#repoRef", "did": did}


def stored(member):
    return {stored.cid for stored in member.services.blobs.backend.scan()}


def delete(member, rkey):
    member.post("com.atproto.repo.deleteRecord", repo=member.did, collection=COLLECTION, rkey=rkey)


def test_a_takedown_is_echoed_and_shown(admin, alice):
    blob, _ = alice.publish(jpeg("cat"))

    answer = admin.take_down(alice.did, cid_in(blob))

    assert answer == {
        "subject": blob_of(alice.did, cid_in(blob)),
        "takedown": {"applied": True, "ref": "test-blob"},
    }
    assert admin.status(did=alice.did, blob=cid_in(blob)).json == answer


def test_a_taken_down_blob_is_not_served(admin, alice):
    blob, _ = alice.publish(jpeg("cat"))
    admin.take_down(alice.did, cid_in(blob))
    where = {"did": alice.did, "cid": cid_in(blob)}

    for asked in ({}, {"headers": alice.headers}, {"auth": ADMIN}):
        answer = alice.client.get(GET_BLOB, query_string=where, **asked)
        assert (answer.status_code, answer.json["message"]) == (400, "Blob not found")


def test_a_blob_that_is_taken_down_stays_listed(admin, alice):
    blob, _ = alice.publish(jpeg("cat"))
    admin.take_down(alice.did, cid_in(blob))

    assert alice.client.get(f"/xrpc/com.atproto.sync.listBlobs?did={alice.did}").json["cids"] == [
        cid_in(blob)
    ]


def test_a_blob_that_is_taken_down_cannot_be_referenced(admin, alice):
    blob, _ = alice.publish(jpeg("cat"))
    admin.take_down(alice.did, cid_in(blob))

    answer = alice.record({"file": blob})

    assert answer.json == {
        "error": "BlobNotFound",
        "message": f"Could not find blob: {cid_in(blob)}",
    }


def test_a_blob_that_is_taken_down_cannot_be_uploaded_again(admin, alice):
    blob, _ = alice.publish(jpeg("cat"))
    admin.take_down(alice.did, cid_in(blob))

    answer = alice.upload(jpeg("cat"))

    assert answer.json == {
        "error": "InvalidRequest",
        "message": "Blob has been takendown, cannot re-upload",
    }


def test_another_account_may_have_the_bytes_that_were_taken_down_for_one(admin, alice, bob):
    blob, _ = alice.publish(jpeg("cat"))
    admin.take_down(alice.did, cid_in(blob))

    assert bob.publish(jpeg("cat"))[0] == blob
    assert bob.fetch(cid_in(blob)).data == jpeg("cat")


def test_a_lift_gives_everything_back(admin, alice):
    blob, _ = alice.publish(jpeg("cat"))
    admin.take_down(alice.did, cid_in(blob))
    admin.lift(alice.did, cid_in(blob))

    assert alice.fetch(cid_in(blob)).data == jpeg("cat")
    assert alice.record({"file": blob}).status_code == 200
    assert alice.upload(jpeg("cat")).status_code == 200
    assert admin.status(did=alice.did, blob=cid_in(blob)).json["takedown"] == {"applied": False}


def test_a_temporary_blob_can_be_taken_down_and_lifted(admin, alice):
    blob = alice.blob(jpeg("cat"))
    admin.take_down(alice.did, cid_in(blob))
    assert alice.record({"file": blob}).json["error"] == "BlobNotFound"

    admin.lift(alice.did, cid_in(blob))

    assert alice.record({"file": blob}).status_code == 200


def test_a_takedown_outlives_its_record_and_its_bytes_are_kept(app, admin, alice, clock):
    blob, rkey = alice.publish(jpeg("cat"))
    admin.take_down(alice.did, cid_in(blob))
    delete(alice, rkey)
    clock.advance(3600)
    assert alice.upload(jpeg("cat")).json["message"] == "Blob has been takendown, cannot re-upload"

    clock.advance(10 * DAY)
    app.test_cli_runner().invoke(args=["blobs", "gc"])

    assert stored(alice) == {cid_in(blob)}
    assert admin.status(did=alice.did, blob=cid_in(blob)).json["takedown"]["applied"] is True

    admin.lift(alice.did, cid_in(blob))
    app.test_cli_runner().invoke(args=["blobs", "gc"])
    assert stored(alice) == set()


def test_a_takedown_outlives_the_account(app, admin, alice, clock):
    blob, _ = alice.publish(jpeg("cat"))
    admin.take_down(alice.did, cid_in(blob))
    alice.post(
        "com.atproto.server.deleteAccount", did=alice.did, password="correct horse", token="x"
    )
    clock.advance(1)  # a token of the same second could be of the old account

    again = sign_up(app.test_client(), "alice.test")

    assert again.did == alice.did
    assert again.upload(jpeg("cat")).json["message"] == "Blob has been takendown, cannot re-upload"


def test_a_takedown_may_come_before_the_bytes(admin, alice):
    blob = alice.blob(jpeg("other"))
    admin.take_down(alice.did, CID)

    assert admin.status(did=alice.did, blob=CID).json["takedown"] == {
        "applied": True,
        "ref": "test-blob",
    }
    assert alice.record({"file": {**blob, "ref": {"$link": CID}}}).json["error"] == "BlobNotFound"


def test_bytes_that_were_never_seen_can_be_taken_down_for_every_account(app, alice, bob):
    cid = cid_in(alice.blob(jpeg("cat")))
    fresh = jpeg("never seen")
    run = app.test_cli_runner().invoke
    unseen = cid_in(bob.blob(fresh))
    assert run(args=["blobs", "takedown", unseen, "--ref", "case 7"]).exit_code == 0

    assert alice.upload(fresh).status_code == 400
    assert bob.upload(fresh).status_code == 400
    assert bob.upload(jpeg("cat")).status_code == 200

    assert run(args=["blobs", "takedown", unseen, "--lift"]).exit_code == 0
    assert alice.upload(fresh).status_code == 200
    assert run(args=["blobs", "takedown", cid, "--lift"]).exit_code == 0


def test_a_refused_upload_leaves_nothing(admin, alice):
    spool = alice.services.config.data_folder.spool
    large = jpeg("x" * 1_000_000)
    blob = alice.blob(jpeg("cat"))
    taken = cid_in(alice.blob(large))
    admin.take_down(alice.did, taken)

    assert alice.upload(large).status_code == 400

    assert list(spool.iterdir()) == []
    assert stored(alice) == {cid_in(blob), taken}


def test_a_takedown_again_is_harmless_and_so_is_a_lift(admin, alice):
    blob, _ = alice.publish(jpeg("cat"))
    admin.take_down(alice.did, cid_in(blob), "first")
    admin.take_down(alice.did, cid_in(blob), "second")
    assert admin.status(did=alice.did, blob=cid_in(blob)).json["takedown"]["ref"] == "second"

    admin.lift(alice.did, cid_in(blob))
    admin.lift(alice.did, cid_in(blob))
    assert alice.fetch(cid_in(blob)).status_code == 200


def test_a_takedown_without_a_reference_has_the_time_as_one(admin, alice):
    blob, _ = alice.publish(jpeg("cat"))

    admin.update(subject=blob_of(alice.did, cid_in(blob)), takedown={"applied": True})

    assert (
        admin.status(did=alice.did, blob=cid_in(blob))
        .json["takedown"]["ref"]
        .startswith("2025-06-15T")
    )


def test_blobs_of_an_account_that_is_taken_down_are_its_owners_and_the_admins(admin, alice, bob):
    blob, _ = alice.publish(jpeg("cat"))
    admin.take_down_account(alice.did)
    where = {"did": alice.did, "cid": cid_in(blob)}

    for asked in ({}, {"headers": bob.headers}):
        answer = alice.client.get(GET_BLOB, query_string=where, **asked)
        assert answer.json == {
            "error": "RepoTakendown",
            "message": f"Repo has been takendown: {alice.did}",
        }
        answer = alice.client.get(
            "/xrpc/com.atproto.sync.listBlobs", query_string={"did": alice.did}, **asked
        )
        assert answer.json["error"] == "RepoTakendown"
    for asked in ({"headers": alice.headers}, {"auth": ADMIN}):
        assert alice.client.get(GET_BLOB, query_string=where, buffered=True, **asked).data == jpeg(
            "cat"
        )

    admin.take_down_account(alice.did, applied=False)
    assert alice.fetch(cid_in(blob)).data == jpeg("cat")


def test_an_account_that_is_taken_down_writes_and_uploads_nothing(admin, alice):
    admin.take_down_account(alice.did)

    assert (alice.upload(jpeg("cat")).status_code, alice.upload(jpeg("cat")).json["error"]) == (
        401,
        "AccountTakedown",
    )
    assert alice.record({}).json["error"] == "AccountTakedown"


@pytest.mark.parametrize(
    "given, error, message",
    [
        (
            {"subject": {"$type": "com.example#x", "did": ALICE}},
            "InvalidRequest",
            "Invalid subject (com.example#x), ",
        ),
        (
            {"subject": {"did": ALICE}},
            "InvalidRequest",
            'Invalid subject: Missing required key "$type"',
        ),
        (
            {"subject": {"$type": "com.atproto.admin.defs#repoBlobRef"}},
            "InvalidRequest",
            'Invalid subject: Missing required key "did"',
        ),
        (
            {"subject": repo_of("did:web:stranger.test"), "takedown": {"applied": True}},
            "NotFound",
            "Repo not found",
        ),
        (
            {
                "subject": repo_of(ALICE),
                "takedown": {"applied": True},
                "deactivated": {"applied": False},
            },
            "InvalidRequest",
            "Cannot activate and takedown an account at the same time",
        ),
    ],
    ids=["unknown type", "no type", "no did", "unknown account", "both at once"],
)
def test_a_contradictory_update_is_refused(admin, alice, given, error, message):
    answer = admin.update(**given)

    assert (answer.status_code, answer.json["error"]) == (400, error)
    assert answer.json["message"].startswith(message)


def test_an_update_without_a_change_is_echoed(admin, alice):
    answer = admin.update(subject=repo_of(alice.did))

    assert (answer.status_code, answer.json) == (200, {"subject": repo_of(alice.did)})


@pytest.mark.parametrize(
    "parameters, error, message",
    [
        ({"blob": CID}, "InvalidRequest", "Must provide a did to request blob state"),
        ({}, "InvalidRequest", "No provided subject"),
        ({"did": ALICE, "blob": CID}, "NotFound", "Subject not found"),
        ({"did": "did:web:stranger.test"}, "NotFound", "Repo not found"),
    ],
    ids=["blob alone", "nothing", "unknown blob", "unknown account"],
)
def test_a_status_without_a_subject_is_refused(admin, alice, parameters, error, message):
    answer = admin.status(**parameters)

    assert (answer.status_code, answer.json["error"]) == (400, error)
    assert answer.json["message"].startswith(message)


def test_only_an_administrator_takes_down(alice):
    answer = alice.client.post(UPDATE, json={"subject": repo_of(alice.did)}, headers=alice.headers)

    assert answer.status_code in (400, 401)
    assert alice.client.post(UPDATE, json={}, auth=("admin", "wrong")).status_code == 401


def delete_own_account(member):
    answer = member.post(
        "com.atproto.server.deleteAccount", did=member.did, password="correct horse", token="any"
    )
    assert answer.status_code == 200, answer.text


def come_back(member, handle="alice.test"):
    return member.client.post(
        "/xrpc/com.atproto.server.createAccount",
        json={"handle": handle, "email": "again@example.com", "password": "correct horse"},
    )


def delete_by_admin(member):
    answer = member.client.post(
        "/xrpc/com.atproto.admin.deleteAccount", json={"did": member.did}, auth=ADMIN
    )
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("delete_account", [delete_own_account, delete_by_admin])
def test_the_takedown_of_an_account_outlives_the_account(admin, alice, delete_account):
    admin.take_down_account(alice.did)
    delete_account(alice)

    refused = come_back(alice)

    assert (refused.status_code, refused.json["error"]) == (401, "AccountTakedown")
    assert admin.status(did=alice.did).json == {
        "subject": repo_of(alice.did),
        "takedown": {"applied": True, "ref": "test-account"},
    }
    admin.take_down_account(alice.did, applied=False)
    assert come_back(alice).status_code == 200
    assert admin.status(did=alice.did).json["takedown"] == {"applied": False}


def test_an_account_of_a_pds_that_was_taken_down_and_deleted_comes_back_taken_down(open_app):
    app = open_app(ADMIN_PASSWORD="open sesame", ACCOUNTS="external")
    admin = Admin(app.test_client())
    admin.take_down_account(ALICE)
    app.test_client().post("/xrpc/com.atproto.admin.deleteAccount", json={"did": ALICE}, auth=ADMIN)

    admin.update(
        subject=blob_of(ALICE, CID), takedown={"applied": True}
    )  # creates the account again

    shown = admin.status(did=ALICE).json
    assert shown["takedown"] == {"applied": True, "ref": "test-account"}
    assert shown["deactivated"] == {"applied": False}


def test_a_takedown_of_a_blob_is_shown_and_lifted_after_its_account_is_deleted(
    admin, alice, app, clock
):
    cid = cid_in(alice.publish(jpeg("cat")).blob)
    admin.take_down(alice.did, cid)
    delete_own_account(alice)
    assert stored(alice) == {cid}

    assert admin.status(did=alice.did, blob=cid).json["takedown"]["applied"]
    admin.lift(alice.did, cid)

    assert admin.status(did=alice.did, blob=cid).status_code == 400
    clock.advance(2 * DAY)
    collected = app.test_cli_runner().invoke(args=["blobs", "gc"])
    assert collected.exit_code == 0, collected.output
    assert stored(alice) == set()


@pytest.mark.parametrize(
    "words, said",
    [
        (
            ["blobs", "takedown", "CID", "--did", "DID", "--lift"],
            "is not taken down for DID any more",
        ),
        (["account", "takedown", "DID", "--lift"], "DID is not taken down any more"),
    ],
    ids=["of a blob", "of the account"],
)
def test_a_command_lifts_a_takedown_after_the_account_is_deleted(admin, alice, app, words, said):
    cid = cid_in(alice.publish(jpeg("cat")).blob)
    admin.take_down(alice.did, cid)
    admin.take_down_account(alice.did)
    delete_own_account(alice)
    names = {"CID": cid, "DID": alice.did}

    result = app.test_cli_runner().invoke(args=[names.get(word, word) for word in words])

    assert result.exit_code == 0
    assert said.replace("DID", alice.did) in result.output
