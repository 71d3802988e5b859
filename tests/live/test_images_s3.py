import io

import pytest
from PIL import Image
from support.accounts import ALICE
from support.real_media import FILMS, PHOTOS, media

from aurora_blobs.blobs.manager import BlobManager
from aurora_blobs.blobs.upload import Incoming, UploadRules
from aurora_blobs.catalog import accounts
from aurora_blobs.maintenance.backfill import backfill
from aurora_blobs.thumbnails.cache import ThumbnailCache
from aurora_blobs.thumbnails.presets import presets

pytestmark = pytest.mark.live


@pytest.fixture
def database(database, clock):
    with database.write() as tx:
        accounts.make_external(tx, ALICE, clock())
    return database


@pytest.fixture
def blobs(open_s3, database, tmp_path, clock):
    return BlobManager(
        open_s3(), database, spool=tmp_path / "spool", rules=UploadRules(), clock=clock
    )


def upload(blobs, path):
    with media(path).open("rb") as file:
        return blobs.upload(Incoming(stream=file, did=ALICE, filename=path))


def test_a_picture_in_a_bucket_is_derived(blobs, database, tmp_path, clock):
    entry = upload(blobs, PHOTOS["12 MP with a location"])
    pictures = ThumbnailCache(
        blobs,
        database,
        folder=tmp_path / "images",
        presets=presets([]),
        max_bytes=2**20,
        clock=clock,
    )

    derived = pictures.open(entry, pictures.presets["feed_thumbnail"], "webp")
    pictures.close()

    with derived.file as file:
        assert Image.open(io.BytesIO(file.read())).size == (2000, 1500)


def test_a_backfill_reads_blobs_in_a_bucket(blobs, database, clock):
    for path in (PHOTOS["upside down"], FILMS["phone"][0]):
        upload(blobs, path)
    with database.write() as tx:
        tx.run(
            "UPDATE blob_metadata SET width = NULL, height = NULL, duration_ms = NULL, "
            "probed_at = NULL"
        )

    found = {
        (entry.width, entry.height, entry.duration_ms)
        for entry in backfill(blobs.backend, database, clock)
    }

    assert found == {(4000, 3000, None), (1920, 1080, 1600)}
    assert {(entry.width, entry.height, entry.duration_ms) for entry in blobs.entries()} == found
