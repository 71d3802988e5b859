"""What the service holds is told as the commands tell it."""

import pytest
from support.accounts import ADMIN, sign_up
from support.live_service import becomes
from support.media_samples import jpeg, picture
from support.metrics import TOKEN, Scrape

from aurora_blobs.accounts.moderation import Subject
from aurora_blobs.catalog import accounts, leases, upstream
from aurora_blobs.catalog.blobs import STATES
from aurora_blobs.catalog.jobs import Counts
from aurora_blobs.errors import BackendUnavailable

HOST = "https://pds.test"


def counted(client):
    """What `client` says once all was counted."""
    assert becomes(lambda: Scrape(client).value("counted_timestamp_seconds"))
    return Scrape(client)


def test_blobs_are_counted_by_state(alice, client):
    alice.publish(jpeg("cat"))
    alice.blob(jpeg("dog"))
    down = alice.publish(jpeg("cow")).blob
    subject = {"$type": "com.atproto.admin.defs#repoBlobRef", "did": alice.did}
    subject["cid"] = down["ref"]["$link"]
    client.post(
        "/xrpc/com.atproto.admin.updateSubjectStatus",
        json={"subject": subject, "takedown": {"applied": True}},
        auth=ADMIN,
    )

    found = counted(client)

    none = dict.fromkeys(((state,) for state in STATES), 0)
    assert found.by("entries", "state") == none | {
        ("public",): 1,
        ("temporary",): 1,
        ("takendown",): 1,
    }
    assert found.value("entry_bytes", state="takendown") == down["size"]
    assert found.value("blobs") == 3
    assert found.value("blob_bytes") == sum(len(jpeg(name)) for name in ("cat", "dog", "cow"))
    assert found.value("blobs_without_bytes") == 0
    assert found.by("takedowns", "subject") == {("blob",): 1, ("account",): 0}


def test_a_takedown_of_an_account_that_came_again_counts_once(alice, client):
    services = alice.services
    services.moderation.take_down(Subject(alice.did, None), "spam")
    services.delete_account(alice.did)
    with services.database.write() as tx:
        accounts.make_external(tx, alice.did, 1)

    assert len(list(services.moderation.takedowns())) == 1
    assert counted(client).value("takedowns", subject="account") == 1


def test_what_was_set_aside_is_counted(alice, client):
    cid = alice.publish(jpeg("cat")).cid
    [store] = alice.services.blobs.backend.stores
    store.quarantine(cid)

    assert counted(client).value("quarantined") == 1


def test_a_service_that_works_says_so(scrape):
    found = scrape()

    assert found.by("up", "part") == {("database",): 1, ("store",): 1, ("data_folder",): 1}
    assert found.value("disk_reserve_whole") == 1
    assert found.value("disk_free_bytes", place="data") > 0
    assert found.value("spool_bytes") == 0
    assert found.value("thumbnail_cache_bytes") == 0


def test_a_data_folder_that_is_away_is_told(alice, client):
    folder = alice.services.config.data_folder.spool
    folder.rename(folder.with_name("away"))

    up = Scrape(client).by("up", "part")
    folder.with_name("away").rename(folder)

    assert up == {("database",): 1, ("store",): 1, ("data_folder",): 0}


def test_jobs_are_told_as_blobs_stats_tells_them(app, scrape):
    run = app.test_cli_runner()
    assert run.invoke(args=["blobs", "gc"]).exit_code == 0

    found = scrape()

    assert found.value("job_success_timestamp_seconds", name="gc") == pytest.approx(
        app.extensions["aurora_blobs"].clock() / 1_000_000
    )
    assert found.value("job_findings", name="gc") == 0
    assert found.by("job_failed", "name") == {
        (job,): 0 for job in ("gc", "fsck", "scrub", "backup")
    }


def test_a_job_that_failed_is_told(app, scrape):
    job_log = app.extensions["aurora_blobs"].job_log
    with pytest.raises(BackendUnavailable), job_log.run("scrub", lambda: Counts(0, 0, 0, 0)):
        raise BackendUnavailable("the store is away")

    assert scrape().value("job_failed", name="scrub") == 1


def test_leases_are_told_by_family_and_node(app, scrape):
    with app.extensions["aurora_blobs"].database.write() as tx:
        for name, holder in (("gc/aa", "one x"), ("gc/bb", "one x"), ("follow/a", "two y")):
            assert leases.take(tx, name, holder)

    assert scrape().by("leases", "family", "node") == {("gc", "one"): 2, ("follow", "two"): 1}


def test_a_mirror_is_told_by_host(open_app):
    client = open_app(METRICS_TOKEN=TOKEN, MIRROR="pds", FOLLOW=HOST)
    client = client.test_client()
    with client.application.extensions["aurora_blobs"].database.write() as tx:
        upstream.add_host(tx, HOST)
        upstream.add(tx, "did:plc:one", HOST, None, 1)
        upstream.add(tx, "did:plc:two", HOST, "takendown", 1)
        upstream.set_cursor(tx, HOST, 5, 1_000_000, 3_500_000)

    found = counted(client)

    assert found.value("mirror_lag_seconds", host=HOST) == 2.5
    assert found.value("mirror_seen_timestamp_seconds", host=HOST) == 3.5
    assert found.value("mirror_alarm", host=HOST) == 0
    assert found.by("mirror_accounts", "state") == {
        ("all",): 2,
        ("inactive",): 1,
        ("due",): 2,
        ("failing",): 0,
    }
    assert found.by("mirror_blobs", "state") == dict.fromkeys(
        [("missing",), ("refused",), ("doubtful",), ("hidden",)], 0
    )


def test_a_thumbnail_is_made_once_and_kept_from_then_on(open_app):
    client = open_app(METRICS_TOKEN=TOKEN, IMAGE_PRESETS="icon=cover:64x64").test_client()
    alice = sign_up(client)
    cid = alice.publish(picture("JPEG")).cid
    path = f"/img/icon/plain/{alice.did}/{cid}@jpeg"

    answers = [client.get(path).status_code for _ in range(3)]

    found = Scrape(client)
    assert answers == [200] * 3
    assert found.by("thumbnail_seconds_count", "result") == {("made",): 1, ("kept",): 2}
    assert found.value("thumbnail_cache_bytes") > 0
