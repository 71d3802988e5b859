"""Chromium shows the pictures of the corpus, and the thumbnails that the service makes of them."""

import io

import pytest
from PIL import Image
from support.browser import look_at
from support.corpus import CORPUS
from support.live_service import Service

pytestmark = pytest.mark.live

TYPES = {".jpg": "image/jpeg", ".png": "image/png", ".avif": "image/avif", ".heic": "image/heic"}
FILES = [
    path
    for path in sorted(CORPUS.iterdir())
    if path.suffix in TYPES and path.name != "jpg_cut10.jpg"  # it lacks pixels
]
FORMS = ("jpeg", "png", "webp", "avif")


@pytest.fixture(scope="module")
def thumbnail(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    with Service(folder, AURORA_BLOBS_ALLOWED_MIME_TYPES="image/*") as server:
        account = server.account()

        def thumbnail(path, form: str) -> bytes:
            cid = account.publish(path.read_bytes(), TYPES[path.suffix]).cid
            answer = server.get(f"/img/feed_thumbnail/plain/{account.did}/{cid}@{form}")
            assert (answer.status_code, answer.headers["Content-Type"]) == (200, f"image/{form}")
            return answer.data

        yield thumbnail


def test_every_picture_that_chromium_shows_has_thumbnails_that_it_shows(thumbnail, tmp_path):
    originals = [(TYPES[path.suffix], path.read_bytes()) for path in FILES]
    made = [(f"image/{form}", thumbnail(path, form)) for path in FILES for form in FORMS]

    seen = look_at(originals + made, tmp_path / "profile")

    assert {path.name for path, size in zip(FILES, seen, strict=False) if size is None} == {
        path.name
        for path in FILES
        if path.suffix == ".heic"  # it decodes no HEVC
    }
    sizes = [list(Image.open(io.BytesIO(content)).size) for _, content in made]
    assert seen[len(FILES) :] == sizes
    assert sizes == [
        [640, 480] if path.name == "jpg_prog_noeoi.jpg" else [96, 64]
        for path in FILES
        for _ in FORMS
    ]
