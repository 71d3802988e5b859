"""com.atproto.repo.importRepo over HTTP, and the status of a migration."""

import gzip

import pytest
from support.accounts import ADMIN, sign_up
from support.car_files import CAR, IMPORT, Car, car_of, reference
from support.cids import cid_of
from support.media_samples import jpeg


def send(member, file, headers=None, **more):
    return member.client.post(
        IMPORT,
        data=file.getvalue(),
        headers={**member.headers, "Content-Type": CAR, **(headers or {})},
        **more,
    )


def status(member):
    return member.get("com.atproto.server.checkAccountStatus").json


def test_an_account_moves_in(alice):
    photos = [jpeg(name) for name in ("one", "two", "three")]
    records = {
        f"com.example.file/{number}": {"file": reference(photo)}
        for number, photo in enumerate(photos)
    }

    answer = send(alice, car_of(records, alice.did))
    assert (answer.status_code, answer.data) == (200, b"")
    assert (status(alice)["expectedBlobs"], status(alice)["importedBlobs"]) == (3, 0)
    missing = alice.get("com.atproto.repo.listMissingBlobs").json
    assert missing["blobs"] == [
        {"cid": cid, "recordUri": f"at://{alice.did}/com.example.file/{number}"}
        for cid, number in sorted((cid_of(photo), number) for number, photo in enumerate(photos))
    ]

    for photo in photos:
        assert alice.upload(photo).status_code == 200
    assert (status(alice)["expectedBlobs"], status(alice)["importedBlobs"]) == (3, 3)
    assert alice.get("com.atproto.repo.listMissingBlobs").json == {"blobs": []}
    assert [alice.fetch(cid_of(photo)).data for photo in photos] == photos


def test_a_deactivated_account_may_import(alice):
    assert alice.post("com.atproto.server.deactivateAccount").status_code == 200

    assert send(alice, car_of({"com.example.file/1": {}}, alice.did)).status_code == 200
    assert status(alice)["activated"] is False
    assert status(alice)["indexedRecords"] == 1


def test_importing_again_drops_the_blobs_that_are_gone(alice):
    send(alice, car_of({"com.example.file/1": {"file": reference(jpeg("cat"))}}, alice.did))
    alice.upload(jpeg("cat"))
    send(alice, car_of({}, alice.did))

    assert alice.client.get(f"/xrpc/com.atproto.sync.listBlobs?did={alice.did}").json == {
        "cids": []
    }
    assert status(alice)["expectedBlobs"] == 0
    assert alice.fetch(cid_of(jpeg("cat"))).json["error"] == "BlobNotFound"


def test_an_encoded_file_is_read(alice):
    file = car_of({"com.example.file/1": {}}, alice.did)

    answer = alice.client.post(
        IMPORT,
        data=gzip.compress(file.getvalue()),
        headers={**alice.headers, "Content-Type": CAR, "Content-Encoding": "gzip"},
    )

    assert answer.status_code == 200
    assert status(alice)["indexedRecords"] == 1


def test_the_administrator_imports_for_any_account(app, alice):
    client = app.test_client()
    file = car_of({"com.example.file/1": {}}, alice.did)

    answer = client.post(IMPORT, data=file.getvalue(), headers={"Content-Type": CAR}, auth=ADMIN)

    assert answer.status_code == 200
    assert status(alice)["indexedRecords"] == 1


def test_a_pds_may_import_for_a_new_account(open_app):
    app = open_app(ACCOUNTS="external", ADMIN_PASSWORD="open sesame")
    file = car_of(
        {"com.example.file/1": {"file": reference(jpeg("cat"))}}, "did:plc:abcdefghijklmnopqrstuvwx"
    )

    answer = app.test_client().post(
        IMPORT, data=file.getvalue(), headers={"Content-Type": CAR}, auth=ADMIN
    )

    assert answer.status_code == 200
    listed = (
        app.test_client()
        .get("/xrpc/com.atproto.sync.listBlobs?did=did:plc:abcdefghijklmnopqrstuvwx")
        .json
    )
    assert listed["cids"] == [cid_of(jpeg("cat"))]


def test_a_repository_of_somebody_else_is_refused(app, alice):
    bob = sign_up(app.test_client(), "bobby.test")

    answer = send(bob, car_of({"com.example.file/1": {}}, alice.did))

    assert answer.status_code == 400
    assert answer.json == {
        "error": "InvalidRequest",
        "message": f"The repository is of {alice.did}, not of {bob.did}",
    }
    assert status(alice)["indexedRecords"] == 0


def test_the_administrator_does_not_import_for_a_stranger(app):
    answer = app.test_client().post(
        IMPORT,
        data=car_of({}, "did:web:stranger.test").getvalue(),
        headers={"Content-Type": CAR},
        auth=ADMIN,
    )

    assert (answer.status_code, answer.json["error"]) == (400, "RepoNotFound")


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "Invalid CAR file: bad header"),
        (b"\x89PNG\r\n\x1a\n" * 1000, "Invalid CAR file: "),
        (Car().file().getvalue(), "expected one root"),
        (car_of({}).getvalue()[:-5], "Invalid CAR file: cut off"),
    ],
    ids=["nothing", "a picture", "no root", "cut off"],
)
def test_a_file_that_is_not_a_repository_is_refused(alice, data, message):
    answer = alice.client.post(IMPORT, data=data, headers={**alice.headers, "Content-Type": CAR})

    assert (answer.status_code, answer.json["error"]) == (400, "InvalidRequest")
    assert answer.json["message"].startswith(message)


def test_another_content_type_is_refused(alice):
    answer = send(alice, car_of({}, alice.did), {"Content-Type": "application/json"})

    assert answer.json["message"] == "Wrong request encoding (Content-Type): application/json"


def test_a_file_over_the_limit_is_refused(open_app):
    alice = sign_up(open_app(MAX_IMPORT_SIZE="1000").test_client(), "alice.test")

    answer = send(alice, car_of({"com.example.file/1": {"text": "x" * 1000}}, alice.did))

    assert (answer.status_code, answer.json["error"]) == (413, "PayloadTooLarge")


def test_imports_can_be_switched_off(open_app):
    alice = sign_up(open_app(MAX_IMPORT_SIZE="0").test_client(), "alice.test")

    answer = send(alice, car_of({}, alice.did))

    assert (answer.status_code, answer.json["message"]) == (
        400,
        "Service is not accepting repo imports",
    )


def test_an_import_needs_credentials(client):
    assert client.post(IMPORT, data=b"", headers={"Content-Type": CAR}).status_code == 401
