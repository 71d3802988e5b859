"""uploadBlob over HTTP: the media type or the refusal under each policy."""

import pytest
from support.accounts import UPLOAD, sign_up
from support.media_samples import HTML, NOT_SHOWN, PROGRAM, SHOWN

from aurora_blobs.app import create_app
from aurora_blobs.config import Config


def member(folder, **settings):
    environ = {
        f"AURORA_BLOBS_{name}": value for name, value in {"DURABILITY": "os", **settings}.items()
    }
    app = create_app(Config.from_environ({"AURORA_BLOBS_DATA_DIR": str(folder), **environ}))
    return sign_up(app.test_client(), "alice.test")


def closed(member):
    member.services.database.close()


@pytest.fixture(scope="module")
def sniffing(tmp_path_factory):
    """An account of a service set up like the reference PDS."""
    alice = member(tmp_path_factory.mktemp("sniff"), MIME_POLICY="sniff", ALLOWED_MIME_TYPES="*/*")
    yield alice
    closed(alice)


@pytest.fixture(scope="module")
def strict(tmp_path_factory):
    """An account of a service with default settings."""
    alice = member(tmp_path_factory.mktemp("strict"))
    yield alice
    closed(alice)


def upload(member, data, content_type=None):
    declared = {} if content_type is None else {"Content-Type": content_type}
    return member.client.post(
        UPLOAD,
        data=data,
        headers=member.headers | declared,
        environ_overrides={"CONTENT_LENGTH": str(len(data))},
    )


@pytest.mark.parametrize("data, mime_type", SHOWN.values(), ids=SHOWN)
def test_as_on_the_reference_the_bytes_win(sniffing, data, mime_type):
    answer = upload(sniffing, data, "x/y")

    assert (answer.status_code, answer.json["blob"]["mimeType"]) == (200, mime_type)


@pytest.mark.parametrize("data", NOT_SHOWN.values(), ids=NOT_SHOWN)
def test_as_on_the_reference_a_claim_holds_for_unknown_bytes(sniffing, data):
    answer = upload(sniffing, data, "test/fake")

    assert (answer.status_code, answer.json["blob"]["mimeType"]) == (200, "test/fake")


@pytest.mark.parametrize(
    "content_type, mime_type",
    [
        ("text/plain; charset=utf-8", "text/plain"),
        ("TEXT/Plain", "text/plain"),
        ("text/html", "text/html"),
        ("multipart/form-data; boundary=x", "multipart/form-data"),
        ("application/x-www-form-urlencoded", "application/x-www-form-urlencoded"),
        ("jpg", "image/jpeg"),
        ("*/*", "application/octet-stream"),
        ("image/*", "application/octet-stream"),
        ("application/octet-stream", "application/octet-stream"),
        ("", "application/octet-stream"),
        (None, "application/octet-stream"),
    ],
)
def test_a_claim_is_bare_and_in_lower_case_and_may_be_absent(sniffing, content_type, mime_type):
    data = f"the type is {content_type}, and the bytes are nothing else".encode()

    answer = upload(sniffing, data, content_type)

    assert (answer.status_code, answer.json["blob"]["mimeType"]) == (200, mime_type)
    assert answer.json["blob"]["size"] == len(data)


@pytest.mark.parametrize("content_type", ["foo bar", "/", "image/", "; charset=utf-8"])
def test_a_malformed_media_type_is_a_bad_request(sniffing, content_type):
    answer = upload(sniffing, b"some bytes", content_type)

    assert (answer.status_code, answer.json["error"]) == (400, "InvalidRequest")


PHOTOS = ["jpeg", "png", "apng", "gif", "animated gif", "webp", "animated webp"]
FILMS = [
    "mp4 isom",
    "mp4 cmfc",
    "quicktime",
    "quicktime that lists mp42",
    "old quicktime, moov first",
    "webm",
]


@pytest.mark.parametrize("content_type", [None, "*/*", "application/octet-stream"])
@pytest.mark.parametrize("name", PHOTOS + FILMS)
def test_the_seven_types_are_taken_without_a_claim(strict, name, content_type):
    data, mime_type = SHOWN[name]

    answer = upload(strict, data, content_type)

    assert (answer.status_code, answer.json["blob"]["mimeType"]) == (200, mime_type)


@pytest.mark.parametrize(
    "name",
    [
        "heic",
        "avif",
        "m4a",
        "matroska",
        "bmp",
        "tiff",
        "pdf",
        "zip",
        "webvtt",
        "xml",
        "elf",
        "ogg",
    ],
)
def test_other_types_are_refused_whatever_is_claimed(strict, name):
    data, mime_type = SHOWN[name]

    for content_type in (None, "*/*", "image/png", "video/mp4", mime_type):
        answer = upload(strict, data, content_type)
        assert (answer.status_code, answer.json["error"]) == (400, "InvalidMimeType")
        assert mime_type in answer.json["message"]


@pytest.mark.parametrize(
    "data",
    [HTML, PROGRAM, b"", b"words", bytes(9000)],
    ids=["page", "program", "nothing", "words", "zeros"],
)
@pytest.mark.parametrize(
    "content_type", [None, "image/png", "image/svg+xml", "video/mp4", "text/html", "text/plain"]
)
def test_bytes_that_are_no_image_or_video_are_refused(strict, data, content_type):
    answer = upload(strict, data, content_type)

    assert (answer.status_code, answer.json["error"]) == (400, "InvalidMimeType")
