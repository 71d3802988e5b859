"""The commands in docs/ that have no prompt run as printed, on real servers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.accounts import ADMIN, CAROL, Account
from support.live_service import Service
from support.pages import PAGES, blocks, name_of
from support.project import DOCS, PHOTO, ROOT
from support.s3_access import BUCKET, KEYS

pytestmark = pytest.mark.live

# Pages whose commands run beside a service with one account and its public photo, and pages with
# tests of their own.
BESIDE = ("accounts.md", "api.md", "operate.md", "settings.md")
OTHERS = ("backup.md", "beside-a-pds.md", "debian.md", "pictures.md", "s3.md")


def run(page: str, service: Service, **environment: str) -> str:
    """Run the commands of *page*, each block in its own shell; what they print.

    Addresses, folders and the user are replaced by those of *service*.
    """
    folder = service.folder
    output = ""
    for block in blocks(DOCS / page, "sh"):
        for printed, here in (
            ("/tmp/", f"{folder}/"),
            ("/mnt/", f"{folder}/"),
            ("127.0.0.1:2583", f"127.0.0.1:{service.port}"),
            ("/run/aurora-blobs/gunicorn.sock", str(service.socket)),
            ("-o aurora-blobs -g aurora-blobs", f"-o {os.geteuid()} -g {os.getegid()}"),
        ):
            block = block.replace(printed, here)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=ROOT,
            env={
                **service.environ(),
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, (block, done.stdout, done.stderr)
        output += done.stdout
    return output


@pytest.fixture(scope="module")
def beside(tmp_path_factory):
    """A service, and shell variables: the account and its photo."""
    folder = tmp_path_factory.mktemp("beside")
    with Service(folder, AURORA_BLOBS_ADMIN_PASSWORD=ADMIN[1]) as service:
        alice = service.account()
        cid = alice.publish(PHOTO.read_bytes()).cid
        yield service, {"DID": alice.did, "TOKEN": alice.token, "CID": cid}


def test_every_page_with_commands_is_run():
    with_commands = {page.name for page in PAGES if page.parent == DOCS and blocks(page, "sh")}

    assert with_commands == {*BESIDE, *OTHERS}


def test_no_page_elsewhere_has_commands_but_the_readme():
    elsewhere = [page for page in PAGES if page.parent != DOCS]

    assert [name_of(page) for page in elsewhere if blocks(page, "sh")] == ["README.md"]


@pytest.mark.parametrize("page", BESIDE)
def test_commands_run_beside_the_service(beside, page):
    service, shell = beside

    run(page, service, **shell)


def test_a_thumbnail_is_fetched_as_printed(beside):
    service, shell = beside

    run("pictures.md", service, **shell)

    assert (service.folder / "thumbnail.webp").read_bytes()[8:12] == b"WEBP"


def test_a_backup_is_made_and_restored_as_printed(tmp_path):
    with Service(tmp_path) as service:
        cid = service.account().publish(PHOTO.read_bytes()).cid

    output = run("backup.md", service)

    assert "1 of 1 are there: nothing is wrong" in output
    assert list((tmp_path / "backup").rglob(cid)) != []


def test_a_write_is_reported_as_printed(tmp_path):
    with Service(
        tmp_path / "service",
        AURORA_BLOBS_BIND=f"unix:{tmp_path}/s.sock",
        AURORA_BLOBS_PROXY_HOPS="1",
        AURORA_BLOBS_ACCOUNTS="external",
        AURORA_BLOBS_JWT_SECRET="0123456789abcdef0123456789abcdef",
        AURORA_BLOBS_ADMIN_PASSWORD=ADMIN[1],
    ) as service:
        # The first report makes the account, so that it can have a token.
        report = {"repo": CAROL, "writes": []}
        service.post("/xrpc/com.atproto.repo.applyWrites", json=report, auth=ADMIN)
        token = service.run("account", "token", CAROL).stdout.decode().strip()
        blob = Account(CAROL, token, service).blob(PHOTO.read_bytes())

        answer = json.loads(run("beside-a-pds.md", service, BLOB=json.dumps(blob)))

    assert [result["$type"].rpartition("#")[2] for result in answer["results"]] == [
        "createResult",
        "deleteResult",
    ]


def test_blobs_go_to_s3_as_printed(tmp_path, s3_server):
    service = Service(
        tmp_path,
        **KEYS,
        AURORA_BLOBS_S3_ENDPOINT_URL=s3_server.url,
        AURORA_BLOBS_S3_ADDRESSING_STYLE="path",
        AURORA_BLOBS_S3_PREFIX=f"{tmp_path.name}/",
        AURORA_BLOBS_S3_BUCKET=BUCKET,
    )

    output = run("s3.md", service)

    assert output.count("nothing is wrong") == 2
