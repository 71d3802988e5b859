"""Makes thumbnails in processes with little memory, time and access (worker.py).

Decoders can be attacked; a process that is taken over or eats memory cannot harm the server.
"""

import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from aurora_blobs.errors import MethodNotImplemented, ServiceBusy, ThumbnailTimeout, UnusableImage
from aurora_blobs.thumbnails.presets import READABLE, Preset
from aurora_blobs.thumbnails.wire import parse_answer

MAX_ANSWER_BYTES = 64 * 2**20  # a guess; 9 MP of noise as PNG have 27 MB

_AT_ONCE = 2  # thumbnails in work per process of the server; more gain nothing and cost memory
_QUEUE_SECONDS = 10  # a request that waits longer for its turn is answered with 503
# For a thumbnail, by the clock. Only a busy machine, or a decoder that hangs, takes so much longer
# than the CPU time that a child has (worker.py).
WALL_SECONDS = 30
_GRACE_SECONDS = 10  # more than a child needs to end when its time is over
_PIECE = 256 * 1024  # bytes per read
_NOT_NOW = "The picture could not be derived now, please try again."
_PACKAGES = Path(__file__).parents[2]


class WorkerPool:
    """One worker process per process of the server, which forks for each thumbnail.

    `process` is the worker, None before the first thumbnail. It is started again if it dies.
    """

    def __init__(
        self, *, max_answer_bytes: int = MAX_ANSWER_BYTES, wall_seconds: float = WALL_SECONDS
    ) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self._max_answer_bytes = max_answer_bytes
        self._wall_seconds = wall_seconds
        self._lock = threading.Lock()
        self._turns = threading.BoundedSemaphore(_AT_ONCE)
        self._requests: socket.socket | None = None
        self._server_pid = os.getpid()

    def derive(self, source: BinaryIO, mime_type: str, preset: Preset, form: str) -> bytes:
        """The thumbnail of *source* for *preset*. Closes *source*.

        *mime_type* is a type in `READABLE`, *form* one of `WRITABLE`.

        Raises UnusableImage, ServiceBusy, ThumbnailTimeout, and MethodNotImplemented if Pillow, or
        what it needs for this type, is not installed.
        """
        with source:
            answer = self._answer(source, mime_type, preset, form)
        image = parse_answer(answer)
        if image is None:
            # A limit of CPU or memory ended the child, or its decoder crashed.
            raise UnusableImage("the picture takes too much time or memory")
        if isinstance(image, str):
            raise UnusableImage(image)
        return image

    def close(self) -> None:
        """End the worker process once its thumbnails are done."""
        with self._lock:
            self._end()

    def _answer(self, source: BinaryIO, mime_type: str, preset: Preset, form: str) -> bytes:
        if importlib.util.find_spec("PIL") is None:
            raise MethodNotImplemented(
                "pictures need Pillow: install the extra images of aurora_blobs"
            )
        if READABLE[mime_type] == "HEIF" and importlib.util.find_spec("pillow_heif") is None:
            raise MethodNotImplemented(
                "pictures of HEIC need pillow-heif: install the extra heic of aurora_blobs"
            )
        asked = {
            "mime_type": mime_type,
            "fit": preset.fit,
            "width": preset.width,
            "height": preset.height,
            "form": form,
            "seconds": self._wall_seconds,
        }
        request = json.dumps(asked).encode()
        if not self._turns.acquire(timeout=_QUEUE_SECONDS):
            raise ServiceBusy("Too many pictures are being derived, please try again.")
        try:
            with _as_file(source) as file:
                answer = self._ask(request, file.fileno())
                if not answer:
                    # The worker died before it could fork, which says nothing of the image.
                    self.close()
                    answer = self._ask(request, file.fileno())
        except OSError as error:  # no process, file or memory left
            raise ServiceBusy(_NOT_NOW) from error
        finally:
            self._turns.release()
        if not answer:
            raise ServiceBusy(_NOT_NOW)
        return answer

    def _ask(self, request: bytes, source: int) -> bytes:
        """The child's answer, cut off if the child died, took too long or said too much.

        Raises ThumbnailTimeout.
        """
        ours, theirs = socket.socketpair()
        with ours:
            with theirs, self._lock:
                try:
                    socket.send_fds(self._connection(), [request], [source, theirs.fileno()])
                except OSError:  # the worker is gone; another one is tried, once
                    self._end()
                    socket.send_fds(self._connection(), [request], [source, theirs.fileno()])
            ends_at = time.monotonic() + self._wall_seconds
            ours.settimeout(self._wall_seconds + _GRACE_SECONDS)
            answer = bytearray()
            try:
                while len(answer) <= self._max_answer_bytes and (piece := ours.recv(_PIECE)):
                    answer += piece
            except OSError:
                pass  # it timed out, or the child died
        if parse_answer(answer) is None and time.monotonic() >= ends_at:
            raise ThumbnailTimeout()
        return bytes(answer)

    def _connection(self) -> socket.socket:
        if self._server_pid != os.getpid():  # after a fork the worker is the parent's
            self.process, self._requests, self._server_pid = None, None, os.getpid()
        if self._requests is None:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with ExitStack() as on_failure, theirs:
                on_failure.enter_context(ours)
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "aurora_blobs.thumbnails.worker"],
                    stdin=theirs.fileno(),
                    cwd=_PACKAGES,
                    env={},  # none of the service's secrets
                )
                on_failure.pop_all()
            self._requests = ours
        return self._requests

    def _end(self) -> None:
        is_ours = self._server_pid == os.getpid()
        if self._requests is not None and self.process is not None and is_ours:
            self._requests.close()
            self.process.wait()
        self.process = self._requests = None


@contextmanager
def _as_file(source: BinaryIO) -> Iterator[BinaryIO]:
    """A copy of *source* as a file without a name, which another process can read."""
    with os.fdopen(os.memfd_create("picture"), "w+b") as copy:
        while piece := source.read(_PIECE):
            copy.write(piece)
        copy.flush()
        copy.seek(0)
        yield copy
