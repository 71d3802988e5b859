"""The systemd units, checked by systemd and against the code; and nginx.conf against it."""

import re
import shlex
import subprocess

import click
import pytest
from support.project import DEPLOY, ROOT

from aurora_blobs.app import create_app
from aurora_blobs.config import Config
from aurora_blobs.server.cross_origin import EXPOSED

UNITS = sorted([*DEPLOY.glob("*.service"), *DEPLOY.glob("*.timer")])


@pytest.mark.live
def test_systemd_finds_no_fault(tmp_path):
    for unit in UNITS:
        text = unit.read_text().replace("/opt/aurora-blobs/.venv/bin/", "/bin/true ")
        text = text.replace("WorkingDirectory=/opt/aurora-blobs", "WorkingDirectory=/opt")
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
    arguments = shlex.split(
        re.search(r"ExecStart=/opt/aurora-blobs/.venv/bin/flask --app wsgi (.*)", service)[1]
    )
    app = create_app(Config(data_dir=tmp_path))

    command = app.cli
    for argument in arguments:
        command = command.get_command(click.Context(command), argument)

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
    configuration = (ROOT / "gunicorn.conf.py").read_text()

    stopped_after = int(re.search(r"TimeoutStopSec=(\d+)", unit)[1])
    uploads_have = int(re.search(r"graceful_timeout = (\d+)", configuration)[1])

    assert stopped_after > uploads_have


def test_nginx_exposes_the_headers_that_the_service_exposes():
    assert f'default "{EXPOSED}";' in (DEPLOY / "nginx.conf").read_text()
