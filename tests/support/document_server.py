"""An HTTP server on loopback for DID documents, key sets and introspection."""

import json
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def serving(answer, tls=None, host="127.0.0.1", version="HTTP/1.0"):
    """Run a server that calls *answer* with each request handler; its ``host:port``.

    From *version* ``HTTP/1.1`` on it keeps connections.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = version

        def do_GET(self):
            answer(self)

        do_POST = do_GET

        def handle(self):
            with suppress(ConnectionResetError):
                super().handle()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer((host, 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"{host}:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def send(handler, body, status=200, **headers):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)
