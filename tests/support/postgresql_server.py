"""A PostgreSQL server in a folder of its own."""

import signal
import subprocess
import time
from pathlib import Path

_VERSIONS = Path("/usr/lib/postgresql")


class PostgresqlServer:
    """A server whose data is in *folder*, which belongs to the user that *prefix* makes.

    *prefix* is what its commands begin with: they refuse to be run by root. *settings* are those of
    postgresql.conf. `url` is that of the database `postgres`.
    """

    def __init__(self, folder: Path, prefix: list[str], url: str, **settings: object) -> None:
        self.folder = folder
        self.url = url
        self.settings = settings
        self.process: subprocess.Popen[bytes] | None = None
        self._prefix = prefix

    def run(self, program: str, *words: str | Path) -> None:
        """Run *program* of PostgreSQL to its end."""
        command = [*self._command(program), *words]
        subprocess.run(command, check=True, capture_output=True, cwd="/")

    def make(self) -> None:
        """Make its data: databases in UTF-8, without passwords."""
        self.run(
            *("initdb", "--pgdata", self.folder / "data", "--username=postgres"),
            # A language's order, which is not that of bytes: no statement may depend on it.
            *("--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US"),
            *("--encoding=UTF8", "--auth=trust", "--no-sync"),
        )

    def start(self) -> None:
        """Returns when it takes connections."""
        settings = [f"--{name}={value}" for name, value in self.settings.items()]
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [*self._command("postgres"), "-D", self.folder / "data", *settings],
                stdout=log,
                stderr=log,
                cwd="/",
            )
        self._await_ready()

    def stop(self, with_signal: signal.Signals = signal.SIGQUIT) -> None:
        """SIGQUIT: as if it had crashed. SIGINT: in order."""
        if self.process is not None:
            self.process.send_signal(with_signal)
            self.process.wait(60)

    def _command(self, program: str) -> list[str | Path]:
        newest = max(_VERSIONS.iterdir(), key=lambda path: int(path.name))
        return [*self._prefix, newest / "bin" / program]

    def _await_ready(self) -> None:
        import psycopg  # not there for who tests on SQLite alone

        for _ in range(300):
            try:
                psycopg.connect(self.url).close()
                return
            except psycopg.OperationalError:
                time.sleep(0.1)
        raise RuntimeError((self.folder / "log").read_text())
