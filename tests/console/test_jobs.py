"""The jobs page says what the commands say, and takes nothing."""

import json

from support.media_samples import jpeg
from support.services import services_of

from aurora_blobs.catalog.jobs import Counts
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


def test_what_has_failed_is_told_as_text(app, console):
    log = services_of(app).job_log
    try:
        with log.run("backup", lambda: Counts(0, 0, 0, 0)):
            raise ValueError("<b>no space</b>")
    except ValueError:
        pass

    page = console.get("/jobs").text

    assert "&lt;b&gt;no space" in page
