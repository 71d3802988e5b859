"""Chromium shows the pictures of the corpus, and the thumbnails that the service makes of them."""

import io

import pytest
from PIL import Image
from support.browser import look_at
from support.corpus import PICTURES, corpus
from support.live_service import Service

pytestmark = pytest.mark.live

FORMS = ("jpeg", "png", "webp", "avif")


@pytest.fixture(scope="module")
def thumbnail(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    with Service(folder, AURORA_BLOBS_ALLOWED_MIME_TYPES="image/*") as server:
        account = server.account()

        def thumbnail(name: str, form: str) -> bytes:
            cid = account.publish(corpus(name), PICTURES[name]).cid
            answer = server.get(f"/img/feed_thumbnail/plain/{account.did}/{cid}@{form}")
            assert (answer.status_code, answer.headers["Content-Type"]) == (200, f"image/{form}")
            return answer.data

        yield thumbnail


def test_every_picture_that_chromium_shows_has_thumbnails_that_it_shows(thumbnail, tmp_path):
    originals = [(mime_type, corpus(name)) for name, mime_type in PICTURES.items()]
    made = [(f"image/{form}", thumbnail(name, form)) for name in PICTURES for form in FORMS]

    seen = look_at(originals + made, tmp_path / "profile")

    assert {name for name, size in zip(PICTURES, seen, strict=False) if size is None} == {
        name
        for name, mime_type in PICTURES.items()
        if mime_type == "image/heic"  # it decodes no HEVC
    }
    sizes = [list(Image.open(io.BytesIO(content)).size) for _, content in made]
    assert seen[len(PICTURES) :] == sizes
    assert sizes == [
        [640, 480] if name == "jpg_prog_noeoi.jpg" else [96, 64] for name in PICTURES for _ in FORMS
    ]
