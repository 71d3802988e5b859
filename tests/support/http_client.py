"""An HTTP client for real servers with the interface of Flask's test client."""

import json
import socket
from base64 import b64encode
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPMessage
from typing import Any
from urllib.parse import urlencode


@dataclass(frozen=True)
class Answer:
    """A response, read to its end."""

    status_code: int
    headers: HTTPMessage
    data: bytes

    @property
    def text(self) -> str:
        return self.data.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.data)


class HttpClient:
    """Each call opens a connection with `connect`."""

    def connect(self) -> socket.socket:
        raise NotImplementedError

    def open(
        self,
        path: str,
        *,
        method: str = "GET",
        data: Any = None,
        json: Any = None,
        query_string: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        buffered: bool = True,
    ) -> Answer:
        """Make a request. *data* is bytes, or an iterable of bytes, sent as a chunked body."""
        assert buffered, "an answer is always read to its end"
        if query_string:
            path = f"{path}?{urlencode(query_string)}"
        return call(self.connect(), method, path, *_body(data, json, headers, auth))

    def get(self, path: str, **options: Any) -> Answer:
        return self.open(path, **options)

    def head(self, path: str, **options: Any) -> Answer:
        return self.open(path, method="HEAD", **options)

    def post(self, path: str, **options: Any) -> Answer:
        return self.open(path, method="POST", **options)


def call(
    connection: socket.socket,
    method: str,
    path: str,
    body: Any = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    """Make one request on *connection*, and close it."""
    client = HTTPConnection("127.0.0.1")
    client.sock = connection
    try:
        client.request(method, path, body, headers or {})
        response = client.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        client.close()


def _body(
    data: Any, value: Any, headers: dict[str, str] | None, auth: tuple[str, str] | None
) -> tuple[Any, dict[str, str]]:
    """The body and the headers of a request."""
    sent = dict(headers or {})
    if auth is not None:
        sent["Authorization"] = f"Basic {b64encode(':'.join(auth).encode()).decode()}"
    if value is not None:
        sent["Content-Type"] = "application/json"
        data = json.dumps(value)
    return data, sent
