"""The alerts and the dashboard of deploy/, by Prometheus itself."""

import json
import re

import pytest
from support.accounts import blob_path
from support.live_service import Service, becomes
from support.media_samples import picture
from support.metrics import TOKEN
from support.project import DEPLOY, TESTS
from support.prometheus import Prometheus, promtool

from aurora_blobs.metrics.families import FAMILIES

pytestmark = pytest.mark.live

RULES = DEPLOY / "prometheus-rules.yml"
DASHBOARD = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
EXPRESSIONS = [
    target["expr"].replace("$instance", ".*").replace("$__rate_interval", "1m")
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
]
# What a service has none of that is well, has no mirror and shares no database.
ABSENT = re.compile("aurora_blobs_(mirror|leases|database_errors|store_errors)")


def test_prometheus_takes_the_rules():
    checked = promtool("check", "rules", str(RULES))

    assert (checked.returncode, checked.stderr) == (0, "")


def test_each_alert_is_raised_by_what_it_is_for_and_none_without():
    tried = promtool("test", "rules", str(TESTS / "prometheus-rules.yml"))

    assert (tried.returncode, tried.stderr) == (0, ""), tried.stdout + tried.stderr
    names = re.findall(r"alert: (\w+)", RULES.read_text())
    assert set(
        re.findall(r'alertname="(\w+)"', (TESTS / "prometheus-rules.yml").read_text())
    ) == set(names)


def test_alerts_and_dashboard_ask_for_metrics_that_there_are():
    asked = set(re.findall(r"aurora_blobs_\w+", RULES.read_text() + json.dumps(EXPRESSIONS)))

    names = {family.name for family in FAMILIES}
    assert {re.sub("_(bucket|count|sum)$", "", name) for name in asked} - names == set()
    assert names - {re.sub("_(bucket|count|sum)$", "", name) for name in asked} == {
        "aurora_blobs_build_info",
        "aurora_blobs_counted_timestamp_seconds",
    }


def test_the_panels_show_what_a_service_says(tmp_path):
    settings = {
        "AURORA_BLOBS_METRICS_TOKEN": TOKEN,
        "AURORA_BLOBS_IMAGE_PRESETS": "icon=cover:64x64",
    }
    with (
        Service(tmp_path / "service", **settings) as service,
        Prometheus(tmp_path / "prometheus", service.port) as prometheus,
    ):
        alice = service.account()
        cid = alice.publish(picture("JPEG")).cid
        service.get(blob_path(alice.did, cid))
        service.get(f"/img/icon/plain/{alice.did}/{cid}@jpeg")
        assert service.run("blobs", "gc").returncode == 0

        def empty():
            """The expressions that show nothing yet."""
            alice.blob(picture("JPEG"))
            service.get(blob_path(alice.did, cid))
            return {expression for expression in EXPRESSIONS if not prometheus.ask(expression)}

        expected = {expression for expression in EXPRESSIONS if ABSENT.search(expression)}
        becomes(lambda: empty() == expected, 60)
        assert empty() == expected
