"""Headless Chromium that is led from page to page, by the DevTools protocol.

https://chromedevtools.github.io/devtools-protocol/
"""

import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self
from urllib.request import urlopen

from support.browser import FLAGS
from websockets.sync.client import connect

_SECONDS = 30  # for an answer, and for a page


class Chromium:
    """A tab in a browser of its own, which runs while its ``with`` block does.

    `asked` are the URLs of all requests, `statuses` those of their answers, `complaints` what the
    browser's log says.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0
        self._loads = 0
        self.asked: list[str] = []
        self.statuses: list[tuple[str, int]] = []
        self.complaints: list[str] = []

    def __enter__(self) -> Self:
        program = shutil.which("chromium")
        assert program, "Chromium is missing: tests/setup.sh installs it"
        profile = self._folder / "profile"
        command = [
            program,
            *FLAGS,
            "--hide-scrollbars",
            "--remote-debugging-port=0",
            f"--user-data-dir={profile}",
            "about:blank",
        ]
        with ExitStack() as undo:
            short = undo.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
            log = undo.enter_context((self._folder / "chromium.log").open("wb"))
            process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                env=os.environ | {"TMPDIR": short},
                start_new_session=True,  # so that its child processes can be killed with it
            )
            undo.callback(_kill, process)
            self._socket = undo.enter_context(
                connect(_address(profile / "DevToolsActivePort"), max_size=None, proxy=None)
            )
            for domain in ("Page", "Network", "Log", "Runtime"):
                self.call(f"{domain}.enable")
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of *method* of the protocol."""
        self._number += 1
        number = self._number
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = self._next()
            if message.get("id") == number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result

    def _next(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._socket.recv(timeout=_SECONDS))
        given = message.get("params", {})
        match message.get("method"):
            case "Page.loadEventFired":
                self._loads += 1
            case "Network.requestWillBeSent":
                self.asked.append(given["request"]["url"])
            case "Network.responseReceived":
                self.statuses.append((given["response"]["url"], given["response"]["status"]))
            case "Log.entryAdded":
                self.complaints.append(given["entry"]["text"])
        return message

    def open(self, url: str) -> None:
        """Go to *url*, and wait until it is loaded."""
        before = self._loads
        self.call("Page.navigate", url=url)
        self._loaded_after(before)

    def _loaded_after(self, before: int) -> None:
        deadline = time.monotonic() + _SECONDS
        while self._loads == before:
            assert time.monotonic() < deadline, "no page came"
            self._next()

    def evaluate(self, expression: str) -> Any:
        """The value of *expression*, of JavaScript; of a promise, what it becomes."""
        result = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def click(self, selector: str) -> None:
        """Click on what *selector* names, and wait for the page to which that leads."""
        before = self._loads
        self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")
        self._loaded_after(before)

    def type(self, text: str, *, enter: bool = False) -> None:
        """Type *text* where the focus is; with *enter*, wait for the page to which that leads."""
        # A page may be loaded before its field has the focus.
        assert self.becomes("document.activeElement.matches('input')")
        self.call("Input.insertText", text=text)
        if enter:
            before = self._loads
            self.press("Enter", text="\r")
            self._loaded_after(before)

    def press(self, key: str, **more: Any) -> None:
        """Press the key *key*."""
        code = {"Enter": 13, "Tab": 9, " ": 32}[key]
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code="Space" if key == " " else key,
                windowsVirtualKeyCode=code,
                **(more if kind == "keyDown" else {}),
            )

    def text(self) -> str:
        """What the page says."""
        return str(self.evaluate("document.body.innerText"))

    def becomes(self, expression: str) -> bool:
        """Whether *expression*, of JavaScript, becomes true in time."""
        deadline = time.monotonic() + _SECONDS
        while not (true := self.evaluate(expression)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return bool(true)

    def resize(self, width: int, height: int = 900, *, dark: bool = False) -> None:
        """Make the window *width* pixels wide, of somebody who likes it *dark*."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def scripts(self, *, on: bool) -> None:
        """Let pages run scripts, or not."""
        self.call("Emulation.setScriptExecutionDisabled", value=not on)

    def screenshot(self, path: Path) -> None:
        """Draw the whole page into the file *path*, a PNG."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


def _address(told: Path) -> str:
    """Where the first tab is led, of a browser that says in the file *told* where it is."""
    deadline = time.monotonic() + _SECONDS
    while not (told.exists() and told.read_text().count("\n")):
        assert time.monotonic() < deadline, "Chromium did not start"
        time.sleep(0.05)
    port = told.read_text().splitlines()[0]
    with urlopen(f"http://127.0.0.1:{port}/json/list", timeout=_SECONDS) as answer:
        [tab] = [tab for tab in json.load(answer) if tab["type"] == "page"]
    address: str = tab["webSocketDebuggerUrl"]
    return address


def _kill(process: "subprocess.Popen[bytes]") -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)
