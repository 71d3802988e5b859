"""docs/api.md lists the methods as they are."""

from support import api_page
from support.pages import generated

from aurora_blobs import console

METHODS = api_page.methods()
XRPC = [method for method in METHODS if method.path.startswith("/xrpc/")]
OPEN = [method for method in XRPC if method.who.startswith(("anybody", "whoever"))]
CLOSED = [method for method in XRPC if method not in OPEN]
PAGES = {f"console.{view.replace('.', '_')}" for _, _, view in console.PAGES}
SAMPLES = {
    "actor": "alice.test",
    "cid": "bafkreigc3ug6prjy36grchshsym3ckkgjubgtufol7iyzki5got737vjlq",
    "collection": "app.bsky.feed.post",
    "did": "did:web:alice.test",
    "handle": "alice.test",
    "repo": "alice.test",
    "rkey": "self",
}


def call(client, method, verb):
    query = {name: SAMPLES[name] for name, field in method.query.items() if field.required}
    body = {"json": {}} if verb == "POST" else {}
    return client.open(method.path, method=verb, query_string=query, **body)


def test_the_page_is_that_of_the_views():
    assert generated(api_page.PAGE, "methods") == api_page.page(), "run `make docs`"


def test_every_route_is_on_the_page(app):
    routes = {rule.rule for rule in app.url_map.iter_rules() if rule.endpoint not in PAGES}

    assert {method.path for method in METHODS} == routes


def test_methods_that_need_credentials_refuse_requests_without(client):
    answers = {method.name: call(client, method, method.verb).status_code for method in CLOSED}

    assert answers == dict.fromkeys(answers, 401)


def test_methods_for_anybody_ask_for_no_credentials(client):
    answers = {method.name: call(client, method, method.verb).status_code for method in OPEN}

    assert 401 not in answers.values()
    assert answers["com.atproto.server.describeServer"] == 200


def test_a_method_takes_the_verb_of_the_page_alone(client):
    other = {"GET": "POST", "POST": "GET"}
    answers = {method.name: call(client, method, other[method.verb]).json for method in XRPC}

    for method in XRPC:
        assert f"expected {method.verb}" in answers[method.name]["message"]


def test_the_errors_of_a_method_are_those_that_its_parts_document():
    errors = {method.name: method.errors for method in METHODS}

    assert (413, "PayloadTooLarge") in errors["com.atproto.repo.uploadBlob"]
    assert (416, "RangeNotSatisfiable") in errors["com.atproto.sync.getBlob"]
    assert (404, "NotFound") in errors["/.well-known/did.json"]
    assert (401, "AuthenticationRequired") in errors["com.atproto.server.deleteAccount"]
