"""Ceph's RGW on loopback, with a monitor and an OSD in memory, from Debian.

It refuses chunked bodies without a length and checks the digest in the signature, which SeaweedFS
does not. It ignores the checksum header.
"""

import uuid

from support.s3_access import KEYS
from support.s3_cluster import Cluster

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


class CephRgw(Cluster):
    """A cluster of one machine."""

    PORTS = 3
    SECONDS = 120

    def start(self) -> None:
        """Returns when the bucket takes objects."""
        monitor = f"[v2:127.0.0.1:{self.ports[1]},v1:127.0.0.1:{self.ports[2]}]"
        fsid = str(uuid.uuid4())
        self.environment["CEPH_CONF"] = str(self.folder / "ceph.conf")
        for name in ("mon", "osd"):
            (self.folder / name).mkdir(parents=True)
        (self.folder / "ceph.conf").write_text(
            _CONFIGURATION.format(fsid=fsid, monitor=monitor, folder=self.folder)
        )
        (self.folder / "keyring").touch()
        for name, caps in _KEYS.items():
            pairs = [
                word
                for kind, cap in zip(caps[::2], caps[1::2], strict=True)
                for word in ("--cap", kind, cap)
            ]
            self.run("ceph-authtool", "keyring", "--gen-key", "-n", name, *pairs)
        self.run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", monitor, "monmap")
        self.run("ceph-mon", "--mkfs", "-i", "a", "--monmap", "monmap", "--keyring", "keyring")
        self.begin("ceph-mon", "-i", "a", "-f")
        osd = str(uuid.uuid4())
        self.run("ceph", "--connect-timeout", "60", "osd", "new", osd)
        self.run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self.begin("ceph-osd", "-i", "0", "-f")
        frontend = f"beast endpoint=127.0.0.1:{self.ports[0]}"
        self.begin("radosgw", "-n", "client.rgw", "--rgw-frontends", frontend, "-f")
        access, secret = KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"]
        user = ["user", "create", "--uid=test", "--display-name=test"]
        self.run("radosgw-admin", *user, f"--access-key={access}", f"--secret-key={secret}")
        self.await_ready()
