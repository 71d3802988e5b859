"""The answer of another server, whose head is read plainly.

http.client has it parsed as that of a mail, for twice the CPU of all the rest that a small answer
takes.
"""

import http.client
from http import HTTPStatus

from aurora_blobs.protocol.syntax import parse_mime_type

_MAX_LINE = 65536  # bytes; as http.client has both
_MAX_HEADERS = 100
_BODILESS = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)


class Headers(dict[str, str]):
    """Headers by name, in whatever case; of several with a name, the first."""

    def get(self, name: str, default: str = "") -> str:  # type: ignore[override]
        """The value of *name*, without the blanks around it."""
        return super().get(name.lower(), default)

    @property
    def mime_type(self) -> str | None:
        """The media type in Content-Type; None where it has none."""
        try:
            return parse_mime_type(self.get("Content-Type"))
        except ValueError:
            return None


class Answer(http.client.HTTPResponse):
    """An answer with its `headers`. The body is http.client's to read.

    A head that is cut off, or has a line that is no header, raises HTTPException.
    """

    headers: Headers  # type: ignore[assignment]

    def begin(self) -> None:
        """Read the head. https://www.rfc-editor.org/rfc/rfc9112#section-4"""
        status = self._read_status_line()
        while HTTPStatus.CONTINUE <= status < HTTPStatus.OK:  # the answer itself is to come
            self._read_headers()
            status = self._read_status_line()
        self.code = self.status = status
        self.headers = self.msg = headers = self._read_headers()  # type: ignore[assignment]
        encoding, length = headers.get("Transfer-Encoding"), headers.get("Content-Length")
        self.chunked = encoding.lower() == "chunked"
        self.chunk_left = None
        # Of a coding that nobody here knows, the end of the connection is the end.
        self.length = int(length) if length.isdecimal() and not encoding else None
        if status in _BODILESS:
            self.length = 0
        said = headers.get("Connection").lower()
        is_kept = "close" not in said if self.version == 11 else "keep-alive" in said
        self.will_close = not is_kept or not (self.chunked or self.length is not None)

    def _read_status_line(self) -> int:
        line = self._read_line()
        if not line:
            raise http.client.RemoteDisconnected("it closed the connection without an answer")
        version, _, rest = line.rstrip().partition(" ")
        status, _, self.reason = rest.partition(" ")
        if not version.startswith("HTTP/1.") or not (status.isdecimal() and len(status) == 3):
            raise http.client.BadStatusLine(line[:100])
        self.version = 10 if version == "HTTP/1.0" else 11
        return int(status)

    def _read_headers(self) -> Headers:
        headers = Headers()
        for _ in range(_MAX_HEADERS + 1):
            line = self._read_line()
            if line in ("\r\n", "\n"):
                return headers
            name, colon, value = line.partition(":")
            # One that begins with a blank goes on with the one before, which nobody does any more.
            if not colon or not name or name != name.strip():
                raise http.client.HTTPException(f"no header: {line[:100]!r}")
            headers.setdefault(name.lower(), value.strip())
        raise http.client.HTTPException(f"more than {_MAX_HEADERS} headers")

    def _read_line(self) -> str:
        line = self.fp.readline(_MAX_LINE + 1)
        if len(line) > _MAX_LINE:
            raise http.client.LineTooLong("head")
        return line.decode("latin-1")
