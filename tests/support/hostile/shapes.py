"""Requests that once did harm: each as it was found, smaller where that shows it as well."""

import gzip
import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from support.car_files import Car, car_of, cid_of_block, reference, varint
from support.cids import cid_of
from support.hostile.request import HIDDEN, Request
from support.hostile.stage import Stage
from support.routes import Route

_CAR = b"application/vnd.ipld.car"
_JSON = b"application/json"
_MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Step:
    """A request, and the statuses that answer it."""

    request: Request
    statuses: range | frozenset[int] = range(200, 500)


Steps = Iterator[Step]


class Requests:
    """Makes requests of one account, or of nobody."""

    def __init__(self, routes: list[Route], stage: Stage) -> None:
        self.stage = stage
        self.routes = routes
        self._routes = {route.rule: route for route in routes}

    def of(self, name: str, query: str = "", *, path: str = "", **headers: bytes) -> Request:
        """A request for the method *name*, with the account's token where it asks for one."""
        route = self._routes[name if name.startswith("/") else f"/xrpc/{name}"]
        target = (path or route.rule) + (f"?{query}" if query else "")
        request = Request(route, route.verb.encode(), target.encode(), [(b"Host", b"alice.test")])
        if route.who.startswith("administrator"):
            secret = b64encode(":".join(self.stage.admin).encode())
            request.set(b"Authorization", b"Basic " + secret)
        elif "refresh" in route.who:
            request.set(b"Authorization", f"Bearer {self.stage.refresh}".encode())
        elif route.who != "anybody" and "credentials" not in route.who:
            request.set(b"Authorization", f"Bearer {self.stage.mallory.token}".encode())
        for header, value in headers.items():
            request.set(header.replace("_", "-").encode(), value)
        return request

    def with_body(
        self, name: str, body: bytes, content_type: bytes = _JSON, *, packed: bool = False
    ) -> Request:
        """The same, with *body*, gzip'd if it is *packed*."""
        request = self.of(name, Content_Type=content_type)
        if packed:
            request.set(b"Content-Encoding", b"gzip")
        request.body, request.framing = gzip.compress(body) if packed else body, "length"
        return request

    def record(self, value: str, *, method: str = "putRecord", packed: bool = True) -> Request:
        """A write of the record *value*, which is JSON."""
        target = f'"repo":"{self.stage.mallory.did}","collection":"com.example.file"'
        if method == "applyWrites":
            kind = "com.atproto.repo.applyWrites#create"
            one = f'{{"$type":"{kind}","collection":"com.example.file","value":{value}}}'
            body = f'{{"repo":"{self.stage.mallory.did}","writes":[{one}]}}'
        elif method == "putRecord":
            body = f'{{{target},"rkey":"self","record":{value}}}'
        else:
            body = f'{{{target},"record":{value}}}'
        return self.with_body(f"com.atproto.repo.{method}", body.encode(), packed=packed)


def _deep(levels: int, key: str, bottom: str) -> str:
    return f'{{"{key}":' * levels + bottom + "}" * levels


def _long_keys(requests: Requests) -> Steps:
    first, key = "\N{GRINNING FACE}" + "k" * 2000, "k" * 2062
    for method in ("putRecord", "createRecord", "applyWrites"):
        for bottom in ("1", "1.5", '{"$link":5}', '{"$type":"blob"}', '{"$bytes":1}'):
            value = _deep(1, first, _deep(479, key, bottom))
            yield Step(requests.record(value, method=method))


def _deep_json(requests: Requests) -> Steps:
    for levels in (900, 5000, 100_000):
        yield Step(requests.record('{"a":' + "[" * levels + "]" * levels + "}"))
        yield Step(requests.record(_deep(levels, "a", "1")))
        yield Step(requests.with_body("com.atproto.server.createSession", b"[" * levels))


def _wide_json(requests: Requests) -> Steps:
    size = _MEGABYTE - 200
    for one in ("[]", "{}", "1", '""', "null", '{"a":1}', '{"$type":"blob"}'):
        yield Step(requests.record('{"a":[' + f"{one}," * (size // (len(one) + 1)) + "1]}"))
    keys = ",".join(f'"{number}":1' for number in range(size // 10))
    yield Step(requests.record("{" + keys + "}"))
    yield Step(requests.record('{"a":' + "1" * size + "}"))
    yield Step(requests.record('{"a":"' + "\\u0041" * (size // 6) + '"}'))
    yield Step(requests.with_body("com.atproto.server.createSession", b" " * _MEGABYTE))
    yield Step(requests.with_body("com.atproto.server.createSession", b'"' + b"\\" * 900_000))


def _many_references(requests: Requests) -> Steps:
    blobs = []
    for number in range(5000):
        cid = "bafkrei" + f"{number:052d}".translate(str.maketrans("0189", "abcd"))
        blobs.append({"$type": "blob", "ref": {"$link": cid}, "mimeType": "image/png", "size": 1})
    yield Step(requests.record(json.dumps({"files": blobs})))


def _heavy_lists(requests: Requests) -> Steps:
    """A stranger lists what an account has stored, from a few requests of a kilobyte."""
    value = '{"a":[' + "[]," * 320_000 + "1]}"
    for _ in range(8):
        yield Step(requests.record(value, method="createRecord"))
    did, collection = requests.stage.mallory.did, "com.example.file"
    for more in ("&limit=100", "&limit=100&reverse=true", "&limit=1"):
        query = f"repo={did}&collection={collection}{more}"
        yield Step(requests.of("com.atproto.repo.listRecords", query), frozenset({200}))


def _tags(requests: Requests) -> Steps:
    blob = f"did={requests.stage.alice.did}&cid={requests.stage.published}"
    picture = f"/img/avatar/plain/{requests.stage.alice.did}/{requests.stage.published}"
    image = "/img/<preset>/plain/<did>/<picture>"
    for value in (
        b"," + b" " * 8000 + b"x",
        b" ," * 4000,
        b'"a",' * 2000,
        b'W/"' * 2600,
        b'"' * 8000,
    ):
        for name in ("If_None_Match", "If_Match", "If_Range"):
            yield Step(requests.of("com.atproto.sync.getBlob", blob, **{name: value}))
            yield Step(requests.of(image, path=picture, **{name: value}))
    for value in (
        b"a/b," * 2000,
        b"," * 8000,
        b"*/*;q=" * 1300,
        b"a/b;a=b;" * 1000,
        b'a/b;a="' * 1100,
    ):
        yield Step(requests.of(image, path=picture, Accept=value))
    for value in (
        b"bytes=" + b"0-0," * 2000,
        b"bytes=" + b"," * 8000,
        b"bytes" + b" " * 8000 + b"=0-1",
    ):
        yield Step(requests.of("com.atproto.sync.getBlob", blob, Range=value))


def _unread_bodies(requests: Requests) -> Steps:
    """What is answered before its body was read, with one that no buffer holds."""
    for route in requests.routes:
        if "<" in route.rule:
            continue
        for method in (b"OPTIONS", route.verb.encode(), b"HEAD", b"PUT"):
            request = requests.of(route.rule)
            request.method, request.framing = method, "length"
            request.body = HIDDEN * 1200
            yield Step(request, range(200, 502))


def _character_sets(requests: Requests) -> Steps:
    """JSON that is not UTF-8, and text that is no text, at every door."""
    given = {
        "identifier": "alice.test", "password": "x", "handle": "x.test", "email": "a@b.test",
        "repo": requests.stage.mallory.did, "did": requests.stage.mallory.did, "rkey": "self",
        "collection": "com.example.file", "record": {"a": "b"}, "writes": [], "token": "x",
        "subject": {"$type": "com.atproto.admin.defs#repoRef", "did": "did:web:gone.test"},
        "takedown": {"applied": True, "ref": "ref"},
    }  # fmt: skip
    for route in requests.routes:
        if not route.body:
            continue
        text = json.dumps({name: given[name] for name in route.body if name in given})
        for charset in ("utf-16", "utf-16-be", "utf-32", "utf-32-le", "utf-8-sig"):
            yield Step(requests.with_body(route.rule, text.encode(charset)))
        for letters in (b"\xed\xa0\x80", b"\xff", b"\\ud800", b"\\u0000", b"\0", b"\xc0\x80"):
            for name in route.body:
                if isinstance(given.get(name), str):
                    broken = text.encode().replace(
                        f'"{name}": "'.encode(), f'"{name}": "'.encode() + letters
                    )
                    yield Step(requests.with_body(route.rule, broken), range(400, 500))
        broken = text.encode().replace(b'"ref": "', b'"ref": "\xed\xa0\x80')
        yield Step(requests.with_body(route.rule, broken))
    for route in requests.routes:
        for name in route.query:
            for value in ("%ED%A0%80", "%00", "%FF", "a%0d%0aX:%201", "%C0%80"):
                yield Step(requests.of(route.rule, f"{name}={value}"))


def _imports(requests: Requests) -> Steps:
    """CAR files that are small to send."""
    did, method = requests.stage.mallory.did, "com.atproto.repo.importRepo"
    yield Step(
        requests.with_body(method, bytes(100 * _MEGABYTE), _CAR, packed=True), range(400, 500)
    )
    car = Car()
    root = car.commit(car.tree([]), did)
    tiny = b"".join(
        varint(len(one)) + one
        for one in (cid_of_block(b"%d" % number) + b"%d" % number for number in range(200_000))
    )
    yield Step(requests.with_body(method, car.file(root).read() + tiny, _CAR, packed=True))
    lists = {"a": [[]] * 1_000_000}
    yield Step(
        requests.with_body(
            method, car_of({"com.example.file/1": lists}, did).read(), _CAR, packed=True
        )
    )
    query = f"repo={did}&collection=com.example.file&limit=100"
    yield Step(requests.of("com.atproto.repo.listRecords", query))
    yield Step(
        requests.with_body(method, car_of({}, requests.stage.alice.did).read(), _CAR),
        range(400, 500),
    )


def _media_types(requests: Requests) -> Steps:
    """A record says what type a blob has that comes later, and is believed."""
    did = requests.stage.mallory.did
    odd = [
        "a/b\r\nX-Injected: 1",
        "a/b\n",
        "a/b\0",
        "a/\N{EURO SIGN}",
        "a/" + "b" * 100_000,
        "text/html",
        "",
    ]
    for number, mime_type in enumerate(odd):
        data = b"%d just some text" % number
        named = {"$type": "com.example.file", "file": reference(data, mime_type)}
        car = car_of({"com.example.file/typed": named}, did).read()
        yield Step(requests.with_body("com.atproto.repo.importRepo", car, _CAR))
        upload = requests.with_body("com.atproto.repo.uploadBlob", data, b"text/plain")
        yield Step(upload)
        cid = cid_of(data)
        yield Step(requests.of("com.atproto.sync.getBlob", f"did={did}&cid={cid}"))


SHAPES: dict[str, Callable[[Requests], Steps]] = {
    "deep JSON under long keys": _long_keys,
    "JSON deeper than a parser": _deep_json,
    "JSON of very many values": _wide_json,
    "a record of very many references": _many_references,
    "lists of heavy records": _heavy_lists,
    "headers that are slow to read": _tags,
    "bodies that nobody reads": _unread_bodies,
    "text that is no UTF-8": _character_sets,
    "imports that are small to send": _imports,
    "media types that a record states": _media_types,
}
# Those of small requests, which others are made of.
LIGHT = [_tags, _character_sets, _media_types]
