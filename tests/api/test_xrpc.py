"""Common to all methods: verbs, JSON bodies, error messages."""

import pytest

CREATE = "/xrpc/com.atproto.repo.createRecord"


def message(answer):
    """The message of a refusal, which must be short."""
    assert (answer.status_code, answer.json["error"]) == (400, "InvalidRequest")
    assert len(answer.json["message"]) < 400
    return answer.json["message"]


@pytest.mark.parametrize(
    "body, reason",
    [
        (b"", "The request body is not JSON: Expecting value: line 1 column 1 (char 0)"),
        (
            b"{'a': 1}",
            "The request body is not JSON: Expecting property name enclosed in double quotes",
        ),
        (b'{"a": NaN}', "The request body is not JSON: NaN"),
        (b'{"a": ' + b"9" * 5000 + b"}", "The request body has an integer of thousands of digits"),
        (b'{"a": "\xff"}', "The request body is not UTF-8"),
        (b'{"a": "\\ud800"}', "The request body is not UTF-8"),
        (
            b"[1, 2]",
            "Invalid com.atproto.repo.createRecord input: Expected object value type (got [1, 2])",
        ),
        (b"{}", 'Invalid com.atproto.repo.createRecord input: Missing required key "repo"'),
        (
            b'{"repo": 7}',
            "Invalid com.atproto.repo.createRecord input: Expected string value type (got 7)",
        ),
        (b'{"repo": [' + b"7," * 9000 + b"7]}", "input: Expected string value type (got [7, 7, 7,"),
    ],
    ids=[
        "empty",
        "quotes",
        "NaN",
        "digits",
        "not UTF-8",
        "surrogate",
        "list",
        "nothing",
        "type",
        "long",
    ],
)
def test_a_body_that_cannot_be_used_is_refused_in_plain_words(alice, body, reason):
    answer = alice.client.post(
        CREATE, data=body, content_type="application/json", headers=alice.headers
    )

    assert reason in message(answer)


@pytest.mark.parametrize(
    "content_type, reason",
    [
        (None, "Request encoding (Content-Type) required but not provided"),
        ("text/plain", "Wrong request encoding (Content-Type): text/plain"),
    ],
    ids=["none", "text"],
)
def test_a_body_of_another_type_is_refused_by_name(alice, content_type, reason):
    answer = alice.client.post(CREATE, data=b"{}", content_type=content_type, headers=alice.headers)

    assert message(answer) == reason


def test_health_is_a_query(client):
    assert message(client.post("/xrpc/_health")) == "Incorrect HTTP method (POST) expected GET"


@pytest.mark.parametrize(
    "path", ["/nowhere", "/_blobs/00/bafkrei", "/xrpc", "/img//plain", "/.well-known//did.json"]
)
@pytest.mark.parametrize("verb", ["GET", "HEAD", "POST", "DELETE"])
def test_an_unknown_path_is_not_found(client, path, verb):
    answer = client.open(path, method=verb)

    assert answer.status_code == 404
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "ETag" in answer.headers["Access-Control-Expose-Headers"].split(", ")


def test_a_page_says_which_verbs_it_takes(client):
    answer = client.delete("/.well-known/did.json")

    assert (answer.status_code, answer.json["error"]) == (405, "MethodNotAllowed")
    assert answer.headers["Allow"] == "GET, HEAD, OPTIONS"
