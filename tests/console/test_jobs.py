"""The jobs page says what the commands say, and takes nothing."""

import json

import pytest
from support.cids import cid_in
from support.media_samples import jpeg
from support.services import services_of

from aurora_blobs.catalog.jobs import Counts, Found
from aurora_blobs.cli.collect import gc


def test_what_a_collection_would_take_is_what_the_dry_run_lists(app, console, alice, clock):
    cid = alice.blob(jpeg("cat"))["ref"]["$link"]
    clock.advance(86_401)
    console.sign_in()
    output = app.test_cli_runner().invoke(args=["blobs", gc.name, "--dry-run", "--json"]).output
    *steps, summary = map(json.loads, output.splitlines())

    page = console.page("/jobs?gc")

    assert [name for name in page.rows if name.startswith("temporary")] == ["temporary 1"]
    assert [step["reason"] in page.text for step in steps] == [True] * len(steps)
    assert steps[0]["cid"] == cid
    assert summary["dryRun"]
    assert services_of(app).blobs.inspect(cid) is not None


def test_each_run_is_there_with_its_counts(app, console):
    log = services_of(app).job_log
    for number in range(3):
        with log.run("scrub", lambda number=number: Counts(number, 10, 1, 0)):
            pass

    rows = console.page("/jobs").rows

    assert {name: rows[name] for name in rows if name.startswith("scrub ")} == {
        f"scrub {number + 1}": [number, 10, 1, 0] for number in range(3)
    }


@pytest.mark.parametrize("job", ["fsck", "scrub"])
def test_each_finding_of_the_last_run_is_there(app, console, alice, job):
    cids = [cid_in(alice.publish(jpeg(number))[0]) for number in range(3)]
    backend = services_of(app).blobs.backend
    for cid in cids[:2]:
        (backend.root / backend.path(cid)).write_bytes(b"?")
    run = app.test_cli_runner().invoke

    run(args=["blobs", job])
    found = console.page("/jobs")
    run(args=["blobs", job, "--repair"])
    for number in range(2):
        alice.blob(jpeg(number))
    run(args=["blobs", job])
    mended = console.page("/jobs")

    assert [name for name in found.rows if name.startswith("found ")] == [
        f"found {job} 1",
        f"found {job} 2",
    ]
    assert [cid in found.text for cid in cids] == [True, True, False]
    assert [cid in mended.text for cid in cids] == [False] * 3


def test_the_first_hundred_findings_of_a_job_are_listed_as_text(app, console):
    found = tuple(Found("foreign", f"<b>{number}\udcff", "d" * 999, False) for number in range(150))
    with services_of(app).job_log.run("fsck", lambda: Counts(0, 0, len(found), 0, found)):
        pass

    answer = console.get("/jobs").text

    assert answer.count("data-finding=") == 100
    assert "&lt;b&gt;99\\udcff" in answer
    assert "d" * 501 not in answer
    assert "These are the first 100" in answer


@pytest.mark.parametrize("job", ["gc", "backup", "x"])
def test_nothing_is_started_that_the_page_does_not_start_or_with_other_settings(app, console, job):
    # The settings of these tests are not in the environment, which the command has them from.
    answer = console.post("/jobs/start", job=job)
    acts = app.test_cli_runner().invoke(args=["audit", "list"]).output

    assert answer.status_code == 400
    assert acts == ""


def test_what_has_failed_is_told_as_text(app, console):
    log = services_of(app).job_log
    try:
        with log.run("backup", lambda: Counts(0, 0, 0, 0)):
            raise ValueError("<b>no space</b>")
    except ValueError:
        pass

    page = console.get("/jobs").text

    assert "&lt;b&gt;no space" in page
