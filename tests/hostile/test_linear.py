"""Every header, parameter and body costs no more than in proportion to its length.

What is measured is the CPU time of the workers, by the kernel's clock of their processes. A text
that costs more than `FLOOR_SECONDS` above a short one is measured again at a half and a quarter of
its length.
"""

import json
import random
from dataclasses import dataclass
from urllib.parse import quote

import pytest
from support import process_watch
from support.hostile.grammar import HEADERS
from support.hostile.shapes import Requests
from support.hostile.values import FILLERS
from support.wire import Wire

pytestmark = pytest.mark.live

# Below it nobody is kept waiting, however the cost grows.
FLOOR_SECONDS = {"header": 0.01, "parameter": 0.01, "property": 0.06, "body": 0.06}
# For what is sent: the limits of gunicorn's parser, a fifth of a JSON body, and almost all of it.
MAX_BYTES = {"header": 8000, "parameter": 3500, "property": 200_000, "body": 800_000}
# Twice the length is 2 for what is linear, 4 for what is quadratic.
MAX_RATIO = 3.0
_HEADS = ["", "a", ",", '"', "bytes=", "did:web:", "at://", "bafkrei", "Bearer ", "W/", "a/b;", "["]
_TAILS = ["", "x", "\\", '"', ","]
_FIXED = {  # of the properties that are not tried, so that a method gets to those that are
    "collection": "com.example.file", "rkey": "self", "record": {}, "writes": [], "token": "x",
    "password": "x", "identifier": "x.test", "handle": "x.test", "email": "a@b.test",
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where a client may put a text: a *kind* of `MAX_BYTES`, and a name."""

    rule: str
    kind: str
    name: str


@dataclass(frozen=True)
class Text:
    """*filler*, repeated between a head and a tail."""

    head: str
    filler: str
    tail: str

    def of(self, size: int) -> str:
        """About *size* bytes of it."""
        count = max(1, (size - len(self.head) - len(self.tail)) // len(self.filler.encode()))
        return self.head + self.filler * count + self.tail


def places(routes):
    """All of them."""
    for route in routes:
        yield from (Place(route.rule, "header", name.decode()) for name in HEADERS)
        yield from (Place(route.rule, "parameter", name) for name in route.query)
        yield from (Place(route.rule, "parameter", name) for name in route.arguments)
        yield from (Place(route.rule, "property", name) for name in route.body)
        if route.body:
            yield Place(route.rule, "body", "")


def texts():
    """All of them."""
    return [Text(head, filler, tail) for head in _HEADS for filler in FILLERS for tail in _TAILS]


class Meter:
    """What a request costs the workers."""

    def __init__(self, scene, routes):
        self._service, _, stage = scene
        self._workers = self._service.workers()
        self._requests = Requests(routes, stage)
        self._routes = {route.rule: route for route in routes}
        self._short = {}

    def cost(self, place, text, size, repeats=1):
        """CPU seconds, the least of *repeats*."""
        wire = self._request(place, text.of(size)).wire()
        return min(self._once(wire) for _ in range(repeats))

    def excess(self, place, text):
        """What *text* costs at its full length more than a short one."""
        if place not in self._short:
            self._short[place] = self.cost(place, text, 1, 3)
        return self.cost(place, text, MAX_BYTES[place.kind]) - self._short[place]

    def is_linear(self, place, text):
        """Whether its cost grows no faster than its length."""
        size = MAX_BYTES[place.kind]
        short = self.cost(place, text, 1, 3)
        costs = [self.cost(place, text, part, 3) - short for part in (size // 4, size // 2, size)]
        if costs[2] < FLOOR_SECONDS[place.kind]:
            return True  # it was another process's doing
        return costs[2] < MAX_RATIO * costs[1] or costs[1] < MAX_RATIO * costs[0]

    def _once(self, wire):
        began = sum(map(process_watch.cpu_seconds, self._workers))
        with Wire(self._service.connect()) as connection:
            connection.send(wire)
            connection.reply("HEAD" if wire.startswith(b"HEAD") else "GET")
        return sum(map(process_watch.cpu_seconds, self._workers)) - began

    def _request(self, place, text):
        route, stage = self._routes[place.rule], self._requests.stage
        path = route.path(
            {"preset": "avatar", "did": stage.alice.did, "picture": stage.published}
            | ({place.name: quote(text, safe=":/,;=()*")} if place.name in route.arguments else {})
        )
        known = {"did": stage.alice.did, "repo": stage.alice.did, "cid": stage.published}
        query = {name: known.get(name, "x") for name in route.query if name in known}
        if place.kind == "parameter" and place.name in route.query:
            query[place.name] = text
        asked = "&".join(f"{name}={quote(value, safe=':/,;=()*')}" for name, value in query.items())
        request = self._requests.of(place.rule, asked, path=path)
        if route.body:
            given = _FIXED | {"repo": stage.mallory.did, "did": stage.mallory.did}
            if place.kind == "property":
                given[place.name] = {"text": text} if place.name == "record" else text
            body = json.dumps({name: given[name] for name in route.body if name in given})
            request.body = (text if place.kind == "body" else body).encode()
            request.set(b"Content-Type", b"application/json")
            request.framing = "length"
        if place.kind == "header":
            request.set(place.name.encode(), text.encode("latin-1", "replace"))
        return request


def slow_ones(meter, tried):
    """Those of *tried*, places with texts, that are not linear."""
    suspects = [
        (place, text)
        for place, text in tried
        if meter.excess(place, text) > FLOOR_SECONDS[place.kind]
    ]
    return [(place, text) for place, text in suspects if not meter.is_linear(place, text)]


def test_a_text_of_twice_the_length_costs_no_more_than_twice_as_much(alone, routes, seed):
    chance = random.Random(seed)
    everywhere, anything = list(places(routes)), texts()
    tried = [(chance.choice(everywhere), chance.choice(anything)) for _ in range(1000)]

    assert slow_ones(Meter(alone, routes), tried) == []


KNOWN = {
    ("/xrpc/com.atproto.sync.getBlob", "If-None-Match"): Text(",", " ", "x"),
    ("/xrpc/com.atproto.sync.getBlob", "If-Match"): Text(",", " ", "x"),
    ("/img/<preset>/plain/<did>/<picture>", "If-None-Match"): Text(",", " ", "x"),
    ("/img/<preset>/plain/<did>/<picture>", "Accept"): Text("a/b;", "a;q=0.", ""),
}


@pytest.mark.parametrize("where", KNOWN, ids=[f"{name} of {rule}" for rule, name in KNOWN])
def test_what_was_quadratic_is_not(alone, routes, where):
    rule, name = where

    assert slow_ones(Meter(alone, routes), [(Place(rule, "header", name), KNOWN[where])]) == []


@pytest.mark.long
def test_no_text_anywhere_costs_more_than_in_proportion(alone, routes, seed):
    chance = random.Random(seed)
    tried = [
        (place, Text(chance.choice(_HEADS), filler, chance.choice(_TAILS)))
        for place in places(routes)
        for filler in FILLERS
    ]

    assert slow_ones(Meter(alone, routes), tried) == []
