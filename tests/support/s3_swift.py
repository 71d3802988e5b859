"""OpenStack Swift with its S3 API on loopback, from Debian.

It knows neither If-None-Match nor the checksum header, and batches need a Content-MD5.
"""

import getpass

from support.s3_access import KEYS
from support.s3_cluster import Cluster

_SERVER = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {folder}
"""
_PROXY = """
[pipeline:main]
pipeline = catch_errors gatekeeper cache listing_formats s3api tempauth copy slo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{cache}
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:s3api]
use = egg:swift#s3api
[filter:tempauth]
use = egg:swift#tempauth
user_{account} = {secret} .admin
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
"""
_STORAGE = """
devices = {folder}/devices
mount_check = false
fallocate_reserve = 0
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""
_HASH = "[swift-hash]\nswift_hash_path_prefix = test\nswift_hash_path_suffix = test\n"
_KINDS = ("account", "container", "object")


class SwiftS3(Cluster):
    """A cluster of one device."""

    PORTS = 2 + len(_KINDS)
    SECONDS = 60

    def start(self) -> None:
        """Returns when the bucket takes objects."""
        (self.folder / "devices" / "one").mkdir(parents=True)
        (self.folder / "swift.conf").write_text(_HASH)
        for kind, port in zip(_KINDS, self.ports[2:], strict=True):
            builder = f"{kind}.builder"
            self.run("swift-ring-builder", builder, "create", "2", "1", "0")
            self.run("swift-ring-builder", builder, "add", f"r1z1-127.0.0.1:{port}/one", "1")
            self.run("swift-ring-builder", builder, "rebalance")
            self._serve(kind, _STORAGE, port)
        self.begin(
            "memcached", "-l", "127.0.0.1", "-p", str(self.ports[1]), "-u", getpass.getuser()
        )
        self._serve("proxy", _PROXY, self.ports[0])
        self.await_ready()

    def _serve(self, kind: str, template: str, port: int) -> None:
        path = self.folder / f"{kind}-server.conf"
        path.write_text(
            (_SERVER + template).format(
                kind=kind,
                port=port,
                cache=self.ports[1],
                folder=self.folder,
                user=getpass.getuser(),
                account=KEYS["AWS_ACCESS_KEY_ID"].replace(":", "_"),
                secret=KEYS["AWS_SECRET_ACCESS_KEY"],
            )
        )
        self.begin(f"swift-{kind}-server", str(path), "--verbose")
