"""Where a position can stand, in every container; and where nobody looks for one."""

import struct
import subprocess
import sys
import time
import zlib

import pytest
from support import media, positions
from support.corpus import corpus
from support.project import DOCS

from aurora_blobs.media.location import has_location

EXIF = positions.tiff()
XMP = positions.XMPS["xmp attribute"]
JPEG, PNG = "image/jpeg", "image/png"
WITH = [
    *positions.with_a_position(),
    (
        "png: a text for a value of exif",
        PNG,
        media.png(8, 8, media.chunk(b"tEXt", b"exif:GPSLatitude\x0052/1, 31/1, 0/1")),
    ),
]
WITHOUT = list(positions.without_a_position())


@pytest.mark.parametrize("name, mime_type, data", WITH, ids=[name for name, _, _ in WITH])
def test_a_position_is_found_wherever_it_stands(name, mime_type, data):
    assert has_location(data, mime_type)


@pytest.mark.parametrize("name, mime_type, data", WITHOUT, ids=[name for name, _, _ in WITHOUT])
def test_metadata_without_a_position_has_none(name, mime_type, data):
    assert not has_location(data, mime_type)


NOTHING = {
    "no metadata": (JPEG, media.jpeg(8, 8)),
    "exif without gps": (JPEG, media.jpeg(8, 8, media.exif_segment(media.tiff(orientation=6)))),
    "a gps directory that is empty": (
        JPEG,
        media.jpeg(8, 8, media.exif_segment(media.tiff(gps={}))),
    ),
    "a gps directory without a position": (
        JPEG,
        media.jpeg(8, 8, media.exif_segment(media.tiff(gps={0x1D: media.rationals((1, 1))}))),
    ),
    "png text": (PNG, media.png(8, 8, media.chunk(b"tEXt", b"Comment\0from 52.5, 13.4"))),
    "png text that does not inflate": (
        PNG,
        media.png(8, 8, media.chunk(b"zTXt", b"Raw profile type exif\0\0oops")),
    ),
    "a box that brotli does not open": (
        "image/jxl",
        positions.jxl(media.box(b"brob", b"Exif\xff\xff\xff")),
    ),
    "exif bytes in the media data of a video": ("video/mp4", media.box(b"mdat", EXIF)),
    "a text that looks like exif": ("text/plain", EXIF),
    "nothing": (JPEG, b""),
}


@pytest.mark.parametrize("mime_type, data", NOTHING.values(), ids=NOTHING)
def test_a_file_without_a_position_has_none(mime_type, data):
    assert not has_location(data, mime_type)


FOUND = {
    "gps-loci.3gp": "video/3gpp",
    "gps-loci.m4v": "video/x-m4v",
    "gps-mdta-location.mp4": "video/mp4",
    "gps-ifd-type13.jpg": "image/jpeg",
    "gps-brob.jxl": "image/jxl",
    "heic_motion_mpvd.heic": "image/heic",
    "heic_motion_append.heic": "image/heic",
}
FREE = {
    "plain.jpg": "image/jpeg",
    "plain.mp4": "video/mp4",
    "heic_heim.heic": "image/heic",
    "avif_miaf.avif": "image/avif",
    "png_ztxt_big.png": "image/png",
    "m4a-brand-mp42.m4a": "audio/x-m4a",
    "segment-styp.m4s": "video/mp4",
    "text-bm-utf8.txt": "text/plain",
}


@pytest.mark.parametrize("name, mime_type", (FOUND | FREE).items(), ids=FOUND | FREE)
def test_the_corpus_tells_where_it_was_taken(name, mime_type):
    assert has_location(corpus(name), mime_type) is (name in FOUND)


WITHOUT_BROTLI = """
import sys
sys.modules["brotli"] = None
from aurora_blobs.media.location import has_location
print(has_location(sys.stdin.buffer.read(), "image/jxl"))
"""


@pytest.mark.parametrize(
    "data, found",
    [(positions.brob(b"Exif", b"nothing"), "True"), (positions.jxl(), "False")],
    ids=["compressed metadata", "none"],
)
def test_what_cannot_be_opened_without_brotli_counts_as_a_position(data, found):
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_BROTLI], input=data, capture_output=True, check=True
    )

    assert run.stdout.decode().strip() == found


# By the line of docs/pictures.md that says so.
NOT_LOOKED_INTO = {
    "makers' own notes in EXIF": (
        "image/jpeg",
        media.jpeg(8, 8, media.exif_segment(media.tiff(orientation=1) + b"Maker\0 N52.5 E13.4")),
    ),
    "names of places": (
        "image/png",
        media.png(8, 8, media.chunk(b"tEXt", b"photoshop:City\0Berlin")),
    ),
    "WebM and Matroska": (
        "video/webm",
        media.webm(media.element("1254C367", b"LOCATION\0+52.5200+013.4050/")),
    ),
    "AVI": (
        "video/vnd.avi",
        media.riff(b"RIFF", b"AVI " + media.riff(b"LIST", b"exif" + XMP)),
    ),
    "sound that is no MP4": ("audio/mpeg", b"ID3\x04\0\0\0\0\0\x7f" + XMP),
    "documents and archives": ("application/pdf", b"%PDF-1.7\n" + XMP),
    "XMP in UTF-16": (
        "image/jpeg",
        media.jpeg(8, 8, media.segment(0xE1, XMP.decode().encode("utf-16"))),
    ),
    "EXIF and XMP of a HEIC or AVIF that are compressed, or in pieces": (
        "image/heic",
        media.heif(media.extents(8, 8), behind=media.box(b"mdat", zlib.compress(XMP))),
    ),
    "what a JPEG XL keeps to make a JPEG again": (
        "image/jxl",
        positions.jxl(media.box(b"jbrd", zlib.compress(XMP))),
    ),
    "SVG that is compressed": (
        "image/svg+xml",
        zlib.compressobj(wbits=31).compress(XMP) + bytes(8),
    ),
    "BigTIFF and Canon's CR3": (
        "image/tiff",
        struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16)
        + struct.pack("<QHHQQQ", 1, 0x8825, 13, 1, 52, 0)
        + struct.pack("<QHHQQQ", 1, 2, 5, 3, 88, 0)
        + media.rationals(*positions.FIX),
    ),
    "QuickTime films whose index is compressed": (
        "video/quicktime",
        media.box(b"moov", media.box(b"cmov", media.box(b"cmvd", bytes(4), zlib.compress(XMP)))),
    ),
    "tracks of sensors of other cameras, and subtitles": (
        "video/mp4",
        positions.film(positions.sample_entry(b"rtmd") + media.box(b"mdat", b"N52.5 E13.4")),
    ),
}


@pytest.mark.parametrize("mime_type, data", NOT_LOOKED_INTO.values(), ids=NOT_LOOKED_INTO)
def test_what_is_not_looked_into_passes(mime_type, data):
    assert not has_location(data, mime_type)


def test_the_docs_list_all_that_is_not_looked_into():
    _, _, listed = (DOCS / "pictures.md").read_text().partition("It does not look into\n\n")
    lines = listed.partition("\n\n")[0].splitlines()

    assert [line.removeprefix("- ").rstrip(";.") for line in lines] == list(NOT_LOOKED_INTO)


INFLATED = media.chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(bytes(2**24)))
HOSTILE = {
    "texts that inflate": (PNG, media.png(8, 8, INFLATED * 200)),
    "exif headers": (JPEG, b"II*\0\x08\0\0\0\xff\xff" * 500_000),
    "videos": (JPEG, media.box(b"ftyp") * 600_000),
    "boxes": (
        "video/mp4",
        media.mp4(media.box(b"moov", media.box(b"udta", media.box(b"free") * 900) * 600)),
    ),
    "boxes in boxes": ("video/mp4", media.mp4(*[struct.pack(">I4s", 2**31, b"moov")] * 600_000)),
    "directories that point to positions": (
        "image/tiff",
        (b"II*\0\x08\0\0\0" + struct.pack("<H", 512) + b"\x25\x88\4\0\1\0\0\0\x08\0\0\0" * 512)
        * 800,
    ),
    "films in a picture": ("image/jpeg", positions.film(media.box(b"udta") * 900) * 90),
    "compressed boxes": ("image/jxl", positions.brob(b"xml ", bytes(2**24)) * 190),
    "parts of xmp": (
        "image/jpeg",
        media.segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(65_000)) * 90,
    ),
    "positions in item lists": (
        "video/mp4",
        positions.film(media.box(b"meta", positions.HANDLER, media.box(b"ilst", b"+12" * 900_000))),
    ),
}


@pytest.mark.parametrize("mime_type, data", HOSTILE.values(), ids=HOSTILE)
def test_metadata_made_to_be_slow_is_given_up(mime_type, data):
    start = time.process_time()

    has_location(data, mime_type)

    assert time.process_time() - start < 2
