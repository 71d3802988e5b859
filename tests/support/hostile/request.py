"""A request that may be wrong in every part, and how it goes onto the wire."""

from dataclasses import dataclass, field
from enum import Enum

from support.routes import Route

# Wherever a server began to read these bytes as a request, it would answer them.
HIDDEN = (
    b"GET /xrpc/com.atproto.sync.listBlobs?did=did:web:hidden.test HTTP/1.1\r\nHost: hidden\r\n\r\n"
)


class Answers(Enum):
    """How often a request is answered."""

    ONCE = "once"  # its end is beyond doubt
    PERHAPS = "once, or not at all"  # it is broken, and never two requests
    ANY = "in any way"  # it may be read as several


@dataclass
class Request:
    """*name* says what was done to it.

    *body* is sent as *framing* says: "length", "chunked", "none".
    """

    route: Route
    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    framing: str = "none"
    version: bytes = b"HTTP/1.1"
    chunk_bytes: int = 1000
    answers: Answers = Answers.ONCE
    name: list[str] = field(default_factory=list)

    @property
    def verb(self) -> str:
        """The method as far as it decides how the answer ends."""
        return "HEAD" if self.method == b"HEAD" else "GET"

    def doubt(self, answers: Answers) -> None:
        """It is to be answered as *answers* says, or less surely than that."""
        order = list(Answers)
        self.answers = max(self.answers, answers, key=order.index)

    def set(self, name: bytes, value: bytes) -> None:
        """Make *value* the only header *name*."""
        self.drop(name)
        self.headers.append((name, value))

    def drop(self, name: bytes) -> None:
        """Leave out the header *name*."""
        self.headers = [pair for pair in self.headers if pair[0].lower() != name.lower()]

    def wire(self) -> bytes:
        """Its bytes."""
        lines = [b" ".join(part for part in (self.method, self.target, self.version) if part)]
        lines += [name + b": " + value for name, value in self.headers]
        if self.framing == "length":
            lines.append(b"Content-Length: %d" % len(self.body))
        if self.framing == "chunked":
            lines.append(b"Transfer-Encoding: chunked")
        return b"\r\n".join(lines) + b"\r\n\r\n" + self._framed()

    def _framed(self) -> bytes:
        if self.framing != "chunked":
            return self.body
        size = max(1, self.chunk_bytes)
        pieces = [self.body[at : at + size] for at in range(0, len(self.body), size)]
        return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
