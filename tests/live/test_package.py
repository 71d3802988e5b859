"""The wheel is all that a machine needs, in an empty environment and an empty folder."""

import os
import re
import subprocess
import sys
from functools import cache, partial
from pathlib import Path

import pytest
from support.accounts import sign_up
from support.live_service import Server
from support.project import DEPLOY, PHOTO, ROOT

pytestmark = pytest.mark.live

CID = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
PROGRAM = (
    "import sys; print(sys.version_info[:2], sys.version_info >= (3, 11), sys.implementation.name)"
)


def pythons():
    """A path to each version of Python on this machine that the package is for."""
    places = [Path(sys.executable).resolve(), *Path("/usr/bin").glob("python3*[0-9]")]
    places += Path.home().glob(".pyenv/versions/3.*/bin/python3")
    found = {}
    for place in places:
        said = subprocess.run([place, "-c", PROGRAM], capture_output=True, text=True, timeout=60)
        if said.stdout.endswith("True cpython\n"):
            # Two of the same version are built differently: Debian's, and another.
            found.setdefault((said.stdout, place.is_relative_to("/usr")), place)
    return list(found.values())


PYTHONS = pythons()
KINDS = [(python, "highest") for python in PYTHONS] + [(PYTHONS[0], "lowest-direct")]


@pytest.fixture(scope="module")
def install(wheel, tmp_path_factory):
    """``install(python, resolution)`` makes an environment that has the wheel and nothing else.

    It returns the folder of its commands.
    """

    @cache
    def install(python, resolution):
        folder = tmp_path_factory.mktemp("environment")
        uv = [sys.executable, "-m", "uv", "--quiet"]
        subprocess.run([*uv, "venv", "--python", python, folder], check=True, timeout=300)
        install = [*uv, "pip", "install", "--python", folder / "bin" / "python"]
        packages = ["--resolution", resolution, f"{wheel}[brotli,images,s3]"]
        subprocess.run([*install, *packages], check=True, timeout=600)
        return folder / "bin"

    return install


@pytest.fixture
def binaries(install):
    return install(*KINDS[0])


@pytest.fixture
def run(binaries, tmp_path):
    """``run(*words)`` runs `aurora-blobs` in an empty folder; what it did."""
    return partial(run_in, binaries, tmp_path)


def run_in(binaries, folder, *words, command=("aurora-blobs",), **environment):
    return subprocess.run(
        [binaries / command[0], *command[1:], *words],
        cwd=folder,
        env=clean_environment(**environment),
        capture_output=True,
        text=True,
        timeout=120,
    )


def clean_environment(**more):
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return {**kept, **more}


class Installed(Server):
    """`aurora-blobs run` in an empty folder."""

    def __init__(self, folder, binaries):
        super().__init__(folder)
        self._binaries = binaries

    def start(self):
        environment = clean_environment(AURORA_BLOBS_BIND=f"127.0.0.1:{self.port}")
        command = [self._binaries / "aurora-blobs", "run"]
        self._begin(command, "service.log", cwd=self.folder, env=environment)
        return self


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind[0]} {kind[1]}")
def test_the_installed_package_serves_and_its_commands_work(install, kind, tmp_path):
    binaries = install(*kind)
    run = partial(run_in, binaries, tmp_path)
    with Installed(tmp_path, binaries) as service:
        alice = sign_up(service, "alice.test")
        cid = alice.publish(PHOTO.read_bytes()).cid
        listed = run("blobs", "list")
        as_module = run("blobs", "list", command=("python", "-m", "aurora_blobs"))
        checked = run("blobs", "fsck")

        assert alice.fetch(cid).data == PHOTO.read_bytes()
        assert cid in listed.stdout
        assert (listed.returncode, as_module.stdout) == (0, listed.stdout)
        assert checked.returncode == 0
        assert " INFO aurora_blobs.maintenance.job_log a job has ended job=fsck" in checked.stderr
        assert service.get(f"/img/avatar/plain/{alice.did}/{cid}").status_code == 200

    log = (tmp_path / "service.log").read_text()
    assert f"listens on http://127.0.0.1:{service.port}, its data in data. Try:" in log
    assert service.process.returncode == 0


@pytest.mark.parametrize(
    "words",
    [
        *(("blobs", "list"), ("blobs", "stats"), ("blobs", "gc"), ("blobs", "gc", "--dry-run")),
        *(("blobs", "fsck"), ("blobs", "scrub"), ("blobs", "show", CID), ("account", "list")),
        *(("blobs", "migrate", "--to", "disk"), ("backup", "make", "backup")),
        ("account", "create", "--handle", "a.test", "--email", "a@b.c", "--password", "12345678"),
    ],
    ids=" ".join,
)
def test_a_command_makes_nothing_where_there_is_nothing(run, tmp_path, words):
    done = run(*words)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "aurora_blobs: no database at data/aurora.sqlite3\n"
    assert list(tmp_path.iterdir()) == []


def test_the_settings_can_be_shown_where_there_is_nothing(run, tmp_path):
    done = run("config", AURORA_BLOBS_QUOTA="5MB")

    assert re.search(r"^AURORA_BLOBS_QUOTA +5000000$", done.stdout, re.MULTILINE)
    assert list(tmp_path.iterdir()) == []


def test_the_deploy_files_and_the_changelog_come_along(run):
    listed = run("files").stdout.split()

    paths = [ROOT / "CHANGELOG.md", *DEPLOY.iterdir()]
    assert listed == sorted(path.name for path in paths)
    assert {name: run("files", name).stdout for name in listed} == {
        path.name: path.read_text() for path in paths
    }


def test_a_file_that_is_none_is_refused(run):
    done = run("files", "../schema.sql")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(
        "Error: ../schema.sql: no such file; there are CHANGELOG.md, Caddyfile, "
    )


def test_the_list_of_commands_has_none_of_flask(run):
    listed = run("--help").stdout.partition("Commands:")[2]
    words = re.findall(r"^  ([a-z-]+) ", listed, re.MULTILINE)

    assert words == [
        *(
            "account",
            "audit",
            "backup",
            "blobs",
            "config",
            "database",
            "files",
            "follow",
            "init-db",
        ),
        *("mirror", "run", "takedown"),
    ]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_its_commands(run, shell):
    script = run(_AURORA_BLOBS_COMPLETE=f"{shell}_source").stdout
    words = {"COMP_WORDS": "aurora-blobs blobs s", "COMP_CWORD": "2" if shell != "fish" else "s"}
    offered = run(_AURORA_BLOBS_COMPLETE=f"{shell}_complete", **words).stdout

    assert "aurora-blobs" in script
    assert {"scrub", "show", "stats"} <= set(re.findall(r"\w+", offered))


def test_a_folder_of_the_same_name_is_no_trap_for_a_script_beside_it(tmp_path):
    (tmp_path / "aurora_blobs").mkdir()
    script = tmp_path / "script.py"
    script.write_text("from aurora_blobs import open_store; print(open_store)")

    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stderr) == (0, "")
