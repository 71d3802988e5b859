"""The service as shipped, on gunicorn, with a free port and a data folder of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any, Self

from support.accounts import Account, sign_up
from support.databases import database_settings
from support.http_client import HttpClient
from support.log_secrets import secrets_of, told_in_logs
from support.ports import free_port
from support.process_watch import children
from support.project import ROOT

from aurora_blobs.config import Config
from aurora_blobs.db import Database, open_database


class Server(HttpClient):
    """A process that serves HTTP on a free port. It runs while its ``with`` block does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        self.stop()
        if failed is None:
            told = told_in_logs(self.folder, self.secrets())
            assert not told, told

    def secrets(self) -> set[str]:
        """What none of its logs may hold, besides tokens."""
        return set()

    def start(self) -> object:
        raise NotImplementedError

    def _begin(self, command: list[str], log: str, **options: Any) -> None:
        """Start *command* and wait until it answers. Its output goes to the file *log*."""
        with (self.folder / log).open("ab") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output, **options)
        ended = self.process.poll
        assert becomes(lambda: self.is_answering() or ended() is not None, 30), (
            "not within 30 seconds"
        )
        assert ended() is None, (self.folder / log).read_text()

    def is_answering(self) -> bool:
        """Whether it accepts connections."""
        try:
            self.connect().close()
        except OSError:
            return False
        return True

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def stop(self, with_signal: int = signal.SIGTERM) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(with_signal)
            try:
                self.process.wait(150)
            except subprocess.TimeoutExpired:
                self.process.kill()
                raise


class Service(Server):
    """The service: gunicorn with gunicorn.conf.py, and its commands."""

    def __init__(self, folder: Path, *arguments: str, **settings: str) -> None:
        super().__init__(folder)
        self.socket: Path | None = None
        self.prefix: list[str] = []  # what its commands begin with
        self.root = ROOT  # of the checkout that it runs
        self._arguments = arguments
        self._settings = {
            "AURORA_BLOBS_DATA_DIR": str(folder / "data"),
            **database_settings(folder / "data" / "aurora.sqlite3"),
            **settings,
        }
        self._settings.setdefault("AURORA_BLOBS_BIND", f"127.0.0.1:{self.port}")
        # `account` signs up, also behind a proxy, where the default wants a code.
        self._settings.setdefault("AURORA_BLOBS_SIGNUPS", "open")
        if self._settings["AURORA_BLOBS_BIND"].startswith("unix:"):
            self.socket = Path(self._settings["AURORA_BLOBS_BIND"].removeprefix("unix:"))

    @property
    def log(self) -> str:
        return (self.folder / "service.log").read_text()

    def start(self) -> "Service":
        command = [
            *self.prefix,
            sys.executable,
            "-m",
            "gunicorn",
            "-c",
            "gunicorn.conf.py",
            *self._arguments,
            "wsgi:app",
        ]
        self._begin(command, "service.log", cwd=self.root, env=self.environ())
        return self

    def environ(self) -> dict[str, str]:
        """The environment of this process, with the settings of this service in place of others."""
        own = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("AURORA_BLOBS_")
        }
        return own | self._settings

    def secrets(self) -> set[str]:
        return secrets_of(self._settings)

    def is_answering(self) -> bool:
        """Whether a worker answers. A connection alone may be to a process that is ending."""
        try:
            return bool(self.get("/xrpc/_health").status_code)
        except (OSError, HTTPException):
            return False

    def connect(self) -> socket.socket:
        if self.socket is None:
            return super().connect()
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(60)
        try:
            connection.connect(str(self.socket))
        except OSError:
            connection.close()
            raise
        return connection

    def kill(self) -> None:
        """Kill the master and its workers, as if the machine failed."""
        assert self.process is not None
        workers = self.workers()
        for pid in [self.process.pid, *workers]:
            os.kill(pid, signal.SIGKILL)
        self.process.wait(10)
        # Until they have ended they listen and hold their locks.
        deadline = time.monotonic() + 20
        while any(map(_is_alive, workers)):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def pause(self) -> None:
        """Let its processes stand still."""
        self._signal_all(signal.SIGSTOP)

    def go_on(self) -> None:
        """End `pause`."""
        self._signal_all(signal.SIGCONT)

    def _signal_all(self, number: signal.Signals) -> None:
        assert self.process is not None
        for pid in [self.process.pid, *self.workers()]:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def workers(self) -> list[int]:
        """The pids of the workers."""
        assert self.process is not None
        return children(self.process.pid)

    def database(self) -> AbstractContextManager[Database]:
        """Its database, to be looked at and changed beside it."""
        config = Config.from_environ(self.environ())
        return closing(open_database(config.database, durable=False))

    def run(self, *words: str) -> "subprocess.CompletedProcess[bytes]":
        """Run the command *words* with the settings of this service."""
        command = [*self.prefix, sys.executable, "-m", "flask", "--app", "wsgi", *words]
        return subprocess.run(
            command, cwd=self.root, env=self.environ(), capture_output=True, timeout=600
        )

    def account(self, handle: str = "alice.test") -> Account:
        return sign_up(self, handle)


def becomes(condition: Callable[[], object], seconds: float = 20) -> bool:
    """Whether *condition* becomes true within *seconds*."""
    deadline = time.monotonic() + seconds
    while not (true := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(true)


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        threads = len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return False
    # The files of a process stay open until its last thread has ended.
    return state != "Z" or threads > 1
