"""A small store on loopback that speaks S3 as some real ones do: with less, or with mistakes."""

import hashlib
import re
import threading
from base64 import b64encode
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Asked:
    """A request: its operation, like "PUT" or "POST uploads", and its headers in lower case."""

    operation: str
    headers: dict[str, str]


@dataclass
class OddStore:
    """What the store holds, what it was asked, and what is odd about it."""

    url: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    parts: dict[str, bytes] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    # A header whose name has this is answered with this status, code and message.
    refused: dict[str, tuple[int, str, str]] = field(default_factory=dict)
    # Answers to the next requests: status, code, headers. The last one stays with `always`.
    answers: list[tuple[int, str, dict[str, str]]] = field(default_factory=list)
    always: bool = False
    shows_checksums: bool = True
    checks_signatures: bool = True
    damages: bool = False  # the bytes that it takes
    ranges: tuple[str, int] | None = None  # the Content-Range of each part, and how many bytes come

    def operations(self) -> list[str]:
        """What was asked since the last look."""
        asked, self.asked = self.asked, []
        return [request.operation for request in asked]

    def with_header(self, name: str) -> list[str]:
        """The operations among those asked with a header whose name has *name*."""
        return [
            request.operation
            for request in self.asked
            if any(name in header for header in request.headers)
        ]


@contextmanager
def odd_store():
    """Run one; its `url` is where."""
    store = OddStore()
    handler = type("Handler", (_Handler,), {"store": store})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True  # connections are kept, and nobody closes them
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    store.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield store
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: OddStore

    def log_message(self, *_):
        pass

    def _begin(self):
        """The body, and the name that the query has first; None where it was answered."""
        store = self.store
        self.key, _, query = self.path.partition("?")
        name = query.partition("=")[0]
        headers = {name.lower(): value for name, value in self.headers.items()}
        store.asked.append(Asked(f"{self.command} {name}".strip(), headers))
        body = self.rfile.read(int(headers.get("content-length", 0)))
        if store.answers:
            status, code, more = store.answers[0] if store.always else store.answers.pop(0)
            return self._fail(status, code, **more)
        for part, (status, code, message) in store.refused.items():
            if any(part in header for header in headers):
                return self._fail(status, code, message)
        return body, name, headers

    def _take(self, body, headers):
        """The bytes to keep; None where they were refused."""
        if self.store.damages:
            body = bytes([body[0] ^ 1]) + body[1:]
        is_signed = hashlib.sha256(body).hexdigest() == headers["x-amz-content-sha256"]
        if self.store.checks_signatures and not is_signed:
            return self._fail(400, "XAmzContentSHA256Mismatch")
        return body

    def _kept(self, body):
        shown = {}
        if self.store.shows_checksums:
            shown = {"x-amz-checksum-sha256": b64encode(hashlib.sha256(body).digest()).decode()}
        self._answer(200, ETag=_tag(body), **shown)

    def do_PUT(self):
        if (begun := self._begin()) is None:
            return
        body, name, headers = begun
        if (body := self._take(body, headers)) is None:
            return
        if name == "partNumber" or "partNumber" in self.path:
            self.store.parts[self.path] = body
        elif "if-none-match" in headers and self.key in self.store.objects:
            self._fail(412, "PreconditionFailed")
            return
        else:
            self.store.objects[self.key] = body
        self._kept(body)

    def do_POST(self):
        if (begun := self._begin()) is None:
            return
        _, name, _ = begun
        if name == "uploads":
            self._answer(200, b"<R><UploadId>upload</UploadId></R>")
            return
        self.store.objects[self.key] = b"".join(self.store.parts.values())
        self.store.parts.clear()
        self._answer(200, b"<R><ETag>&quot;0-1&quot;</ETag></R>")

    def _find(self):
        """The object that is asked for; None where there is none, which was answered."""
        if self._begin() is None:
            return None
        whole = self.store.objects.get(self.key)
        return self._fail(404, "NoSuchKey") if whole is None else whole

    def do_GET(self):
        if (whole := self._find()) is None:
            return
        asked = re.fullmatch(r"bytes=([0-9]+)-([0-9]*)", self.headers.get("Range", ""))
        if asked is None:
            self._answer(200, whole)
            return
        start, last = int(asked[1]), min(int(asked[2] or len(whole)), len(whole) - 1)
        shown, size = f"bytes {start}-{last}/{len(whole)}", last + 1 - start
        if self.store.ranges is not None:
            shown, size = self.store.ranges
        self._answer(206, whole[start : start + size], **{"Content-Range": shown})

    def do_HEAD(self):
        if (whole := self._find()) is not None:
            self._answer(200, whole, ETag=_tag(whole))

    def do_DELETE(self):
        if self._begin() is None:
            return
        self.store.objects.pop(self.key, None)
        self._answer(204)

    def _fail(self, status, code, message="said so", **headers):
        xml = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
        self._answer(status, xml, **headers)

    def _answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _tag(data):
    return f'"{hashlib.md5(data).hexdigest()}"'
