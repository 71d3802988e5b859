"""An S3 store of several processes."""

import os
import subprocess
import time
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError
from support.ports import free_ports
from support.s3_access import BUCKET, store_client


class Cluster:
    """Processes on loopback that make an S3 store. It listens on the first of their ports."""

    PORTS: int
    SECONDS: float  # the longest for a command, and until the bucket is ready

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports = free_ports(self.PORTS)
        self.url = f"http://127.0.0.1:{self.ports[0]}"
        self.environment: dict[str, str] = {**os.environ}
        self._processes: list[subprocess.Popen[bytes]] = []

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.terminate()
        for process in reversed(self._processes):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()

    def client(self):
        return store_client(self.url)

    def run(self, *command: str) -> None:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            timeout=self.SECONDS,
        )
        assert done.returncode == 0, (command, done.stdout[-1000:], done.stderr[-1000:])

    def begin(self, *command: str) -> None:
        with open(self.folder / f"{command[0]}.out", "ab") as log:
            self._processes.append(
                subprocess.Popen(
                    command, cwd=self.folder, env=self.environment, stdout=log, stderr=log
                )
            )

    def await_ready(self) -> None:
        deadline = time.monotonic() + self.SECONDS
        while True:
            try:
                self.client().create_bucket(Bucket=BUCKET)
                return
            except (BotoCoreError, ClientError) as error:
                assert time.monotonic() < deadline, error
                time.sleep(0.2)
