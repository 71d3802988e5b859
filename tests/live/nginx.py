"""Debian's nginx with deploy/nginx.conf, or with a few lines of a test's own, on a free port and in a folder."""

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from service import ROOT, Answer, call, free_port

NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") or "nginx"  # setup.sh installs it
_OWN = pwd.getpwuid(os.getuid()).pw_name


class Nginx:
    """Stopped by its pid."""

    def __init__(self, folder: Path, configuration: str, port: int) -> None:
        self.folder = folder
        self.port = port
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "nginx.conf").write_text(configuration)

    @property
    def log(self) -> str:
        return (self.folder / "error.log").read_text()

    @property
    def access_log(self) -> str:
        return (self.folder / "access.log").read_text()

    def start(self) -> "Nginx":
        with (self.folder / "stderr.log").open("wb") as log:
            self.process = subprocess.Popen(
                [NGINX, "-p", str(self.folder), "-c", "nginx.conf", "-e", "error.log", "-g", "daemon off;"],
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 20
        while not self._is_listening():
            failed = self.process.poll() is not None or time.monotonic() > deadline
            assert not failed, (self.folder / "stderr.log").read_text()
            time.sleep(0.02)
        return self

    def _is_listening(self) -> bool:
        try:
            self.connect().close()
        except OSError:
            return False
        return True

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def call(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        return call(self.connect(), method, path, body, headers)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(20)


def shipped(folder: Path, upstream: Path, blobs: Path, *changes: tuple[str, str]) -> Nginx:
    """The shipped configuration; only where it finds things, and *changes*, differ."""
    port = free_port()
    text = (ROOT / "deploy" / "nginx.conf").read_text()
    for old, new in (
        ("user www-data aurora-blobs;", f"user {_OWN};" if os.getuid() == 0 else ""),
        ("pid /run/nginx.pid;", "pid nginx.pid;"),
        ("/var/log/nginx/", ""),
        ("        listen [::]:80;\n", ""),
        ("listen 80;", f"listen 127.0.0.1:{port};"),
        ("unix:/run/aurora-blobs/gunicorn.sock", f"unix:{upstream}"),
        ("/var/lib/aurora-blobs/blobs/", f"{blobs}/"),
        ("http {\n", f"http {{\n{_TEMPORARY}"),
        *changes,
    ):
        assert old in text, old
        text = text.replace(old, new)
    assert not re.search(r"^[^#]*\s/(run|var|etc)/", text, re.MULTILINE)
    return Nginx(folder, text, port)


def own(folder: Path, http: str) -> Nginx:
    """A server of the test's own; *http* is the inside of the http block, with PORT for the port."""
    port = free_port()
    user = f"user {_OWN};" if os.getuid() == 0 else ""
    body = http.replace("PORT", str(port))
    text = f"{user}\npid nginx.pid;\nevents {{}}\nhttp {{\n{_TEMPORARY}access_log access.log;\n{body}\n}}\n"
    return Nginx(folder, text, port)


_TEMPORARY = "".join(
    f"    {name}_temp_path {name}_temp;\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
)
