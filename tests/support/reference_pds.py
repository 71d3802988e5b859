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

    *facts* are its ports, its secrets and one account. *settings* are environment variables of
    bench/reference/run.mjs.
    """

    def __init__(self, folder: Path, url: str, **settings: str) -> None:
        self.facts: dict[str, Any] = {}
        self.folder = folder
        self._url = url
        self._settings = settings
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True)
        with (self.folder / "log").open("w") as log:
            self._process = subprocess.Popen(
                [node(), BENCH / "reference" / "run.mjs", PDS, self.folder, self._url],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **self._logs(), **self._settings},
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()  # written when it is ready; empty if it has ended
        assert line, (self.folder / "log").read_text()
        self.facts = json.loads(line)
        return self

    def _logs(self) -> dict[str, str]:
        return {
            "LOG_ENABLED": "true",
            "LOG_LEVEL": "error",
            "LOG_DESTINATION": str(self.folder / "errors"),
        }

    def errors(self) -> str:
        """What the PDS has written of its own faults, the last of it."""
        return (self.folder / "errors").read_text()[-5000:]

    def stop(self) -> None:
        """Stop the PDS, not the directory. What it has kept is in `folder`."""
        self._tell("stop")

    def start(self, **changes: str | None) -> None:
        """Start it again; *changes* of its settings last, None takes one away."""
        self._tell(f"start {json.dumps(changes)}")

    def _tell(self, line: str) -> None:
        assert self._process is not None and self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == f"{line}\n", (self.folder / "log").read_text()

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
