"""Debian's nginx on a free port, with deploy/nginx.conf or a configuration of the test."""

import os
import pwd
import re
import shutil
import ssl
import subprocess
from pathlib import Path

from support.live_service import Server, Service
from support.project import DEPLOY

NGINX = (
    shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") or "nginx"
)  # setup.sh installs it
_USER = f"user {pwd.getpwuid(os.getuid()).pw_name};" if os.getuid() == 0 else ""


class Nginx(Server):
    """nginx with *configuration*, in which PORT stands for its port."""

    def __init__(self, folder: Path, configuration: str) -> None:
        super().__init__(folder)
        (folder / "nginx.conf").write_text(configuration.replace("PORT", str(self.port)))

    @property
    def log(self) -> str:
        return (self.folder / "error.log").read_text(errors="replace")

    @property
    def access_log(self) -> str:
        return (self.folder / "access.log").read_text()

    def start(self) -> "Nginx":
        command = [
            NGINX,
            "-p",
            str(self.folder),
            "-c",
            "nginx.conf",
            "-e",
            "error.log",
            "-g",
            "daemon off;",
        ]
        self._begin(command, "stderr.log")
        return self


def shipped(folder: Path, upstream: Path, blobs: Path, *changes: tuple[str, str]) -> Nginx:
    """nginx with deploy/nginx.conf; only paths, and *changes*, differ."""
    return _shipped(
        folder,
        "nginx.conf",
        ("user www-data aurora-blobs;", _USER),
        ("unix:/run/aurora-blobs/gunicorn.sock", f"unix:{upstream}"),
        ("/var/lib/aurora-blobs/blobs/", f"{blobs}/"),
        ("/var/lib/aurora-blobs/public", f"{blobs.parent}/public"),
        *changes,
    )


def service_behind(folder: Path, *arguments: str, **settings: str) -> Service:
    """The service in ``service`` of *folder*, on a Unix socket, with nginx `in_front` of it."""
    return Service(
        folder / "service",
        *arguments,
        AURORA_BLOBS_BIND=f"unix:{folder}/gunicorn.sock",
        AURORA_BLOBS_PROXY_HOPS="1",
        **settings,
    )


def in_front(service: Service, folder: Path, *changes: tuple[str, str]) -> Nginx:
    """nginx in *folder*, as `shipped`, in front of *service*."""
    assert service.socket is not None
    return shipped(folder, service.socket, service.folder / "data" / "blobs", *changes)


def without_service(folder: Path, *changes: tuple[str, str]) -> Nginx:
    """nginx that serves what the `service_behind` of *folder* has links for, and asks nobody."""
    blobs = folder / "service" / "data" / "blobs"
    return shipped(folder / "alone", folder / "nobody.sock", blobs, *changes)


def balancer(folder: Path, ports: list[int], *changes: tuple[str, str]) -> Nginx:
    """nginx with deploy/nginx-balancer.conf, in front of two nodes at *ports* of this machine."""
    nodes = [(f"10.0.0.1{n}:2583", f"127.0.0.1:{port}") for n, port in enumerate(ports, start=1)]
    return _shipped(folder, "nginx-balancer.conf", ("user www-data;", _USER), *nodes, *changes)


def _shipped(folder: Path, name: str, *changes: tuple[str, str]) -> Nginx:
    text = (DEPLOY / name).read_text()
    for old, new in (
        ("pid /run/nginx.pid;", "pid nginx.pid;"),
        ("/var/log/nginx/", ""),
        ("        listen [::]:80;\n", ""),
        ("listen 80;", "listen 127.0.0.1:PORT;"),
        ("http {\n", f"http {{\n{_TEMPORARY}"),
        *changes,
    ):
        assert old in text, old
        text = text.replace(old, new)
    assert not re.search(r"^[^#]*\s/(run|var|etc)/", text, re.MULTILINE)
    return Nginx(folder, text)


class OverTls:
    """A certificate for localhost in *folder*, and what makes the shipped files serve by it."""

    def __init__(self, folder: Path) -> None:
        self._certificate, key = folder / "certificate.pem", folder / "key.pem"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
                *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
                *("-keyout", key, "-out", self._certificate),
            ],
            check=True,
            capture_output=True,
        )
        self.changes = (
            ("#tls listen [::]:443 ssl http2;\n", ""),
            ("#tls ", ""),
            ("listen 127.0.0.1:PORT;", ""),  # the free port of the test is for TLS
            ("listen 443 ssl", "listen 127.0.0.1:PORT ssl"),
            ("/etc/ssl/certs/aurora-blobs.pem", str(self._certificate)),
            ("/etc/ssl/private/aurora-blobs.pem", str(key)),
        )

    def connection(self, server: Nginx) -> ssl.SSLSocket:
        """A connection to *server*, whose certificate is looked at."""
        context = ssl.create_default_context(cafile=str(self._certificate))
        return context.wrap_socket(server.connect(), server_hostname="localhost")


def own(folder: Path, http: str) -> Nginx:
    """nginx with *http* in its http block, in which PORT stands for its port."""
    return Nginx(
        folder,
        f"{_USER}\npid nginx.pid;\nevents {{}}\nhttp "
        f"{{\n{_TEMPORARY}access_log access.log;\n{http}\n}}\n",
    )


_TEMPORARY = "".join(
    f"    {name}_temp_path {name}_temp;\n"
    for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
)
