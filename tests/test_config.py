import re
from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from aurora_blobs.config import Config, ConfigError, effective
from aurora_blobs.config_values import Limit, parse_seconds, parse_size

SECRET = "0123456789abcdef"


def config(**variables):
    return Config.from_environ({f"AURORA_BLOBS_{name}": text for name, text in variables.items()})


def test_an_empty_environment_gives_the_defaults():
    settings = config()

    assert settings == Config()
    assert settings.bind == "127.0.0.1:2583"
    assert settings.max_blob_size == 5_242_880
    assert settings.allowed_mime_types == (
        "image/jpeg",
        "image/png",
        "image/gif",
        "image/webp",
        "video/mp4",
        "video/quicktime",
        "video/webm",
    )
    assert (settings.storage, settings.mime_policy, settings.cid_format) == (
        "disk",
        "strict",
        "atproto",
    )
    assert (settings.unreferenced_grace, settings.quota) == (86_400, 0)
    assert settings.admin_password is None and settings.jwt_secret is None


def test_other_variables_are_ignored():
    environ = {"PATH": "/bin", "AURORA": "x", "AURORA_BLOB_QUOTA": "1", "aurora_blobs_quota": "1"}

    assert Config.from_environ(environ) == Config()


@pytest.mark.parametrize("setting", fields(Config), ids=lambda setting: setting.name)
def test_an_empty_variable_is_one_that_is_unset(setting):
    assert config(**{setting.name.upper(): ""}) == Config()


GOOD = [
    ("BIND", "0.0.0.0:80", "0.0.0.0:80"),
    ("BIND", "[::1]:65535", "[::1]:65535"),
    ("BIND", "unix:/run/aurora.sock", "unix:/run/aurora.sock"),
    ("DATA_DIR", "/srv/blobs", Path("/srv/blobs")),
    ("DATABASE_URL", "sqlite:/srv/a.sqlite3", "sqlite:/srv/a.sqlite3"),
    ("MAX_BLOB_SIZE", "1", 1),
    ("MAX_BLOB_SIZE", "50MB", 50_000_000),
    ("MAX_BLOB_SIZE", "50MiB", 52_428_800),
    ("MAX_BLOB_SIZE", "2 gib", 2**31),
    ("ALLOWED_MIME_TYPES", "*/*", ("*/*",)),
    ("ALLOWED_MIME_TYPES", "image/*, text/vtt", ("image/*", "text/vtt")),
    ("ALLOWED_MIME_TYPES", "IMAGE/PNG,image/svg+xml", ("image/png", "image/svg+xml")),
    ("ALLOWED_MIME_TYPES", "image/jpg", ("image/jpeg",)),
    ("MIME_POLICY", "sniff", "sniff"),
    ("CID_FORMAT", "aurora", "aurora"),
    ("JWT_SECRET", SECRET, (SECRET,)),
    ("JWT_SECRET", f"{SECRET}, {SECRET[::-1]}", (SECRET, SECRET[::-1])),
    ("SERVICE_DID", "did:web:pds.example.com", "did:web:pds.example.com"),
    ("SERVICE_AUDIENCES", "did:web:a.test#atproto_pds", ("did:web:a.test#atproto_pds",)),
    ("SERVICE_AUDIENCES", "did:plc:x, did:web:a%3A1#b", ("did:plc:x", "did:web:a%3A1#b")),
    ("PUBLIC_URL", "https://pds.example.com", "https://pds.example.com"),
    ("PUBLIC_URL", "HTTPS://PDS.example.com:8443/", "https://pds.example.com:8443"),
    ("PUBLIC_URL", "http://[::1]:2583", "http://[::1]:2583"),
    ("PLC_URL", "http://127.0.0.1:2582", "http://127.0.0.1:2582"),
    ("HANDLE_DOMAINS", ".test,.Example.com", (".test", ".example.com")),
    ("ADMIN_PASSWORD", "any thing, at all", "any thing, at all"),
    ("ACCOUNTS", "external", "external"),
    ("UNREFERENCED_GRACE", "1h", 3600),
    ("UNREFERENCED_GRACE", "3600", 3600),
    ("UNREFERENCED_GRACE", "7d", 604_800),
    ("QUOTA", "0", 0),
    ("QUOTA", "1TB", 10**12),
    ("SIGNUPS_PER_ADDRESS", "1/1d", Limit(1, 86_400)),
    ("SIGNUPS_PER_ADDRESS", "0", None),
    ("FAILURES_PER_ADDRESS", "0", None),
    ("UPLOADS_PER_ADDRESS", "0", None),
    ("PROXY_HOPS", "1", 1),
    ("ACCEL_REDIRECT", "/_blobs/", "/_blobs/"),
    ("DURABILITY", "os", "os"),
]


@pytest.mark.parametrize("name, text, value", GOOD)
def test_a_good_value_is_understood(name, text, value):
    assert getattr(config(**{name: text}), name.lower()) == value


BAD = [
    ("BIND", "127.0.0.1"),
    ("BIND", "127.0.0.1:65536"),
    ("BIND", "127.0.0.1:http"),
    ("BIND", "unix:"),
    ("BIND", "[::1"),
    ("BIND", "[::1]x:80"),
    ("DATABASE_URL", "mysql://localhost"),
    ("DATABASE_URL", "/srv/a.sqlite3"),
    ("DATABASE_URL", "sqlite::memory:"),
    ("STORAGE", "tape"),
    ("STORAGE", "Disk"),
    ("S3_BUCKET", "a bucket"),
    ("S3_ENDPOINT_URL", "localhost:9000"),
    ("S3_ADDRESSING_STYLE", "paths"),
    ("MAX_BLOB_SIZE", "0"),
    ("MAX_BLOB_SIZE", "-1"),
    ("MAX_BLOB_SIZE", "5 megs"),
    ("MAX_BLOB_SIZE", "1.5MB"),
    ("MAX_BLOB_SIZE", "1_000"),
    ("MAX_BLOB_SIZE", "٣"),
    ("MAX_BLOB_SIZE", "9999999999TB"),
    ("ALLOWED_MIME_TYPES", ","),
    ("ALLOWED_MIME_TYPES", "image/png,"),
    ("ALLOWED_MIME_TYPES", "png"),
    ("ALLOWED_MIME_TYPES", "*/png"),
    ("ALLOWED_MIME_TYPES", "image/p*"),
    ("ALLOWED_MIME_TYPES", "image/png;q=1"),
    ("MIME_POLICY", "lax"),
    ("CID_FORMAT", "cidv0"),
    ("JWT_SECRET", "short"),
    ("JWT_SECRET", f"{SECRET},"),
    ("JWT_SECRET", f"{SECRET},short"),
    ("SERVICE_DID", "pds.example.com"),
    ("SERVICE_AUDIENCES", "pds.example.com"),
    ("SERVICE_AUDIENCES", "did:web:pds.test#"),
    ("SERVICE_AUDIENCES", "did:web:pds.test#a#b"),
    ("SERVICE_AUDIENCES", "#atproto_pds"),
    ("SERVICE_AUDIENCES", "did:web:pds.test,"),
    ("PUBLIC_URL", "pds.example.com"),
    ("PUBLIC_URL", "ftp://pds.example.com"),
    ("PUBLIC_URL", "https://"),
    ("PUBLIC_URL", "https://pds.example.com/blobs"),
    ("PUBLIC_URL", "https://pds.example.com//"),
    ("PUBLIC_URL", "https://pds.example.com?"),
    ("PUBLIC_URL", "https://pds.example.com#x"),
    ("PUBLIC_URL", "https://ann@pds.example.com"),
    ("PUBLIC_URL", "https://pds.example.com:99999"),
    ("PUBLIC_URL", "https://pds.example.com:"),
    ("PLC_URL", "plc.directory"),
    ("PLC_URL", "https://"),
    ("PLC_URL", "http://[::"),
    ("PLC_URL", "http://:2582"),
    ("OAUTH_JWKS_URL", "https://pds.test:99999/"),
    ("OAUTH_INTROSPECTION_URL", "https://pds.test/a b"),
    ("HANDLE_DOMAINS", "example.com"),
    ("HANDLE_DOMAINS", ".-a.test"),
    ("ACCOUNTS", "none"),
    ("UNREFERENCED_GRACE", "59m"),
    ("UNREFERENCED_GRACE", "3599"),
    ("UNREFERENCED_GRACE", "0"),
    ("UNREFERENCED_GRACE", "a day"),
    ("UNREFERENCED_GRACE", "999999999999w"),
    ("QUOTA", "lots"),
    ("UPLOADS_PER_DAY", "-1"),
    ("PROXY_HOPS", "11"),
    ("PROXY_HOPS", "yes"),
    ("ACCEL_REDIRECT", "blobs"),
    ("ACCEL_REDIRECT", "/blobs"),
    ("DURABILITY", "none"),
    ("WORKERS", "0"),
]


@pytest.mark.parametrize("name, text", BAD)
def test_a_bad_value_ends_the_start_with_one_line(name, text):
    with pytest.raises(ConfigError) as refusal:
        config(**{name: text})

    shown = "(hidden)" if name == "JWT_SECRET" else repr(text)
    message = str(refusal.value)
    assert message.startswith(f"AURORA_BLOBS_{name}={shown}: accepted is ")
    assert len(message.splitlines()) == 1
    assert len(message) > len(f"AURORA_BLOBS_{name}={shown}: accepted is ") + 3


def test_an_unknown_setting_ends_the_start():
    with pytest.raises(ConfigError, match="^AURORA_BLOBS_MAX_SIZE='5MB': no such setting; "):
        config(MAX_SIZE="5MB")


@pytest.mark.parametrize(
    "name, hint",
    [
        ("MAX_BLOBSIZE", "accepted is AURORA_BLOBS_MAX_BLOB_SIZE, or another"),
        ("ALLOWED_MIMETYPES", "accepted is AURORA_BLOBS_ALLOWED_MIME_TYPES, or another"),
        ("quota", "accepted is AURORA_BLOBS_QUOTA, or another"),
        ("XYZZY", "accepted are those"),
    ],
)
def test_an_unknown_setting_is_refused_with_a_suggestion(name, hint):
    with pytest.raises(ConfigError) as refusal:
        config(**{name: "1"})

    told = f"{hint} that `aurora-blobs config` prints once this one is gone"
    assert str(refusal.value) == f"AURORA_BLOBS_{name}='1': no such setting; {told}"


@pytest.mark.parametrize(
    "name",
    ["JWT_SECRETS", "ADMIN_PASS", "PASSWORD", "S3_SECRET_KEY", "ADMIN_PASWORD", "JWT_SERCET"],
)
def test_a_misspelt_secret_is_not_shown(name):
    with pytest.raises(ConfigError) as refusal:
        config(**{name: SECRET})

    assert f"AURORA_BLOBS_{name}=(hidden)" in str(refusal.value)
    assert SECRET not in str(refusal.value)


def test_a_store_in_s3_needs_a_bucket():
    with pytest.raises(ConfigError, match="^AURORA_BLOBS_S3_BUCKET is unset"):
        config(STORAGE="s3")

    assert config(STORAGE="s3", S3_BUCKET="blobs").s3_bucket == "blobs"


FOLLOW = "https://pds.example.com"


def test_a_mirror_keeps_what_others_have_published_unless_told_otherwise():
    mirror = config(MIRROR="pds", FOLLOW=f"{FOLLOW}/,http://localhost:3000")
    other = config(MIRROR="pds", FOLLOW=FOLLOW, MAX_BLOB_SIZE="50MB", MIME_POLICY="strict")

    assert mirror.follow == (FOLLOW, "http://localhost:3000")
    assert (mirror.accounts, mirror.mime_policy) == ("external", "sniff")
    assert (mirror.max_blob_size, mirror.allowed_mime_types) == (300 * 2**20, ("*/*",))
    assert mirror.unreferenced_grace == 30 * 86_400
    assert (other.max_blob_size, other.mime_policy) == (50_000_000, "strict")
    assert config(FOLLOW=FOLLOW).max_blob_size == Config().max_blob_size


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"MIRROR": "pds"}, "AURORA_BLOBS_FOLLOW is unset: accepted is a comma list"),
        ({"MIRROR": "all"}, "AURORA_BLOBS_MIRROR='all': accepted is off or pds or network"),
        ({"MIRROR_ALLOW": "https://a.test"}, "accepted is a comma list of DIDs and hosts"),
        ({"MIRROR_ALLOW": "did:plc"}, "accepted is a comma list of DIDs and hosts"),
        ({"FOLLOW": "pds.example.com"}, "accepted is an http:// or https:// URL without a path"),
        ({"FOLLOW": f"{FOLLOW},"}, "accepted is an http:// or https:// URL without a path"),
        (
            {"MIRROR": "pds", "FOLLOW": FOLLOW, "ACCOUNTS": "local"},
            "AURORA_BLOBS_ACCOUNTS='local': accepted is external, since AURORA_BLOBS_MIRROR=pds",
        ),
        (
            {"MIRROR": "network", "FOLLOW_ADMIN_PASSWORD": "secret"},
            "AURORA_BLOBS_FOLLOW has 0 addresses: accepted is one, since "
            "AURORA_BLOBS_FOLLOW_ADMIN_PASSWORD is set",
        ),
    ],
)
def test_a_mirror_has_to_know_whom_to_follow(settings, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        config(**settings)


def test_a_mirror_of_the_network_need_follow_nobody_and_may_be_for_some():
    mirror = config(MIRROR="network", MIRROR_ALLOW="did:plc:Abc, PDS.example.com,localhost:3000")

    assert mirror.mirror_allow == ("did:plc:Abc", "pds.example.com", "localhost:3000")
    assert (mirror.follow, mirror.accounts) == ((), "external")
    assert (mirror.max_blob_size, mirror.allowed_mime_types) == (300 * 2**20, ("*/*",))
    assert config(MIRROR="network").mirror_allow == ()


def test_a_blob_may_be_as_large_as_an_object():
    on_s3 = {"STORAGE": "s3", "S3_BUCKET": "blobs"}

    assert config(MAX_BLOB_SIZE="5TiB", **on_s3).max_blob_size == 5 * 2**40
    with pytest.raises(ConfigError, match="up to 5TiB where S3 is used"):
        config(MAX_BLOB_SIZE=str(5 * 2**40 + 1), **on_s3)
    assert config(MAX_BLOB_SIZE="6TiB").max_blob_size == 6 * 2**40


def test_the_database_lies_in_the_data_folder_unless_told_otherwise():
    assert config(DATA_DIR="/srv").database == "sqlite:/srv/aurora.sqlite3"
    assert config(DATA_DIR="/srv", DATABASE_URL="sqlite:b.db").database == "sqlite:b.db"


def test_settings_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        config().quota = 1


def test_secrets_are_masked_wherever_settings_are_shown():
    settings = config(JWT_SECRET=SECRET, ADMIN_PASSWORD="correct horse")

    shown = f"{effective(settings)} {settings!r}"

    assert effective(settings)["AURORA_BLOBS_JWT_SECRET"] == "********"
    assert SECRET not in shown and "correct horse" not in shown


@pytest.mark.parametrize(
    "name, text, shown",
    [
        ("PLC_URL", "https://ann:geheim@plc.test/x", "https://ann:********@plc.test/x"),
        ("S3_ENDPOINT_URL", "http://ann:geheim@[::1]:80", "http://ann:********@[::1]:80"),
        ("OAUTH_JWKS_URL", "https://:geheim@pds.test", "https://:********@pds.test"),
        ("OAUTH_ISSUER", "https://ann@pds.test:80", "https://ann@pds.test:80"),
        ("DATABASE_URL", "sqlite://ann:geheim@host/db", "sqlite://ann:********@host/db"),
        ("DATABASE_URL", "postgresql://ann:geheim@host/db", "postgresql://ann:********@host/db"),
        ("DATABASE_URL", "postgresql://ann:ge heim@host/db", "postgresql://ann:********@host/db"),
        (
            "DATABASE_URL",
            "postgresql://h/db?user=ann&password=geheim&application_name=x",
            "postgresql://h/db?user=ann&password=********&application_name=x",
        ),
        (
            "DATABASE_URL",
            "postgresql://h/db?p%61ssword=geheim",
            "postgresql://h/db?p%61ssword=********",
        ),
        (
            "DATABASE_URL",
            "postgresql://h/db?sslpassword=geheim",
            "postgresql://h/db?sslpassword=********",
        ),
    ],
)
def test_a_password_in_a_url_is_masked(name, text, shown):
    settings = {"JWT_SECRET": "sixteen bytes at least", name: text}

    assert effective(config(**settings))[f"AURORA_BLOBS_{name}"] == shown


@pytest.mark.parametrize("url", ["postgresql://host/db", "postgres://host/db"])
def test_processes_on_one_postgresql_share_their_secret(url):
    with pytest.raises(ConfigError, match="AURORA_BLOBS_JWT_SECRET is unset"):
        config(DATABASE_URL=url)

    assert config(DATABASE_URL=url, JWT_SECRET="sixteen bytes at least").database == url


@pytest.mark.parametrize(
    "name, text",
    [
        ("DATABASE_URL", "mysql://ann:geheim@host/db"),
        ("DATABASE_URL", "mysql://host/db?password=geheim&user=ann"),
        ("DATABASE_URL", "mysql://ann:with a geheim@host/db"),
        ("PLC_URL", "ftp://ann:geheim@plc.test"),
        ("PLC_URL", "https://ann:ge/geheim@plc.test"),
        ("REDIS_URL", "redis://:geheim@host"),
    ],
)
def test_a_password_in_a_url_that_is_refused_is_not_shown(name, text):
    with pytest.raises(ConfigError) as refusal:
        config(**{name: text})

    assert str(refusal.value).startswith(f"AURORA_BLOBS_{name}='")
    assert "geheim" not in str(refusal.value)


def test_every_setting_is_shown_with_its_effective_value():
    shown = effective(config(MAX_BLOB_SIZE="1MB"))

    assert set(shown) == {f"AURORA_BLOBS_{setting.name.upper()}" for setting in fields(Config)}
    assert shown["AURORA_BLOBS_MAX_BLOB_SIZE"] == "1000000"
    assert shown["AURORA_BLOBS_DATABASE_URL"] == "sqlite:data/aurora.sqlite3"
    assert shown["AURORA_BLOBS_ADMIN_PASSWORD"] == ""


@pytest.mark.parametrize("name, text, value", [good for good in GOOD if good[0] != "JWT_SECRET"])
def test_a_shown_value_can_be_set(name, text, value):
    settings = config(**{name: text})
    shown = {
        variable: shown for variable, shown in effective(settings).items() if shown != "********"
    }

    again = Config.from_environ(shown)

    assert effective(again) | {"AURORA_BLOBS_ADMIN_PASSWORD": ""} == shown | {
        "AURORA_BLOBS_ADMIN_PASSWORD": ""
    }


@pytest.mark.parametrize("setting", fields(Config), ids=lambda setting: setting.name)
def test_every_setting_says_what_it_means(setting):
    assert len(setting.metadata["meaning"]) > 5


@pytest.mark.parametrize("text", ["", " ", "1 2", "MB", "1PB", "0x10", "1e6", "1\n"])
def test_a_malformed_size_is_refused(text):
    with pytest.raises(ValueError):
        parse_size(text)


@pytest.mark.parametrize("text", ["", "h", "1.5h", "1y", "-1h", "1h30m", "1h\n"])
def test_a_malformed_duration_is_refused(text):
    with pytest.raises(ValueError):
        parse_seconds(text)
