"""The forms that a setting's text may have. A parser raises ValueError with what is accepted."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

MIN_GRACE_SECONDS = 3600  # https://atproto.com/specs/blob: one hour is a firm lower bound
MIN_SECRET_BYTES = 16
_SIZE_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZE_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_TIME_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_MAX_INTEGER = 2**63 - 1  # of a database
_LOOPBACK = re.compile(r"(127\.[0-9.]+|localhost|\[?::1\]?)")
_MAX_SECONDS = 1000 * 366 * 86_400  # far below that in microseconds


@dataclass(frozen=True, slots=True)
class Limit:
    """At most *count* of something within *seconds*."""

    count: int
    seconds: int

    def __str__(self) -> str:
        return f"{self.count}/{self.seconds}s"


def matching(pattern: str, accepted: str) -> Callable[[str], str]:
    """A parser of texts that match *pattern* as a whole, described by *accepted*."""

    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(accepted)
        return text

    return parse


def one_of(*accepted: str) -> Callable[[str], str]:
    """A parser of these words."""

    def parse(text: str) -> str:
        if text not in accepted:
            raise ValueError(" or ".join(accepted))
        return text

    return parse


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """A parser of whole numbers from *low* to *high*, both included."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return int(text)

    return parse


parse_any_text = matching(r"(?s).+", "anything that is not empty")
parse_bucket = matching(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}", "a bucket's name")
_TAKEN_PATHS = ("xrpc", "img", "console", "metrics")  # first segments of our own addresses


def parse_object_bucket(text: str) -> str:
    """A bucket's name, as S3 has them, that is not the beginning of another address here."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", text) or text in _TAKEN_PATHS:
        raise ValueError(
            "3 to 63 lower-case letters, digits, dots and hyphens, "
            f"but not {', '.join(_TAKEN_PATHS)}"
        )
    return text


parse_token = matching(
    r"[A-Za-z0-9._~+/-]{16,512}=*", "16 to 512 letters, digits and ._~+/-"
)  # RFC 6750, 2.1


_DID = r"did:[a-z]+:[a-zA-Z0-9._:%-]*[a-zA-Z0-9._-]"
parse_did = matching(_DID, "a DID, like did:web:pds.example.com")


def parse_audiences(text: str) -> tuple[str, ...]:
    """A comma list of DIDs, each with or without the name of a service after ``#``."""
    audiences = _listed(text)
    if not all(re.fullmatch(rf"{_DID}(#[A-Za-z0-9._:%-]+)?", part) for part in audiences):
        raise ValueError(
            "a comma list of DIDs, each with or without a service, "
            "like did:web:pds.example.com#atproto_pds"
        )
    return audiences


def parse_flag(text: str) -> bool:
    """``0`` or ``1``."""
    if text not in ("0", "1"):
        raise ValueError("0 or 1")
    return text == "1"


def parse_size(text: str) -> int:
    """Bytes: a plain number, ``50MB`` (10^6) or ``50MiB`` (2^20)."""
    match = re.fullmatch(r"([0-9]{1,18}) *([A-Za-z]*)", text)
    if not match or match[2].upper() not in _SIZE_UNITS:
        raise ValueError("bytes as a plain number, or like 50MB or 50MiB")
    size = int(match[1]) * _SIZE_UNITS[match[2].upper()]
    if size > _MAX_INTEGER:
        raise ValueError(f"at most {_MAX_INTEGER} bytes")
    return size


def parse_positive_size(text: str) -> int:
    """Bytes, one or more."""
    size = parse_size(text)
    if size == 0:
        raise ValueError("more than 0 bytes")
    return size


def parse_seconds(text: str) -> int:
    """Seconds: a plain number, or like ``90m``, ``24h``, ``7d``."""
    match = re.fullmatch(r"([0-9]{1,9}) *([smhdw]?)", text)
    if not match:
        raise ValueError("seconds as a plain number, or like 90m, 24h or 7d")
    seconds = int(match[1]) * _TIME_UNITS[match[2]]
    if seconds > _MAX_SECONDS:
        raise ValueError("at most 1000 years")
    return seconds


def parse_grace(text: str) -> int:
    """Seconds, `MIN_GRACE_SECONDS` or more."""
    seconds = parse_seconds(text)
    if seconds < MIN_GRACE_SECONDS:
        raise ValueError("at least 1h, like 6h or 24h")
    return seconds


def parse_limit(text: str) -> Limit | None:
    """A number per time, like ``30/5m``; ``0`` is no limit, None."""
    if text == "0":
        return None
    count, _, window = text.partition("/")
    if not re.fullmatch(r"[1-9][0-9]{0,8}", count) or not window or not parse_seconds(window):
        raise ValueError("a number per time, like 30/5m or 1000/1d; 0: no limit")
    return Limit(int(count), parse_seconds(window))


def parse_mime_types(text: str) -> tuple[str, ...]:
    """A comma list of media types and ranges, in lower case. image/jpg is read as image/jpeg."""
    token = r"[a-z0-9][a-z0-9!#$&^_.+-]*"
    types = [part.lower() for part in _listed(text)]
    if not all(re.fullmatch(rf"\*/\*|{token}/(\*|{token})", part) for part in types):
        raise ValueError("a comma list of media types, like image/png,video/*, or */*")
    return tuple("image/jpeg" if part == "image/jpg" else part for part in types)


def parse_image_presets(text: str) -> tuple[str, ...]:
    """A comma list of ``<name>=<fit>:<width>x<height>``."""
    preset = r"[A-Za-z][A-Za-z0-9_-]*=(inside|cover):[1-9][0-9]{0,3}x[1-9][0-9]{0,3}"
    presets = _listed(text)
    if not all(re.fullmatch(preset, part) for part in presets):
        raise ValueError(
            "a comma list like card=inside:1200x630,icon=cover:64x64, sides up to 9999 pixels"
        )
    return presets


def parse_domains(text: str) -> tuple[str, ...]:
    """A comma list of domains with a leading dot, in lower case."""
    domains = tuple(part.lower() for part in _listed(text))
    if not all(re.fullmatch(r"(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+", part) for part in domains):
        raise ValueError("a comma list of domains that begin with a dot, like .test,.example.com")
    return domains


def parse_secrets(text: str) -> tuple[str, ...]:
    """A comma list of secrets, each of `MIN_SECRET_BYTES` or more."""
    secrets = _listed(text)
    if any(len(part.encode()) < MIN_SECRET_BYTES for part in secrets):
        raise ValueError(
            f"a secret of {MIN_SECRET_BYTES} bytes or more, "
            "or a comma list of them, the first signs"
        )
    return secrets


def parse_bind_address(text: str) -> str:
    """``HOST:PORT`` or ``unix:PATH``."""
    match = re.fullmatch(r"unix:.+|(?:\[[0-9a-fA-F:.]+\]|[^\[\]]*):([0-9]{1,5})", text)
    if not match or int(match[1] or 0) > 65_535:
        raise ValueError("HOST:PORT or unix:PATH")
    return text


def is_loopback(host: str) -> bool:
    """Whether *host*, of an address or a URL, is this machine's for itself."""
    return _LOOPBACK.fullmatch(host) is not None


def parse_url(text: str) -> str:
    """An http or https URL with a host."""
    if not _is_http_url(text):
        raise ValueError("an http:// or https:// URL")
    return text


def parse_origin(text: str) -> str:
    """An http or https URL of a host, with or without a port, and of nothing else on it."""
    origin = text.removesuffix("/").lower()
    authority = r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?"
    if not re.fullmatch(f"https?://{authority}", origin) or not _is_http_url(origin):
        raise ValueError("an http:// or https:// URL without a path, like https://pds.example.com")
    return origin


def parse_follow(text: str) -> tuple[str, ...]:
    """A comma list of `parse_origin`."""
    return tuple(map(parse_origin, _listed(text)))


def parse_allow(text: str) -> tuple[str, ...]:
    """A comma list of DIDs, and of hosts with or without a port, those in lower case."""
    host = r"(\[[0-9a-f:.]+\]|[a-z0-9]([a-z0-9.-]*[a-z0-9])?)(:[0-9]{1,5})?"
    allowed = [part if part.startswith("did:") else part.lower() for part in _listed(text)]
    if not all(re.fullmatch(f"{_DID}|{host}", part) for part in allowed):
        raise ValueError("a comma list of DIDs and hosts, like did:plc:…,pds.example.com")
    return tuple(allowed)


def _is_http_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:  # half an IPv6 address, or a port that is not one
        return False
    has_host = parts.scheme in ("http", "https") and bool(parts.hostname)
    return has_host and port != 0 and not re.search(r"\s", text)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))
