import random
import tracemalloc
import zipfile

import pytest
from support.media_samples import (
    HTML,
    NOT_SHOWN,
    PROGRAM,
    SHOWN,
    archive,
    atom,
    ebml,
    ftyp,
    id3,
    picture,
)

from aurora_blobs.errors import InvalidMimeType, InvalidRequest
from aurora_blobs.intake.spool import HEAD, MAX_HEAD
from aurora_blobs.media import mime, type_names
from aurora_blobs.media.signatures import detect
from aurora_blobs.protocol.syntax import parse_mime_type

DEFAULT = (
    "image/jpeg",
    "image/png",
    "image/gif",
    "image/webp",
    "video/mp4",
    "video/quicktime",
    "video/webm",
)
ANY = ("*/*",)
# By `filetype` alone, whose tests have samples of them.
DETECTED_BY_LIBRARY = {
    "application/vnd.ms-cab-compressed",
    "application/x-7z-compressed",
    "application/x-bzip2",
    "application/x-deb",
    "application/x-rar-compressed",
    "application/x-sqlite3",
    "application/x-xz",
    "application/zstd",
    "audio/midi",
    "font/otf",
    "font/woff",
    "image/vnd.adobe.photoshop",
    "image/vnd.ms-photo",
    "video/mpeg",
    "video/x-flv",
}


def film_track():
    handler = atom(b"hdlr", bytes(8) + b"vide" + bytes(12))
    return atom(b"moov", atom(b"trak", atom(b"mdia", handler)))


@pytest.mark.parametrize("data, mime_type", SHOWN.values(), ids=SHOWN)
def test_the_bytes_show_their_type(data, mime_type):
    assert detect(data[:HEAD]) == mime_type


@pytest.mark.parametrize("data", NOT_SHOWN.values(), ids=NOT_SHOWN)
def test_bytes_that_show_no_type_have_none(data):
    assert detect(data[:HEAD]) is None


@pytest.mark.parametrize("data, mime_type", SHOWN.values(), ids=SHOWN)
@pytest.mark.parametrize("declared", [None, "x/y"], ids=["no claim", "a wrong claim"])
def test_under_sniff_the_bytes_win(data, mime_type, declared):
    assert mime.choose_mime_type(declared, data[:HEAD], policy="sniff", allowed=ANY) == mime_type


@pytest.mark.parametrize("data", NOT_SHOWN.values(), ids=NOT_SHOWN)
def test_under_sniff_a_claim_holds_where_the_bytes_show_nothing(data):
    assert mime.choose_mime_type("Test/Fake; a=b", data, policy="sniff", allowed=ANY) == "test/fake"


NO_CLAIM = [
    None,
    "",
    " ",
    "*/*",
    "image/*",
    "application/octet-stream",
    "Application/Octet-Stream; x=y",
]


@pytest.mark.parametrize("policy", ["strict", "sniff"])
@pytest.mark.parametrize("declared", NO_CLAIM)
def test_no_claim_is_answered_by_the_bytes(policy, declared):
    assert (
        mime.choose_mime_type(declared, picture("PNG"), policy=policy, allowed=DEFAULT)
        == "image/png"
    )


@pytest.mark.parametrize("policy", ["strict", "sniff"])
@pytest.mark.parametrize("declared", NO_CLAIM)
def test_no_claim_and_unknown_bytes_are_octets(policy, declared):
    assert (
        mime.choose_mime_type(declared, HTML, policy=policy, allowed=ANY)
        == "application/octet-stream"
    )
    with pytest.raises(InvalidMimeType):
        mime.choose_mime_type(declared, HTML, policy=policy, allowed=DEFAULT)


@pytest.mark.parametrize(
    "declared, name, chosen",
    [
        ("image/jpeg", "jpeg", "image/jpeg"),
        ("image/jpg", "jpeg", "image/jpeg"),
        ("IMAGE/JPEG", "jpeg", "image/jpeg"),
        ("image/jpeg; charset=utf-8", "jpeg", "image/jpeg"),
        ("jpg", "jpeg", "image/jpeg"),
        ("image/png", "png", "image/png"),
        ("image/png", "apng", "image/apng"),
        ("image/apng", "png", "image/png"),
        ("image/gif", "gif", "image/gif"),
        ("image/webp", "animated webp", "image/webp"),
        ("video/mp4", "mp4 iso5 with dash", "video/mp4"),
        ("video/mp4", "quicktime", "video/quicktime"),
        ("video/quicktime", "mp4 isom", "video/mp4"),
        ("video/quicktime", "old quicktime, moov first", "video/quicktime"),
        ("video/webm", "webm", "video/webm"),
    ],
)
def test_strict_takes_a_true_claim_and_corrects_a_near_miss(declared, name, chosen):
    data = SHOWN[name][0]

    assert mime.choose_mime_type(declared, data, policy="strict", allowed=DEFAULT) == chosen


@pytest.mark.parametrize("allowed", [DEFAULT, ANY], ids=["default", "any"])
@pytest.mark.parametrize(
    "declared, data",
    [
        ("image/png", HTML),
        ("image/png", PROGRAM),
        ("image/png", b"\x7fELF" + bytes(60)),
        ("image/png", b"#!/bin/sh\nrm"),
        ("image/png", SHOWN["jpeg"][0]),
        ("image/png", SHOWN["webp"][0]),
        ("image/jpeg", SHOWN["apng"][0]),
        ("image/gif", b"GIFT certificate"),
        ("image/webp", b"RIFF\x24\0\0\0WAVEfmt "),
        ("video/mp4", SHOWN["jpeg"][0]),
        ("video/mp4", SHOWN["m4a"][0]),
        ("video/mp4", SHOWN["heic"][0]),
        ("video/mp4", SHOWN["avif"][0]),
        ("video/mp4", SHOWN["webm"][0]),
        ("video/webm", SHOWN["matroska"][0]),
        ("video/webm", SHOWN["mp4 isom"][0]),
        ("video/x-unheard-of", b"\x01\x02\x03\x04"),
    ],
    ids=lambda value: value if isinstance(value, str) else ascii(value[:16]),
)
def test_strict_refuses_what_the_bytes_contradict(declared, data, allowed):
    with pytest.raises(InvalidMimeType, match="the bytes are .*as declared"):
        mime.choose_mime_type(declared, data[:HEAD], policy="strict", allowed=allowed)


@pytest.mark.parametrize(
    "declared, data",
    [
        ("text/vtt", b"00:01 no header yet"),
        ("text/vtt", SHOWN["webvtt"][0]),
        ("text/plain", b"hello world!"),
        ("text/plain", b"GIFT certificate"),
        ("text/plain", b"BMW is a car, and not a picture of one"),
        ("text/plain", SHOWN["webvtt"][0]),
        ("application/json", b'{"hello":"world"}'),
        ("text/html", HTML),
        ("test/fake", bytes(range(128, 256))),
        ("audio/mpeg", b"ID"),
        ("application/vnd.ipld.car", NOT_SHOWN["car"]),
        ("image/svg+xml", NOT_SHOWN["svg without a prolog"]),
        ("image/svg+xml", SHOWN["xml"][0]),
        ("audio/x-wav", SHOWN["wav"][0]),
        ("audio/ogg", SHOWN["ogg"][0]),
        ("audio/mp4", SHOWN["m4a"][0]),
        ("audio/mp4", SHOWN["mp4 isom"][0]),
        ("audio/webm", SHOWN["webm"][0]),
        ("video/x-matroska", SHOWN["matroska"][0]),
        ("application/java-archive", SHOWN["zip"][0]),
        ("application/vnd.ms-powerpoint", SHOWN["old word"][0]),
        ("application/zip", SHOWN["docx"][0]),
    ],
    ids=lambda value: value if isinstance(value, str) else ascii(value[:16]),
)
def test_strict_keeps_a_claim_that_the_bytes_do_not_contradict(declared, data):
    assert mime.choose_mime_type(declared, data, policy="strict", allowed=ANY) == declared


@pytest.mark.parametrize(
    "declared, data",
    [
        ("text/plain", SHOWN["gif"][0]),
        ("text/plain", PROGRAM),
        ("application/pdf", SHOWN["zip"][0]),
        ("application/json", SHOWN["jpeg"][0]),
        ("application/x-www-form-urlencoded", SHOWN["jpeg"][0]),
    ],
    ids=lambda value: value if isinstance(value, str) else ascii(value[:16]),
)
def test_strict_refuses_a_false_claim_of_any_kind(declared, data):
    with pytest.raises(InvalidMimeType):
        mime.choose_mime_type(declared, data, policy="strict", allowed=ANY)


@pytest.mark.parametrize("policy", ["strict", "sniff"])
@pytest.mark.parametrize(
    "declared, chosen",
    [
        ("image/png", "image/png"),
        ("text/plain; charset=utf-8", "text/plain"),
        (None, "application/octet-stream"),
    ],
)
def test_an_empty_body_is_what_it_is_declared_where_all_is_allowed(policy, declared, chosen):
    assert mime.choose_mime_type(declared, b"", policy=policy, allowed=ANY) == chosen


@pytest.mark.parametrize("declared", ["image/png", None])
def test_an_empty_body_is_no_picture(declared):
    with pytest.raises(InvalidMimeType):
        mime.choose_mime_type(declared, b"", policy="strict", allowed=DEFAULT)


@pytest.mark.parametrize("policy", ["strict", "sniff"])
@pytest.mark.parametrize(
    "declared, data",
    [
        ("text/plain", b"hello"),
        ("image/heic", SHOWN["heic"][0]),
        (None, SHOWN["pdf"][0]),
        (None, PROGRAM),
        ("audio/mp4", SHOWN["mp4 isom"][0]),
    ],
    ids=lambda value: value if isinstance(value, str) else ascii(value)[:16],
)
def test_a_type_outside_the_list_is_refused(policy, declared, data):
    allowed = ("image/jpeg", "image/png")

    with pytest.raises(
        InvalidMimeType, match="is not accepted here; accepted: image/jpeg, image/png$"
    ):
        mime.choose_mime_type(declared, data, policy=policy, allowed=allowed)


def test_a_refusal_says_what_was_found_what_was_declared_and_what_is_accepted():
    with pytest.raises(InvalidMimeType) as refusal:
        mime.choose_mime_type(
            "image/png", PROGRAM, policy="strict", allowed=("image/png", "video/*")
        )

    assert refusal.value.message == (
        "the bytes are application/x-msdownload, not image/png, as declared; accepted: "
        "image/png, video/*"
    )


@pytest.mark.parametrize("policy", ["strict", "sniff"])
def test_a_malformed_media_type_is_a_bad_request(policy):
    with pytest.raises(InvalidRequest, match="Invalid MIME type"):
        mime.choose_mime_type("foo bar", SHOWN["jpeg"][0], policy=policy, allowed=ANY)


@pytest.mark.parametrize(
    "mime_type, allowed, verdict",
    [
        ("image/png", ("image/png",), True),
        ("image/png", ("image/jpeg",), False),
        ("image/png", ("image/*",), True),
        ("video/mp4", ("image/*",), False),
        ("imagery/png", ("image/*",), False),
        ("anything/else", ("*/*",), True),
        ("image/apng", ("image/png",), True),
        ("image/png", ("image/apng",), False),
        ("image/png", (), False),
    ],
)
def test_the_list_has_types_and_wildcards(mime_type, allowed, verdict):
    assert mime.is_allowed(mime_type, allowed) is verdict


@pytest.mark.parametrize(
    "stated, name, verdict",
    [
        ("image/png", "png", True),
        ("image/png", "apng", True),
        ("video/mp4", "quicktime", True),
        ("video/x-matroska", "matroska", True),
        ("image/jpeg", "png", False),
        ("image/pjpeg", "jpeg", False),
        ("image/heic", "jpeg", False),
        ("text/plain", "windows program", False),
    ],
)
def test_a_record_may_state_another_name_of_the_type(stated, name, verdict):
    assert mime.is_consistent(stated, SHOWN[name][0]) is verdict


@pytest.mark.parametrize("data", NOT_SHOWN.values(), ids=NOT_SHOWN)
def test_the_type_in_a_record_holds_for_unknown_bytes(data):
    assert mime.is_consistent("any/thing", data)


@pytest.mark.parametrize(
    "name, mime_type",
    [
        ("photo.jpg", "image/jpeg"),
        ("PHOTO.JPEG", "image/jpeg"),
        ("a/b.c/film.mov", "video/quicktime"),
        ("captions.en.vtt", "text/vtt"),
        ("README", None),
        ("txt", None),
        ("archive.xyz", None),
        ("", None),
    ],
)
def test_a_filename_claims_by_its_extension(name, mime_type):
    assert mime.mime_type_of_filename(name) == mime_type


@pytest.mark.parametrize("found", sorted(type_names.TRUE))
def test_a_type_that_claims_may_also_name_is_one_that_is_detected(found):
    assert found in {mime_type for _, mime_type in SHOWN.values()} | DETECTED_BY_LIBRARY


def test_a_list_of_content_types_is_decoded_within_a_bound():
    bomb = archive(
        packed=zipfile.ZIP_DEFLATED, **{"[Content_Types].xml": bytes(6_000_000), "3D/a.model": "x"}
    )

    tracemalloc.start()
    found = detect(bomb[:HEAD])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert (found, peak < 300_000) == ("model/3mf", True)


@pytest.mark.parametrize("policy", ["strict", "sniff"])
@pytest.mark.parametrize("declared", ["audio/flac", "audio/wav", "audio/aac"])
def test_a_claim_of_sound_is_kept_where_tags_hide_it(policy, declared):
    head = id3(2_000_000)[:MAX_HEAD]

    assert mime.choose_mime_type(declared, head, policy=policy, allowed=ANY) == declared
    assert mime.is_consistent(declared, head)
    assert mime.choose_mime_type(None, head, policy=policy, allowed=ANY) == "audio/mpeg"


@pytest.mark.parametrize("policy", ["strict", "sniff"])
@pytest.mark.parametrize(
    "declared, data, chosen",
    [
        ("audio/mp4", ftyp(b"mp42", b"isom"), "audio/mp4"),
        ("audio/mp4", ftyp(b"mp42") + film_track(), "video/mp4"),
        ("audio/webm", ebml(b"webm"), "audio/webm"),
        ("audio/webm", ebml(b"webm") + b"\x83\x81\x01", "video/webm"),
        ("audio/ogg", SHOWN["ogg"][0], "audio/ogg"),
        ("audio/ogg", SHOWN["ogg"][0] + b"\x80theora", "application/ogg"),
    ],
    ids=["mp4", "mp4 with pictures", "webm", "webm with pictures", "ogg", "ogg with pictures"],
)
def test_a_claim_of_sound_holds_unless_pictures_are_declared(policy, declared, data, chosen):
    assert mime.choose_mime_type(declared, data, policy=policy, allowed=ANY) == chosen


@pytest.mark.parametrize("policy", ["strict", "sniff"])
@pytest.mark.parametrize("declared", sorted(type_names.NO_CLAIMS))
def test_a_name_that_any_file_gets_claims_nothing(policy, declared):
    chosen = mime.choose_mime_type(declared, SHOWN["gif"][0], policy=policy, allowed=DEFAULT)

    assert chosen == "image/gif"


@pytest.mark.parametrize("policy", ["strict", "sniff"])
@pytest.mark.parametrize(
    "declared, allowed, chosen",
    [
        ("video/x-m4v", ("video/mp4",), "video/mp4"),
        ("video/x-m4v", ("video/x-m4v",), "video/x-m4v"),
        ("audio/mp4", ("video/mp4",), "video/mp4"),
        ("audio/mp4", ("audio/*",), "audio/mp4"),
    ],
)
def test_of_two_true_names_the_allowed_one_is_taken(policy, declared, allowed, chosen):
    data = SHOWN["mp4 isom"][0]

    assert mime.choose_mime_type(declared, data, policy=policy, allowed=allowed) == chosen


def test_no_bytes_make_detection_fail():
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    samples = [data for data, _ in SHOWN.values()] + list(NOT_SHOWN.values())

    for _ in range(20_000):
        data = bytearray(chance.choice(samples)[: chance.choice([12, 40, 200, HEAD])])
        for _ in range(chance.randrange(8)):
            place = chance.randrange(len(data) + 1)
            data[place : place + chance.randrange(9)] = chance.randbytes(chance.randrange(9))
        shown = detect(bytes(data))
        assert shown is None or parse_mime_type(shown) == shown
