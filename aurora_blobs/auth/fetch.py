"""One small HTTP request to somebody else's server: bounded in time and size, and never to where it should not go."""

import http.client
import io
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any
from urllib.parse import urlsplit

_SECONDS = (
    5  # for a whole request, after the name was looked up; a guess, PLC answers in a tenth of it
)
_MAX_BYTES = 64 * 1024  # of a body; DID documents and key sets have a few hundred
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# They carry an IPv4 address within, which routers on the way may take for the destination.
_TUNNELS = tuple(map(ipaddress.IPv6Network, ("2002::/16", "2001::/32", "64:ff9b:1::/48")))

Lookup = Callable[..., list[Any]]  # as socket.getaddrinfo


class FetchFailed(Exception):
    """The server did not answer, or not with what was asked for; *status* is the one it sent, else None."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


def fetch(
    url: str,
    *,
    allowed: Callable[[str], bool] | None,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    lookup: Lookup = socket.getaddrinfo,
) -> bytes:
    """What *url* answers to a GET, or to a POST of *body*. No redirect is followed.

    *allowed* says whether an IP address may be connected to, None is any: for what the operator configured.
    Raises FetchFailed.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        host = parts.hostname or ""
        addresses = lookup(host, port, type=socket.SOCK_STREAM)
        deadline = time.monotonic() + _SECONDS
        with _connected(
            addresses, host if parts.scheme == "https" else None, allowed, deadline
        ) as connected:
            client = http.client.HTTPConnection(host, port)
            client.sock = _Timed(connected, deadline)
            sent = {
                "Host": parts.netloc.rpartition("@")[2],
                "Accept": "application/json",
                "Accept-Encoding": "identity",
            }
            target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
            client.request(
                "GET" if body is None else "POST", target, body, sent | dict(headers or {})
            )
            return _read(client.getresponse())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise FetchFailed(f"{url}: {error}") from error


def is_public(address: str) -> bool:
    """Whether *address* is one that anybody in the Internet may be asked to connect to."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if any(ip in network for network in _TUNNELS):
            return False
        embedded = ipaddress.IPv4Address(ip.packed[-4:]) if ip in _NAT64 else ip.ipv4_mapped
        if embedded is not None:
            ip = embedded
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


def is_public_or_loopback(address: str) -> bool:
    """As `is_public`, and this machine: for development."""
    return is_public(address) or ipaddress.ip_address(address.partition("%")[0]).is_loopback


class _Timed:
    """A socket as http.client wants it, with one deadline for all that is sent and received."""

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        self._socket = connected
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        _arm(self._socket, self._deadline)
        self._socket.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self._socket, self._deadline))

    def close(self) -> None:
        """Nothing: http.client calls this while the body is still to be read."""


class _TimedReader(io.RawIOBase):
    def __init__(self, connected: socket.socket, deadline: float) -> None:
        self._socket = connected
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        # A socket's timeout is for one call: a server that sends a byte now and then would never hit it.
        _arm(self._socket, self._deadline)
        return self._socket.recv_into(buffer)


def _arm(connected: socket.socket, deadline: float) -> None:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    connected.settimeout(left)


def _connected(
    addresses: list[Any],
    tls_name: str | None,
    allowed: Callable[[str], bool] | None,
    deadline: float,
) -> socket.socket:
    # The address that is checked is the one that is connected to: a second look-up could answer otherwise.
    usable = [entry for entry in addresses if allowed is None or allowed(entry[4][0])]
    if not usable:
        raise OSError("the name has no address that may be connected to")
    failure = OSError("no address")
    for family, kind, protocol, _name, address in usable:
        connected = socket.socket(family, kind, protocol)
        try:
            _arm(connected, deadline)
            connected.connect(address)
            if tls_name is not None:
                _arm(connected, deadline)
                connected = _tls().wrap_socket(connected, server_hostname=tls_name)
            return connected
        except OSError as error:
            connected.close()
            failure = error
    raise failure


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _read(response: http.client.HTTPResponse) -> bytes:
    if response.status != 200:
        raise FetchFailed(f"status {response.status}", response.status)
    body = response.read(_MAX_BYTES + 1)
    if len(body) > _MAX_BYTES:
        raise FetchFailed(f"more than {_MAX_BYTES} bytes")
    return body
