"""The image that Containerfile makes, and compose.yaml, on Debian's podman."""

import hashlib
import os
import re
import shlex
import socket
import ssl
import threading
from http.client import HTTPException
from pathlib import Path

import pytest
from support.accounts import sign_up
from support.containers import IMAGE, NETWORK, Podman
from support.http_client import HttpClient, call
from support.live_service import becomes
from support.pages import blocks
from support.ports import free_port
from support.project import DOCS, PHOTO

from aurora_blobs.storage.base import MARK

pytestmark = pytest.mark.live

UID = 2583
# As compose.yaml has it.
CONFINED = [
    *("--init", "--read-only", "--read-only-tmpfs=false", "--tmpfs", "/tmp"),
    *("--cap-drop", "all", "--security-opt", "no-new-privileges"),
]
PNG = b"\x89PNG\r\n\x1a\n"
BODY = PNG + os.urandom(4_000_000)


@pytest.fixture(scope="module")
def podman(tmp_path_factory):
    podman = Podman(tmp_path_factory.mktemp("podman"), dict(os.environ))
    try:
        podman.build_image()
        yield podman
    finally:
        podman.close()


class Container(HttpClient):
    """The image as a service, confined, with a volume and a port of its own on this machine."""

    def __init__(self, podman, name):
        self._podman = podman
        self.name = name
        self.port = free_port()

    def __enter__(self):
        where = [
            *("--network", NETWORK, "--publish", f"127.0.0.1:{self.port}:2583"),
            *("--volume", f"{self.name}:/data"),
        ]
        self._podman("run", "--detach", "--name", self.name, *CONFINED, *where, IMAGE)
        return self

    def __exit__(self, *_):
        self._podman("rm", "--force", "--time", "1", self.name)

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def is_answering(self):
        try:
            return bool(self.get("/xrpc/_health").status_code)
        except (OSError, HTTPException):
            return False

    def exec(self, *words):
        return self._podman("exec", self.name, *words)

    def account(self, handle):
        return sign_up(
            self, handle, invite_code=self.exec("aurora-blobs", "account", "invite").strip()
        )

    def exit_code(self):
        return int(self._podman("inspect", "--format", "{{.State.ExitCode}}", self.name))


@pytest.fixture(scope="module")
def service(podman):
    with Container(podman, "service") as service:
        assert becomes(service.is_answering, 60)
        yield service


@pytest.fixture(scope="module")
def volume(podman, service):
    """The folder that is /data, as this machine sees it."""
    return Path(podman("volume", "inspect", "--format", "{{.Mountpoint}}", "service").strip())


def test_a_photo_goes_in_and_comes_out(service):
    alice = service.account("alice.test")

    cid = alice.publish(PHOTO.read_bytes()).cid

    assert alice.fetch(cid).data == PHOTO.read_bytes()
    assert service.get(f"/img/avatar/plain/{alice.did}/{cid}").status_code == 200


def test_nobody_signs_up_without_a_code(service):
    person = {"handle": "bob.test", "email": "bob@example.com", "password": "battery staple"}
    answer = service.post("/xrpc/com.atproto.server.createAccount", json=person)

    assert (answer.status_code, answer.json["error"]) == (400, "InvalidInviteCode")


def test_it_has_the_rights_of_nobody(service):
    [service_pid] = service.exec("cat", "/proc/1/task/1/children").split()
    status = service.exec("cat", f"/proc/{service_pid}/status")

    assert re.findall(r"^[UG]id:\t(.*)$", status, re.MULTILINE) == ["\t".join([str(UID)] * 4)] * 2
    assert set(re.findall(r"^Cap\w+:\t(\w+)$", status, re.MULTILINE)) == {"0" * 16}
    assert "\nNoNewPrivs:\t1\n" in status


def test_it_can_write_to_its_volume_and_to_tmp_alone(service):
    # -xdev: of what is mounted it sees the place, and asks the mounted folder itself.
    writable = service.exec("sh", "-c", "find / -xdev -writable ! -type l 2> /dev/null || true")

    assert set(writable.split()) == {"/data", "/tmp"}


def test_all_that_it_keeps_lies_in_its_volume(service, volume):
    cid = service.account("carol.test").publish(PNG + b"kept", "image/png").cid

    [stored] = volume.rglob(cid)
    assert stored.read_bytes() == PNG + b"kept"
    assert {path.stat().st_uid for path in (volume, *volume.rglob("*"))} == {UID}


def test_its_health_is_that_of_the_service(podman, service, volume):
    mark, away = volume / "blobs" / MARK, volume / "mark"
    well = podman.run("healthcheck", "run", "service").returncode
    mark.rename(away)
    try:
        assert becomes(lambda: service.get("/xrpc/_health").status_code == 503)
        ill = podman.run("healthcheck", "run", "service").returncode
    finally:
        away.rename(mark)

    assert (well, ill) == (0, 1)
    assert becomes(lambda: service.get("/xrpc/_health").status_code == 200)


def test_commands_run_in_it(service):
    assert "would collect 0 blobs" in service.exec("aurora-blobs", "blobs", "gc", "--dry-run")
    assert "nothing is wrong" in service.exec("aurora-blobs", "blobs", "fsck")


def test_a_new_container_on_the_volume_has_all_that_was_there(podman):
    with Container(podman, "renewed") as first:
        assert becomes(first.is_answering, 60)
        alice = first.account("alice.test")
        cid = alice.publish(PHOTO.read_bytes()).cid
        podman("stop", "--time", "130", "renewed")

    with Container(podman, "renewed") as second:
        assert becomes(second.is_answering, 60)

        assert alice.at(second).fetch(cid).data == PHOTO.read_bytes()
        assert alice.at(second).upload(PHOTO.read_bytes()).status_code == 200


def test_a_stop_waits_for_an_upload_in_flight(podman):
    with Container(podman, "stopped") as service:
        assert becomes(service.is_answering, 60)
        account = service.account("alice.test")
        begun, finish, answers = threading.Event(), threading.Event(), []

        def pieces():
            yield BODY[:1_500_000]
            begun.set()
            assert finish.wait(60)
            yield BODY[1_500_000:]

        def upload():
            size = {"Content-Length": str(len(BODY))}
            answers.append(account.upload(pieces(), "image/png", **size))

        uploading = threading.Thread(target=upload)
        stopping = threading.Thread(target=podman, args=("stop", "--time", "130", "stopped"))
        uploading.start()
        assert begun.wait(30)
        stopping.start()
        refused = becomes(lambda: not service.is_answering())
        finish.set()
        uploading.join(60)
        stopping.join(150)

        assert refused
        assert [answer.status_code for answer in answers] == [200]
        digest = hashlib.sha256(BODY).hexdigest()
        mount = podman("volume", "inspect", "--format", "{{.Mountpoint}}", "stopped").strip()
        [stored] = Path(mount, "blobs").rglob("bafkrei*")
        assert hashlib.sha256(stored.read_bytes()).hexdigest() == digest
        assert service.exit_code() == 0


def test_a_container_that_is_just_starting_can_be_stopped(podman):
    with Container(podman, "starting") as service:
        podman("stop", "--time", "60", "starting")

        assert service.exit_code() != 137  # killed, after the 60 seconds


class Host(HttpClient):
    """A host of the site of compose.yaml, by HTTPS. It is trusted by *certificates* alone."""

    def __init__(self, name, port, certificates):
        self._name = name
        self._port = port
        self._context = ssl.create_default_context(cadata=certificates)

    def connect(self):
        connection = socket.create_connection(("127.0.0.1", self._port), timeout=60)
        return self._context.wrap_socket(connection, server_hostname=self._name)

    def open(self, path, **options):
        headers = {**(options.pop("headers", None) or {}), "Host": self._name}
        return super().open(path, headers=headers, **options)


PAGE = DOCS / "container.md"
BUILD, PREPARE, START, INVITE, BACK_UP, UPGRADE = [
    re.sub(r"^# ", "", block, flags=re.MULTILINE) for block in blocks(PAGE, "console")
]


class Site:
    """What docs/container.md makes, in a *folder* whose name is the page's."""

    def __init__(self, podman, folder):
        self._podman = podman
        self.folder = folder
        self.plain_port, self._secure_port = free_port(), free_port()
        self.type(PREPARE.replace("/srv/aurora-blobs", str(folder)), folder.parent)
        # Ports and the certificates' maker are others; the names are to be decided.
        self._change("compose.yaml", '"80:80"', f'"127.0.0.1:{self.plain_port}:80"')
        self._change("compose.yaml", '"443:443', f'"127.0.0.1:{self._secure_port}:443')
        self._change("Caddyfile", "\n{\n", "\n{\n\tlocal_certs\n")
        for name in ("SERVICE_DID", "PUBLIC_URL", "HANDLE_DOMAINS"):
            self._change(".env", f"#AURORA_BLOBS_{name}=", f"AURORA_BLOBS_{name}=")
        with (folder / ".env").open("a") as settings:
            settings.write("AURORA_BLOBS_FAILURES_PER_ADDRESS=2/300s\n")

    def _change(self, name, old, new):
        text = (self.folder / name).read_text()
        assert old in text
        (self.folder / name).write_text(text.replace(old, new))

    def type(self, commands, folder=None):
        """What the *commands* of a person print, in the folder of the site."""
        return self._podman.shell(commands, folder or self.folder)

    def __enter__(self):
        self.type(START)
        return self

    def __exit__(self, *_):
        self.type("podman-compose down")

    def exec(self, container, *words):
        return self.type(shlex.join(["podman-compose", "exec", "-T", container, *words]))

    def log(self, container):
        return self.type(f"podman-compose logs {container}")

    def host(self, name):
        root = self.exec("caddy", "cat", "/data/caddy/pki/authorities/local/root.crt")
        return Host(name, self._secure_port, root)

    def serves(self):
        try:
            return self.host("blobs.example.com").get("/xrpc/_health").status_code == 200
        except (AssertionError, OSError, HTTPException):
            return False


@pytest.fixture(scope="module")
def site(podman, tmp_path_factory):
    podman.build_caddy()
    with Site(podman, tmp_path_factory.mktemp("site") / "aurora-blobs") as site:
        assert becomes(site.serves, 60)
        yield site


@pytest.fixture(scope="module")
def dora(site):
    """An account on the site."""
    code = re.search(r"\b\w{4}(-\w{4}){3}\b", site.type(INVITE))[0]
    return sign_up(site.host("blobs.example.com"), "dora.blobs.example.com", invite_code=code)


def test_the_site_takes_a_photo_by_https_and_gives_it_out(dora):
    cid = dora.publish(PHOTO.read_bytes()).cid

    whole, part = dora.fetch(cid), dora.fetch(cid, Range="bytes=1-9")

    assert (whole.status_code, whole.data) == (200, PHOTO.read_bytes())
    assert (part.status_code, part.data) == (206, PHOTO.read_bytes()[1:10])


def test_the_site_leads_from_http_to_https(site):
    connection = socket.create_connection(("127.0.0.1", site.plain_port), timeout=60)

    answer = call(connection, "GET", "/xrpc/_health", headers={"Host": "blobs.example.com"})

    assert (answer.status_code, answer.headers["Location"]) == (
        308,
        "https://blobs.example.com/xrpc/_health",
    )


def test_the_site_believes_no_address_that_a_client_claims(site, dora):
    wrong = {"identifier": dora.did, "password": "wrong"}
    host = site.host("blobs.example.com")
    answers = [
        host.post(
            "/xrpc/com.atproto.server.createSession",
            json=wrong,
            headers={"X-Forwarded-For": f"192.0.2.{number}"},
        )
        for number in range(3)
    ]

    assert [answer.status_code for answer in answers] == [401, 401, 429]


def test_a_handle_is_a_host_with_a_certificate(site, dora):
    document = site.host("dora.blobs.example.com").get("/.well-known/did.json")

    assert (document.status_code, document.json["id"]) == (200, dora.did)
    assert site.host("dora.blobs.example.com").get("/xrpc/_health").status_code == 404


def test_a_name_without_an_account_gets_no_certificate(site):
    with pytest.raises(ssl.SSLError):
        site.host("nobody.blobs.example.com").get("/.well-known/did.json")


def test_the_site_collects_without_a_timer(site, dora):
    assert becomes(lambda: "collected" in site.log("gc"))


def test_the_health_of_the_site_is_asked_of_its_server_alone(podman, site):
    server, gc = [
        podman.run("healthcheck", "run", f"aurora-blobs_{name}_1") for name in ("server", "gc")
    ]

    assert server.returncode == 0
    assert "has no defined healthcheck" in gc.stderr


def test_the_site_is_backed_up_and_upgraded_as_printed(site, dora, tmp_path):
    cid = dora.publish(PNG + b"to be kept", "image/png").cid

    site.type((BACK_UP + UPGRADE).replace("/srv/backup", str(tmp_path / "backup")))

    [copy] = (tmp_path / "backup").rglob(cid)
    assert copy.read_bytes() == PNG + b"to be kept"
    assert becomes(site.serves, 60)
    assert dora.fetch(cid).data == PNG + b"to be kept"


def test_the_page_builds_the_image_as_it_is_built_here():
    assert "\npodman build --format docker --tag aurora-blobs .\n" in BUILD
