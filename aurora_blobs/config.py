"""Every setting, read once from the environment into one frozen object."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aurora_blobs.data_folder import DataFolder

PREFIX = "AURORA_BLOBS_"
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
MIN_GRACE_SECONDS = 3600  # https://atproto.com/specs/blob: one hour is a firm lower bound
MIN_SECRET_BYTES = 16
_MASK = "********"
MAX_S3_OBJECT = 5 * 2**40  # bytes
_MAX_INTEGER = 2**63 - 1  # of a database
_MAX_SECONDS = 1000 * 366 * 86_400  # far below that in microseconds


class ConfigError(ValueError):
    """A setting that cannot be used; the message is one line for the operator."""


def _text(accepted: str, pattern: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(accepted)
        return text

    return parse


def _choice(*accepted: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in accepted:
            raise ValueError(" or ".join(accepted))
        return text

    return parse


def _integer(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return int(text)

    return parse


def parse_size(text: str) -> int:
    """Bytes: a plain number, ``50MB`` (10^6) or ``50MiB`` (2^20). Raises ValueError."""
    match = re.fullmatch(r"([0-9]{1,18}) *([A-Za-z]*)", text)
    if not match or match[2].upper() not in _UNITS:
        raise ValueError("bytes as a plain number, or like 50MB or 50MiB")
    size = int(match[1]) * _UNITS[match[2].upper()]
    if size > _MAX_INTEGER:
        raise ValueError(f"at most {_MAX_INTEGER} bytes")
    return size


def _positive_size(text: str) -> int:
    size = parse_size(text)
    if size == 0:
        raise ValueError("more than 0 bytes")
    return size


def parse_seconds(text: str) -> int:
    """Seconds: a plain number, or like ``90m``, ``24h``, ``7d``. Raises ValueError."""
    match = re.fullmatch(r"([0-9]{1,9}) *([smhdw]?)", text)
    if not match:
        raise ValueError("seconds as a plain number, or like 90m, 24h or 7d")
    seconds = int(match[1]) * _SECONDS[match[2]]
    if seconds > _MAX_SECONDS:
        raise ValueError("at most 1000 years")
    return seconds


@dataclass(frozen=True, slots=True)
class Limit:
    """At most *count* of something within *seconds*."""

    count: int
    seconds: int

    def __str__(self) -> str:
        return f"{self.count}/{self.seconds}s"


def _limit(text: str) -> Limit | None:
    count, _, window = text.partition("/")
    if text == "0":
        return None
    if not re.fullmatch(r"[1-9][0-9]{0,8}", count) or not window or not parse_seconds(window):
        raise ValueError("a number per time, like 30/5m or 1000/1d; 0: no limit")
    return Limit(int(count), parse_seconds(window))


def _grace(text: str) -> int:
    seconds = parse_seconds(text)
    if seconds < MIN_GRACE_SECONDS:
        raise ValueError("at least 1h, like 6h or 24h")
    return seconds


def _mime_types(text: str) -> tuple[str, ...]:
    token = r"[a-z0-9][a-z0-9!#$&^_.+-]*"
    types = tuple(part.strip().lower() for part in text.split(","))
    if not all(re.fullmatch(rf"\*/\*|{token}/(\*|{token})", part) for part in types):
        raise ValueError("a comma list of media types, like image/png,video/*, or */*")
    return tuple("image/jpeg" if part == "image/jpg" else part for part in types)


def _presets(text: str) -> tuple[str, ...]:
    found = tuple(part.strip() for part in text.split(","))
    if not all(
        re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*=(inside|cover):[1-9][0-9]{0,3}x[1-9][0-9]{0,3}", p)
        for p in found
    ):
        raise ValueError(
            "a comma list like card=inside:1200x630,icon=cover:64x64, sides up to 9999 pixels"
        )
    return found


def _domains(text: str) -> tuple[str, ...]:
    domains = tuple(part.strip().lower() for part in text.split(","))
    if not all(re.fullmatch(r"(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+", part) for part in domains):
        raise ValueError("a comma list of domains that begin with a dot, like .test,.example.com")
    return domains


def _secrets(text: str) -> tuple[str, ...]:
    secrets = tuple(part.strip() for part in text.split(","))
    if any(len(part.encode()) < MIN_SECRET_BYTES for part in secrets):
        raise ValueError(
            f"a secret of {MIN_SECRET_BYTES} bytes or more, or a comma list of them, the first signs"
        )
    return secrets


def _address(text: str) -> str:
    match = re.fullmatch(r"unix:.+|(?:\[[0-9a-fA-F:.]+\]|[^\[\]]*):([0-9]{1,5})", text)
    if not match or int(match[1] or 0) > 65_535:
        raise ValueError("HOST:PORT or unix:PATH")
    return text


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.port == 0
            or re.search(r"\s", text)
        ):
            raise ValueError
    except ValueError:  # by urlsplit too, for half an IPv6 address or a port that is none
        raise ValueError("an http:// or https:// URL") from None
    return text


def _flag(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError("0 or 1")
    return text == "1"


_did = _text("a DID, like did:web:pds.example.com", r"did:[a-z]+:[a-zA-Z0-9._:%-]*[a-zA-Z0-9._-]")
_bucket = _text("a bucket's name", r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_any_text = _text("anything that is not empty", r"(?s).+")


def _setting(
    parse: Callable[[str], Any], default: Any, meaning: str, *, secret: bool = False
) -> Any:
    return field(
        default=default,
        repr=not secret,
        metadata={"parse": parse, "meaning": meaning, "secret": secret},
    )


@dataclass(frozen=True, slots=True)
class Config:
    """The settings. A field's variable is `PREFIX` and its name in capitals; None is "unset".

    Sizes are in bytes, times in seconds.
    """

    bind: str = _setting(_address, "127.0.0.1:2583", "what gunicorn binds")
    workers: int | None = _setting(
        _integer(1, 256), None, "gunicorn's processes; unset: one per core, at least 2, at most 8"
    )
    threads: int = _setting(
        _integer(1, 4096),
        256,
        "threads per process, made as they are needed: how many slow uploads it can bear",
    )
    data_dir: Path = _setting(
        Path,
        Path("data"),
        "holds the database, `blobs/`, `spool/`, `jwt.secret`, `images/`, `public/`",
    )
    database_url: str | None = _setting(
        _text("sqlite:PATH", r"sqlite:(?!:memory:).+"),
        None,
        "`sqlite:PATH`; unset: `aurora.sqlite3` in the data folder",
    )
    storage: str = _setting(_choice("disk", "s3"), "disk", "where bytes lie: `disk` or `s3`")
    storage_fallback: str | None = _setting(
        _choice("disk", "s3"),
        None,
        "`disk` or `s3`, where blobs are looked for that `STORAGE` does not have: while they move; unset: nowhere",
    )
    s3_bucket: str | None = _setting(_bucket, None, "the bucket")
    s3_prefix: str = _setting(_any_text, "", "what the keys begin with, like `blobs/`")
    s3_endpoint_url: str | None = _setting(_url, None, "the store's address; unset: AWS")
    s3_region: str | None = _setting(_any_text, None, "the region; unset: from boto3's usual chain")
    s3_addressing_style: str = _setting(
        _choice("auto", "path", "virtual"), "auto", "`auto`, `path` or `virtual`"
    )
    s3_redirect: str | None = _setting(
        _choice("presigned"),
        None,
        "`presigned`: getBlob redirects to a link to the bucket, good for five minutes; unset: bytes pass through here",
    )
    verify_on_read: str = _setting(
        _choice("off", "on"),
        "off",
        "`on`: a blob is hashed while it is sent whole; one that is wrong is never sent to its end, and set aside",
    )
    max_blob_size: int = _setting(
        _positive_size, 5_242_880, "bytes; a plain number, `50MB` or `50MiB`"
    )
    allowed_mime_types: tuple[str, ...] = _setting(
        _mime_types,
        (
            "image/jpeg",
            "image/png",
            "image/gif",
            "image/webp",
            "video/mp4",
            "video/quicktime",
            "video/webm",
        ),
        "comma list; `image/*` and `*/*` allowed",
    )
    mime_policy: str = _setting(
        _choice("strict", "sniff"),
        "strict",
        "`strict`: a declared type that the bytes contradict is refused; `sniff`: the bytes win",
    )
    cid_format: str = _setting(
        _choice("atproto", "aurora"),
        "atproto",
        "`atproto`: `bafkrei…`; `aurora`: `bafyrei` + hex of the digest. Either is read",
    )
    jwt_secret: tuple[str, ...] | None = _setting(
        _secrets,
        None,
        "HS256 secret of session tokens, a comma list to rotate: the first signs, all verify; "
        "unset: made once in the data folder",
        secret=True,
    )
    service_did: str = _setting(_did, "did:web:localhost", "`aud` of session and service tokens")
    entryway_public_key: str | None = _setting(
        _text(
            "did:key:z…, or a secp256k1 public key in hex",
            r"did:key:z\w{20,100}|([0-9a-f]{2}){33,65}",
        ),
        None,
        "with this key, too, a session token may be signed (ES256K or ES256): that of the PDS's entryway",
    )
    moderation_did: str | None = _setting(
        _did, None, "whose service tokens may do what the administrator may; unset: nobody's"
    )
    oauth_issuer: str | None = _setting(
        _url,
        None,
        "the authorization server whose DPoP-bound tokens are taken, as in their `iss`; unset: none",
    )
    oauth_jwks_url: str | None = _setting(
        _url, None, "that server's public keys; unset: its tokens are signed as session tokens are"
    )
    oauth_introspection_url: str | None = _setting(
        _url, None, "where the scope of a token that does not carry it is asked for (RFC 7662)"
    )
    oauth_client_id: str | None = _setting(_any_text, None, "who asks there")
    oauth_client_secret: str | None = _setting(_any_text, None, "with this secret", secret=True)
    oauth_unscoped: str = _setting(
        _choice("nothing", "blobs"),
        "nothing",
        "what a token may do whose scope cannot be known: `nothing`, or upload `blobs` of any type",
    )
    dpop_secret: str | None = _setting(
        _text("64 hex digits", r"[0-9a-fA-F]{64}"),
        None,
        "what DPoP nonces are made of; with the PDS's own, a nonce of either is good for both; unset: from the secret",
        secret=True,
    )
    allow_loopback_identity: bool = _setting(
        _flag,
        False,
        "for development: `1` lets a `did:web` be resolved on this machine, `localhost` over http",
    )
    plc_url: str = _setting(_url, "https://plc.directory", "where `did:plc` is resolved")
    handle_domains: tuple[str, ...] = _setting(
        _domains, (".test",), "where local accounts may have handles"
    )
    admin_password: str | None = _setting(
        _any_text, None, "HTTP Basic, user `admin`; unset: admin calls are refused", secret=True
    )
    accounts: str = _setting(
        _choice("local", "external"),
        "local",
        "`local`: this service keeps accounts and sessions; `external`: tokens come from a PDS",
    )
    unreferenced_grace: int = _setting(
        _grace, 86_400, "how long a blob that no record references is kept; 1h or more"
    )
    quota: int = _setting(parse_size, 0, "bytes an account may hold; 0: no limit")
    uploads_per_day: int = _setting(
        _integer(0, 10**9 - 1), 0, "uploads an account may make in a day; 0: no limit"
    )
    uploads_per_address: Limit | None = _setting(
        _limit,
        None,
        "uploads from one address, like `1000/1d`, blobs that a record waits for not counted; 0: no limit",
    )
    signups_per_address: Limit | None = _setting(
        _limit,
        Limit(100, 300),
        "accounts that may be created from one address but this machine's; 0: no limit",
    )
    failures_per_address: Limit | None = _setting(
        _limit,
        Limit(30, 300),
        "wrong passwords, the administrator's included, from one address; 0: no limit",
    )
    proxy_hops: int = _setting(_integer(0, 10), 0, "trusted `X-Forwarded-*` hops")
    accel_redirect: str | None = _setting(
        _text("a location like /_blobs/", r"/([\w.-]+/)+"),
        None,
        "internal nginx location; getBlob answers with `X-Accel-Redirect`",
    )
    location_metadata: str = _setting(
        _choice("allow", "refuse"),
        "allow",
        "`refuse`: a picture or film whose metadata says where it was taken is not accepted",
    )
    image_presets: tuple[str, ...] = _setting(
        _presets,
        (),
        "comma list of sizes for `/img/`, like `card=inside:1200x630,icon=cover:64x64`",
    )
    image_cache_size: int = _setting(
        parse_size, 2**30, "bytes of derived pictures that are kept; 0: none"
    )
    durability: str = _setting(
        _choice("full", "os"),
        "full",
        "`full`: file, folder and row are fsynced before the answer; `os`: left to the kernel",
    )

    max_import_size: int = _setting(
        parse_size, 500_000_000, "bytes that an imported repository may have; 0: no imports"
    )
    lexicon_dir: Path | None = _setting(
        Path,
        None,
        "folder of lexicon files whose record types are checked too, for the blobs in them",
    )

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "Config":
        """The settings in *environ*; an empty variable is one that is unset. Raises ConfigError."""
        known = {PREFIX + setting.name.upper(): setting for setting in fields(cls)}
        values = {}
        for variable, text in environ.items():
            if not variable.startswith(PREFIX):
                continue
            if variable not in known:
                raise _unknown(variable, text, known)
            if text:
                setting = known[variable]
                try:
                    values[setting.name] = setting.metadata["parse"](text)
                except ValueError as error:
                    raise _refused(setting, text, str(error)) from None
        config = cls(**values)
        for name, value in (
            ("STORAGE", config.storage),
            ("STORAGE_FALLBACK", config.storage_fallback),
        ):
            if value == "s3" and config.s3_bucket is None:
                raise ConfigError(
                    f"{PREFIX}S3_BUCKET is unset: accepted is a bucket's name, since {PREFIX}{name}=s3"
                )
        if (
            "s3" in (config.storage, config.storage_fallback)
            and config.max_blob_size > MAX_S3_OBJECT
        ):
            raise ConfigError(
                f"{PREFIX}MAX_BLOB_SIZE={config.max_blob_size}: accepted is up to 5TiB where S3 is used"
            )
        return config

    def refusal(self, name: str, accepted: str) -> ConfigError:
        """What to raise for the field *name*, whose value turns out to be of no use; *accepted* says what would be."""
        (setting,) = (setting for setting in fields(self) if setting.name == name)
        return _refused(setting, str(getattr(self, name)), accepted)

    @property
    def data_folder(self) -> DataFolder:
        """The layout of `data_dir`."""
        return DataFolder(self.data_dir)

    @property
    def database(self) -> str:
        """The database's URL, the default filled in."""
        return self.database_url or f"sqlite:{self.data_folder.database}"


def _refused(setting: Any, text: str, accepted: str) -> ConfigError:
    shown = "(hidden)" if setting.metadata["secret"] else repr(_masked(text))
    return ConfigError(f"{PREFIX}{setting.name.upper()}={shown}: accepted is {accepted}")


def _masked(text: str) -> str:
    """*text* without the password, if it is a URL with one, or was meant to be."""
    return re.sub(r"(//[^/:@\s]*:)\S+@", rf"\1{_MASK}@", text)


def _unknown(variable: str, text: str, known: dict[str, Any]) -> ConfigError:
    names = [name.removeprefix(PREFIX) for name in known]
    near = get_close_matches(variable.removeprefix(PREFIX).upper(), names, 1)
    # A secret under a misspelt name is a secret.
    secret = re.search("SECRET|PASS|KEY|TOKEN", variable) or any(
        known[PREFIX + n].metadata["secret"] for n in near
    )
    hint = f"is {PREFIX}{near[0]}, or another of README.md's" if near else "are those of README.md"
    return ConfigError(
        f"{variable}={'(hidden)' if secret else repr(_masked(text))}: no such setting; accepted {hint}"
    )


def effective(config: Config) -> dict[str, str]:
    """Each variable with its effective value as text, secrets masked."""
    return {PREFIX + setting.name.upper(): _shown(config, setting) for setting in fields(config)}


def _shown(config: Config, setting: Any) -> str:
    value = getattr(config, setting.name)
    if setting.name == "database_url":
        return _masked(config.database)
    if value is None:
        return (
            "" if setting.default is None else "0"
        )  # a limit that was switched off is not one that is unset
    if setting.metadata["secret"]:
        return _MASK
    if isinstance(value, bool):
        return str(int(value))
    return _masked(",".join(value) if isinstance(value, tuple) else str(value))
