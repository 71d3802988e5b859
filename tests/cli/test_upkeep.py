"""``blobs fsck``, ``scrub``, ``import``, ``export`` and ``backup``."""

import json
import threading

import pytest
from support.accounts import BOB, sign_up
from support.media_samples import jpeg
from support.services import services_of
from werkzeug.serving import make_server


@pytest.fixture
def run(app):
    def run(*arguments):
        return app.test_cli_runner().invoke(args=arguments)

    return run


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
            }
        ],
    }


def test_a_repair_is_reported(run, backend, cid):
    (backend.root / backend.path(cid)).write_bytes(b"?" * SIZE)

    result = run("blobs", "scrub", "--repair", "--bytes-per-second", "1GB")

    assert result.exit_code == 1
    assert "(repaired)" in result.output
    assert run("blobs", "scrub").exit_code == 0


def test_strays_are_listed_before_they_are_removed(run, backend, store):
    stray = store(backend, b"nobody's")

    named = run("blobs", "fsck", "--delete-strays", "--dry-run", "--json")
    assert json.loads(named.output)["deleted"] == [stray]
    assert backend.size(stray) == 8

    gone = run("blobs", "fsck", "--delete-strays")
    assert "deleted 1 of 1 strays" in gone.output
    assert run("blobs", "fsck").exit_code == 0


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


def test_an_export_goes_to_a_folder_and_can_be_imported(run, alice, cid, tmp_path):
    out = tmp_path / "out" / BOB

    exported = run("blobs", "export", "--did", "alice.test", str(out))
    listed = run("blobs", "import", str(tmp_path / "out"), "--dry-run")
    imported = run("blobs", "import", str(tmp_path / "out"), "--json")

    assert (exported.exit_code, exported.output) == (0, "exported 1 blobs: nothing is wrong\n")
    assert listed.output == f"did:web:bob.test\t{cid}\t{SIZE}\tdid:web:bob.test/{cid}\n"
    assert json.loads(imported.output) == {"imported": 1, "present": 0, "findings": []}


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
    assert json.loads(restored.output)["copied_blobs"] == 1
    assert alice.fetch(cid).data == jpeg("cat")
    assert [line.split(":")[0] for line in run("blobs", "fsck").output.splitlines()[:-1]] == [
        "stray"
    ]
