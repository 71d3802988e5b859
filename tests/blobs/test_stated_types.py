"""The type of a blob as a record states it: text of strangers, that becomes a header and a rule."""

import io

import pytest
from support.accounts import ALICE, sign_up
from support.car_files import CAR, IMPORT, car_of, reference
from support.cids import cid_of
from support.media_samples import jpeg

from aurora_blobs.auth import Person
from aurora_blobs.blobs.upload import Incoming
from aurora_blobs.catalog import references
from aurora_blobs.errors import InvalidMimeType, ScopeMissing
from aurora_blobs.protocol.blob_refs import Reference, find_references

TEXT = b"just some words"


def typed(mime_type, data=TEXT):
    return {
        "$type": "blob",
        "ref": {"$link": cid_of(data)},
        "mimeType": mime_type,
        "size": len(data),
    }


NO_TYPES = {
    "CR and LF": "text/plain\r\nX-Evil: 1",
    "LF at the end": "text/plain\n",
    "NUL": "text/plain\0",
    "beyond ASCII": "text/€",
    "long": "text/" + "x" * 100_000,
    "spaces": " text/plain",
    "parameter": "text/plain; charset=utf-7",
    "quotes": 'text/"plain"',
    "wildcard": "text/*",
    "everything": "*/*",
    "slashes": "text/html/x",
    "half": "text/",
}
no_type = pytest.mark.parametrize("stated", NO_TYPES.values(), ids=NO_TYPES.keys())
# PostgreSQL has no text with U+0000.
no_type_in_a_row = pytest.mark.parametrize(
    "stated",
    [
        pytest.param(text, id=name, marks=[pytest.mark.sqlite] * ("\0" in text))
        for name, text in NO_TYPES.items()
    ],
)
# An import refuses a U+0000 wherever it is.
IMPORTED = {name: text for name, text in NO_TYPES.items() if name != "NUL"}


@no_type
@pytest.mark.parametrize("form", ["typed", "legacy"])
def test_what_is_no_media_type_is_not_stated(stated, form):
    value = typed(stated) if form == "typed" else {"cid": cid_of(TEXT), "mimeType": stated}

    (found,) = find_references({"file": value})

    assert (found.cid, found.mime_type) == (cid_of(TEXT), None)


def import_record(alice, stated, data=TEXT):
    """The record of a repository that names *data* before it comes."""
    answer = alice.client.post(
        IMPORT,
        data=car_of(
            {"com.example.file/1": {"file": reference(data, stated)}}, alice.did
        ).getvalue(),
        headers={**alice.headers, "Content-Type": CAR},
    )
    assert answer.status_code == 200, answer.text


@pytest.fixture
def alice_of_any_type(open_app):
    return sign_up(open_app(ALLOWED_MIME_TYPES="*/*").test_client(), "alice.test")


@pytest.mark.parametrize("stated", IMPORTED.values(), ids=IMPORTED.keys())
def test_no_record_breaks_the_header_of_a_blob(alice_of_any_type, stated):
    alice = alice_of_any_type
    import_record(alice, stated)

    assert alice.upload(TEXT, "text/plain").json["blob"]["mimeType"] == "text/plain"
    answer = alice.fetch(cid_of(TEXT))
    assert (answer.status_code, answer.data, answer.mimetype) == (200, TEXT, "text/plain")


@no_type_in_a_row
def test_a_row_of_an_earlier_version_breaks_no_header(alice_of_any_type, stated):
    alice = alice_of_any_type
    published = alice.publish(TEXT, "text/plain")
    with alice.services.database.write() as tx:
        tx.run("UPDATE blob_metadata SET mime_type = ? WHERE cid = ?", stated, published.cid)

    answer = alice.fetch(published.cid)

    assert (answer.status_code, answer.mimetype) == (200, "application/octet-stream")


@no_type_in_a_row
def test_a_reference_of_an_earlier_version_states_no_type(core, stated):
    expect(core, stated)

    assert core.upload(TEXT, "text/plain").mime_type == "text/plain"


@no_type
def test_a_record_that_is_written_has_to_state_a_media_type(alice, stated):
    blob = alice.blob(jpeg("cat"))

    answer = alice.record({"file": {**blob, "mimeType": stated}})

    assert answer.status_code == 400
    assert len(answer.data) < 500


def expect(core, stated, data=TEXT):
    """A record waits for *data*, as if an earlier version had kept it."""
    with core.database.write() as tx:
        uri = f"at://{ALICE}/com.example.file/1"
        named = Reference(cid_of(data), stated, len(data))
        references.add(tx, ALICE, uri, named, "3l4kjrzqhgc2a")


def upload(core, declared, data=TEXT, **more):
    incoming = Incoming(stream=io.BytesIO(data), did=ALICE, declared_type=declared, **more)
    return core.blobs.upload(incoming)


def test_a_type_that_a_record_states_is_kept(core):
    expect(core, "text/markdown")

    assert upload(core, "text/plain").mime_type == "text/markdown"


@pytest.mark.parametrize("stated", ["text/html", "TEXT/HTML"])
def test_a_record_brings_no_type_in_that_is_not_allowed(open_core, stated):
    core = open_core(allowed_mime_types=("text/plain",))
    expect(core, stated)

    with pytest.raises(InvalidMimeType, match="not accepted here; accepted: text/plain"):
        upload(core, "text/plain")

    assert core.rows()["blob"] == []
    assert [path for path in core.backend.root.rglob("*") if path.is_file()] == []


def test_a_record_brings_no_type_in_that_the_scope_lacks(core):
    expect(core, "text/html")
    person = Person(ALICE, scope="atproto blob:text/plain")

    with pytest.raises(ScopeMissing, match="blob:text/html"):
        upload(core, "text/plain", check_type=person.require_upload)

    assert core.rows()["blob"] == []


@pytest.mark.parametrize(
    "stated, data, kept",
    [
        ("image/png", TEXT, "text/plain"),
        ("video/mp4", TEXT, "text/plain"),
        ("text/html", jpeg("cat"), "image/jpeg"),
    ],
    ids=["text as a picture", "text as a film", "a picture as text"],
)
def test_a_record_does_not_overrule_the_bytes(core, stated, data, kept):
    expect(core, stated, data)

    assert upload(core, kept, data).mime_type == kept


def test_who_has_the_blob_already_is_told_its_type(core):
    first = upload(core, "text/plain")
    expect(core, "text/html")

    assert upload(core, "text/plain").mime_type == first.mime_type == "text/plain"
