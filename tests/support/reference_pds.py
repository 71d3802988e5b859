"""The reference PDS and a PLC directory on loopback, installed by tests/setup.sh."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Self

from support.project import BENCH, CACHE

PDS = Path(os.environ.get("ATPROTO_PDS_DIR") or CACHE / "pds")
PASSWORD = "bench-password"


def node() -> Path:
    """Node 22, which the PDS needs; tests/setup.sh installs it from npm."""
    return next(PDS.glob("node_modules/node-linux-*/bin/node"))


class ReferencePds:
    """Runs while its ``with`` block does. *url* is its public URL.

    *facts* are its ports, its secrets and one account.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self.facts: dict[str, Any] = {}
        self._folder = folder
        self._url = url
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True)
        with (self._folder / "log").open("w") as log:
            self._process = subprocess.Popen(
                [node(), BENCH / "reference" / "run.mjs", PDS, self._folder, self._url],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()  # written when it is ready; empty if it has ended
        assert line, (self._folder / "log").read_text()
        self.facts = json.loads(line)
        return self

    @property
    def url(self) -> str:
        """The PDS itself, without a proxy."""
        return f"http://127.0.0.1:{self.facts['port']}"

    @property
    def plc_url(self) -> str:
        return f"http://127.0.0.1:{self.facts['plcPort']}"

    def __exit__(self, *_: object) -> None:
        # It ends with its input.
        if self._process is not None:
            self._process.communicate(timeout=60)
