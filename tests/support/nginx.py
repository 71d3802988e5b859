"""Debian's nginx on a free port, with deploy/nginx.conf or a configuration of the test."""

import os
import pwd
import re
import shutil
from pathlib import Path

from support.live_service import Server
from support.project import DEPLOY

NGINX = (
    shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") or "nginx"
)  # setup.sh installs it
_OWN = pwd.getpwuid(os.getuid()).pw_name


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
    text = (DEPLOY / "nginx.conf").read_text()
    for old, new in (
        ("user www-data aurora-blobs;", f"user {_OWN};" if os.getuid() == 0 else ""),
        ("pid /run/nginx.pid;", "pid nginx.pid;"),
        ("/var/log/nginx/", ""),
        ("        listen [::]:80;\n", ""),
        ("listen 80;", "listen 127.0.0.1:PORT;"),
        ("unix:/run/aurora-blobs/gunicorn.sock", f"unix:{upstream}"),
        ("/var/lib/aurora-blobs/blobs/", f"{blobs}/"),
        ("/var/lib/aurora-blobs/public", f"{blobs.parent}/public"),
        ("http {\n", f"http {{\n{_TEMPORARY}"),
        *changes,
    ):
        assert old in text, old
        text = text.replace(old, new)
    assert not re.search(r"^[^#]*\s/(run|var|etc)/", text, re.MULTILINE)
    return Nginx(folder, text)


def own(folder: Path, http: str) -> Nginx:
    """nginx with *http* in its http block, in which PORT stands for its port."""
    user = f"user {_OWN};" if os.getuid() == 0 else ""
    return Nginx(
        folder,
        f"{user}\npid nginx.pid;\nevents {{}}\nhttp "
        f"{{\n{_TEMPORARY}access_log access.log;\n{http}\n}}\n",
    )


_TEMPORARY = "".join(
    f"    {name}_temp_path {name}_temp;\n"
    for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
)
