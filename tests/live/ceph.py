"""Another real store on loopback: Ceph's RGW with a monitor and an OSD in memory, as Debian has them.

Stricter than SeaweedFS in some things (it refuses chunks without a length, and checks the digest in the signature),
laxer in others (it ignores the checksum header).
"""

import os
import subprocess
import time
import uuid
from pathlib import Path

from seaweed import BUCKET, KEYS, free_ports, store_client

_CONFIGURATION = """
[global]
fsid = {fsid}
mon host = {monitor}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
mon allow pool size one = true
osd crush chooseleaf type = 0
keyring = {folder}/keyring
run dir = {folder}
log file = {folder}/$name.log
admin socket = {folder}/$name.asok
mon data = {folder}/mon
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 3221225472
rgw data = {folder}
"""
_KEYS = {
    "mon.": ("mon", "allow *"),
    "client.admin": ("mon", "allow *", "osd", "allow *", "mgr", "allow *"),
    "osd.0": ("mon", "allow profile osd", "osd", "allow *"),
    "client.rgw": ("mon", "allow rw", "osd", "allow rwx"),
}


class CephRgw:
    """A cluster of one machine; its data goes with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = free_ports(3)
        self.url = f"http://127.0.0.1:{self.ports[0]}"
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Returns when the bucket takes objects."""
        monitor = f"[v2:127.0.0.1:{self.ports[1]},v1:127.0.0.1:{self.ports[2]}]"
        fsid = str(uuid.uuid4())
        for name in ("mon", "osd"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "ceph.conf").write_text(_CONFIGURATION.format(fsid=fsid, monitor=monitor, folder=self.folder))
        (self.folder / "keyring").touch()
        for name, caps in _KEYS.items():
            pairs = [word for kind, cap in zip(caps[::2], caps[1::2], strict=True) for word in ("--cap", kind, cap)]
            self._run("ceph-authtool", "keyring", "--gen-key", "-n", name, *pairs)
        self._run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", monitor, "monmap")
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", "monmap", "--keyring", "keyring")
        self._begin("ceph-mon", "-i", "a", "-f")
        osd = str(uuid.uuid4())
        self._run("ceph", "--connect-timeout", "60", "osd", "new", osd)
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self._begin("ceph-osd", "-i", "0", "-f")
        frontend = f"beast endpoint=127.0.0.1:{self.ports[0]}"
        self._begin("radosgw", "-n", "client.rgw", "--rgw-frontends", frontend, "-f")
        access, secret = KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"]
        user = ["user", "create", "--uid=test", "--display-name=test"]
        self._run("radosgw-admin", *user, f"--access-key={access}", f"--secret-key={secret}")
        self._await_ready()

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.terminate()
        for process in reversed(self._processes):
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def client(self):
        return store_client(self.url)

    def _run(self, *command: str) -> None:
        done = subprocess.run(command, cwd=self.folder, env=self._environment(), capture_output=True, timeout=120)
        assert done.returncode == 0, (command, done.stdout[-1000:], done.stderr[-1000:])

    def _begin(self, *command: str) -> None:
        with open(self.folder / f"{command[0]}.out", "ab") as log:
            self._processes.append(
                subprocess.Popen(command, cwd=self.folder, env=self._environment(), stdout=log, stderr=log)
            )

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "CEPH_CONF": str(self.folder / "ceph.conf")}

    def _await_ready(self) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        deadline = time.monotonic() + 120
        while True:
            try:
                self.client().create_bucket(Bucket=BUCKET)
                return
            except (BotoCoreError, ClientError) as error:
                assert time.monotonic() < deadline, error
                time.sleep(0.5)
