"""The page of a blob: what it shows, and what its orders do."""

import pytest
from support.accounts import sign_up, take_down
from support.car_files import CAR, IMPORT, car_of, reference
from support.cids import cid_of
from support.console import Console
from support.media_samples import jpeg
from support.services import services_of

from aurora_blobs.console.frame import MAX_REF
from aurora_blobs.protocol.cid import parse_blob_cid


@pytest.fixture
def published(alice):
    return alice.publish(jpeg("cat"))


def file_of(app, cid):
    [file] = services_of(app).config.data_folder.blobs.glob(f"??/{cid}")
    return file


def test_it_shows_holders_records_and_takedowns(app, client, console, alice, published):
    bob = sign_up(client, "bob12.test")
    bob.blob(jpeg("cat"))
    take_down(client, alice.did, published.cid)

    text = console.page(f"/blob/{published.cid}").text

    assert alice.did in text
    assert bob.did in text
    assert f"at://{alice.did}/com.example.file/{published.rkey}" in text
    assert "takendown" in text
    assert "temporary" in text


def test_the_records_are_those_of_holders_where_there_are_any(app, client, console, published):
    bob = sign_up(client, "bob12.test")
    wants = {"files": [reference(jpeg("cat")), reference(jpeg("dog"))]}
    imported = client.post(
        IMPORT,
        data=car_of({"com.example.file/wants": wants}, bob.did).getvalue(),
        headers={**bob.headers, "Content-Type": CAR},
    )
    uri = f"at://{bob.did}/com.example.file/wants"

    held, unheld = (console.page(f"/blob/{cid_of(jpeg(name))}").text for name in ("cat", "dog"))
    shown = app.test_cli_runner().invoke(args=["blobs", "show", published.cid]).output

    assert imported.status_code == 200
    assert published.rkey in held
    assert uri not in held
    assert uri in unheld
    assert f"named by {uri}" in shown


def test_what_nobody_knows_is_told(console):
    answer = console.client.get(f"/console/blob/bafkrei{'a' * 52}")

    assert answer.status_code == 400
    assert "No account holds" in answer.text


@pytest.mark.parametrize("whom", ["", "did:web:alice.test"], ids=["everybody", "one account"])
def test_a_takedown_holds_at_the_next_get_blob_until_it_is_lifted(
    client, console, alice, published, whom
):
    bob = sign_up(client, "bob12.test")
    bob.publish(jpeg("cat"))

    down = console.post(f"/blob/{published.cid}/take-down", did=whom, ref="case 7")
    during = alice.fetch(published.cid), bob.fetch(published.cid)
    shown = console.page(f"/blob/{published.cid}").text
    lifted = console.post(f"/blob/{published.cid}/lift", did=whom)
    after = alice.fetch(published.cid), bob.fetch(published.cid)

    assert (down.status_code, lifted.status_code) == (303, 303)
    assert during[0].json["error"] == "BlobNotFound"
    assert during[1].status_code == (200 if whom else 400)
    assert "case 7" in shown
    assert [answer.status_code for answer in after] == [200, 200]


def test_lifting_what_is_not_taken_down_is_told(console, published):
    answer = console.post(f"/blob/{published.cid}/lift", did="")

    assert "There was no such takedown" in console.get(answer.headers["Location"][8:]).text


@pytest.mark.parametrize(
    "fields",
    [{"ref": "x" * (MAX_REF + 1)}, {"did": "x"}, {"did": "did:web:a\0b"}, {"ref": "a\0"}],
    ids=["a long reference", "no DID", "a NUL in a DID", "a NUL in a reference"],
)
def test_an_order_that_makes_no_sense_does_nothing(app, alice, console, published, fields):
    answer = console.post(f"/blob/{published.cid}/take-down", **fields)

    assert answer.status_code == 400
    assert alice.fetch(published.cid).status_code == 200


def test_right_bytes_are_found_right(app, console, published):
    answer = console.post(f"/blob/{published.cid}/verify")

    assert "are those of the CID" in console.get(answer.headers["Location"][8:]).text
    with services_of(app).database.read() as tx:
        assert tx.one("SELECT verified_at FROM blob")[0] is not None


def test_wrong_bytes_are_set_aside_and_not_served_again(app, alice, console, published):
    file = file_of(app, published.cid)
    file.chmod(0o600)
    file.write_bytes(b"x" * file.stat().st_size)

    answer = console.post(f"/blob/{published.cid}/verify")

    assert "the blob counts as missing" in console.get(answer.headers["Location"][8:]).text
    assert alice.fetch(published.cid).json["error"] == "BlobNotFound"
    assert "missing" in console.page(f"/blob/{published.cid}").text


def test_bytes_that_are_gone_count_as_missing(app, alice, console, published):
    file_of(app, published.cid).unlink()

    answer = console.post(f"/blob/{published.cid}/verify")

    assert "has no bytes" in console.get(answer.headers["Location"][8:]).text
    assert alice.fetch(published.cid).json["error"] == "BlobNotFound"


def test_a_blob_that_is_too_large_to_read_at_once_is_left_to_the_scrub(app, console, published):
    with services_of(app).database.write() as tx:
        tx.run("UPDATE blob SET size = ?", 2**30 + 1)

    answer = console.post(f"/blob/{published.cid}/verify")

    assert answer.status_code == 413
    assert "blobs scrub" in answer.text


def test_the_holders_of_a_blob_come_in_pages(app, console, client, published):
    for number in range(60):
        sign_up(client, f"person{number:02}.test").blob(jpeg("cat"))

    first = console.page(f"/blob/{published.cid}")
    [following] = [tag["href"] for _, tag in first.tags if tag.get("rel") == "next"]
    second = console.page(following.removeprefix("/console"))

    found = [link for link in first.links + second.links if link.startswith("/console/account/")]
    assert len(found) == len(set(found)) == 61


def test_a_record_s_text_is_text(app, console, alice):
    blob = alice.blob(jpeg("cat"))
    alice.record({"file": blob, "name": "<script>alert(1)</script>.jpg"})

    page = console.get(f"/account/{alice.did}?collection=com.example.file").text

    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;.jpg" in page


def test_cids_are_in_the_form_of_the_settings_and_either_is_read(open_app):
    app = open_app(ADMIN_PASSWORD="open sesame", CID_FORMAT="aurora")
    console = Console(app.test_client())
    console.sign_in()
    alice = sign_up(app.test_client())
    cid = alice.publish(jpeg("cat")).cid
    console.post(f"/blob/{cid}/take-down", did="")

    assert cid.startswith("bafyrei")
    for path in (
        "/gallery",
        f"/blob/{cid}",
        f"/blob/{parse_blob_cid(cid)}",
        "/moderation",
        "/audit",
    ):
        assert cid in console.page(path).text, path
