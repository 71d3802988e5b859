"""``blobs fsck``, ``scrub``, ``import``, ``export`` and ``backup``."""

import json
import os
import pty
import re
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from support.accounts import BOB, sign_up
from support.cids import cid_of
from support.media_samples import jpeg
from support.project import DEPLOY, ROOT
from support.services import services_of
from werkzeug.serving import make_server

from aurora_blobs.catalog import blobs as blob_rows


@pytest.fixture
def backend(services):
    return services.blobs.backend


@pytest.fixture
def cid(alice):
    blob, _ = alice.publish(jpeg("cat"))
    return blob["ref"]["$link"]


SIZE = len(jpeg("cat"))


def test_a_clean_store_exits_with_status_0(run, cid):
    checked, scrubbed = run("blobs", "fsck"), run("blobs", "scrub")

    assert (checked.exit_code, checked.output) == (0, f"1 blobs, {SIZE} bytes: nothing is wrong\n")
    assert (scrubbed.exit_code, scrubbed.output) == (
        0,
        f"read 1 blobs, {SIZE} bytes: nothing is wrong\n",
    )


def test_a_finding_is_reported_and_exits_with_status_1(run, backend, cid):
    backend.delete(cid)

    told = run("blobs", "fsck")
    printed = run("blobs", "fsck", "--json")

    assert (told.exit_code, printed.exit_code) == (1, 1)
    assert told.output == (
        f"lost: {cid}: its {SIZE} bytes are not in the store\n0 blobs, 0 bytes: 1 findings, "
        "0 repaired\n"
    )
    assert json.loads(printed.output) == {
        "blobs": 0,
        "bytes": 0,
        "findings": [
            {
                "kind": "lost",
                "subject": cid,
                "detail": f"its {SIZE} bytes are not in the store",
                "repaired": False,
                "leftover": False,
            }
        ],
    }


def test_a_repair_is_reported(run, backend, cid):
    (backend.root / backend.path(cid)).write_bytes(b"?" * SIZE)

    result = run("blobs", "scrub", "--bytes-per-second", "1GB")

    assert result.exit_code == 1
    assert "(repaired)" in result.output
    assert run("blobs", "scrub").exit_code == 0


def test_a_repair_of_everything_is_told_by_the_status_once(run, services, alice, cid):
    with services.database.write() as tx:
        tx.run("UPDATE account SET blob_count = 7 WHERE did = ?", alice.did)

    statuses = [run("blobs", "fsck", *more).exit_code for more in ((), ("--repair",), ())]

    assert statuses == [1, 1, 0]


def test_strays_are_listed_before_they_are_removed(run, backend, store, cid):
    stray = store(backend, b"nobody's")

    named = run("blobs", "fsck", "--delete-strays", "--dry-run", "--json")
    assert json.loads(named.output)["deleted"] == [stray]
    assert backend.size(stray) == 8

    gone = run("blobs", "fsck", "--delete-strays")
    assert "deleted 1 of 1 strays" in gone.output
    assert run("blobs", "fsck").exit_code == 0


def test_strays_that_are_most_of_a_store_are_not_removed_without_a_question(
    run, backend, store, cid
):
    strays = [store(backend, data) for data in (b"of another", b"database")]

    refused = run("blobs", "fsck", "--delete-strays")
    refused_in_json = run("blobs", "fsck", "--delete-strays", "--json")
    kept = [backend.size(stray) for stray in strays]
    agreed = run("blobs", "fsck", "--delete-strays", "--yes-lose-many")

    assert [done.exit_code for done in (refused, refused_in_json)] == [1, 1]
    assert "deleted 0 of 2 strays: they are most of the store" in refused.output
    assert "`backup restore FOLDER`" in refused.output
    assert json.loads(refused_in_json.output)["deleted"] == []
    assert kept == [10, 8]
    assert "deleted 2 of 2 strays" in agreed.output
    assert [backend.size(name) for name in (*strays, cid)] == [None, None, SIZE]


@pytest.fixture
def other_server(open_app):
    """Another service, and its URL."""
    app = open_app()
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield app, f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join(10)
    server.server_close()


def test_missing_blobs_are_fetched_from_another_server(run, backend, alice, cid, other_server):
    other, url = other_server
    sign_up(other.test_client(), "alice.test").publish(jpeg("cat"))
    backend.delete(cid)
    run("blobs", "fsck", "--repair")

    healed = run("blobs", "fsck", "--from", url, "--json")

    assert json.loads(healed.output)["healed"] == 1
    assert run("blobs", "fsck").exit_code == 0
    assert alice.fetch(cid).data == jpeg("cat")


def test_wrong_bytes_of_another_server_are_not_stored(run, backend, alice, cid, other_server):
    other, url = other_server
    sign_up(other.test_client(), "alice.test").publish(jpeg("cat"))
    theirs = services_of(other).blobs.backend
    (theirs.root / theirs.path(cid)).write_bytes(jpeg("dog"))
    backend.delete(cid)
    run("blobs", "fsck", "--repair")

    result = run("blobs", "fsck", "--from", url, "--json")

    findings = json.loads(result.output)["findings"]
    assert [finding["kind"] for finding in findings] == ["missing", "not fetched"]
    assert "The bytes are those of" in findings[1]["detail"]
    assert backend.size(cid) is None


@pytest.mark.parametrize(
    "url, told",
    [
        ("http://127.0.0.1:9", "the other server cannot be reached"),
        ("file:///etc", "accepted is a URL"),
    ],
    ids=["nobody there", "no web server"],
)
def test_an_unreachable_server_is_reported(run, backend, cid, url, told):
    backend.delete(cid)
    run("blobs", "fsck", "--repair")

    result = run("blobs", "fsck", "--from", url)

    assert result.exit_code == 1
    assert told in result.output


def test_migrating_to_s3_needs_a_bucket(run):
    result = run("blobs", "migrate", "--to", "s3")

    assert (result.exit_code, result.output) == (
        1,
        "Error: AURORA_BLOBS_S3_BUCKET is unset: accepted is a bucket's name\n",
    )


@pytest.mark.parametrize(
    "name, told",
    [
        (b"\x1b[2J\x9b1m", r"\u001b[2J\udc9b1m"),
        ("a\nlost: \u202e".encode(), r"a\nlost: \u202e"),
        ("ünïcödé 🦊".encode(), "ünïcödé 🦊"),
    ],
    ids=["an escape sequence", "a line break", "letters"],
)
def test_names_of_somebody_else_are_printed_with_escapes(run, tmp_path, name, told):
    folder = tmp_path / os.fsdecode(name)
    folder.mkdir()
    (folder / cid_of(b"a note")).write_bytes(b"a note")
    name = f"{told}/{cid_of(b'a note')}"

    listed = run("blobs", "import", str(tmp_path), "--dry-run")
    imported = run("blobs", "import", str(tmp_path))
    as_json = run("blobs", "import", str(tmp_path), "--json")

    assert listed.output == f"did\tcid\tsize\tname\nnobody\t{cid_of(b'a note')}\t6\t{name}\n"
    assert f"not imported: {name}: its place does not say whose it is: give --did\n" in (
        imported.output
    )
    assert f'"subject": "{name}"' in as_json.output
    (finding,) = json.loads(as_json.output)["findings"]
    assert os.fsencode(finding["subject"]).startswith(os.fsencode(folder.name))


def test_an_export_goes_to_a_folder_and_can_be_imported(run, alice, cid, tmp_path):
    out = tmp_path / "out" / BOB

    exported = run("blobs", "export", "--did", "alice.test", str(out))
    listed = run("blobs", "import", str(tmp_path / "out"), "--dry-run", "--json")
    imported = run("blobs", "import", str(tmp_path / "out"), "--json")

    assert (exported.exit_code, exported.output) == (0, "exported 1 blobs: nothing is wrong\n")
    assert json.loads(listed.output) == {
        "did": "did:web:bob.test",
        "cid": cid,
        "size": SIZE,
        "name": f"did:web:bob.test/{cid}",
    }
    assert json.loads(imported.output) == {"imported": 1, "present": 0, "findings": []}


def test_the_store_of_a_pds_comes_and_goes_back(run, tmp_path):
    pds, back = tmp_path / "pds", tmp_path / "back"
    (pds / BOB).mkdir(parents=True)
    (pds / BOB / cid_of(b"a note")).write_bytes(b"a note")
    words = ("blobs", "import", str(pds), "--layout", "pds")

    listed = run(*words, "--dry-run")
    imported = run(*words, "--json")
    returned = run("blobs", "export", "--layout", "pds", str(back))
    (pds / BOB / cid_of(b"a note")).unlink()
    refused = run(*words, "--delete")

    key = f"{BOB}/{cid_of(b'a note')}"
    assert listed.output == f"key\tsize\tname\nblocks/{key}\t6\t{key}\n"
    assert json.loads(imported.output) == {
        "imported": 1,
        "present": 0,
        "deleted": 0,
        "findings": [],
    }
    assert (returned.exit_code, returned.output) == (0, "exported 1 objects: nothing is wrong\n")
    assert (back / BOB / cid_of(b"a note")).read_bytes() == b"a note"
    assert refused.exit_code == 1
    assert "nothing of a PDS is there" in refused.output


@pytest.mark.parametrize(
    "words",
    [
        ("import", ".", "--delete"),
        ("import", ".", "--layout", "pds", "--did", BOB),
        ("export", "."),
        ("export", "--layout", "pds"),
        ("export", "--layout", "pds", "--did", BOB, "."),
    ],
)
def test_options_that_do_not_go_together_are_refused(run, words):
    assert run("blobs", *words).exit_code == 2


def test_an_export_needs_one_place_to_go(run, alice, tmp_path):
    assert run("blobs", "export", "--did", alice.did).exit_code == 2
    assert run("blobs", "export", "--did", alice.did, "--tar", str(tmp_path)).exit_code == 2


def test_an_export_to_a_dash_is_refused(run, alice, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    refused = run("blobs", "export", "--did", alice.did, "-")

    assert refused.exit_code == 2
    assert "Error: - is no FOLDER: --tar writes to standard output" in refused.output
    assert not (tmp_path / "-").exists()


def test_a_backup_is_made_and_restored(run, alice, cid, backend, tmp_path):
    folder = str(tmp_path / "backup")

    made = run("backup", "make", folder)
    alice.publish(jpeg("dog"))
    backend.delete(cid)
    refused = run("backup", "restore", folder)
    restored = run("backup", "restore", folder, "--yes", "--json")

    assert (made.exit_code, refused.exit_code, restored.exit_code) == (0, 1, 0)
    assert json.loads(restored.output)["copiedBlobs"] == 1
    assert alice.fetch(cid).data == jpeg("cat")
    assert [line.split(":")[0] for line in run("blobs", "fsck").output.splitlines()[:-1]] == [
        "stray"
    ]


def test_scrub_sets_wrong_bytes_aside_as_the_shipped_timer_runs_it(run, backend, cid, alice):
    (backend.root / backend.path(cid)).write_bytes(b"?" * SIZE)

    told = run("blobs", "scrub", "--dry-run")
    served = alice.fetch(cid).data
    found = run("blobs", "scrub")

    assert (told.exit_code, "(repaired)" in told.output, served) == (1, False, b"?" * SIZE)
    assert (found.exit_code, "(repaired)" in found.output) == (1, True)
    assert alice.fetch(cid).status_code == 400
    alice.blob(jpeg("cat"))
    assert alice.fetch(cid).data == jpeg("cat")
    assert run("blobs", "scrub").exit_code == 0


def test_the_shipped_unit_scrubs_and_does_not_only_look():
    (command,) = [
        line
        for line in (DEPLOY / "aurora-blobs-scrub.service").read_text().splitlines()
        if line.startswith("ExecStart=")
    ]

    assert command.endswith("/aurora-blobs blobs scrub")


def test_scrub_still_takes_the_option_that_it_needed(run, backend, cid):
    (backend.root / backend.path(cid)).write_bytes(b"?" * SIZE)

    result = run("blobs", "scrub", "--repair")

    assert (result.exit_code, "(repaired)" in result.output) == (1, True)
    assert run("blobs", "scrub", "--repair", "--dry-run").exit_code == 2


def test_what_is_no_loss_is_no_alarm(app, run, alice, clock):
    """As after a kill between the removal of bytes and the commit."""
    cid = alice.blob(jpeg("deleted"))["ref"]["$link"]
    services = services_of(app)
    with services.database.write() as tx:
        blob_rows.remove_owner(tx, alice.did, cid)
    services.blobs.backend.delete(cid)
    clock.advance(3601)

    told = run("blobs", "fsck")
    scrubbed = run("blobs", "scrub")
    printed = run("blobs", "fsck", "--json")

    assert (told.exit_code, scrubbed.exit_code, printed.exit_code) == (0, 0, 0)
    assert told.output.startswith(f"abandoned: {cid}: ")
    assert told.output.endswith(": nothing is wrong; 1 left-overs, which are no loss\n")
    assert [finding["leftover"] for finding in json.loads(printed.output)["findings"]] == [True]
    clock.advance(86_400)
    assert run("blobs", "gc").exit_code == 0
    assert run("blobs", "fsck").output == "0 blobs, 0 bytes: nothing is wrong\n"


@pytest.fixture
def many_lost(backend, alice):
    """The CIDs of thirty blobs whose bytes are gone."""
    cids = [alice.blob(jpeg(number))["ref"]["$link"] for number in range(30)]
    backend.delete_many(cids)
    return cids


@pytest.mark.parametrize("command", [("fsck", "--repair"), ("scrub",)], ids=" ".join)
def test_a_repair_that_would_lose_many_asks_first(run, many_lost, command):
    refused = run("blobs", *command)
    printed = run("blobs", *command, "--json")
    told = run("blobs", "fsck")
    agreed = run("blobs", *command, "--yes-lose-many")

    assert (refused.exit_code, refused.output.count("(repaired)")) == (1, 0)
    assert "is it the right store, and all of it? --yes-lose-many counts them" in refused.output
    assert not any(finding["repaired"] for finding in json.loads(printed.output)["findings"])
    assert told.output.count("lost: ") == 30
    assert (agreed.exit_code, agreed.output.count("(repaired)")) == (1, 30)
    assert run("blobs", "fsck").output.count("missing: ") == 30


@pytest.mark.sqlite
@pytest.mark.parametrize("answer, repaired", [("y", 30), ("n", 0)])
def test_a_repair_asks_the_person_at_a_terminal(services, many_lost, answer, repaired):
    ours, theirs = pty.openpty()
    os.write(ours, f"{answer}\n".encode())

    done = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "wsgi", "blobs", "fsck", "--repair"],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "AURORA_BLOBS_DATA_DIR": str(services.config.data_dir),
        },
        stdin=theirs,
        capture_output=True,
        text=True,
        timeout=120,
    )
    os.close(ours)
    os.close(theirs)

    assert "21 or more of 30 blobs would count as missing. Is it the right store?" in done.stderr
    assert (done.returncode, done.stdout.count("(repaired)")) == (1, repaired)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"another kind of file" * 500),
        lambda path: (path.unlink(), os.mkfifo(path)),
    ],
    ids=["empty", "foreign", "a FIFO"],
)
def test_a_backup_that_is_none_is_refused_with_one_line_and_nothing_is_lost(
    app, run, alice, cid, tmp_path, break_it
):
    run("backup", "make", str(tmp_path / "backup"))
    break_it(tmp_path / "backup" / "aurora.sqlite3")
    before = sorted(services_of(app).config.data_dir.iterdir())

    refused = run("backup", "restore", str(tmp_path / "backup"), "--yes")

    assert isinstance(refused.exception, SystemExit)
    assert (refused.exit_code, refused.output.count("\n")) == (1, 1)
    assert refused.output.startswith("Error: ")
    assert alice.fetch(cid).data == jpeg("cat")
    assert sorted(services_of(app).config.data_dir.iterdir()) == before


def test_a_trigger_in_a_backup_is_not_carried_in(run, alice, cid, tmp_path):
    run("backup", "make", str(tmp_path / "backup"))
    with closing(sqlite3.connect(tmp_path / "backup" / "aurora.sqlite3")) as saved:
        saved.execute(
            "CREATE TRIGGER planted AFTER INSERT ON takedown BEGIN DELETE FROM takedown; END"
        )

    refused = run("backup", "restore", str(tmp_path / "backup"), "--yes")

    assert (refused.exit_code, refused.output.count("\n")) == (1, 1)
    assert "has a trigger 'planted', which is not ours" in refused.output
    run("blobs", "takedown", cid)
    assert alice.fetch(cid).status_code == 400


def test_a_restore_says_where_the_old_database_is(app, run, alice, cid, tmp_path):
    run("backup", "make", str(tmp_path / "backup"))
    alice.publish(jpeg("dog"))

    restored = run("backup", "restore", str(tmp_path / "backup"), "--yes")

    (line,) = restored.output.splitlines()
    kept = Path(re.search(r"\(the one that was here before is (.*) now\)", line)[1])
    assert kept.parent == services_of(app).config.data_dir
    with closing(sqlite3.connect(kept)) as old:
        assert old.execute("SELECT COUNT(*) FROM blob").fetchone() == (2,)
    assert alice.fetch(cid).data == jpeg("cat")
    assert alice.upload(jpeg("dog")).status_code == 200


def page_faults(data_dir, *words):
    """How many pages of memory the kernel gave a command."""
    process = subprocess.Popen(
        [sys.executable, "-m", "aurora_blobs", *words],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "AURORA_BLOBS_DATA_DIR": str(data_dir)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return used.ru_minflt


@pytest.mark.sqlite
def test_what_was_read_into_memory_once_is_read_there_again(tmp_path):
    count, pages = 64, 2**20 // os.sysconf("SC_PAGE_SIZE")
    place = tmp_path / "pds" / "did:web:alice.test"
    place.mkdir(parents=True)
    for number in range(count):
        data = number.to_bytes(1) * 2**20
        (place / cid_of(data)).write_bytes(data)
    page_faults(tmp_path / "data", "blobs", "import", str(tmp_path / "pds"))
    page_faults(tmp_path / "empty", "init-db")

    of_all = page_faults(tmp_path / "data", "blobs", "scrub")
    of_none = page_faults(tmp_path / "empty", "blobs", "scrub")

    assert of_all - of_none < count * pages / 8
