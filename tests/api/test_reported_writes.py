"""A PDS reports its writes, as in docs/beside-a-pds.md, and repairs failed ones."""

import pytest
from support.accounts import ADMIN, CAROL
from support.car_files import CAR, IMPORT, car_of, reference
from support.cids import cid_in
from support.media_samples import jpeg

WRITES = "com.atproto.repo.applyWrites"
COLLECTION = "com.example.file"


@pytest.fixture
def report(client, alice):
    def report(*writes, repo=alice.did):
        return client.post(
            f"/xrpc/{WRITES}", json={"repo": repo, "writes": writes, "validate": False}, auth=ADMIN
        )

    return report


def create(rkey, value):
    return {"$type": f"{WRITES}#create", "collection": COLLECTION, "rkey": rkey, "value": value}


def delete(rkey):
    return {"$type": f"{WRITES}#delete", "collection": COLLECTION, "rkey": rkey}


def keys(member):
    answer = member.get("com.atproto.repo.listRecords", repo=member.did, collection=COLLECTION)
    return sorted(record["uri"].rpartition("/")[2] for record in answer.json["records"])


def test_a_reported_record_makes_its_blob_public(report, alice):
    blob = alice.blob(jpeg("cat"))

    assert report(create("1", {"file": blob})).status_code == 200
    assert alice.fetch(cid_in(blob)).data == jpeg("cat")


def test_a_report_that_is_refused_leaves_nothing(report, alice):
    blob = alice.blob(jpeg("cat"))

    answer = report(create("1", {"file": blob}), create("2", {"file": {**blob, "size": 1}}))

    assert (answer.status_code, answer.json["error"]) == (400, "InvalidSize")
    assert keys(alice) == []
    assert alice.fetch(cid_in(blob)).json["error"] == "BlobNotFound"


def test_a_report_may_be_repeated(report, alice):
    blob = alice.blob(jpeg("cat"))
    report(create("old", {"n": 1}))
    writes = [create("1", {"file": blob}), delete("old")]

    answers = [report(*writes) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert answers[0].json == answers[2].json
    assert keys(alice) == ["1"]
    assert "already exists" in report(create("1", {"another": "record"})).json["message"]


def test_a_report_is_taken_back_when_the_commit_fails(report, alice):
    blob = alice.blob(jpeg("cat"))
    report(create("old", {"file": blob}))
    report(create("new", {"n": 1}), delete("old"))

    assert report(create("old", {"file": blob}), delete("new")).status_code == 200
    assert keys(alice) == ["old"]
    assert alice.fetch(cid_in(blob)).data == jpeg("cat")


def test_an_import_of_the_repository_repairs_every_report(client, report, alice):
    alice.blob(jpeg("cat"))
    report(create("phantom", {"n": 1}))
    repository = car_of({f"{COLLECTION}/real": {"file": reference(jpeg("cat"))}}, alice.did)

    answer = client.post(
        IMPORT, data=repository.getvalue(), headers={"Content-Type": CAR}, auth=ADMIN
    )

    assert answer.status_code == 200
    assert keys(alice) == ["real"]
    assert [alice.fetch(cid).data for cid in listed(alice)] == [jpeg("cat")]


def listed(member):
    return member.client.get(f"/xrpc/com.atproto.sync.listBlobs?did={member.did}").json["cids"]


def test_a_pds_may_report_for_a_new_account(open_app):
    client = open_app(ACCOUNTS="external", ADMIN_PASSWORD="open sesame").test_client()
    did = CAROL

    answer = client.post(
        f"/xrpc/{WRITES}", json={"repo": did, "writes": [create("1", {"n": 1})]}, auth=ADMIN
    )

    assert answer.status_code == 200
    assert client.get(f"/xrpc/com.atproto.repo.describeRepo?repo={did}").json["collections"] == [
        COLLECTION
    ]


def test_only_the_administrator_may_report(client, alice):
    for auth in (None, ("admin", "wrong"), ("alice", "open sesame")):
        answer = client.post(f"/xrpc/{WRITES}", json={"repo": alice.did, "writes": []}, auth=auth)
        assert answer.status_code == 401
