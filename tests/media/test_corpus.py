"""Files that people send, uploaded as they send them: the type that each is stored as."""

import re

import pytest
from support.accounts import sign_up
from support.corpus import CORPUS, NAMES, corpus
from support.services import close

from aurora_blobs.app import create_app
from aurora_blobs.config import Config

ANY, DEFAULT = "*/*", None

# A file, what it is sent as, the types that are allowed; what it is stored as under `strict` and
# under `sniff`. None: refused.
ROWS = [
    # Text that begins like something else is text.
    ("text-bm-utf8.txt", "text/plain", ANY, "text/plain", "text/plain"),
    ("text-bm-latin1.txt", "text/plain", ANY, "text/plain", "text/plain"),
    ("text-bm-japanese.md", "text/markdown", ANY, "text/markdown", "text/markdown"),
    ("text-mz-utf8.txt", "text/plain", ANY, "text/plain", "text/plain"),
    ("text-id3-utf8.txt", "text/plain", ANY, "text/plain", "text/plain"),
    ("text-gif89a-ascii.txt", "text/plain", ANY, "text/plain", "text/plain"),
    ("text-gif89a-ascii.txt", "image/gif", DEFAULT, None, "image/gif"),
    ("text-bm-utf8.txt", "image/bmp", ANY, None, "image/bmp"),
    # A wrapper is not what it holds.
    ("flac-after-id3.flac", "audio/flac", ANY, "audio/flac", "audio/flac"),
    ("flac-after-id3.flac", "*/*", ANY, "audio/flac", "audio/flac"),
    ("flac-after-id3.flac", "audio/mpeg", ANY, None, "audio/flac"),
    ("flac-after-id3-60k.flac", "audio/flac", ANY, "audio/flac", "audio/flac"),
    ("flac-after-id3-60k.flac", "*/*", ANY, "audio/flac", "audio/flac"),
    ("wav-after-id3.wav", "audio/wav", ANY, "audio/wav", "audio/wav"),
    ("mp3-mpeg25-8khz.mp3", "*/*", ANY, "audio/mpeg", "audio/mpeg"),
    ("mp3-mpeg25-8khz.mp3", "audio/x-mp3", ANY, "audio/x-mp3", "audio/mpeg"),
    ("mp3-mpeg25-8khz.mp3", "audio/aac", ANY, None, "audio/mpeg"),
    ("model.3mf", "model/3mf", ANY, "model/3mf", "model/3mf"),
    ("model.3mf", "*/*", ANY, "model/3mf", "model/3mf"),
    ("model.3mf", "application/zip", ANY, "application/zip", "model/3mf"),
    ("audio.wma", "audio/x-ms-wma", ANY, "audio/x-ms-wma", "audio/x-ms-asf"),
    ("audio.wma", "*/*", ANY, "audio/x-ms-asf", "audio/x-ms-asf"),
    # Brands of ISO base media files.
    ("avif_miaf.avif", "image/avif", ANY, "image/avif", "image/avif"),
    ("avif_mif1.avif", "*/*", ANY, "image/avif", "image/avif"),
    ("avif_mif1.avif", "image/heif", ANY, "image/avif", "image/avif"),
    ("avif_msf1.avif", "image/avif", ANY, "image/avif", "image/avif"),
    ("heic_heim.heic", "image/heic", ANY, "image/heic", "image/heic"),
    ("heic_hevc.heic", "image/heic", ANY, "image/heic", "image/heic-sequence"),
    ("heic_motion_mpvd.heic", "image/heic", ANY, "image/heic", "image/heic"),
    ("heic_motion_append.heic", "image/heif", ANY, "image/heif", "image/heic"),
    ("segment-styp.m4s", "video/mp4", DEFAULT, "video/mp4", "video/mp4"),
    ("segment-styp.m4s", "video/iso.segment", DEFAULT, "video/mp4", "video/mp4"),
    ("m4a-brand-mp42.m4a", "audio/x-m4a", ANY, "audio/x-m4a", "audio/x-m4a"),
    ("m4a-brand-mp42.m4a", "audio/m4a", ANY, "audio/m4a", "audio/m4a"),
    ("m4a-brand-mp42.m4a", "audio/mp4", ANY, "audio/mp4", "audio/mp4"),
    ("m4a-brand-mp42.m4a", "*/*", DEFAULT, "video/mp4", "video/mp4"),
    ("voice-brand-3gp4.m4a", "audio/3gpp", ANY, "audio/3gpp", "audio/3gpp"),
    ("voice-brand-3gp4.m4a", "audio/mp4", ANY, "audio/mp4", "audio/mp4"),
    ("voice-brand-3gp4.m4a", "audio/x-m4a", ANY, "audio/x-m4a", "audio/x-m4a"),
    ("gps-loci.3gp", "video/3gpp", ANY, "video/3gpp", "video/3gpp"),
    ("gps-loci.3gp", "video/mp4", DEFAULT, "video/mp4", "video/mp4"),
    ("gps-loci.3gp", "video/webm", DEFAULT, None, None),
    ("gps-loci.m4v", "video/x-m4v", ANY, "video/x-m4v", "video/x-m4v"),
    ("gps-loci.m4v", "video/mp4", DEFAULT, "video/mp4", "video/mp4"),
    ("gps-loci.m4v", "*/*", DEFAULT, "video/mp4", "video/mp4"),
    ("gps-mdta-location.mp4", "video/mp4", DEFAULT, "video/mp4", "video/mp4"),
    # Names of what the bytes are.
    ("plain.jpg", "image/jpg", DEFAULT, "image/jpeg", "image/jpeg"),
    ("plain.jpg", "image/pjpeg", DEFAULT, "image/jpeg", "image/jpeg"),
    ("plain.jpg", "image/pjpeg", ANY, "image/jpeg", "image/jpeg"),
    ("plain.jpg", "image/jfif", DEFAULT, "image/jpeg", "image/jpeg"),
    ("plain.jpg", "image/heic", DEFAULT, "image/jpeg", "image/jpeg"),
    ("plain.jpg", "image/png", DEFAULT, None, "image/jpeg"),
    ("png_crc_phys.png", "image/x-png", DEFAULT, "image/png", "image/png"),
    ("plain.mp4", "video/x-m4v", DEFAULT, "video/mp4", "video/mp4"),
    ("plain.mp4", "video/x-m4v", ANY, "video/x-m4v", "video/mp4"),
    ("plain.mp4", "video/mov", DEFAULT, "video/mp4", "video/mp4"),
    ("plain.mp4", "video/webm", DEFAULT, None, "video/mp4"),
    # Names that claim nothing.
    ("plain.jpg", "binary/octet-stream", DEFAULT, "image/jpeg", "image/jpeg"),
    ("plain.jpg", "application/x-download", DEFAULT, "image/jpeg", "image/jpeg"),
    ("plain.jpg", "application/unknown", DEFAULT, "image/jpeg", "image/jpeg"),
    ("text-bm-utf8.txt", "binary/octet-stream", ANY, *["application/octet-stream"] * 2),
    # Pictures that a strict decoder refuses are what they are.
    ("png_ztxt_big.png", "image/png", DEFAULT, "image/png", "image/png"),
    ("png_itxt_big.png", "*/*", DEFAULT, "image/png", "image/png"),
    ("png_crc_iccp.png", "image/png", DEFAULT, "image/png", "image/png"),
    ("png_crc_text.png", "image/png", DEFAULT, "image/png", "image/png"),
    ("jpg_no_eoi.jpg", "image/jpeg", DEFAULT, "image/jpeg", "image/jpeg"),
    ("jpg_prog_noeoi.jpg", "image/jpeg", DEFAULT, "image/jpeg", "image/jpeg"),
    ("jpg_cut10.jpg", "image/jpeg", DEFAULT, "image/jpeg", "image/jpeg"),
    ("gps-ifd-type13.jpg", "image/jpeg", DEFAULT, "image/jpeg", "image/jpeg"),
    ("gps-brob.jxl", "image/jxl", ANY, "image/jxl", "image/jxl"),
]
REFUSED = {None: "InvalidMimeType"}
# A blob of an account keeps the type of its first upload, so each time that a file is sent there is
# another account.
CASES = [
    pytest.param(
        name,
        declared,
        (policy, allowed, [row[0] for row in ROWS[:number]].count(name)),
        (stored, REFUSED.get(stored)),
        id=f"{name} as {declared}, {policy}, {'any' if allowed else 'default'}",
    )
    for number, (name, declared, allowed, *both) in enumerate(ROWS)
    for policy, stored in zip(("strict", "sniff"), both, strict=True)
]


@pytest.fixture(scope="module")
def account_for(tmp_path_factory):
    """``account_for(policy, allowed, number)``: an account of a service with these settings."""
    apps, accounts = {}, {}

    def account_for(policy, allowed, number):
        if (policy, allowed) not in apps:
            environ = {
                "AURORA_BLOBS_DATA_DIR": str(tmp_path_factory.mktemp("corpus") / "data"),
                "AURORA_BLOBS_MIME_POLICY": policy,
                **({} if allowed is None else {"AURORA_BLOBS_ALLOWED_MIME_TYPES": allowed}),
            }
            apps[policy, allowed] = create_app(Config.from_environ(environ))
        key = (policy, allowed, number)
        if key not in accounts:
            client = apps[policy, allowed].test_client()
            accounts[key] = sign_up(client, f"alice{number}.test")
        return accounts[key]

    yield account_for
    for app in apps.values():
        close(app)


@pytest.mark.parametrize("name, declared, where, expected", CASES)
def test_a_file_is_stored_as_what_it_is(account_for, name, declared, where, expected):
    answer = account_for(*where).upload(corpus(name), declared)

    assert (answer.json.get("blob", {}).get("mimeType"), answer.json.get("error")) == expected


def test_a_type_that_the_bytes_showed_is_kept_for_later_uploads(account_for):
    account = account_for("strict", ANY, 99)

    assert account.blob(corpus("mp3-mpeg25-8khz.mp3"), "*/*") == account.blob(
        corpus("mp3-mpeg25-8khz.mp3"), "audio/mpeg"
    )


def test_every_file_of_the_corpus_is_explained_and_uploaded():
    explained = set(re.findall(r"`([^`/]+\.\w+)`", (CORPUS / "README.md").read_text()))

    assert explained == set(NAMES)
    assert {name for name, *_ in ROWS} == set(NAMES)
