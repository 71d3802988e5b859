"""Has pictures derived in processes that cannot harm this one: limited in memory, time and reach (worker.py)."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from aurora_blobs.errors import MethodNotImplemented, ServiceBusy, UnusableImage
from aurora_blobs.thumbnails.presets import Preset
from aurora_blobs.thumbnails.wire import parse_reply

_AT_ONCE = 2  # pictures in work per process of the server; more gain nothing, and cost memory
_QUEUE_SECONDS = 10  # a request that waits longer for its turn is answered with 503
_REPLY_SECONDS = 30  # more than a child may take (worker.py)
_MAX_REPLY = 64 * 2**20  # bytes; a guess, 9 MP of noise as PNG have 27 MB
_PACKAGES = Path(__file__).parents[2]


class WorkerPool:
    """One helper process per process of the server, started at its first picture and again if it dies."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._turns = threading.BoundedSemaphore(_AT_ONCE)
        self._helper: subprocess.Popen[bytes] | None = None
        self._requests: socket.socket | None = None
        self._pid = os.getpid()

    def derive(self, source: BinaryIO, mime_type: str, preset: Preset, form: str) -> bytes:
        """The picture in *source*, of a type in `READABLE`, as *preset* wants it, in a form of `WRITABLE`.

        Closes *source*.

        Raises UnusableImage, ServiceBusy, and MethodNotImplemented where Pillow is not installed.
        """
        with source:
            answer = self._answer(source, mime_type, preset, form)
        picture = parse_reply(answer)
        if picture is None:
            # It was ended by a limit, or the decoder broke.
            raise UnusableImage("the picture takes too much time or memory")
        if isinstance(picture, str):
            raise UnusableImage(picture)
        return picture

    def close(self) -> None:
        """End the helper process once its pictures are done."""
        with self._lock:
            self._end()

    def _answer(self, source: BinaryIO, mime_type: str, preset: Preset, form: str) -> bytes:
        if importlib.util.find_spec("PIL") is None:
            raise MethodNotImplemented("pictures need Pillow: pip install 'aurora_blobs[images]'")
        asked = {
            "mime_type": mime_type,
            "fit": preset.fit,
            "width": preset.width,
            "height": preset.height,
            "form": form,
        }
        message = json.dumps(asked).encode()
        if not self._turns.acquire(timeout=_QUEUE_SECONDS):
            raise ServiceBusy("Too many pictures are being derived, please try again.")
        try:
            with _as_file(source) as file:
                answer = self._ask(message, file.fileno())
                if (
                    not answer
                ):  # the helper died before it could fork, which says nothing of the picture
                    self.close()
                    answer = self._ask(message, file.fileno())
        finally:
            self._turns.release()
        if not answer:
            raise ServiceBusy("The picture could not be derived now, please try again.")
        return answer

    def _ask(self, message: bytes, source: int) -> bytes:
        ours, theirs = socket.socketpair()
        with ours:
            with theirs, self._lock:
                try:
                    socket.send_fds(self._connection(), [message], [source, theirs.fileno()])
                except OSError:  # the helper is gone; another one is tried, once
                    self._end()
                    socket.send_fds(self._connection(), [message], [source, theirs.fileno()])
            ours.settimeout(_REPLY_SECONDS)
            answer = bytearray()
            try:
                while len(answer) <= _MAX_REPLY and (data := ours.recv(2**18)):
                    answer += data
            except OSError:
                pass  # it timed out, or the child died and took its end of the socket along
            return bytes(answer)

    def _connection(self) -> socket.socket:
        if self._pid != os.getpid():  # after a fork the helper is the parent's
            self._helper, self._requests, self._pid = None, None, os.getpid()
        if self._requests is None:
            self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                self._helper = subprocess.Popen(
                    [sys.executable, "-m", "aurora_blobs.thumbnails.worker"],
                    stdin=theirs.fileno(),
                    cwd=_PACKAGES,
                    env={},  # none of the service's secrets
                )
        return self._requests

    def _end(self) -> None:
        if self._requests is not None and self._helper is not None and self._pid == os.getpid():
            self._requests.close()
            self._helper.wait()
        self._helper = self._requests = None


@contextmanager
def _as_file(source: BinaryIO) -> Iterator[BinaryIO]:
    """*source*, to its end, as a file that another process can read and that has no name."""
    with os.fdopen(os.memfd_create("picture"), "w+b") as copy:
        while data := source.read(2**18):
            copy.write(data)
        copy.flush()
        copy.seek(0)
        yield copy
