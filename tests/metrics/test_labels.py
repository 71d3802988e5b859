"""No client's words get into a label, whatever route they come to."""

import re

import pytest
from support.accounts import ADMIN
from support.media_samples import jpeg
from support.metrics import Scrape
from support.routes import all_routes

from aurora_blobs.metrics.families import FAMILIES

DID = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
CID = "bafkreigc3ug6prjy36grchshsym3ckkgjubgtufol7iyzki5got737vjlq"
ADDRESS = "203.0.113.77"
WORDS = {"did": DID, "repo": DID, "cid": CID, "blob": CID, "handle": "planted.test"}
IS_SOMEBODY = re.compile(r"did:\w+:|baf[ky]rei|planted|[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+|[0-9a-f]{32}")


def call(client, route, **options):
    arguments = {"did": DID, "picture": CID, "preset": "planted"}
    query = {name: WORDS.get(name, "planted") for name in route.query}
    body = {"json": {name: WORDS.get(name, "planted") for name in route.body}} if route.body else {}
    return client.open(
        route.path({name: arguments.get(name, "planted") for name in route.arguments}),
        method=route.verb,
        query_string=query,
        environ_overrides={"REMOTE_ADDR": ADDRESS},
        **body,
        **options,
    )


def test_no_label_names_an_account_a_blob_or_an_address(alice, client):
    routes = all_routes()
    for route in routes:
        call(client, route)
        call(client, route, headers=alice.headers)
        call(client, route, auth=ADMIN)
        client.open(f"{route.rule}/planted", environ_overrides={"REMOTE_ADDR": ADDRESS})
    alice.publish(jpeg("cat"))

    found = Scrape(client)

    labels = {value for sample in found.samples for value in sample.labels.values()}
    assert {value for value in labels if IS_SOMEBODY.search(value)} == set()
    called = found.by("request_seconds_count", "method")
    assert len(called) > len(routes) * 0.9
    assert alice.did not in found.text


@pytest.mark.parametrize("status", [299, 418, 599])
def test_a_status_that_nobody_answers_with_counts_as_another(app, client, scrape, status):
    app.add_url_rule("/odd", "odd", lambda: ("", status))

    client.get("/odd")

    assert scrape().value("request_seconds_count", method="other", status="other") == 1


def test_no_label_is_one_that_prometheus_gives_itself():
    # It would rename ours: https://prometheus.io/docs/prometheus/latest/configuration/configuration/
    assert [family for family in FAMILIES if {"job", "instance"} & {*family.labels}] == []
