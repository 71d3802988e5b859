"""The systemd units, checked by systemd, and all files for operators, checked against the code."""

import os
import re
import shlex
import subprocess
from dataclasses import fields

import click
import pytest
from support.nginx_site import BALANCER, SITE, nginx_balancer, nginx_site
from support.project import DEPLOY, PACKAGE, ROOT

from aurora_blobs.app import create_app
from aurora_blobs.config import PREFIX, Config
from aurora_blobs.server.cross_origin import EXPOSED

UNITS = sorted([*DEPLOY.glob("*.service"), *DEPLOY.glob("*.timer")])


@pytest.mark.live
def test_systemd_finds_no_fault(tmp_path):
    for unit in UNITS:
        text = unit.read_text().replace("/opt/aurora-blobs/bin/", "/bin/true ")
        text = text.replace("WorkingDirectory=/var/lib/aurora-blobs", "WorkingDirectory=/opt")
        (tmp_path / unit.name).write_text(text)

    checked = subprocess.run(
        ["systemd-analyze", "verify", *sorted(tmp_path.iterdir())],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.live
@pytest.mark.parametrize("unit", sorted(DEPLOY.glob("*.service")), ids=lambda unit: unit.name)
def test_systemd_rates_the_units_as_confined(unit):
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", unit],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert float(re.search(r"exposure level for \S+: ([\d.]+)", rated.stdout)[1]) < 2.5


@pytest.mark.parametrize("unit", sorted(DEPLOY.glob("*.timer")), ids=lambda unit: unit.name)
def test_a_timer_starts_a_command_that_exists(unit, tmp_path):
    service = unit.with_suffix(".service").read_text()
    line = re.search(r"ExecStart=/opt/aurora-blobs/bin/aurora-blobs (.*)", service)[1]
    words = [word for word in shlex.split(line) if not word.startswith("/")]
    app = create_app(Config(data_dir=tmp_path))

    command = app.cli
    for word in words:
        command = command.get_command(click.Context(command), word)

    assert callable(command.callback)


@pytest.mark.parametrize("unit", sorted(DEPLOY.glob("*.service")), ids=lambda unit: unit.name)
def test_a_unit_does_not_start_without_its_settings(unit):
    assert re.findall(r"^EnvironmentFile=(.*)$", unit.read_text(), re.MULTILINE) == [
        "/etc/aurora-blobs.env"
    ]


def test_the_unit_lets_nobody_sign_up_without_a_code_unless_its_settings_say_so():
    unit = (DEPLOY / "aurora-blobs.service").read_text()
    environ = dict(re.findall(r"^Environment=(\w+)=(.*)$", unit, re.MULTILINE))

    assert Config.from_environ(environ).signup_policy == "invite"
    assert unit.index("\nEnvironment=") < unit.index("\nEnvironmentFile=")


def test_systemd_waits_for_uploads_before_it_kills():
    unit = (DEPLOY / "aurora-blobs.service").read_text()
    configuration = (PACKAGE / "gunicorn_conf.py").read_text()

    stopped_after = int(re.search(r"TimeoutStopSec=(\d+)", unit)[1])
    uploads_have = int(re.search(r"graceful_timeout = (\d+)", configuration)[1])

    assert stopped_after > uploads_have


def test_the_site_of_nginx_is_what_the_whole_configuration_has():
    assert SITE.read_text() == nginx_site(), "`make docs` writes it"


def test_the_balancer_is_what_nginx_has_without_the_files_of_one_machine():
    assert BALANCER.read_text() == nginx_balancer(), "`make docs` writes it"
    assert "/var/lib" not in BALANCER.read_text()


def test_nginx_exposes_the_headers_that_the_service_exposes():
    assert f'default "{EXPOSED}";' in (DEPLOY / "nginx.conf").read_text()


ENV = (DEPLOY / "env").read_text()
ASSIGNED = re.findall(r"^#?(AURORA_BLOBS_[A-Z0-9_]+)=(.*)$", ENV, re.MULTILINE)


@pytest.mark.parametrize("name, value", [(name, value) for name, value in ASSIGNED if value])
def test_the_sample_of_settings_has_values_that_are_taken(name, value):
    needs = {
        "s3": {"AURORA_BLOBS_S3_BUCKET": "blobs"},
        "pds": {"AURORA_BLOBS_FOLLOW": "https://pds.example.com"},
    }

    Config.from_environ({**needs.get(value, {}), name: value})


CHOICES = [
    (name, word)
    for comment, name in re.findall(r"((?:^# .*\n)+)^#?(AURORA_BLOBS_\w+)=\w+$", ENV, re.MULTILINE)
    for word in re.findall(r'"(\w+)"', comment)
]


@pytest.mark.parametrize(("name", "word"), CHOICES)
def test_each_choice_that_the_sample_of_settings_names_is_accepted(name, word):
    Config.from_environ({name: word})


def test_the_sample_of_settings_names_choices():
    assert len(CHOICES) > 4


def test_the_sample_of_settings_has_what_an_operator_must_decide():
    names = {name.removeprefix("AURORA_BLOBS_") for name, _ in ASSIGNED}

    assert names >= {
        *("SERVICE_DID", "PUBLIC_URL", "ACCOUNTS", "HANDLE_DOMAINS", "SIGNUPS", "JWT_SECRET"),
        *("ADMIN_PASSWORD", "QUOTA", "MAX_BLOB_SIZE", "ALLOWED_MIME_TYPES", "STORAGE"),
        *("S3_BUCKET", "PROXY_HOPS", "ACCEL_REDIRECT"),
    }


def test_nothing_is_set_by_the_sample_but_limits_and_the_proxy():
    lines = [line.partition("=")[0] for line in ENV.splitlines() if line and line[0] != "#"]

    assert sorted(lines) == [
        *("AURORA_BLOBS_ACCEL_REDIRECT", "AURORA_BLOBS_PROXY_HOPS", "AURORA_BLOBS_QUOTA"),
        *("AURORA_BLOBS_SIGNUPS", "AURORA_BLOBS_UPLOADS_PER_DAY"),
    ]


NODE = (DEPLOY / "node.env").read_text()


def test_a_node_keeps_nothing_that_another_one_needs():
    node = dict(re.findall(r"^(AURORA_BLOBS_\w+)=(.*)$", NODE, re.MULTILINE))
    set_before = dict(re.findall(r"^(AURORA_BLOBS_\w+)=(.*)$", ENV, re.MULTILINE))

    config = Config.from_environ({**set_before, **node, "AURORA_BLOBS_JWT_SECRET": "s" * 16})

    assert (config.database_url.partition(":")[0], config.storage) == ("postgresql", "s3")
    assert config.accel_redirect is None
    assert "\n#AURORA_BLOBS_JWT_SECRET=\n" in NODE


def test_root_s_command_has_the_settings_of_the_unit():
    unit = (DEPLOY / "aurora-blobs.service").read_text()
    command = (DEPLOY / "aurora-blobs.sh").read_text()

    assert re.findall(r"^export (AURORA_BLOBS_\w+=.*)$", command, re.MULTILINE) == re.findall(
        r"^Environment=(.*)$", unit, re.MULTILINE
    )


URL = "postgresql://aurora:a$b`c@db/aurora?sslmode=verify-full&connect_timeout=5"


def root_s_command(folder, *words, uid=1) -> subprocess.CompletedProcess[str]:
    """What `env` prints in place of the program, by the settings in the file `env` of *folder*.

    The step from root to the service's user prints its words instead.
    """
    text = (DEPLOY / "aurora-blobs.sh").read_text()
    for printed, here in (
        ("$(id -u)", str(uid)),
        ("exec runuser", "exec echo runuser"),
        ("/etc/aurora-blobs.env", f"{folder}/env"),
        ("/opt/aurora-blobs/bin/aurora-blobs", "sh -c 'env --null'"),
    ):
        assert printed in text
        text = text.replace(printed, here)
    return subprocess.run(
        ["sh", "-c", text, "aurora-blobs", *words],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=folder,
        env={},
    )


@pytest.mark.parametrize(
    "line, name, value",
    [
        (f"AURORA_BLOBS_DATABASE_URL={URL}", "AURORA_BLOBS_DATABASE_URL", URL),
        (f"AURORA_BLOBS_DATABASE_URL='{URL}'", "AURORA_BLOBS_DATABASE_URL", URL),
        ('AURORA_BLOBS_JWT_SECRET="of many words"', "AURORA_BLOBS_JWT_SECRET", "of many words"),
        ("AURORA_BLOBS_JWT_SECRET=of many words", "AURORA_BLOBS_JWT_SECRET", "of many words"),
        ("  AURORA_BLOBS_QUOTA=5GB  ", "AURORA_BLOBS_QUOTA", "5GB"),
        ("AURORA_BLOBS_SIGNUPS=invite\nAURORA_BLOBS_SIGNUPS=open", "AURORA_BLOBS_SIGNUPS", "open"),
        ("AURORA_BLOBS_ACCEL_REDIRECT=", "AURORA_BLOBS_ACCEL_REDIRECT", ""),
        ("AURORA_BLOBS_SIGNUPS=$(touch made)", "AURORA_BLOBS_SIGNUPS", "$(touch made)"),
    ],
)
@pytest.mark.parametrize("end", ["\n", ""], ids=["with a last line feed", "without one"])
def test_root_s_command_reads_settings_as_systemd_does(tmp_path, line, name, value, end):
    (tmp_path / "env").write_text(f"# of this service\n;\n\n#AURORA_BLOBS_QUOTA=\n{line}{end}")

    done = root_s_command(tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    environ = dict(entry.split("=", 1) for entry in done.stdout.split("\0") if entry)
    assert environ[name] == value
    assert not (tmp_path / "made").exists()
    assert {name for name in environ if name.startswith("#")} == set()


def test_root_s_command_is_run_by_the_service_s_user_but_where_root_alone_can_give(tmp_path):
    (tmp_path / "env").touch()

    changed = root_s_command(tmp_path, "blobs", "fsck", uid=0)
    kept = root_s_command(tmp_path, "blobs", "give-back", "--to", "/srv/pds/blobs", uid=0)

    assert changed.stdout == "runuser -u aurora-blobs -- aurora-blobs blobs fsck\n"
    assert "AURORA_BLOBS_DATA_DIR=/var/lib/aurora-blobs\0" in kept.stdout


@pytest.mark.skipif(os.getuid() != 0, reason="becomes another user")
def test_root_s_command_runs_where_the_service_s_user_may_not_be(tmp_path):
    (tmp_path / "env").touch()
    (tmp_path / "closed").mkdir(mode=0o700)
    text = (DEPLOY / "aurora-blobs.sh").read_text().replace("/etc/aurora-blobs.env", "/dev/null")
    text = text.replace("/opt/aurora-blobs/bin/aurora-blobs", "pwd -P")
    # As runuser leaves it.
    other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--", "sh", "-c", text]

    done = subprocess.run(
        other, capture_output=True, text=True, timeout=60, cwd=tmp_path / "closed"
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "/\n", "")


def test_root_s_command_ends_without_its_settings(tmp_path):
    ended = root_s_command(tmp_path)

    assert ended.returncode != 0
    assert ended.stdout == ""
    assert f"{tmp_path}/env" in ended.stderr


def test_a_timer_is_for_each_unit_that_does_one_job():
    jobs = {unit.stem for unit in DEPLOY.glob("*.service")}
    jobs -= {"aurora-blobs", "aurora-blobs-follow"}

    assert jobs == {unit.stem for unit in DEPLOY.glob("*.timer")}


CONTAINERFILE = (ROOT / "Containerfile").read_text()
COMPOSE = (DEPLOY / "compose.yaml").read_text()
COMPOSE_NODE = (DEPLOY / "compose-node.yaml").read_text()
OF_CONTAINERS = [ROOT / "Containerfile", *DEPLOY.glob("compose*.yaml"), DEPLOY / "Caddyfile"]


@pytest.mark.parametrize("file", OF_CONTAINERS, ids=lambda file: file.name)
def test_the_files_of_containers_name_settings_that_exist(file):
    named = set(re.findall(r"(?<!_)AURORA_BLOBS_[A-Z0-9_]+", file.read_text()))

    assert named != set()
    assert named - {f"{PREFIX}{setting.name.upper()}" for setting in fields(Config)} == set()


def test_the_image_lets_nobody_sign_up_without_a_code_unless_its_settings_say_so():
    environ = dict(re.findall(r"^ +(AURORA_BLOBS_\w+)=(\S+)", CONTAINERFILE, re.MULTILINE))
    composed = dict(re.findall(r'^ +(AURORA_BLOBS_\w+): "(.*)"', COMPOSE, re.MULTILINE))

    assert Config.from_environ(environ).signup_policy == "invite"
    assert Config.from_environ({**environ, **composed}).signup_policy == "invite"


def test_compose_waits_for_uploads_before_it_kills():
    configuration = (PACKAGE / "gunicorn_conf.py").read_text()

    stopped_after = int(re.search(r"stop_grace_period: (\d+)s", COMPOSE)[1])
    uploads_have = int(re.search(r"graceful_timeout = (\d+)", configuration)[1])

    assert stopped_after > uploads_have


def test_a_node_in_a_container_runs_as_the_service_alone_does():
    def program_and_jobs(text):
        text = re.sub(r"  environment:\n(    .*\n)+|    ports:\n(      .*\n)+", "", text)
        return text[text.index("x-program:") : text.index("\nvolumes:")]

    alone = re.sub(r"  caddy:\n(    .*\n|  .*\n)+?(?=\nvolumes)", "", COMPOSE)

    assert program_and_jobs(COMPOSE_NODE).strip() == program_and_jobs(alone).strip()


def test_the_name_of_the_service_is_told_to_caddy_and_no_secret():
    caddy = COMPOSE.partition("\n  caddy:\n")[2].partition("\nvolumes:")[0]

    assert re.findall(r"AURORA_BLOBS_\w+(?=:)", caddy) == ["AURORA_BLOBS_PUBLIC_URL"] * 2
    assert "env_file" not in caddy


def test_no_unit_starts_without_its_settings():
    for unit in sorted(DEPLOY.glob("*.service")):
        assert "\nEnvironmentFile=/etc/aurora-blobs.env\n" in unit.read_text()


@pytest.mark.parametrize("name", ["nginx.conf", "nginx-balancer.conf", "mirror.conf"])
def test_every_answer_of_nginx_says_the_id_of_its_request(name):
    # What a location adds replaces what the server adds.
    text = (DEPLOY / name).read_text().replace("#s3 ", "")
    adding = [
        block
        for block in re.split(r"^ *(?:location|server) ", text, flags=re.MULTILINE)[1:]
        if "add_header" in block
    ]

    assert len(adding) > 1
    assert [block for block in adding if "add_header X-Request-Id $" not in block] == []
