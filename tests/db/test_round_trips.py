"""How often a call asks PostgreSQL, which may be far away."""

import os
from dataclasses import replace
from urllib.parse import quote

import pytest
from support.accounts import blob_path, sign_up
from support.backends import MemoryBackend
from support.cids import cid_in
from support.databases import database_url
from support.media_samples import jpeg
from support.round_trips import RoundTrips
from support.services import services_of

from aurora_blobs.blobs.manager import BlobManager
from aurora_blobs.blobs.upload import UploadRules

pytestmark = pytest.mark.postgresql


class FarBackend(MemoryBackend):
    stat_is_cheap = False


@pytest.fixture
def trips(tmp_path):
    trips = RoundTrips(tmp_path, os.environ["TEST_POSTGRESQL_FOLDER"])
    yield trips
    trips.close()


@pytest.fixture
def far_app(open_app, tmp_path, database, trips):
    """An application that reaches its database by way of `trips`."""
    name = database_url(tmp_path / "aurora.sqlite3").partition("?")[0]
    app = open_app(DATABASE_URL=f"{name}?host={quote(str(tmp_path), safe='')}&user=postgres")
    yield app
    services_of(app).database.close()


def in_memory(app):
    found = services_of(app)
    blobs = BlobManager(
        FarBackend(),
        found.database,
        spool=found.config.data_folder.spool,
        rules=UploadRules.of(found.config),
        clock=found.clock,
    )
    app.extensions["aurora_blobs"] = replace(found, blobs=blobs)


@pytest.fixture
def counted(trips):
    def counted(call):
        before = trips.count
        assert call().status_code == 200
        return trips.count - before

    return counted


@pytest.mark.parametrize("store, new", [(lambda app: None, 7), (in_memory, 8)], ids=["disk", "far"])
def test_an_upload_takes_eight_round_trips_and_a_duplicate_two(far_app, counted, store, new):
    store(far_app)
    alice = sign_up(far_app.test_client())
    for number in range(3):  # until all statements are prepared
        alice.upload(jpeg(f"before {number}"))
        alice.upload(jpeg(f"before {number}"))

    uploaded = counted(lambda: alice.upload(jpeg("new")))
    again = counted(lambda: alice.upload(jpeg("new")))

    assert (uploaded, again) == (new, 2)


def test_a_download_takes_one_round_trip(far_app, counted):
    client = far_app.test_client()
    alice = sign_up(client)
    cid = cid_in(alice.publish(jpeg("public")).blob)
    for _ in range(3):
        client.get(blob_path(alice.did, cid)).close()

    assert counted(lambda: client.get(blob_path(alice.did, cid))) == 1
