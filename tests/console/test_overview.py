"""The overview says what the commands say."""

import json

import pytest
from support.accounts import sign_up, take_down
from support.media_samples import jpeg
from support.services import services_of

from aurora_blobs.catalog.blobs import STATES
from aurora_blobs.catalog.jobs import Counts
from aurora_blobs.cli.output import camel_case

HOUR = 3600


def command(app, *words):
    """The lines of JSON that a command prints."""
    result = app.test_cli_runner().invoke(args=[*words, "--json"])
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.output.splitlines()]


@pytest.fixture
def store(app, client):
    """Blobs in every state, of accounts in every state."""
    alice, bob, carol, dan = (
        sign_up(client, f"{name}.test") for name in ("alice", "bob", "carol", "dan12")
    )
    for number, account in enumerate((alice, bob, carol, dan)):
        for _ in range(number + 1):
            account.publish(jpeg(f"{account.did} {_}"))
    alice.blob(jpeg("temporary"))
    take_down(client, alice.did, alice.publish(jpeg("down")).cid)
    lost = bob.publish(jpeg("lost")).cid
    with services_of(app).database.write() as tx:
        tx.run("UPDATE blob SET stored_at = NULL WHERE cid = ?", lost)
    cli = app.test_cli_runner()
    assert cli.invoke(args=["account", "takedown", carol.did]).exit_code == 0
    assert dan.post("com.atproto.server.deactivateAccount").status_code == 200


def test_every_number_of_the_store_is_that_of_blobs_stats(app, store, console):
    [stats] = command(app, "blobs", "stats")
    rows = console.page().rows

    assert rows["blobs"] == [stats["blobs"]]
    assert rows["bytes"] == [stats["bytes"]]
    assert rows["withoutBytes"] == [stats["withoutBytes"]]
    assert rows["all"] == [stats["holdings"], stats["heldBytes"]]
    assert {state: rows[state] for state in STATES} == {
        state: [stats[camel_case(state)], stats[camel_case(f"{state} bytes")]] for state in STATES
    }
    assert all(rows[state] != [0, 0] for state in STATES)


def test_every_number_of_an_account_is_that_of_account_list(app, store, console):
    accounts = command(app, "account", "list")
    page = console.page()

    assert {account["did"]: page.rows[account["did"]] for account in accounts} == {
        account["did"]: [account["blobs"], account["bytes"]] for account in accounts
    }
    assert page.rows["accounts"] == [len(accounts)]
    assert page.rows["held"] == [sum(account["blobs"] for account in accounts)]


def test_a_large_store_is_counted_when_somebody_asks_for_it(app, console, alice):
    alice.blob(jpeg("cat"))
    with services_of(app).database.write() as tx:
        tx.run("UPDATE account SET blob_count = 100001, blob_bytes = 77")

    before, asked, after = (console.page(query).rows for query in ("", "?new", ""))

    assert "blobs" not in before
    assert before["heldBytes"] == [77]
    assert asked["blobs"] == after["blobs"] == [1]


def test_every_number_of_a_job_is_that_of_blobs_stats(app, console):
    log = services_of(app).job_log
    with log.run("gc", lambda: Counts(3, 40, 0, 0)):
        pass
    with log.run("scrub", lambda: Counts(7, 80, 2, 1)):
        pass

    [stats] = command(app, "blobs", "stats")
    rows = console.page().rows

    assert {job["job"]: rows[job["job"]] for job in stats["jobs"]} == {
        job["job"]: [
            job[name]
            for name in ("blobs", "bytes", "findings", "repaired")
            if job[name] is not None
        ]
        for job in stats["jobs"]
    }
    assert rows["scrub"] == [7, 80, 2, 1]


def test_every_number_of_a_day_is_that_of_blobs_stats(app, console, alice, clock):
    totals = services_of(app).daily_totals
    for number in range(40):
        totals.count(100 + number)
        totals.count(None)
        clock.advance(number % 3 * 12 * HOUR)
    totals.write()
    console.sign_in()

    [stats] = command(app, "blobs", "stats")
    rows = console.page().rows

    assert len(stats["days"]) > 10
    assert {day["day"]: rows[day["day"]] for day in stats["days"]} == {
        day["day"]: [day["uploads"], day["bytes"], day["refusals"]] for day in stats["days"]
    }


def test_a_plot_has_a_bar_for_each_day_on_which_something_was_uploaded(app, console, clock):
    totals = services_of(app).daily_totals
    for uploads, days_later in ((1, 1), (4, 27), (2, 0)):
        for _ in range(uploads):
            totals.count(100)
        clock.advance(days_later * 24 * HOUR)
    totals.write()
    console.sign_in()

    bars = [given for tag, given in console.page().tags if given.get("class") == "bar uploads"]

    assert [(bar["x"], bar["height"]) for bar in bars] == [
        ("10", "15.0"),
        ("20", "60.0"),
        ("290", "30.0"),
    ]


def test_the_largest_accounts_come_first(client, console):
    for number in range(12):
        account = sign_up(client, f"person{number:02}.test")
        for blob in range(number):
            account.blob(jpeg(f"{number} {blob}"))

    rows = console.page().rows

    largest = [did for did in rows if did.startswith("did:web:person")]
    assert largest == [f"did:web:person{number:02}.test" for number in range(11, 1, -1)]


@pytest.mark.parametrize(
    "job, hours", [("gc", 3), ("backup", 48), ("scrub", 62 * 24)], ids=["gc", "backup", "scrub"]
)
def test_a_job_is_late_when_its_timer_has_missed_it(app, console, clock, job, hours):
    fresh = console.page().text
    clock.advance(hours * HOUR + 1)
    console.sign_in()
    never = console.page("?new").text
    with services_of(app).job_log.run(job, lambda: Counts(0, 0, 0, 0)):
        pass
    clock.advance(hours * HOUR)
    console.sign_in()
    on_time = console.page("?new").text
    clock.advance(1)
    late = console.page("?new").text

    is_late = [f"{job} is late" in text for text in (fresh, never, on_time, late)]
    assert is_late == [False, True, False, True]


def test_what_a_job_has_found_is_among_the_alarms(app, console):
    with services_of(app).job_log.run("fsck", lambda: Counts(1, 1, 1, 0)):
        pass

    assert "The last run of fsck found something wrong" in console.page().text


def test_what_was_counted_is_counted_again_when_somebody_wants_it(app, console, alice):
    before = console.page().rows["blobs"]
    alice.blob(jpeg("new"))

    assert console.page().rows["blobs"] == before
    assert console.page("?new").rows["blobs"] == [before[0] + 1]
