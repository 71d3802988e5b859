"""Slow clients: ``trickle.py TARGET COUNT BYTES_PER_SECOND``.

Sends its input over each of COUNT connections, at that rate.
"""

import socket
import sys
import time

_TICK = 0.05  # seconds between two pieces of one connection


def main() -> None:
    target, count, rate = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    data = sys.stdin.buffer.read()
    head = data.index(b"\r\n\r\n") + 4
    sent = {_connected(target): head for _ in range(count)}
    for connection in sent:  # the head at once, so that the server begins with each
        connection.sendall(data[:head])
    print("ready", flush=True)
    piece = max(1, int(rate * _TICK))
    while sent:
        started = time.monotonic()
        for connection, at in list(sent.items()):
            try:
                sent[connection] = at + connection.send(data[at : at + piece])
            except (BrokenPipeError, ConnectionResetError):
                sent[connection] = len(data)
            if sent[connection] == len(data):
                del sent[connection]  # and closed with it
        time.sleep(max(0, _TICK - (time.monotonic() - started)))
    time.sleep(3600)


def _connected(target: str) -> socket.socket:
    if target.startswith("unix:"):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(target.removeprefix("unix:"))
        return connection
    host, port = target.split(":")
    return socket.create_connection((host, int(port)))


main()
