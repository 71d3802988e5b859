"""A fresh Debian in a folder, with processes, mounts and a network of its own."""

import os
import platform
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Self

from support.project import CACHE, TESTS

PYTHONS = {12: "3.11", 13: "3.13"}  # that of each Debian
NAME = "blobs.example.com"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_HOLD = """
mount --bind "$0" "$0"
mount -t proc proc "$0/proc"
mount --rbind /dev "$0/dev"
ip link set lo up
exec chroot "$0" sh -c 'echo ready; exec sleep infinity'
"""


class DebianRoot:
    """Runs commands as root while its ``with`` block does. All of its processes end with it.

    tests/setup.sh has made it.
    """

    def __init__(self, folder: Path, version: int) -> None:
        self.folder = folder
        self.version = version
        folder.mkdir()

    def __enter__(self) -> Self:
        fresh = CACHE / f"debian-{self.version}.tar"
        subprocess.run(["tar", "-xf", fresh, "-C", self.folder], check=True, timeout=120)
        # Debian's packages start nothing when they are installed.
        self.write("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n").chmod(0o755)
        shutil.copy("/etc/resolv.conf", self.folder / "etc")
        self.write("etc/hosts", f"127.0.0.1 localhost {NAME}\n")
        systemctl = self.folder / "usr" / "local" / "bin" / "systemctl"
        shutil.copy(TESTS / "support" / "systemctl.py", systemctl)
        systemctl.chmod(0o755)

        command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--net"]
        command += ["--fork", "--kill-child", "sh", "-ec", _HOLD, str(self.folder)]
        self._holder = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"ready\n"
        pid = self._holder.pid
        self._inside = Path(f"/proc/{pid}/task/{pid}/children").read_text().strip()
        return self

    def __exit__(self, *_: object) -> None:
        # What is process 1 to the others takes them with it, and their mounts.
        os.kill(int(self._inside), signal.SIGKILL)
        self._holder.wait(30)
        self._holder.stdout.close()
        shutil.rmtree(self.folder)

    def write(self, path: str, text: str) -> Path:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def download(self, requirement: str) -> None:
        """Put all that *requirement* needs where its pip looks, by this machine's pip."""
        # Debian 12 has glibc 2.36, later ones have more.
        names = [f"manylinux_2_{minor}_{platform.machine()}" for minor in range(5, 37)]
        platforms = [word for name in names for word in ("--platform", name)]
        python = ["--python-version", PYTHONS[self.version], "--only-binary", ":all:", *platforms]
        pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "download"]
        command = [*pip, *python, "--dest", self.folder / "wheels", requirement]
        subprocess.run(command, check=True, timeout=600)

    def run(
        self, commands: str, *, network: bool = False, check: bool = True
    ) -> "subprocess.CompletedProcess[str]":
        """Run *commands* in bash, with the network of this machine if *network*."""
        enter = ["nsenter", "--target", self._inside, "--mount", "--pid", "--root", "--wd"]
        enter += [] if network else ["--net"]
        done = subprocess.run(
            [*enter, "bash", "-euo", "pipefail", "-c", f"cd\n{commands}"],
            env={
                **{"PATH": _PATH, "HOME": "/root", "LANG": "C.UTF-8"},
                **{"DEBIAN_FRONTEND": "noninteractive"},
                **{"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels"},
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert not check or done.returncode == 0, (commands, done.stdout, done.stderr)
        return done
