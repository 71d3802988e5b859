"""Counts the round trips to a PostgreSQL: a socket of our own before that of the server."""

import contextlib
import select
import socket
import threading
from pathlib import Path

_NAME = ".s.PGSQL.5432"


class RoundTrips:
    """A server at the socket in *folder* that passes all on to the one in the folder *server*.

    `count` is how often a client has sent something after an answer, or first. While it is
    `attentive`, that is: else it takes connections, and nobody hears of them any more.
    """

    def __init__(self, folder, server):
        self.count = 0
        self.attentive = threading.Event()
        self.attentive.set()
        self._server = str(Path(server) / _NAME)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(folder / _NAME))
        self._socket.listen()
        self._threads = []
        self._clients = []
        self._begin(self._accept)

    def _begin(self, work, *arguments):
        self._threads.append(threading.Thread(target=work, args=arguments))
        self._threads[-1].start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                self._clients.append(self._socket.accept()[0])
                self._begin(self._pass_on, self._clients[-1])

    def _pass_on(self, client):
        # Whoever was not heard has left.
        with client, socket.socket(socket.AF_UNIX) as server, contextlib.suppress(OSError):
            server.connect(self._server)
            others = {client: server, server: client}
            was_asking = False
            while True:
                for ready in select.select([client, server], [], [])[0]:
                    self.attentive.wait()
                    data = ready.recv(65536)
                    if not data:
                        return
                    is_asking = ready is client
                    self.count += is_asking and not was_asking
                    was_asking = is_asking
                    others[ready].sendall(data)

    def close(self):
        self.attentive.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for client in self._clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(20)
