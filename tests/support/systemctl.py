#!/usr/bin/python3
"""Enough of systemctl for a Debian in which systemd is not process 1.

Units are started as they say: by their user, with their settings, in their folders, and with what
they do not name read-only. What is enabled is written down by Debian's own systemctl.
"""

import os
import pwd
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

FOLDERS = [Path("/etc/systemd/system"), Path("/lib/systemd/system")]
PIDS = Path("/run/units")
READY_SECONDS = 60


class Unit:
    def __init__(self, name):
        [self.path, *_] = [folder / name for folder in FOLDERS if (folder / name).exists()]
        self.pid_file = PIDS / name
        lines = self.path.read_text().replace("\\\n", " ").splitlines()
        self.lines = [line.partition("=")[::2] for line in lines if line[:1] not in "#;[ "]

    def values(self, key):
        return [value for name, value in self.lines if name == key]

    def value(self, key, default=""):
        return (self.values(key) or [default])[-1]

    def commands(self, key):
        """Its commands under *key*, each with whether it may fail."""
        return [
            (shlex.split(command.removeprefix("-")), command[0] == "-")
            for command in self.values(key)
        ]

    def environment(self):
        lines = self.values("Environment")
        for name in self.values("EnvironmentFile"):
            lines += re.findall(r"^[A-Z]\w*=.*$", Path(name).read_text(), re.MULTILINE)
        values = dict(shlex.split(line)[0].partition("=")[::2] for line in lines)
        return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **values}

    def make_folders(self):
        """Make the folders of the unit; those that it may write in."""
        made = []
        for kind, parent in (("State", "/var/lib"), ("Runtime", "/run")):
            for name in self.value(f"{kind}Directory").split():
                folder = Path(parent, name)
                folder.mkdir(exist_ok=True)
                folder.chmod(int(self.value(f"{kind}DirectoryMode", "0755"), 8))
                user = pwd.getpwnam(self.value("User", "root"))
                os.chown(folder, user.pw_uid, user.pw_gid)
                made.append(str(folder))
        return [*made, *self.value("ReadWritePaths").split()]

    def confined(self, command, writable):
        """*command* as the user of the unit, where all but *writable* and /tmp is read-only."""
        if self.value("ProtectSystem") != "strict":
            return command
        mounts = "; ".join(
            [
                "set -e",
                "mount --bind / /mnt",
                *(f"mount --bind {folder} /mnt{folder}" for folder in writable),
                "mount -o remount,bind,ro /mnt",
                "mount -t tmpfs tmpfs /mnt/tmp",
                *(f"mount --rbind /{folder} /mnt/{folder}" for folder in ("proc", "dev")),
            ]
        )
        user = self.value("User")
        entered = f"--chdir={self.value('WorkingDirectory', '/')}"
        drop = f"--reuid={user} --regid={self.value('Group')} --init-groups --no-new-privs"
        run = (
            f"umask {self.value('UMask', '0022')}; exec chroot /mnt env {entered} setpriv {drop} "
            f"--bounding-set=-all --inh-caps=-all {shlex.join(command)}"
        )
        return ["unshare", "--mount", "sh", "-c", f"{mounts}; {run}"]

    def run(self, key):
        """Run its commands under *key* one after the other."""
        writable = self.make_folders()
        for command, may_fail in self.commands(key):
            confined = self.confined(command, writable)
            subprocess.run(confined, env=self.environment(), check=not may_fail, timeout=120)

    def start(self):
        if self.value("Type") != "notify":
            return self.run("ExecStart")
        [(command, _)] = self.commands("ExecStart")
        address = "/run/aurora-blobs.notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
            Path(address).unlink(missing_ok=True)
            notified.bind(address)
            Path(address).chmod(0o777)
            notified.settimeout(READY_SECONDS)
            with Path(f"/var/log/{self.path.stem}.log").open("ab") as log:
                process = subprocess.Popen(
                    self.confined(command, self.make_folders()),
                    env={**self.environment(), "NOTIFY_SOCKET": address},
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            while b"READY=1" not in notified.recv(4096):
                pass
        PIDS.mkdir(exist_ok=True)
        self.pid_file.write_text(str(process.pid))

    def stop(self):
        if self.pid_file.exists():
            pid = int(self.pid_file.read_text())
            self.pid_file.unlink()
            os.kill(pid, signal.SIGTERM)
            while is_running(pid):
                time.sleep(0.05)
        else:
            self.run("ExecStop")

    def restart(self):
        self.stop()
        self.start()

    def reload(self):
        self.run("ExecReload")


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""  # it is empty when all is over
    except FileNotFoundError:
        return False


def main(verb, *words):
    now = "--now" in words
    names = [word if "." in word else f"{word}.service" for word in words if word[:1] != "-"]
    if verb == "enable":
        subprocess.run(["/usr/bin/systemctl", "--root=/", verb, *names], check=True, timeout=60)
    actions = {"enable": "start"} if now else {}
    for name in names:
        action = actions.get(verb, verb)
        if action in ("start", "stop", "restart", "reload") and not name.endswith(".timer"):
            getattr(Unit(name), action)()


if __name__ == "__main__":
    main(*sys.argv[1:])
