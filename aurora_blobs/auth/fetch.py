"""An HTTP request to a foreign server, bounded in time, size and destination."""

import http.client
import io
import ipaddress
import math
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, cast
from urllib.parse import urljoin, urlsplit

from aurora_blobs.auth.answers import Answer
from aurora_blobs.auth.connections import Connection, Connections, Origin
from aurora_blobs.auth.resolver import Resolver

# For a whole request, the name's look-up included. A guess: PLC answers in a tenth of it.
TIMEOUT_SECONDS = 5.0
_MAX_BYTES = 64 * 1024  # of a body; DID documents and key sets have a few hundred
# Of an answer as it comes: its head, and what it says around the pieces of its body, are as much.
_MAX_RECEIVED = 2 * _MAX_BYTES
# Of a body that may be large: until it begins, since the server may have to fetch it itself, and
# the slowest that is borne. Guesses.
ANSWER_SECONDS = 30.0
_SLOWEST = 64 * 1024  # bytes per second
_HEAD = 64 * 1024  # bytes of an answer beside its body and what is around its pieces
# Bytes per read: with less, the head and body of a small answer take a read each (seen).
_BUFFER = 64 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_UNICAST = ipaddress.IPv6Network("2000::/3")  # all that is given out: RFC 4291, 2.4
# What is_global of Python takes for public or not by its version, and what carries an IPv4 address
# that a router on the way may take for the destination. The registries of IANA:
# https://www.iana.org/assignments/iana-ipv4-special-registry
# https://www.iana.org/assignments/iana-ipv6-special-registry
_NOT_PUBLIC = tuple(
    map(
        ipaddress.ip_network,
        (
            "0.0.0.0/8",  # this network
            "10.0.0.0/8",
            "100.64.0.0/10",  # shared by the customers of a carrier
            "127.0.0.0/8",
            "169.254.0.0/16",  # link-local, the metadata of clouds among them
            "172.16.0.0/12",
            "192.0.0.0/24",  # IETF protocol assignments
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # relays of 6to4, given up
            "192.168.0.0/16",
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, broadcast
            "2001::/23",  # IETF protocol assignments: Teredo, benchmarks, ORCHID and others
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4
            "3fff::/20",  # documentation
        ),
    )
)
SHARED_RESOLVER = Resolver()


class FetchFailed(Exception):
    """The server sent no usable answer. *status* is its HTTP status, None if it sent none."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


def fetch(
    url: str,
    *,
    allowed: Callable[[str], bool] | None,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    resolver: Resolver = SHARED_RESOLVER,
    connections: Connections | None = None,
    timeout_seconds: float = TIMEOUT_SECONDS,
) -> bytes:
    """The body of the answer to a GET of *url*, or to a POST of *body*. No redirect is followed.

    *allowed* and *connections* as in `opened`. It all ends after *timeout_seconds*. Raises
    FetchFailed.
    """
    with opened(
        url,
        allowed=allowed,
        body=body,
        headers=headers,
        resolver=resolver,
        connections=connections,
        timeout_seconds=timeout_seconds,
        max_received=_MAX_RECEIVED,
    ) as answer:
        try:
            return _read(answer)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise FetchFailed(f"{url}: {error}") from error


@contextmanager
def opened(
    url: str,
    *,
    allowed: Callable[[str], bool] | None,
    timeout_seconds: float,
    max_received: int,
    silence_seconds: float | None = None,
    slow_seconds: float = math.inf,
    redirects: int = 0,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    resolver: Resolver = SHARED_RESOLVER,
    connections: Connections | None = None,
) -> Iterator[Answer]:
    """The answer to a GET of *url*, or to a POST of *body*, whatever its status.

    *allowed* says whether an IP address may be connected to; None allows any, for a URL that the
    operator configured. Up to *redirects* are followed, over https to public addresses alone. A GET
    goes over one of *connections*, where one fits, and leaves its own there.

    It all ends after *timeout_seconds*, after *silence_seconds* without a byte or a connection, and
    when after *slow_seconds* it comes slower than at the slowest that is borne.
    *max_received* are the bytes of the answer as it comes: head, body and what is around its
    pieces.

    Raises FetchFailed. Reads of the body raise OSError, HTTPException.
    """
    if body is not None:
        connections = None  # its connection is not for others: it says that it will be closed
    now = time.monotonic()
    limits = _Limits(now + timeout_seconds, silence_seconds, max_received, now + slow_seconds)
    while True:
        try:
            connection, answer = _asked(url, allowed, body, headers, resolver, limits, connections)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise FetchFailed(f"{url}: {error}") from error
        with _used(connection, answer, connections):
            target = answer.headers.get("Location")
            if answer.status not in _REDIRECTS or not target or not redirects:
                yield answer
                return
        url = _followed(url, target)
        allowed, redirects = is_public, redirects - 1


def opened_body(
    url: str,
    *,
    max_bytes: int,
    allowed: Callable[[str], bool] | None = None,
    answer_seconds: float = ANSWER_SECONDS,
    silence_seconds: float | None = None,
    redirects: int = 0,
    resolver: Resolver = SHARED_RESOLVER,
    connections: Connections | None = None,
    headers: Mapping[str, str] | None = None,
) -> AbstractContextManager[Answer]:
    """`opened` for a GET of *url*, with a body of up to *max_bytes*.

    Its bytes may come at the slowest that is borne, after *answer_seconds*.
    """
    return opened(
        url,
        allowed=allowed,
        timeout_seconds=answer_seconds + max_bytes / _SLOWEST,
        # What is around the pieces of a body may be as much as the body.
        max_received=2 * max_bytes + _HEAD,
        silence_seconds=silence_seconds,
        slow_seconds=answer_seconds,
        redirects=redirects,
        headers={"Accept": "*/*"} | dict(headers or {}),
        resolver=resolver,
        connections=connections,
    )


def is_public(address: str) -> bool:
    """Whether *address* is a public one, outside of every private and special network."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        embedded = ipaddress.IPv4Address(ip.packed[-4:]) if ip in _NAT64 else ip.ipv4_mapped
        if embedded is not None:
            ip = embedded
        elif ip not in _UNICAST:
            return False
    if any(ip in network for network in _NOT_PUBLIC if network.version == ip.version):
        return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


def is_public_or_loopback(address: str) -> bool:
    """As `is_public`, or on this machine; for development."""
    return is_public(address) or ipaddress.ip_address(address.partition("%")[0]).is_loopback


@cache
def tls_context() -> ssl.SSLContext:
    """The certificates that this machine trusts, read once in a process."""
    return ssl.create_default_context()


@dataclass(frozen=True, slots=True)
class _Limits:
    """*deadline* and *slow_at* are by `time.monotonic`; the others are those of `opened`."""

    deadline: float
    silence_seconds: float | None
    max_received: int
    slow_at: float

    def arm(self, connected: socket.socket) -> None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        connected.settimeout(min(left, self.silence_seconds or left))

    def check(self, received: int) -> None:
        if received > self.max_received:
            raise OSError(f"more than {self.max_received} bytes with its head")
        if time.monotonic() - self.slow_at > received / _SLOWEST:
            raise TimeoutError("its bytes come too slowly")


class _Timed:
    """A socket in the form that `Answer` needs, within *limits*."""

    def __init__(self, connected: socket.socket, limits: _Limits) -> None:
        self._socket = connected
        self._limits = limits

    def sendall(self, data: bytes) -> None:
        self._limits.arm(self._socket)
        self._socket.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self._socket, self._limits), _BUFFER)


class _TimedReader(io.RawIOBase):
    def __init__(self, connected: socket.socket, limits: _Limits) -> None:
        self._socket = connected
        self._limits = limits
        self._received = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        # A socket's timeout is for one call. A server that sends a byte now and then never hits it.
        self._limits.arm(self._socket)
        size = self._socket.recv_into(buffer)
        self._received += size
        self._limits.check(self._received)
        return size


@contextmanager
def _used(
    connection: Connection, answer: Answer, connections: Connections | None
) -> Iterator[None]:
    """Close *answer* after the block, and its connection unless another request may have it."""
    try:
        yield
    finally:
        # Where the answer has an end of its own, and was read up to it.
        is_over = answer.isclosed() and not answer.will_close
        answer.close()
        if is_over and connections is not None:
            connections.give(connection)
        else:
            connection.socket.close()


def _asked(
    url: str,
    allowed: Callable[[str], bool] | None,
    body: bytes | None,
    headers: Mapping[str, str] | None,
    resolver: Resolver,
    limits: _Limits,
    connections: Connections | None,
) -> tuple[Connection, Answer]:
    """The answer to one request, and its connection, both open."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise ValueError("not an http:// or https:// URL")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    origin = Origin(parts.scheme, parts.hostname or "", port)
    sent = {
        "Host": parts.netloc.rpartition("@")[2],
        "Accept": "application/json",
        "Accept-Encoding": "identity",
    } | dict(headers or {})
    target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
    if connections is None:
        sent["Connection"] = "close"
    else:
        kept = connections.take(origin, allowed)
        if kept is not None:
            # The server may close it just now. Whoever asks for something may ask twice.
            with suppress(ConnectionError, ssl.SSLError):
                return kept, _answered(kept, target, None, sent, limits)
    addresses = resolver.addresses(origin.host, port, limits.deadline)
    connection = _connected(addresses, origin, allowed, limits)
    return connection, _answered(connection, target, body, sent, limits)


def _answered(
    connection: Connection,
    target: str,
    body: bytes | None,
    headers: Mapping[str, str],
    limits: _Limits,
) -> Answer:
    """The answer, which begins here; without one *connection* is closed."""
    timed = _Timed(connection.socket, limits)
    try:
        timed.sendall(_request(target, body, headers))
        answer = Answer(cast(socket.socket, timed))
        answer.begin()
        return answer
    except BaseException:
        connection.socket.close()
        raise


def _request(target: str, body: bytes | None, headers: Mapping[str, str]) -> bytes:
    """A GET, or a POST of *body*. Raises ValueError for what would not be one request."""
    if body is not None:
        headers = {**headers, "Content-Length": str(len(body))}
    lines = [
        f"{'GET' if body is None else 'POST'} {target} HTTP/1.1",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    if " " in target or not target.isascii() or not all(line.isprintable() for line in lines):
        raise ValueError("a URL or header that cannot be sent")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def _followed(url: str, target: str) -> str:
    """The URL to which *url* redirects. Raises FetchFailed unless it is https."""
    try:
        followed = urljoin(url, target)
        is_https = urlsplit(followed).scheme == "https"
    except ValueError:
        is_https = False
    if not is_https:
        raise FetchFailed(f"{url}: a redirect leads away from https")
    return followed


def _connected(
    addresses: list[Any],
    origin: Origin,
    allowed: Callable[[str], bool] | None,
    limits: _Limits,
) -> Connection:
    # The checked address is the connected one: a second look-up could give another.
    usable = [entry for entry in addresses if allowed is None or allowed(entry[4][0])]
    if not usable:
        raise OSError("the name has no address that may be connected to")
    failure = OSError("no address")
    for family, kind, protocol, _name, address in usable:
        connected = socket.socket(family, kind, protocol)
        try:
            limits.arm(connected)
            connected.connect(address)
            if origin.scheme == "https":
                limits.arm(connected)
                connected = tls_context().wrap_socket(connected, server_hostname=origin.host)
            return Connection(origin, address[0], connected, time.monotonic())
        except OSError as error:
            connected.close()
            failure = error
    raise failure


def _read(response: Answer) -> bytes:
    if response.status != 200:
        raise FetchFailed(f"status {response.status}", response.status)
    body = response.read(_MAX_BYTES + 1)
    if len(body) > _MAX_BYTES:
        raise FetchFailed(f"more than {_MAX_BYTES} bytes")
    return body
