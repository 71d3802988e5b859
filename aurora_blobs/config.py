"""The settings, read once from the environment into one frozen object."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from aurora_blobs.config_values import (
    Limit,
    is_loopback,
    matching,
    one_of,
    parse_allow,
    parse_any_text,
    parse_audiences,
    parse_bind_address,
    parse_bucket,
    parse_did,
    parse_domains,
    parse_flag,
    parse_follow,
    parse_grace,
    parse_image_presets,
    parse_limit,
    parse_mime_types,
    parse_object_bucket,
    parse_origin,
    parse_positive_size,
    parse_secrets,
    parse_size,
    parse_token,
    parse_url,
    whole_number,
)
from aurora_blobs.data_folder import DataFolder
from aurora_blobs.logs import FORMATS, LEVELS

PREFIX = "AURORA_BLOBS_"
STORES = ("disk", "s3")  # each has an opener in storage/
# Processes where `workers` is unset: SQLite takes one writer at a time.
MOST_USUAL_WORKERS = 8
MAX_S3_OBJECT = 5 * 2**40  # bytes
_MASK = "********"
# What may be uploaded is the PDS's to say, as it has said before. 300 MiB is what its distribution
# allows.
_OBJECT_API_DEFAULTS = {
    "max_blob_size": 300 * 2**20,
    "allowed_mime_types": ("*/*",),
    "mime_policy": "sniff",
}
# What others published is kept as it is; what they deleted, for a month.
_MIRROR_DEFAULTS = _OBJECT_API_DEFAULTS | {
    "accounts": "external",
    "unreferenced_grace": 30 * 86_400,
}
_NETWORK_DEFAULTS = _MIRROR_DEFAULTS | {"quota": 10 * 2**30}


class ConfigError(ValueError):
    """A setting that cannot be used. The message is one line for the operator."""


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
    """The settings. A field's variable is `PREFIX` and the field's name in capitals.

    None means "unset", or "no limit" for a limit that has a default. Sizes are in bytes, times in
    seconds.
    """

    bind: str = _setting(parse_bind_address, "127.0.0.1:2583", "what gunicorn binds")
    workers: int | None = _setting(
        whole_number(1, 256),
        None,
        f"gunicorn's processes; unset: one per core, at least 2, at most {MOST_USUAL_WORKERS}",
    )
    threads: int = _setting(
        whole_number(1, 4096),
        256,
        "threads per process, started when needed: each slow upload keeps one busy",
    )
    data_dir: Path = _setting(
        Path,
        Path("data"),
        "holds the database, `blobs/`, `spool/`, `jwt.secret`, `images/`, `public/`",
    )
    database_url: str | None = _setting(
        matching(
            r"sqlite:(?!:memory:).+|postgres(ql)?://.+", "sqlite:PATH, or postgresql://HOST/NAME"
        ),
        None,
        "`sqlite:PATH`, or `postgresql://…` as in [postgresql.md](postgresql.md); "
        "unset: `aurora.sqlite3` in the data folder",
    )
    database_connections: int = _setting(
        whole_number(1, 1000),
        8,
        "connections to PostgreSQL per process; whoever waits 10 seconds for one gets 503",
    )
    database_prepare: str = _setting(
        one_of("on", "off"),
        "on",
        "statements are prepared on a connection to PostgreSQL; `off` behind a pooler that gives "
        "each transaction another one",
    )
    node: str | None = _setting(
        matching(r"[\w.-]{1,253}", "letters, digits, `.`, `_` and `-`"),
        None,
        "this machine's name beside others that use the database; unset: the host's name",
    )
    storage: str = _setting(
        one_of(*STORES), "disk", "where the bytes of blobs are stored: `disk` or `s3`"
    )
    storage_fallback: str | None = _setting(
        one_of(*STORES),
        None,
        "`disk` or `s3`: during a move, read the blobs from there that `STORAGE` does not have; "
        "unset: nowhere",
    )
    s3_bucket: str | None = _setting(parse_bucket, None, "the bucket")
    s3_prefix: str = _setting(parse_any_text, "", "the prefix of all keys, like `blobs/`")
    s3_endpoint_url: str | None = _setting(parse_url, None, "the store's address; unset: AWS")
    s3_region: str | None = _setting(
        parse_any_text, None, "the region; unset: from boto3's usual chain"
    )
    s3_addressing_style: str = _setting(
        one_of("auto", "path", "virtual"), "auto", "`auto`, `path` or `virtual`"
    )
    s3_redirect: str | None = _setting(
        one_of("presigned"),
        None,
        "`presigned`: getBlob redirects to a link to the bucket, valid for five minutes; "
        "unset: bytes pass through this service",
    )
    verify_on_read: str = _setting(
        one_of("off", "on"),
        "off",
        "`on`: a blob that is sent whole is hashed meanwhile; a damaged one is cut off "
        "before its end, and quarantined",
    )
    max_blob_size: int = _setting(
        parse_positive_size, 5_242_880, "bytes; a plain number, `50MB` or `50MiB`"
    )
    allowed_mime_types: tuple[str, ...] = _setting(
        parse_mime_types,
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
        one_of("strict", "sniff"),
        "strict",
        "`strict`: a declared type that the bytes contradict is refused; `sniff`: the bytes win",
    )
    cid_format: str = _setting(
        one_of("atproto", "aurora"),
        "atproto",
        "`atproto`: `bafkrei…`; `aurora`: `bafyrei` + hex of the digest. Either is read",
    )
    jwt_secret: tuple[str, ...] | None = _setting(
        parse_secrets,
        None,
        "HS256 secret of session tokens, a comma list to rotate: the first signs, all verify; "
        "unset: made once in the data folder",
        secret=True,
    )
    service_did: str = _setting(
        parse_did, "did:web:localhost", "`aud` of session and service tokens"
    )
    service_audiences: tuple[str, ...] = _setting(
        parse_audiences,
        (),
        "comma list of further `aud` that a service token may have, like "
        "`did:web:pds.example.com#atproto_pds`; `SERVICE_DID` alone is always one",
    )
    public_url: str | None = _setting(
        parse_origin,
        None,
        "the service's own address, like `https://pds.example.com`: in DPoP's `htu`, DID documents "
        "and links; unset: as the request says, which is the client's word",
    )
    entryway_public_key: str | None = _setting(
        matching(
            r"did:key:z\w{20,100}|([0-9a-f]{2}){33,65}",
            "did:key:z…, or a secp256k1 public key in hex",
        ),
        None,
        "public key of the PDS's entryway: session tokens signed with it (ES256K or ES256) "
        "are accepted too",
    )
    moderation_did: str | None = _setting(
        parse_did, None, "DID whose service tokens may do what the administrator may; unset: none"
    )
    oauth_issuer: str | None = _setting(
        parse_url,
        None,
        "`iss` of the authorization server whose DPoP-bound tokens are accepted; unset: none",
    )
    oauth_jwks_url: str | None = _setting(
        parse_url,
        None,
        "URL of that server's public keys; unset: its tokens are signed like session tokens",
    )
    oauth_introspection_url: str | None = _setting(
        parse_url,
        None,
        "introspection endpoint (RFC 7662), asked for the scope of tokens that do not carry it",
    )
    oauth_client_id: str | None = _setting(parse_any_text, None, "client ID for that endpoint")
    oauth_client_secret: str | None = _setting(
        parse_any_text, None, "client secret for that endpoint", secret=True
    )
    oauth_unscoped: str = _setting(
        one_of("nothing", "blobs"),
        "nothing",
        "rights of a token whose scope is not known: `nothing`, or uploading `blobs` of any type",
    )
    dpop_secret: str | None = _setting(
        matching(r"[0-9a-fA-F]{64}", "64 hex digits"),
        None,
        "secret of DPoP nonces; with the PDS's own, each of the two accepts the other's nonces; "
        "unset: derived from the session secret",
        secret=True,
    )
    allow_loopback_identity: bool = _setting(
        parse_flag,
        False,
        "for development: `1` lets a `did:web` be resolved on this machine, `localhost` over http",
    )
    plc_url: str = _setting(parse_url, "https://plc.directory", "where `did:plc` is resolved")
    handle_domains: tuple[str, ...] = _setting(
        parse_domains, (".test",), "where local accounts may have handles"
    )
    admin_password: str | None = _setting(
        parse_any_text,
        None,
        "HTTP Basic, user `admin`; unset: admin calls are refused",
        secret=True,
    )
    console: str = _setting(
        one_of("on", "read-only", "off"),
        "on",
        "pages for the administrator at `/console`, where there is an `ADMIN_PASSWORD`: "
        "`read-only`: they show and change nothing; `off`: there are none",
    )
    accounts: str = _setting(
        one_of("local", "external"),
        "local",
        "`local`: this service keeps accounts and sessions; `external`: tokens come from a PDS",
    )
    mirror: str = _setting(
        one_of("off", "pds", "network"),
        "off",
        "`pds`: keep all that the hosts of `FOLLOW` publish, by `aurora-blobs follow`, which needs "
        "the extra `mirror`; `network`: fetch what is asked for, of those in `MIRROR_ALLOW`; "
        "uploads, writes, accounts and sessions answer 501",
    )
    follow: tuple[str, ...] = _setting(
        parse_follow,
        (),
        "comma list of PDS addresses, like `https://pds.example.com`; with `MIRROR=network` those "
        "that may be asked over http and on private addresses",
    )
    follow_admin_password: str | None = _setting(
        parse_any_text,
        None,
        "admin password of the PDS in `FOLLOW`, which is asked then what it has taken down; unset: "
        "what it refuses twice is hidden",
        secret=True,
    )
    mirror_allow: tuple[str, ...] = _setting(
        parse_allow,
        (),
        "comma list of DIDs, and of hosts of PDSes, like `pds.example.com`: whose blobs "
        "`MIRROR=network` fetches; unset: everybody's",
    )
    mirror_size: int = _setting(
        parse_size,
        0,
        "bytes of blobs that `MIRROR=network` keeps; what was not read for longest goes first; "
        "0: no limit",
    )
    purge_url: str | None = _setting(
        parse_url,
        None,
        'POSTed `{"did", "cid", "urls"}` whenever something public is hidden, until it is answered '
        "with 2xx, for caches in front of the service",
    )
    signups: str | None = _setting(
        one_of("open", "invite", "closed"),
        None,
        "who may create an account here: `open`: anybody; `invite`: who has an invite code; "
        "`closed`: nobody but the operator; unset: `open` while `BIND` is a loopback address or a "
        "Unix socket and `PROXY_HOPS` is 0, else `invite`",
    )
    unreferenced_grace: int = _setting(
        parse_grace, 86_400, "how long a blob that no record references is kept; 1h or more"
    )
    quota: int = _setting(parse_size, 0, "bytes an account may hold; 0: no limit")
    uploads_per_day: int = _setting(
        whole_number(0, 10**9 - 1),
        0,
        "uploads an account may make in a day, once it has moved in; 0: no limit",
    )
    uploads_per_address: Limit | None = _setting(
        parse_limit,
        None,
        "uploads from one address, like `1000/1d`; those for which records of an account wait that "
        "moves in are not counted; 0: no limit",
    )
    signups_per_address: Limit | None = _setting(
        parse_limit,
        Limit(100, 300),
        "accounts created from one address; this machine's is not limited; 0: no limit",
    )
    failures_per_address: Limit | None = _setting(
        parse_limit,
        Limit(30, 300),
        "wrong passwords, the administrator's included, from one address; 0: no limit",
    )
    uploads_at_once_per_account: int = _setting(
        whole_number(0, 10**6),
        32,
        "requests of one account whose bytes are waited for at once, in all processes; 0: no limit",
    )
    uploads_at_once_per_address: int = _setting(
        whole_number(0, 10**6),
        64,
        "slow uploads and downloads of one address at once, in all processes; this machine's "
        "address has no limit; 0: no limit",
    )
    spool_size_per_account: int = _setting(
        parse_size,
        8 * 2**30,
        "bytes of one account's uploads under way, in all processes; one alone may be larger; "
        "0: no limit",
    )
    spool_size: int = _setting(
        parse_size, 32 * 2**30, "the same of all accounts together; 0: no limit"
    )
    proxy_hops: int = _setting(whole_number(0, 10), 0, "trusted `X-Forwarded-*` hops")
    accel_redirect: str | None = _setting(
        matching(r"/([\w.-]+/)+", "a location like /_blobs/"),
        None,
        "internal nginx location; getBlob answers with `X-Accel-Redirect`",
    )
    location_metadata: str = _setting(
        one_of("allow", "refuse"),
        "allow",
        "`refuse`: a picture or film whose metadata says where it was taken is not accepted",
    )
    image_presets: tuple[str, ...] = _setting(
        parse_image_presets,
        (),
        "comma list of sizes for `/img/`, like `card=inside:1200x630,icon=cover:64x64`",
    )
    image_cache_size: int = _setting(
        parse_size, 2**30, "bytes of derived pictures in the cache; 0: no cache"
    )
    durability: str = _setting(
        one_of("full", "os"),
        "full",
        "`full`: file, folder and row are fsynced before the answer; `os`: left to the kernel",
    )
    disk_reserve: int = _setting(
        parse_size,
        16 * 2**20,
        "bytes of the disk that are given up last: while they are needed nothing is added, and "
        "takedowns, deletions, `blobs gc` and `blobs fsck` go on; 0: none",
    )
    max_import_size: int = _setting(
        parse_size, 500_000_000, "bytes that an imported repository may have; 0: no imports"
    )
    imports_at_once: int = _setting(
        whole_number(1, 64),
        2,
        "repositories that are imported at the same time, by all processes; an account's own one "
        "after the other",
    )
    record_quota: int = _setting(
        parse_size,
        1_000_000_000,
        "bytes that the records of an account may have: their JSON and URIs, and URI and CID for "
        "each blob that a record names; 0: no limit",
    )
    max_record_references: int = _setting(
        whole_number(1, 100_000), 1000, "blobs that one record may name"
    )
    object_api_bucket: str | None = _setting(
        parse_object_bucket,
        None,
        "the S3 calls of a PDS are answered at `/<bucket>/…`; then `MAX_BLOB_SIZE`, "
        "`ALLOWED_MIME_TYPES` and `MIME_POLICY` are 300 MiB, `*/*` and `sniff` unless they are "
        "set; unset: off",
    )
    object_api_access_key_id: str | None = _setting(
        matching(r"[A-Za-z0-9._-]{1,128}", "up to 128 letters, digits and ._-"),
        None,
        "what the PDS has as its store's access key ID",
    )
    object_api_secret_access_key: str | None = _setting(
        matching(r"[!-~]{16,128}", "16 to 128 printable characters without spaces"),
        None,
        "what the PDS has as its store's secret access key",
        secret=True,
    )
    metrics_token: str | None = _setting(
        parse_token,
        None,
        "`GET /metrics` with `Authorization: Bearer TOKEN` is answered, by the extra `metrics` "
        "([metrics.md](metrics.md)); unset: there is no `/metrics`",
        secret=True,
    )
    log_format: str = _setting(
        one_of(*FORMATS), "text", "lines for people, or `json`: an object a line"
    )
    log_level: str = _setting(
        one_of(*LEVELS),
        "info",
        "the least of `debug`, `info`, `warning` and `error` that is logged; "
        "[operate.md](operate.md#logs) says what is which",
    )
    lexicon_dir: Path | None = _setting(
        Path,
        None,
        "folder of more lexicon files: the blobs in records of their types are checked too",
    )

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "Config":
        """The settings in *environ*. An empty variable counts as unset. Raises ConfigError."""
        known = {_variable(setting): setting for setting in fields(cls)}
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
                    raise _refusal(setting, text, str(error)) from None
        if values.get("mirror", "off") != "off":
            is_network = values["mirror"] == "network"
            values = (_NETWORK_DEFAULTS if is_network else _MIRROR_DEFAULTS) | values
        if "object_api_bucket" in values:
            values = _OBJECT_API_DEFAULTS | values
        config = cls(**values)
        _check_s3(config)
        _check_database(config)
        _check_mirror(config)
        _check_object_api(config)
        return config

    def refusal(self, name: str, accepted: str) -> ConfigError:
        """The error to raise where the value of the field *name* turns out to be unusable.

        *accepted* says which values are usable.
        """
        (setting,) = (setting for setting in fields(self) if setting.name == name)
        return _refusal(setting, str(getattr(self, name)), accepted)

    @property
    def data_folder(self) -> DataFolder:
        """The layout of `data_dir`."""
        return DataFolder(self.data_dir)

    @property
    def is_on_network(self) -> bool:
        """Whether other machines reach `bind` without a proxy."""
        host = self.bind.rpartition(":")[0]
        return not self.bind.startswith("unix:") and not is_loopback(host)

    @property
    def signup_policy(self) -> str:
        """``open``, ``invite`` or ``closed``; the default filled in."""
        is_local = not self.is_on_network and self.proxy_hops == 0
        return self.signups or ("open" if is_local else "invite")

    @property
    def has_console(self) -> bool:
        """Whether there are pages for the administrator."""
        return self.admin_password is not None and self.console != "off"

    @property
    def may_link(self) -> bool:
        """Whether links for nginx may be made.

        None could take back those of another node, and nobody sees who reads by them.
        """
        return not is_postgresql(self.database) and self.mirror != "network"

    @property
    def database(self) -> str:
        """The database's URL, the default filled in."""
        return self.database_url or f"sqlite:{self.data_folder.database}"


def effective(config: Config) -> dict[str, str]:
    """Each variable with its effective value as text. Secrets are masked."""
    return {_variable(setting): _shown(config, setting) for setting in fields(config)}


def _variable(setting: Any) -> str:
    return PREFIX + str(setting.name).upper()


def _check_s3(config: Config) -> None:
    stores = {"STORAGE": config.storage, "STORAGE_FALLBACK": config.storage_fallback}
    on_s3 = [name for name, store in stores.items() if store == "s3"]
    if not on_s3:
        return
    if config.s3_bucket is None:
        raise ConfigError(
            f"{PREFIX}S3_BUCKET is unset: accepted is a bucket's name, since {PREFIX}{on_s3[0]}=s3"
        )
    if config.max_blob_size > MAX_S3_OBJECT:
        raise ConfigError(
            f"{PREFIX}MAX_BLOB_SIZE={config.max_blob_size}: accepted is up to 5TiB where S3 is used"
        )


def _check_database(config: Config) -> None:
    # Each node would make one of its own, and refuse the tokens of the others.
    if is_postgresql(config.database) and config.jwt_secret is None:
        raise ConfigError(
            f"{PREFIX}JWT_SECRET is unset: accepted is a secret of all processes that use the "
            f"database, since {PREFIX}DATABASE_URL names PostgreSQL"
        )


def is_postgresql(url: str) -> bool:
    """Whether the database *url* is one of PostgreSQL; else it is of SQLite."""
    return url.startswith(("postgresql://", "postgres://"))


def _check_mirror(config: Config) -> None:
    if config.mirror == "off":
        return
    if config.mirror == "pds" and not config.follow:
        raise ConfigError(
            f"{PREFIX}FOLLOW is unset: accepted is a comma list of PDS addresses, since "
            f"{PREFIX}MIRROR={config.mirror}"
        )
    if config.accounts == "local":
        raise ConfigError(
            f"{PREFIX}ACCOUNTS='local': accepted is external, since {PREFIX}MIRROR={config.mirror}"
        )
    if config.follow_admin_password is not None and len(config.follow) != 1:
        raise ConfigError(
            f"{PREFIX}FOLLOW has {len(config.follow)} addresses: accepted is one, since "
            f"{PREFIX}FOLLOW_ADMIN_PASSWORD is set"
        )


def _check_object_api(config: Config) -> None:
    names = ("object_api_bucket", "object_api_access_key_id", "object_api_secret_access_key")
    unset = [name for name in names if getattr(config, name) is None]
    if unset and len(unset) < len(names):
        raise ConfigError(
            f"{PREFIX}{unset[0].upper()} is unset: accepted are all three of OBJECT_API_BUCKET, "
            "_ACCESS_KEY_ID and _SECRET_ACCESS_KEY, or none"
        )
    if not unset and config.accounts != "external":
        raise ConfigError(
            f"{PREFIX}ACCOUNTS={config.accounts}: accepted is external, "
            f"since {PREFIX}OBJECT_API_BUCKET is set: the PDS keeps the accounts"
        )


def _refusal(setting: Any, text: str, accepted: str) -> ConfigError:
    shown = "(hidden)" if setting.metadata["secret"] else repr(masked(text))
    return ConfigError(f"{_variable(setting)}={shown}: accepted is {accepted}")


def _unknown(variable: str, text: str, known: dict[str, Any]) -> ConfigError:
    names = [name.removeprefix(PREFIX) for name in known]
    near = get_close_matches(variable.removeprefix(PREFIX).upper(), names, 1)
    # A secret under a misspelt name is still a secret.
    is_secret = re.search("SECRET|PASS|KEY|TOKEN", variable) or any(
        known[PREFIX + name].metadata["secret"] for name in near
    )
    shown = "(hidden)" if is_secret else repr(masked(text))
    hint = f"is {PREFIX}{near[0]}, or another" if near else "are those"
    return ConfigError(
        f"{variable}={shown}: no such setting; accepted {hint} that `aurora-blobs config` prints "
        "once this one is gone"
    )


def _shown(config: Config, setting: Any) -> str:
    value = getattr(config, setting.name)
    if setting.name == "database_url":
        return masked(config.database)
    if setting.name == "signups":
        return config.signup_policy
    if value is None:
        # A limit that is switched off differs from a setting that is unset.
        return "" if setting.default is None else "0"
    if setting.metadata["secret"]:
        return _MASK
    if isinstance(value, bool):
        return str(int(value))
    return masked(",".join(value) if isinstance(value, tuple) else str(value))


def masked(text: str) -> str:
    """*text* without the password of a URL, before its host or after a ``?``; it need not parse."""
    text = re.sub(r"(//[^/:@\s]*:).+@", rf"\1{_MASK}@", text)
    return re.sub(r"([?&])([^=&]*)=([^&]*)", _masked_parameter, text)


def _masked_parameter(found: re.Match[str]) -> str:
    before, name, value = found.groups()
    shown = _MASK if "pass" in unquote(name).lower() else value
    return f"{before}{name}={shown}"
