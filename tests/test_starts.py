"""Settings that are well formed and unusable end the start."""

import os
import re
import socket
import subprocess
import sys
from io import BytesIO

import pytest
from support.project import ROOT

from aurora_blobs import open_store
from aurora_blobs.config import ConfigError
from aurora_blobs.errors import StoreNotOurs
from aurora_blobs.storage.base import MARK


@pytest.fixture
def odd(tmp_path):
    """A folder of files and folders that no setting can use."""
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "no-database").write_bytes(b"not a database " * 100)
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    for name, content in (("short", b"too short\n"), ("no-text", b"\xff" * 40)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "jwt.secret").write_bytes(content)
    for name in ("spool", "blobs"):
        (tmp_path / f"no-{name}").mkdir()
        (tmp_path / f"no-{name}" / name).write_text("not a folder")
    (tmp_path / "no-secret" / "jwt.secret").mkdir(parents=True)
    (tmp_path / "folder" / "aurora.sqlite3").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize(
    "name, text",
    [
        ("DATA_DIR", "/proc/x"),
        ("DATA_DIR", "ODD/file"),
        ("DATA_DIR", "ODD/file/data"),
        ("DATA_DIR", "ODD/dangling"),
        ("DATA_DIR", "ODD/" + "x" * 300),
        pytest.param("DATA_DIR", "ODD/short", marks=pytest.mark.sqlite),
        pytest.param("DATA_DIR", "ODD/no-text", marks=pytest.mark.sqlite),
        pytest.param("DATA_DIR", "ODD/no-secret", marks=pytest.mark.sqlite),
        ("DATA_DIR", "ODD/no-spool"),
        ("DATA_DIR", "ODD/no-blobs"),
        pytest.param("DATA_DIR", "ODD/folder", marks=pytest.mark.sqlite),
        ("DATABASE_URL", "sqlite:ODD/folder"),
        ("DATABASE_URL", "sqlite:ODD/no-database"),
        ("DATABASE_URL", "sqlite:ODD/file/db"),
        ("DATABASE_URL", "sqlite:/proc/x/db"),
        ("ENTRYWAY_PUBLIC_KEY", "did:key:z" + "1" * 40),
        ("ENTRYWAY_PUBLIC_KEY", "did:key:z" + "0" * 40),
        ("ENTRYWAY_PUBLIC_KEY", "02" + "ff" * 32),
        ("LEXICON_DIR", "ODD/gone"),
        ("LEXICON_DIR", "ODD/file"),
    ],
)
def test_an_unusable_value_is_named_with_its_setting(open_app, odd, name, text):
    text = text.replace("ODD", str(odd))

    with pytest.raises(ConfigError) as refusal:
        open_app(**{name: text})

    assert str(refusal.value).startswith(f"AURORA_BLOBS_{name}={text!r}: accepted is ")
    assert "\n" not in str(refusal.value)


def test_a_secret_that_is_a_public_key_is_named_and_not_shown(open_app):
    key = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAB"

    with pytest.raises(ConfigError) as refusal:
        open_app(JWT_SECRET=f"0123456789abcdef,{key}")

    assert str(refusal.value).startswith("AURORA_BLOBS_JWT_SECRET=(hidden): accepted is ")
    assert key not in str(refusal.value)


def started(*command: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": os.environ["PATH"]} | {
        f"AURORA_BLOBS_{name}": text for name, text in settings.items()
    }
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
    )


def complaints(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What it said to the standard error, but for what the log tells at its usual level."""
    return [line for line in done.stderr.splitlines() if " INFO " not in line]


@pytest.mark.parametrize(
    "command",
    [("gunicorn", "-c", "gunicorn.conf.py", "wsgi:app"), ("flask", "--app", "wsgi", "init-db")],
    ids=["server", "command"],
)
@pytest.mark.parametrize(
    "name, text",
    [
        ("DATA_DIR", "ODD/file"),
        ("DATABASE_URL", "sqlite:ODD/no-database"),
        ("PLC_URL", "http://[::"),
    ],
)
def test_a_setting_that_cannot_be_used_ends_the_start_with_one_line(odd, command, name, text):
    text = text.replace("ODD", str(odd))

    done = started(
        *command, **{"DATA_DIR": str(odd / "data"), "BIND": f"unix:{odd}/socket", name: text}
    )

    assert done.returncode == 1
    assert done.stderr.startswith(f"aurora_blobs: AURORA_BLOBS_{name}={text!r}: accepted is ")
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)


@pytest.mark.parametrize(
    "address",
    [
        "unix:ODD/gone/socket",
        "unix:ODD/file/socket",
        "unix:ODD/file",
        "unix:ODD",
        "unix:ODD/" + "x" * 108,
        "no-such-host.invalid:80",
        "192.0.2.1:2583",
    ],
)
def test_an_address_that_cannot_be_bound_ends_the_start_with_one_line(odd, address):
    address = address.replace("ODD", str(odd))

    done = started(
        "gunicorn", "-c", "gunicorn.conf.py", "wsgi:app", DATA_DIR=str(odd / "data"), BIND=address
    )

    assert done.returncode == 1
    assert done.stderr.startswith(f"aurora_blobs: AURORA_BLOBS_BIND={address!r}: accepted is ")
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)


def test_an_address_in_use_is_left_for_gunicorn_to_retry(odd):
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.socket(socket.AF_UNIX) as left:
        left.bind(str(odd / "left"))
        addresses = [f"127.0.0.1:{taken.getsockname()[1]}", f"unix:{odd}/left"]

        checked = [
            started(
                "gunicorn",
                "-c",
                "gunicorn.conf.py",
                "--check-config",
                "wsgi:app",
                DATA_DIR=str(odd),
                BIND=address,
            )
            for address in addresses
        ]

    assert [(done.returncode, complaints(done)) for done in checked] == [(0, []), (0, [])]


WITHOUT = "import sys; sys.modules['PACKAGE'] = None; import aurora_blobs.wsgi"


@pytest.mark.parametrize(
    "settings, package, line",
    [
        (
            {"STORAGE": "s3", "S3_BUCKET": "blobs"},
            "boto3",
            "S3 needs boto3: install the extra s3 of",
        ),
        (
            {"METRICS_TOKEN": "a-token-that-nobody-guesses"},
            "prometheus_client",
            "METRICS_TOKEN needs prometheus-client: install the extra metrics of",
        ),
    ],
    ids=["a store in S3", "metrics"],
)
def test_what_wants_an_extra_that_is_missing_ends_the_start_with_one_line(
    tmp_path, settings, package, line
):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT.replace("PACKAGE", package)],
        cwd=ROOT,
        env={
            f"AURORA_BLOBS_{name}": text
            for name, text in ({"DATA_DIR": str(tmp_path)} | settings).items()
        },
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert done.returncode == 1
    assert done.stderr.startswith(f"aurora_blobs: {line}")
    assert done.stderr.count("\n") == 1


@pytest.fixture
def filled(tmp_path):
    """A data folder with a blob in it."""
    with open_store(tmp_path / "data", durable=False) as store:
        store.upload(BytesIO(b"here"), did="did:web:alice.test")
    return tmp_path / "data"


def away(blobs):
    blobs.rename(f"{blobs}.away")


def emptied(blobs):
    away(blobs)
    blobs.mkdir()


def another_s(blobs):
    away(blobs)
    with open_store(blobs.parent / "other", durable=False):
        pass
    (blobs.parent / "other" / "blobs").rename(blobs)


SERVER = ("gunicorn", "-c", "gunicorn.conf.py", "wsgi:app")


@pytest.mark.parametrize(
    "change, told",
    [
        (away, "has no aurora-store.json: is it mounted, is it the right one?"),
        (emptied, "has no aurora-store.json: is it mounted, is it the right one?"),
        (another_s, "is the store of another database"),
    ],
)
def test_a_store_that_is_not_the_database_s_ends_the_start_with_one_line(filled, change, told):
    change(filled / "blobs")
    before = sorted((filled / "blobs").rglob("*"))

    done = started(*SERVER, DATA_DIR=str(filled), BIND=f"unix:{filled}/socket")

    assert done.returncode == 1
    assert done.stderr.startswith(
        f"aurora_blobs: the folder {filled}/blobs (AURORA_BLOBS_DATA_DIR)"
    )
    assert told in done.stderr
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)
    assert sorted((filled / "blobs").rglob("*")) == before


@pytest.mark.parametrize("change", [away, emptied, another_s])
def test_nothing_is_called_ready_that_does_not_start(filled, change):
    change(filled / "blobs")

    done = started("aurora_blobs", "run", DATA_DIR=str(filled), BIND=f"unix:{filled}/socket")

    assert done.returncode == 1
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)


COMMANDS = [("flask", "--app", "wsgi", "init-db"), ("aurora_blobs", "run"), SERVER]


@pytest.mark.sqlite
@pytest.mark.parametrize("command", COMMANDS, ids=["init-db", "run", "gunicorn"])
def test_no_database_takes_the_place_of_one_that_was_lost(filled, command):
    (filled / "aurora.sqlite3").rename(filled / "lost")
    before = sorted(filled.rglob("*"))

    done = started(*command, DATA_DIR=str(filled), BIND=f"unix:{filled}/socket")

    assert done.returncode == 1
    assert re.fullmatch(
        f"(aurora_blobs|Error): no database at {filled}/aurora.sqlite3, but the folder "
        f"{filled}/blobs .* carries {MARK}. If a database was lost, `backup restore .* brings it "
        "back; .* settings .* stray then\n",
        done.stderr,
    )
    assert (done.stdout, sorted(filled.rglob("*"))) == ("", before)


@pytest.mark.sqlite
def test_a_library_makes_no_database_beside_the_store_of_one_that_was_lost(filled):
    (filled / "aurora.sqlite3").unlink()

    with pytest.raises(StoreNotOurs, match="backup restore"):
        open_store(filled)

    assert not (filled / "aurora.sqlite3").exists()


@pytest.mark.sqlite
def test_who_removes_the_mark_begins_anew(filled):
    (filled / "aurora.sqlite3").unlink()
    (filled / "blobs" / MARK).unlink()

    made = started("aurora_blobs", "init-db", DATA_DIR=str(filled))
    checked = started("aurora_blobs", "blobs", "fsck", DATA_DIR=str(filled))

    assert (made.returncode, complaints(made)) == (0, [])
    assert checked.stdout.startswith("stray: ")


def test_a_database_is_not_called_ready_whose_store_is_another_one_s(tmp_path):
    with open_store(tmp_path, durable=False):
        pass
    another_s(tmp_path / "blobs")

    done = started("aurora_blobs", "init-db", DATA_DIR=str(tmp_path))

    assert done.returncode == 1
    assert re.search(r"another database: .* `backup restore .* settings .* --adopt`", done.stderr)
    assert (done.stdout, done.stderr.count("\n")) == ("", 1)


@pytest.mark.parametrize("change", [away, emptied, another_s])
def test_a_command_starts_whatever_the_store_is_and_one_of_them_adopts_it(filled, change):
    change(filled / "blobs")
    command = ("flask", "--app", "wsgi")
    before = sorted((filled / "blobs").rglob("*"))

    listed = started(*command, "blobs", "list", DATA_DIR=str(filled))
    checked = started(*command, "blobs", "fsck", DATA_DIR=str(filled))
    adopt = (*command, "blobs", "fsck", "--adopt")
    refused = started(*adopt, DATA_DIR=str(filled))
    after_refusal = sorted((filled / "blobs").rglob("*"))
    adopted = started(*adopt, "--yes-lose-many", DATA_DIR=str(filled))
    again = started(*command, "blobs", "fsck", DATA_DIR=str(filled))

    assert (listed.returncode, listed.stdout.count("\n")) == (0, 2)  # with its header
    assert (checked.returncode, checked.stdout) == (1, "")
    # What to look at comes first, what may lose something last.
    assert re.search(r"(?i)look at the .* first\. .* --adopt` .* stray .* missing", checked.stderr)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == (
        f"Error: the folder {filled}/blobs (AURORA_BLOBS_DATA_DIR) has 0 of 1 blobs that were "
        "looked for, of 1 that the database knows: those that are not there would count "
        "as missing. --yes-lose-many adopts it\n"
    )
    assert after_refusal == before
    assert adopted.returncode == 1
    assert f"the folder {filled}/blobs (AURORA_BLOBS_DATA_DIR) is this database's" in adopted.stdout
    assert again.stdout.startswith("lost: ")


def test_a_store_that_has_all_blobs_is_adopted_without_a_question(filled):
    (filled / "blobs" / MARK).write_text('{"store": "0123456789abcdef0123456789abcdef"}')

    adopted = started("aurora_blobs", "blobs", "fsck", "--adopt", DATA_DIR=str(filled))

    assert (adopted.returncode, complaints(adopted)) == (0, [])
    assert "1 blobs, 4 bytes: nothing is wrong" in adopted.stdout


def test_a_library_does_not_open_a_store_that_is_not_its_database_s(filled):
    another_s(filled / "blobs")

    with pytest.raises(StoreNotOurs):
        open_store(filled)
