"""The process that derives pictures: it has Pillow loaded and forks for each picture, so that a bomb ends alone.

It is started by pool.py with a socket as its standard input, and ends when that is closed.
"""

import json
import os
import resource
import signal
import socket

from aurora_blobs.thumbnails import derive
from aurora_blobs.thumbnails.presets import Preset
from aurora_blobs.thumbnails.wire import STARTED, derived, refused

CPU_SECONDS = 10
WALL_SECONDS = 20
MEMORY = 640 * 2**20  # bytes of address space above what the process has before it forks
MESSAGE = 4096  # bytes, the most that a request has


def main() -> None:
    """Answer requests until the other side closes the socket."""
    # What stops the server must not stop it first: it ends with its last request.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    derive.prepare()
    memory = _address_space() + MEMORY
    requests = socket.socket(fileno=0)
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, MESSAGE, 2)
        if not message:
            return
        if os.fork() == 0:
            requests.close()
            _answer(message, descriptors[0], descriptors[1], memory)
        for descriptor in descriptors:
            os.close(descriptor)


def _answer(message: bytes, source: int, reply: int, memory: int) -> None:
    """Write the picture that *message* asks for to *reply*, or why there is none."""
    try:
        os.write(reply, STARTED)
        _limit(memory)
        asked = json.loads(message)
        preset = Preset(asked["fit"], asked["width"], asked["height"])
        with open(source, "rb") as file, socket.socket(fileno=reply) as connection:
            try:
                answer = derived(derive.derive(file, asked["mime_type"], preset, asked["form"]))
            except derive.Unusable as error:
                answer = refused(str(error))
            connection.sendall(answer)
    finally:
        os._exit(0)


def _limit(memory: int) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.alarm(WALL_SECONDS)  # its default action ends the process, wherever it is
    for kind, limit in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 0),  # no file, no socket can be opened from here on
    ):
        resource.setrlimit(kind, (limit, limit))


def _address_space() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    main()
