"""Headless Chromium, which opens a page of its own origin and returns what the page reports."""

import json
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--autoplay-policy=no-user-gesture-required",
]
_PAGES = Path(__file__).parent


def play(source: str, profile: Path) -> dict[str, Any]:
    """Play the video at *source* in player.html; the report of the page.

    *profile* is a folder for Chromium's profile.
    """
    return _report("player.html", profile, source=source)


def fetch(source: str, profile: Path, port: int = 0, **headers: str) -> dict[str, Any]:
    """Fetch *source* in fetcher.html, whose origin is another; the report of the page.

    It has ``status``, ``headers`` and ``size``, or ``error``. The page is on *port*, 0 for any.
    """
    return _report("fetcher.html", profile, port, source=source, headers=json.dumps(headers))


def look_at(pictures: list[tuple[str, bytes]], profile: Path) -> list[list[int] | None]:
    """Width and height of each of *pictures*, a media type and bytes, in viewer.html.

    None stands for those that Chromium does not show.
    """
    files = {f"/{index}": picture for index, picture in enumerate(pictures)}
    return _report("viewer.html", profile, files=files, paths=json.dumps(list(files)))


def _report(
    page: str,
    profile: Path,
    port: int = 0,
    files: Mapping[str, tuple[str, bytes]] = MappingProxyType({}),
    **query: str,
) -> Any:
    """What *page* reports, at an origin that has *files*: types and bytes by path."""
    reports: queue.Queue[Any] = queue.Queue()
    opened = ("text/html; charset=utf-8", (_PAGES / page).read_bytes())

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            mime_type, content = files.get(self.path, opened)
            self.send_response(200)
            self.send_header("Content-Type", mime_type)
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            reports.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    chromium = shutil.which("chromium")
    assert chromium, "Chromium is missing: tests/setup.sh installs it"
    with (
        ThreadingHTTPServer(("127.0.0.1", port), Page) as server,
        # Chromium makes a socket in it, whose path must have fewer than 108 bytes.
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as short,
    ):
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        address = f"http://127.0.0.1:{server.server_address[1]}/?{urlencode(query)}"
        with (profile.parent / "chromium.log").open("wb") as log:
            process = subprocess.Popen(
                [chromium, *FLAGS, f"--user-data-dir={profile}", address],
                stdout=log,
                stderr=log,
                env=os.environ | {"TMPDIR": short},
                start_new_session=True,  # so that its child processes can be killed with it
            )
        try:
            return reports.get(timeout=60)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
            server.shutdown()
            serving.join(10)
