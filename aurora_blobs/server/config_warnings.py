"""Warnings about settings that are valid, but together do what an operator hardly wants."""

from urllib.parse import urlsplit

from aurora_blobs.config import PREFIX, Config, is_postgresql
from aurora_blobs.config_values import is_loopback

_MIN_PASSWORD = 8  # characters, as for accounts
# The answers of these decide who is let in.
_TRUSTED_URLS = ("plc_url", "oauth_issuer", "oauth_jwks_url", "oauth_introspection_url")


def config_warnings(config: Config) -> list[str]:
    """What an operator should look at, a line each. A line begins with its variable."""
    has_pds_key = config.jwt_secret is not None or config.entryway_public_key is not None
    is_external = config.accounts == "external"
    serves_objects = config.object_api_bucket is not None  # then clients speak to the PDS
    is_in_s3 = config.storage == "s3" and config.storage_fallback is None
    is_on_socket = config.bind.startswith("unix:")
    # Then something on this machine has to let the network in.
    is_public = (
        config.service_did != "did:web:localhost"
        or config.public_url is not None
        or config.accel_redirect is not None
    )
    is_reached = is_public or config.is_on_network or config.proxy_hops > 0
    takes_oauth = config.oauth_issuer is not None
    names_oauth = config.oauth_jwks_url is not None or config.oauth_introspection_url is not None
    found = [
        (
            is_external and not has_pds_key and not serves_objects,
            "JWT_SECRET is unset: no session token of the PDS can be verified",
        ),
        (
            is_external and not serves_objects and config.service_did == "did:web:localhost",
            "SERVICE_DID=did:web:localhost: tokens of a PDS are for its own DID, and are refused",
        ),
        (
            takes_oauth and not has_pds_key and config.oauth_jwks_url is None,
            "OAUTH_JWKS_URL is unset, and JWT_SECRET too: no token of OAuth can be verified",
        ),
        (
            names_oauth and not takes_oauth,
            "OAUTH_ISSUER is unset: no token of OAuth is taken, "
            "whatever the other settings of OAuth say",
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
            is_on_socket and config.proxy_hops == 0,
            "PROXY_HOPS=0 behind a socket: all clients count as one address, "
            "and one can lock out all",
        ),
        (
            is_public and not is_on_socket and not config.is_on_network and config.proxy_hops == 0,
            f"PROXY_HOPS=0 on {config.bind}: behind a proxy all clients count as this machine, "
            "so sign-ups are not limited, and one client can lock out all",
        ),
        (
            config.accel_redirect is not None and is_postgresql(config.database),
            "ACCEL_REDIRECT with PostgreSQL: nginx gets no links and asks for each blob, "
            "because a takedown could not remove those of other machines",
        ),
        (
            config.accel_redirect == "/_blobs/" and is_in_s3,
            "ACCEL_REDIRECT=/_blobs/ with STORAGE=s3: the shipped nginx looks there for files on "
            "the disk, and for blobs in S3 at /_s3/",
        ),
        (
            config.accel_redirect == "/_s3/" and config.storage == "disk",
            "ACCEL_REDIRECT=/_s3/ with STORAGE=disk: the shipped nginx asks S3 there, and finds "
            "files on the disk at /_blobs/",
        ),
        (
            is_reached and not is_external and config.signup_policy == "open" and config.quota == 0,
            "SIGNUPS=open and QUOTA=0: anybody can make accounts here and fill the store",
        ),
        (
            config.is_on_network and config.proxy_hops > 0,
            f"PROXY_HOPS={config.proxy_hops}: who reaches {config.bind} past the proxy "
            "can claim any address",
        ),
        *(
            (
                _is_in_the_clear(getattr(config, name)),
                f"{name.upper()} is not https: who is on the way can let anybody in",
            )
            for name in _TRUSTED_URLS
        ),
    ]
    return [PREFIX + line for holds, line in found if holds]


def _is_in_the_clear(url: str | None) -> bool:
    """Whether a request to *url* crosses a network without TLS."""
    parts = urlsplit(url or "")
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")
