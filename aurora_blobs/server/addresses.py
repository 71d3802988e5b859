"""Addresses of clients, as a server or a proxy names them."""

import ipaddress

UNKNOWN = "unknown"  # the one subject that everything is counted under that is no address


def network_of(address: str) -> str:
    """The subject to count *address* under: of IPv6 the /64, the least that a customer gets.

    A port, brackets and a zone are not part of it. What is no address is `UNKNOWN`, except the
    empty one of a Unix socket.
    """
    ip = _parsed(address)
    if ip is None:
        return UNKNOWN if address else ""
    if isinstance(ip, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((ip, 64), strict=False))
    return str(ip)


def is_local(address: str) -> bool:
    """Whether *address* is this machine's. A Unix socket's is empty."""
    ip = _parsed(address)
    return not address if ip is None else ip.is_loopback


def is_forwarded(forwarded_for: str, hops: int) -> bool:
    """Whether *hops* proxies have written themselves into *forwarded_for*, an X-Forwarded-For."""
    named = forwarded_for.split(",")
    return len(named) >= hops and bool(named[-hops].strip())


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    text = address.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        ip = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return mapped or ip
