"""Settings that an operator is warned of."""

import pytest

from aurora_blobs.config import Config
from aurora_blobs.server.config_warnings import config_warnings

SECRET = ("0123456789abcdef",)
BESIDE = {
    "accounts": "external",
    "jwt_secret": SECRET,
    "service_did": "did:web:pds.test",
    "proxy_hops": 1,
}
S3 = {"storage": "s3", "s3_bucket": "blobs"}
OAUTH = BESIDE | {"oauth_issuer": "https://pds.test"}


@pytest.mark.parametrize(
    "settings, variable",
    [
        (BESIDE | {"jwt_secret": None}, "JWT_SECRET"),
        (BESIDE | {"service_did": "did:web:localhost"}, "SERVICE_DID"),
        ({"oauth_issuer": "https://pds.test"}, "OAUTH_JWKS_URL"),
        ({"oauth_jwks_url": "https://pds.test/jwks"}, "OAUTH_ISSUER"),
        ({"oauth_introspection_url": "https://pds.test/introspect"}, "OAUTH_ISSUER"),
        ({"admin_password": "7 chars"}, "ADMIN_PASSWORD"),
        ({"allow_loopback_identity": True}, "ALLOW_LOOPBACK_IDENTITY"),
        ({"plc_url": "http://plc.test"}, "PLC_URL"),
        (BESIDE | {"oauth_issuer": "http://pds.test:3000"}, "OAUTH_ISSUER"),
        (OAUTH | {"oauth_jwks_url": "HTTP://10.0.0.2/jwks"}, "OAUTH_JWKS_URL"),
        (
            OAUTH | {"oauth_introspection_url": "http://localhost.test/introspect"},
            "OAUTH_INTROSPECTION_URL",
        ),
        ({"bind": "unix:/run/s.sock"}, "PROXY_HOPS"),
        ({"bind": "0.0.0.0:80", "proxy_hops": 1}, "PROXY_HOPS"),
        (BESIDE | {"proxy_hops": 0}, "PROXY_HOPS"),
        ({"bind": "[::1]:80", "public_url": "https://pds.test", "quota": 1}, "PROXY_HOPS"),
        ({"accel_redirect": "/_blobs/", "signups": "closed"}, "PROXY_HOPS"),
        (
            BESIDE | {"accel_redirect": "/_blobs/", "database_url": "postgresql://db/aurora"},
            "ACCEL_REDIRECT",
        ),
        (BESIDE | {"accel_redirect": "/_blobs/", **S3}, "ACCEL_REDIRECT"),
        (BESIDE | {"accel_redirect": "/_s3/"}, "ACCEL_REDIRECT"),
        ({"bind": "0.0.0.0:80", "signups": "open"}, "SIGNUPS"),
        ({"bind": "127.0.0.1:80", "proxy_hops": 1, "signups": "open"}, "SIGNUPS"),
    ],
)
def test_unlikely_settings_are_warned_about(settings, variable):
    (line,) = config_warnings(Config(**settings))

    assert line.startswith(f"AURORA_BLOBS_{variable}")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        BESIDE | {"oauth_issuer": "https://pds.test", "bind": "unix:/run/s.sock"},
        BESIDE | {"accel_redirect": "/_s3/", **S3},
        BESIDE | {"accel_redirect": "/_blobs/", "storage_fallback": "disk", **S3},
        {"bind": "0.0.0.0:80", "service_did": "did:web:pds.test", "admin_password": "8 letter"},
        {"bind": "127.0.0.1:2583", "proxy_hops": 1},
        {"bind": "127.0.0.1:2583", "signups": "open"},
        {"bind": "0.0.0.0:80", "signups": "open", "quota": 10**9},
        {"oauth_issuer": "https://pds.test", "oauth_jwks_url": "https://pds.test/jwks"},
        {"plc_url": "http://localhost:2582"},
        BESIDE
        | {
            "oauth_issuer": "http://127.0.0.1:3000",
            "oauth_introspection_url": "http://[::1]:3000/introspect",
        },
    ],
)
def test_documented_settings_cause_no_warning(settings):
    assert config_warnings(Config(**settings)) == []
