"""A store that is not mounted, emptied or another one loses nothing: nobody takes it for ours."""

import shutil
from contextlib import contextmanager
from dataclasses import replace

import pytest
from support.accounts import blob_path
from support.cids import cid_of
from support.media_samples import jpeg
from support.services import services_of

from aurora_blobs.catalog import blobs as blob_rows
from aurora_blobs.storage.health import StoreHealth

CAT, DOG, NEW = jpeg("cat"), jpeg("dog"), jpeg("new")


@pytest.fixture
def published(alice):
    """The CIDs of a cat that a record names and of a dog that none does."""
    return alice.publish(CAT).cid, alice.blob(DOG)["ref"]["$link"]


@pytest.fixture
def folder(app):
    return services_of(app).config.data_folder.blobs


def nothing(folder, open_app):
    pass


def an_empty_folder(folder, open_app):
    folder.mkdir()


def folders_without_blobs(folder, open_app):
    for shard in range(256):
        (folder / f"{shard:02x}").mkdir(parents=True)


def another_store(folder, open_app):
    other = services_of(open_app()).config.data_folder.blobs
    shutil.copytree(other, folder)


@pytest.fixture(params=[nothing, an_empty_folder, folders_without_blobs, another_store])
def away(request, folder, open_app):
    """Another store, or none, is where the store was, while the block lasts."""

    @contextmanager
    def away():
        folder.rename(f"{folder}.away")
        request.param(folder, open_app)
        before = sorted(folder.rglob("*"))
        yield
        assert sorted(folder.rglob("*")) == before
        shutil.rmtree(folder, ignore_errors=True)
        shutil.move(f"{folder}.away", folder)

    return away


def rows(app):
    """What the database says of every blob."""
    with services_of(app).database.read() as tx:
        return tx.all("SELECT cid, size, created_at, stored_at FROM blob ORDER BY cid"), tx.all(
            "SELECT creator_did, cid, unreferenced_since FROM blob_metadata ORDER BY cid"
        )


@pytest.mark.parametrize(
    "call",
    [
        lambda alice, cat, dog: alice.fetch(cat),
        lambda alice, cat, dog: alice.fetch(cat, Range="bytes=0-3"),
        lambda alice, cat, dog: alice.fetch(dog, **alice.headers),
        lambda alice, cat, dog: alice.client.head(blob_path(alice.did, cat)),
        lambda alice, cat, dog: alice.get("com.atproto.repo.listMissingBlobs"),
        lambda alice, cat, dog: alice.upload(CAT),
        lambda alice, cat, dog: alice.upload(NEW),
        lambda alice, cat, dog: alice.record({"file": alice_s(DOG)}),
    ],
    ids=[
        *("a read", "a part", "the owner's read", "HEAD", "the list of missing blobs"),
        *("an upload of known bytes", "an upload", "a record"),
    ],
)
def test_a_call_that_needs_the_store_is_told_to_come_back_and_changes_nothing(
    app, alice, published, away, call
):
    before = rows(app)

    with away():
        answer = call(alice, *published)

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "30")
    assert rows(app) == before
    assert [alice.fetch(cid, **alice.headers).data for cid in published] == [CAT, DOG]
    assert alice.get("com.atproto.repo.listMissingBlobs").json == {"blobs": []}


def alice_s(data):
    return {
        "$type": "blob",
        "ref": {"$link": cid_of(data)},
        "mimeType": "image/jpeg",
        "size": len(data),
    }


def test_clients_are_not_told_where_the_store_is(alice, published, away, folder):
    with away():
        answers = [alice.fetch(published[0]), alice.upload(NEW)]

    assert [answer.json for answer in answers] == 2 * [
        {
            "error": "ServiceUnavailable",
            "message": "The blob store is not available, please try again later.",
        }
    ]


@pytest.mark.parametrize(
    "command",
    [
        ("fsck",),
        ("fsck", "--repair", "--yes-lose-many"),
        ("fsck", "--delete-strays"),
        ("scrub",),
        ("scrub", "--yes-lose-many"),
        ("gc",),
    ],
    ids=" ".join,
)
def test_a_job_ends_with_a_line_and_changes_nothing(app, alice, published, away, clock, command):
    clock.advance(86_401)  # the dog is over
    before = rows(app)

    with away():
        result = app.test_cli_runner().invoke(args=["blobs", *command])

    assert result.exit_code == 1
    assert "aurora-store.json" in result.output
    assert isinstance(result.exception, SystemExit)
    assert rows(app) == before
    assert {stored.cid for stored in services_of(app).blobs.backend.scan()} == {*published}


def test_health_is_bad_while_the_store_is_away_and_good_when_it_is_back(
    app, client, published, away
):
    found = services_of(app)

    def health():
        # Another one, which has not looked yet.
        app.extensions["aurora_blobs"] = replace(
            found, store_health=StoreHealth(found.blobs.backend)
        )
        return client.get("/xrpc/_health").status_code

    before = health()
    with away():
        during = health()

    assert (before, during, health()) == (200, 503, 200)


def test_a_start_without_the_store_makes_no_new_one(app, alice, published, away, open_app):
    data = services_of(app).config.data_dir

    with away():
        again = open_app(DATA_DIR=str(data))
        answer = alice.at(again.test_client()).fetch(published[0])

    assert answer.status_code == 503
    assert alice.at(again.test_client()).fetch(published[0]).data == CAT
    assert alice.at(again.test_client()).upload(NEW).status_code == 200


def test_an_account_that_is_deleted_while_the_store_is_away_is_collected_later(
    app, alice, published, away, clock
):
    with away():
        deleted = alice.post(
            "com.atproto.server.deleteAccount", did=alice.did, password="correct horse", token="x"
        )
        gone = alice.fetch(published[0])

    assert (deleted.status_code, gone.json["error"]) == (200, "RepoNotFound")
    clock.advance(86_401)
    assert app.test_cli_runner().invoke(args=["blobs", "gc"]).exit_code == 0
    assert rows(app) == ([], [])
    assert list(services_of(app).blobs.backend.scan()) == []


@pytest.fixture
def said_to_be_lost(app, clock):
    """Marks blobs as lost, as an older version did that was started with another store."""

    def said_to_be_lost(*cids):
        with services_of(app).database.write() as tx:
            for cid in cids:
                blob_rows.mark_lost(tx, cid, clock())

    return said_to_be_lost


def test_bytes_that_count_as_lost_and_are_there_are_served_again(
    app, alice, published, said_to_be_lost
):
    said_to_be_lost(*published)

    assert alice.fetch(published[0]).data == CAT
    assert alice.fetch(published[1], **alice.headers).data == DOG
    assert app.test_cli_runner().invoke(args=["blobs", "fsck"]).exit_code == 0


@pytest.mark.parametrize("command", [("fsck", "--repair"), ("scrub",)], ids=" ".join)
def test_bytes_that_count_as_lost_and_are_there_are_a_finding_at_once(
    app, published, said_to_be_lost, command
):
    said_to_be_lost(*published)

    told = app.test_cli_runner().invoke(args=["blobs", "fsck"])
    mended = app.test_cli_runner().invoke(args=["blobs", *command])

    assert (told.exit_code, told.output.count("found again: ")) == (1, 2)
    assert (mended.exit_code, mended.output.count("(repaired)")) == (1, 2)
    assert app.test_cli_runner().invoke(args=["blobs", "fsck"]).exit_code == 0
    assert app.test_cli_runner().invoke(args=["blobs", "scrub"]).exit_code == 0


def test_a_dry_run_of_scrub_tells_of_bytes_that_count_as_lost_and_leaves_them(
    app, published, said_to_be_lost
):
    said_to_be_lost(*published)
    before = rows(app)

    told = app.test_cli_runner().invoke(args=["blobs", "scrub", "--dry-run"])

    assert (told.exit_code, told.output.count("found again: ")) == (1, 2)
    assert rows(app) == before


def test_wrong_bytes_that_count_as_lost_are_read_once(app, alice, published, said_to_be_lost):
    cat, _ = published
    backend = services_of(app).blobs.backend
    (backend.root / backend.path(cat)).write_bytes(bytes(len(CAT)))
    said_to_be_lost(cat)

    answers = [alice.fetch(cat).status_code for _ in range(3)]

    assert answers == [400, 400, 400]
    assert backend.size(cat) is None
    assert len(list((backend.root / "quarantine").iterdir())) == 1
    alice.blob(CAT)
    assert alice.fetch(cat).data == CAT


def test_lost_bytes_that_are_taken_down_are_not_looked_for(app, alice, published, said_to_be_lost):
    cat, _ = published
    said_to_be_lost(cat)
    app.test_cli_runner().invoke(args=["blobs", "takedown", cat])
    before = rows(app)

    assert alice.fetch(cat).status_code == 400

    assert rows(app) == before


class Distant:
    """A store that is asked over a network, and counts how often."""

    def __init__(self, backend):
        self._backend = backend
        self.stat_is_cheap = False
        self.asked = 0

    def __getattr__(self, name):
        return getattr(self._backend, name)

    def size(self, cid):
        self.asked += 1
        return self._backend.size(cid)


def test_a_store_on_the_network_is_asked_for_lost_bytes_once_in_a_second(
    app, alice, published, said_to_be_lost, clock
):
    cat, _ = published
    found = services_of(app).blobs
    found.backend.delete(cat)
    said_to_be_lost(cat)
    distant = found.backend = Distant(found.backend)

    for _ in range(10):
        assert alice.fetch(cat).status_code == 400
    first = distant.asked
    clock.advance(1)
    alice.fetch(cat)

    assert (first, distant.asked) == (1, 2)


def test_an_older_version_s_mistake_is_mended_by_the_start_with_the_right_store(
    app, alice, published, folder, open_app, said_to_be_lost
):
    """The first release, started without its store, marked as lost what it was asked for."""
    database = services_of(app).database
    with database.write() as tx:
        tx.run("DROP TABLE store")
        tx.run("ALTER TABLE blob DROP COLUMN number")
        tx.run("ALTER TABLE derivative DROP COLUMN checksum")
        tx.run("UPDATE schema_version SET version = 1")
    (folder / "aurora-store.json").unlink()
    said_to_be_lost(*published)
    database.close()

    again = open_app(DATA_DIR=str(services_of(app).config.data_dir))

    assert alice.at(again.test_client()).fetch(published[0]).data == CAT
