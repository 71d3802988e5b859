"""JSON that is made to cost more than it weighs: memory and answers stay in proportion."""

import json
import tracemalloc
from contextlib import contextmanager

import pytest
from support.accounts import UPLOAD

COLLECTION = "com.example.file"
LONG = "😀" + "k" * 200_000
LINK = {"$link": "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"}


@contextmanager
def peak_below(limit):
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < limit


def nested(depth, key, bottom):
    """*bottom* in *depth* objects, whose *key* the first of them begins with an emoji."""
    text = json.dumps(bottom)
    for level in range(depth):
        name = "😀" if level == depth - 1 else ""
        text = f'{{"{name}{key}":{text}}}'
    return text


def put(alice, record):
    return alice.client.post(
        "/xrpc/com.atproto.repo.putRecord",
        data=f'{{"repo":"{alice.did}","collection":"{COLLECTION}","rkey":"1","record":{record}}}',
        content_type="application/json",
        headers=alice.headers,
    )


def apply(alice, record):
    write = (
        '{"$type":"com.atproto.repo.applyWrites#create",'
        f'"collection":"{COLLECTION}","rkey":"1","value":{record}}}'
    )
    return alice.client.post(
        "/xrpc/com.atproto.repo.applyWrites",
        data=f'{{"repo":"{alice.did}","writes":[{write}]}}',
        content_type="application/json",
        headers=alice.headers,
    )


@pytest.mark.parametrize("write", [put, apply], ids=["putRecord", "applyWrites"])
@pytest.mark.parametrize("bottom", [1, 1.5], ids=["valid", "refused"])
@pytest.mark.parametrize(
    "depth, length", [(480, 1000), (120, 4000)], ids=["too deep", "as deep as allowed"]
)
def test_long_keys_in_deep_records_take_little_memory(alice, write, bottom, depth, length):
    record = nested(depth, "k" * length, bottom)
    write(alice, '{"first":1}')  # what is imported late is no part of the peak

    with peak_below(40 * len(record)):
        answer = write(alice, record)

    assert answer.status_code in (200, 400)
    assert len(answer.data) < 2500


@pytest.mark.parametrize("filler", ["[]", "0"])
def test_a_record_of_many_values_takes_memory_in_proportion(alice, filler):
    record = '{"x":[' + ",".join([filler] * (300_000 // (len(filler) + 1))) + "]}"
    put(alice, '{"first":1}')

    with peak_below(150 * len(record)):
        answer = put(alice, record)

    assert answer.status_code == 200


@pytest.mark.parametrize("write", [put, apply], ids=["putRecord", "applyWrites"])
def test_a_record_of_128_levels_is_kept(alice, write):
    assert write(alice, nested(128, "k", 1)).status_code == 200
    assert write(alice, nested(129, "k", 1)).json["message"] == (
        "Invalid record: nested too deeply: at most 128 levels are accepted"
    )


def properties(**changed):
    return {"collection": COLLECTION, "rkey": "1", "record": {}, **changed}


BODIES = {
    "repo": properties(repo=LONG),
    "DID": properties(repo="did:web:" + "a" * 200_000),
    "unknown DID": properties(repo="did:web:" + "a" * 2000),
    "collection": properties(collection=LONG),
    "record key": properties(rkey=LONG),
    "validate": properties(validate=[LONG] * 2),
    "swap": properties(swapRecord=LONG),
    "no record": properties(record=LONG),
    "type": properties(record={"$type": LONG}),
    "type of a type": properties(record={"$type": {LONG: LONG}}),
    "key": properties(record={LONG: 1.5}),
    "digits": properties(record={"x": 10**4000}),
    "link": properties(record={"x": {"$link": LONG}}),
    "link that is a link": properties(record={"x": {"$link": {LONG: LONG}}}),
    "bytes": properties(record={"x": {"$bytes": LONG}}),
    "blob": properties(
        record={"x": {"$type": "blob", "ref": LINK, "mimeType": "a/" + LONG, "size": 1}}
    ),
    "picture": properties(
        collection="app.bsky.actor.profile", rkey="self", record={"avatar": {LONG: LONG, "b": 1}}
    ),
    "type of a picture": properties(
        collection="app.bsky.actor.profile",
        rkey="self",
        record={"avatar": {"$type": "blob", "ref": LINK, "mimeType": "a/" + LONG, "size": 1}},
    ),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_no_refusal_repeats_all_that_was_sent(alice, body):
    answer = alice.post("com.atproto.repo.putRecord", **{"repo": alice.did, **body})

    assert answer.status_code == 400
    assert len(answer.data) < 2500


QUERIES = {
    "did": ("com.atproto.sync.getBlob", {"did": LONG}),
    "cid": ("com.atproto.sync.getBlob", {"did": "did:web:a.test", "cid": "b" + "a" * 200_000}),
    "limit": ("com.atproto.sync.listBlobs", {"did": "did:web:a.test", "limit": "9" * 200_000}),
    "unknown repo": ("com.atproto.repo.describeRepo", {"repo": "did:web:" + "a" * 2000}),
}


@pytest.mark.parametrize("method, query", QUERIES.values(), ids=QUERIES.keys())
def test_no_refusal_repeats_all_of_a_query(alice, method, query):
    answer = alice.get(method, **query)

    assert answer.status_code == 400
    assert len(answer.data) < 500


@pytest.mark.parametrize("content_type", ["a/" + "b" * 20_000, "x" * 20_000])
@pytest.mark.parametrize("path", [UPLOAD, "/xrpc/com.atproto.repo.importRepo"])
def test_no_refusal_repeats_all_of_a_content_type(alice, path, content_type):
    answer = alice.client.post(
        path, data=b"x", headers={**alice.headers, "Content-Type": content_type}
    )

    assert answer.status_code == 400
    assert len(answer.data) < 600


@pytest.mark.parametrize("path", ["/img/{}/plain/a/b", "/img/avatar/plain/a/b@{}"])
def test_no_refusal_repeats_all_of_a_path(client, path):
    assert len(client.get(path.format("x" * 50_000)).data) < 500
