"""The worker process: it has Pillow loaded and forks for each image, so that a bomb ends alone.

pool.py starts it with a socket as its standard input. It ends when the socket is closed.
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
# Bytes of address space, above what the process has with its decoders and what the image has: some
# decoders hold a copy of the file.
MEMORY = 640 * 2**20
# Of 0 to 19. Uploads and downloads go first; a child beside one busy process of the server has a
# fourth of a core. With 10 it would have a tenth, and thumbnails of photos would run out of time.
NICENESS = 5
_MAX_REQUEST = 4096  # bytes


def main() -> None:
    """Answer requests until the other side closes the socket."""
    # The signal that stops the server must not stop the worker before its last answer.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    os.nice(NICENESS)
    derive.prepare()
    requests = socket.socket(fileno=0)
    while True:
        request, descriptors, _, _ = socket.recv_fds(requests, _MAX_REQUEST, 2)
        if not request:
            return
        if os.fork() == 0:
            requests.close()
            _answer(request, descriptors[0], descriptors[1])
        for descriptor in descriptors:
            os.close(descriptor)


def _answer(request: bytes, source: int, target: int) -> None:
    """Write the answer to *request* to the socket *target*. *source* is the open image."""
    try:
        os.write(target, STARTED)
        asked = json.loads(request)
        derive.load_decoder(asked["mime_type"])
        memory = address_space() + MEMORY + os.fstat(source).st_size
        limit_resources(memory, asked["seconds"])
        preset = Preset(asked["fit"], asked["width"], asked["height"])
        with open(source, "rb") as file, socket.socket(fileno=target) as connection:
            try:
                answer = derived(derive.derive(file, asked["mime_type"], preset, asked["form"]))
            except derive.Unusable as error:
                answer = refused(str(error))
            connection.sendall(answer)
    finally:
        os._exit(0)


def limit_resources(memory: int, seconds: float) -> None:
    """Bound this process: *memory* bytes of address space, little time, and nothing to open.

    It ends after *seconds* by the clock, or sooner after `CPU_SECONDS` of work.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # The default action of its signal ends the process, whatever it does.
    signal.setitimer(signal.ITIMER_REAL, seconds)
    for kind, limit in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 0),  # neither file nor socket can be opened any more
    ):
        resource.setrlimit(kind, (limit, limit))


def address_space() -> int:
    """The bytes of address space that this process has."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


if __name__ == "__main__":
    main()
