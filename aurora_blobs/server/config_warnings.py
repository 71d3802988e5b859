"""Settings that hold, but together do what their operator hardly wants: a line each, for the log of the start."""

import re
from urllib.parse import urlsplit

from aurora_blobs.config import PREFIX, Config

_MIN_PASSWORD = 8  # characters, as for accounts
_HERE = re.compile(r"(127\.[0-9.]+|localhost|\[?::1\]?)")
_ASKED = (
    "plc_url",
    "oauth_issuer",
    "oauth_jwks_url",
    "oauth_introspection_url",
)  # who says who may come in


def config_warnings(config: Config) -> list[str]:
    """What an operator should look at, each line beginning with the variable that it is about."""
    has_pds_key = config.jwt_secret is not None or config.entryway_public_key is not None
    is_external = config.accounts == "external"
    is_open = not config.bind.startswith("unix:") and not _HERE.fullmatch(
        config.bind.rpartition(":")[0]
    )
    oauth = config.oauth_issuer is not None
    found = [
        (
            is_external and not has_pds_key,
            "JWT_SECRET is unset: no session token of the PDS can be verified",
        ),
        (
            is_external and config.service_did == "did:web:localhost",
            "SERVICE_DID=did:web:localhost: tokens of a PDS are for its own DID, and are refused",
        ),
        (
            oauth and not has_pds_key and config.oauth_jwks_url is None,
            "OAUTH_JWKS_URL is unset, and JWT_SECRET too: no token of OAuth can be verified",
        ),
        (
            not oauth and (config.oauth_jwks_url or config.oauth_introspection_url) is not None,
            "OAUTH_ISSUER is unset: no token of OAuth is taken, whatever the other settings of OAuth say",
        ),
        (
            config.admin_password is not None and len(config.admin_password) < _MIN_PASSWORD,
            f"ADMIN_PASSWORD has fewer than {_MIN_PASSWORD} characters: it can be guessed",
        ),
        (
            config.allow_loopback_identity,
            "ALLOW_LOOPBACK_IDENTITY=1 is for development: a DID may send requests to this machine",
        ),
        (
            config.bind.startswith("unix:") and config.proxy_hops == 0,
            "PROXY_HOPS=0 behind a socket: all clients count as one address, and one can lock out all",
        ),
        (
            is_open and config.proxy_hops > 0,
            f"PROXY_HOPS={config.proxy_hops}: who reaches {config.bind} past the proxy can claim any address",
        ),
        *(
            (
                _is_overheard(getattr(config, name)),
                f"{name.upper()} is not https: who is on the way can let anybody in",
            )
            for name in _ASKED
        ),
    ]
    return [PREFIX + line for is_so, line in found if is_so]


def _is_overheard(url: str | None) -> bool:
    """Whether what is asked at *url* goes over a network in the clear."""
    parts = urlsplit(url or "")
    return parts.scheme == "http" and not _HERE.fullmatch(parts.hostname or "")
