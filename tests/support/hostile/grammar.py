"""Attacks by chance: a request for any route, changed in a few places, and how it is delivered."""

import random
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from urllib.parse import quote

from support.hostile.request import HIDDEN, Answers, Request
from support.hostile.shapes import LIGHT, Requests
from support.hostile.stage import Stage
from support.hostile.values import ODD_TEXTS, Values
from support.routes import Route

_JSON, _CAR = b"application/json", b"application/vnd.ipld.car"
_UNKNOWN = [
    "/", "/xrpc", "/xrpc/", "/xrpc/com.example.nothing", "/nowhere", "/img/", "/_blobs/x",
    "/.well-known/", "/robots.txt", "/_error", "/_video", "/_beyond", "/metrics", "/console",
]  # fmt: skip
_ROUTES_OF_PASSWORDS = ("createAccount", "createSession", "deleteAccount", "updateAccountPassword")
_TAGS = [b"*", b'"a"', b'W/"a"', b'"a", "b"', b"a", b'"', b", ,", b'"' + b"a" * 7000 + b'"']
_RANGES = [
    b"bytes=0-0", b"bytes=-1", b"bytes=5-", b"bytes=9-5", b"bytes=999999999-", b"bytes=", b"a=0-1",
    b"bytes=0-0,5-6", b"bytes=" + b"0-0," * 1500, b"bytes=0-" + b"9" * 4000, b"bytes= 1 - 2",
    b"bytes=0-0,-1", b"bytes=" + b"," * 4000, b"bytes=--1", b"BYTES=0-1",
    b"bytes=0-18446744073709551616",
]  # fmt: skip
HEADERS = [
    b"Accept", b"Accept-Encoding", b"Access-Control-Request-Headers", b"Authorization", b"Cookie",
    b"Access-Control-Request-Method", b"Connection", b"Content-Encoding", b"Content-Type", b"DPoP",
    b"Date", b"Expect", b"Forwarded", b"Host", b"If-Match", b"If-Modified-Since", b"If-None-Match",
    b"If-Range", b"If-Unmodified-Since", b"Max-Forwards", b"Origin", b"Range", b"Referer", b"TE",
    b"Trailer", b"Upgrade", b"User-Agent", b"Via", b"X-Forwarded-For", b"X-Forwarded-Host",
    b"X-Forwarded-Port", b"X-Forwarded-Prefix", b"X-Forwarded-Proto", b"X-HTTP-Method-Override",
    b"X-Real-IP", b"atproto-accept-labelers", b"atproto-proxy", b"X-Accel-Redirect", b"Keep-Alive",
]  # fmt: skip
_HOSTS = [
    b"", b"alice.test", b"localhost", b"localhost:1", b"[::1]:80", b"a b", b"a/b", b"a@b", b"a:b:c",
    b"127.0.0.1", b"A" * 5000, b"..", b"x,y", b"\xff", b"xn--80ak6aa92e.test", b"a\tb", b"<x>",
]  # fmt: skip
_METHODS = [
    b"HEAD",
    b"OPTIONS",
    b"PUT",
    b"PATCH",
    b"DELETE",
    b"TRACE",
    b"GET",
    b"POST",
    b"PROPFIND",
]
_ODD_METHODS = [
    b"get",
    b"CONNECT",
    b"A" * 300,
    b"M-SEARCH",
    b"G\0T",
    b"GE T",
    b"\xff",
    b"PRI",
    b"[]",
]
_LENGTHS = [
    b"+5",
    b"5,5",
    b" 5",
    b"05",
    b"0x5",
    b"-0",
    b"-1",
    b"5_0",
    b"\xd9\xa5",
    b"",
    b"5 5",
    b"9" * 30,
]
_CODINGS = [
    b"xchunked", b"chunked, chunked", b"gzip, chunked", b"chunked, identity", b"identity",
    b"\x0bchunked", b"chunked;q=1", b'"chunked"', b"CHUNKED\x00", b",chunked", b"chunk", b"",
]  # fmt: skip
_SIZES = [
    b"0x5",
    b"-1",
    b"5;" + b"a" * 7000,
    b"f" * 17,
    b"",
    b" 5",
    b"5 ",
    b"g",
    b"+5",
    b"00000005",
    b"5\x00",
]


@dataclass
class Attack:
    """*requests* go onto one connection. *delivery* says how. *data* is set if it is not theirs."""

    requests: list[Request]
    delivery: str = "plain"
    data: bytes = b""
    # Where the bytes are cut into pieces, or end.
    cuts: list[int] = field(default_factory=list)

    @property
    def may_be_plain(self) -> bool:
        """Whether it may read as HTTP/0.9, which is answered without a head."""
        return self.delivery == "mutated" or self.requests[-1].answers is Answers.ANY

    @property
    def name(self) -> str:
        """What was done, for a list of findings."""
        done = [
            f"{one.route.rule} {'+'.join(one.name) or 'as it should be'}" for one in self.requests
        ]
        return f"{' | '.join(done[:3])} ({self.delivery})"


class Grammar:
    """Makes attacks on *routes*."""

    def __init__(self, routes: list[Route], stage: Stage) -> None:
        self._routes = routes
        self._stage = stage
        self._harmful: list[Request] = []
        self._harmful_for: object = None

    def attack(self, chance: random.Random) -> Attack:
        """The attack of this *chance*."""
        count = 1 if chance.random() < 0.93 else chance.choice([2, 3, 8])
        made = [self.request(chance) for _ in range(count)]
        # What follows on a request that is broken is not known.
        sure = [request for request in made if request.answers is Answers.ONCE]
        attack = Attack(sure if len(sure) > 1 else made[:1])
        roll = chance.random()
        data = b"".join(request.wire() for request in attack.requests)
        if roll < 0.10:
            attack.delivery, attack.data = "mutated", _mutated(chance, data)
        elif roll < 0.16:
            attack.delivery = "in pieces"
            attack.cuts = sorted(
                chance.randrange(len(data)) for _ in range(chance.choice([1, 3, 9]))
            )
        elif roll < 0.22:
            attack.delivery = chance.choice(["closed early", "reset early", "half of it"])
            attack.cuts = [chance.randrange(len(data))]
        elif roll < 0.60:
            attack.delivery = "with the next"
        return attack

    def request(self, chance: random.Random) -> Request:
        """A request for a route as it should be, but for a few changes."""
        route = chance.choice(self._routes)
        if route.rule.endswith(_ROUTES_OF_PASSWORDS) and chance.random() < 0.7:
            route = chance.choice(self._routes)  # hashing takes long
        values = Values(chance, self._stage)
        request = self._once_harmful(chance) if chance.random() < 0.06 else _usual(values, route)
        for _ in range(chance.choice([0, 0, 1, 1, 1, 2, 3])):
            change = chance.choice(CHANGES)
            change(values, request)
            request.name.append(change.__name__.strip("_"))
        return request

    def _once_harmful(self, chance: random.Random) -> Request:
        """One of `LIGHT`, with the credentials of today's attacker."""
        if self._harmful_for is not self._stage.mallory:
            made = Requests(self._routes, self._stage)
            self._harmful = [step.request for shape in LIGHT for step in shape(made)]
            self._harmful_for = self._stage.mallory
        request = deepcopy(chance.choice(self._harmful))
        request.name = ["once harmful"]
        return request


def _usual(values: Values, route: Route) -> Request:
    """A request for *route*; now and then a value is odd."""
    arguments = {name: _quoted(values, values.parameter(name)) for name in route.arguments}
    target = route.path(arguments)
    names = [name for name in route.query if values.chance.random() < 0.9]
    if names:
        pairs = [f"{name}={_quoted(values, values.parameter(name))}" for name in names]
        target += "?" + "&".join(pairs)
    request = Request(route, route.verb.encode(), target.encode(), [(b"Host", b"alice.test")])
    if route.who != "anybody" or values.chance.random() < 0.1:
        request.set(b"Authorization", _line(values.authorization(route.who)))
    if route.verb == "POST":
        request.framing = values.chance.choice(["length", "length", "chunked"])
        if route.takes_bytes:
            is_car = "import" in route.rule
            request.body = values.car() if is_car else values.upload()
            request.set(b"Content-Type", _CAR if is_car else b"image/jpeg")
        elif route.body:
            request.body = values.json_body(route)
            request.set(b"Content-Type", _JSON)
    return request


def _quoted(values: Values, text: str) -> str:
    """*text* for a query or a path."""
    safe = values.chance.choice(["", "", ":/@", ":/@,;=+!$'()*"])
    return quote(text.encode("utf-8", "surrogatepass"), safe=safe)


def _line(value: bytes) -> bytes:
    """*value* as it can stand in a header."""
    return bytes(byte for byte in value if byte >= 0x20 and byte != 0x7F or byte == 0x09).strip()


def _mutated(chance: random.Random, data: bytes) -> bytes:
    """*data* with some bytes changed, most of them in the head."""
    mutated = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 5, 20])):
        end = min(len(mutated), 300 if chance.random() < 0.8 else 10**9)
        at = chance.randrange(end)
        some = chance.choice(
            [b"\0", b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" ", b"\t", b":", b"\xff", b"%"]
        )
        kind = chance.randrange(5)
        if kind == 0:
            mutated[at] = chance.randrange(256)
        elif kind == 1:
            mutated[at:at] = some * chance.choice([1, 1, 2, 300])
        elif kind == 2:
            del mutated[at : at + chance.choice([1, 2, 20])]
        elif kind == 3:
            mutated[at:at] = mutated[at : at + chance.choice([2, 20, 200])]
        else:
            mutated[at : at + 1] = some
        if not mutated:
            return b"\r\n\r\n"
    return bytes(mutated)


# Changes of a request. Each has a share of the attacks.


def _method(values: Values, request: Request) -> None:
    if values.chance.random() < 0.7:
        request.method = values.chance.choice(_METHODS)
    else:
        request.method = values.chance.choice(_ODD_METHODS)
        request.doubt(Answers.PERHAPS)


def _version(values: Values, request: Request) -> None:
    request.version = values.chance.choice(
        [
            b"HTTP/1.0",
            b"HTTP/1.0",
            b"HTTP/2.0",
            b"HTTP/1.2",
            b"HTTP/0.9",
            b"http/1.1",
            b"HTTP/1.",
            b"",
        ]
    )
    if request.version != b"HTTP/1.0":
        request.doubt(Answers.ANY if request.version in (b"", b"HTTP/0.9") else Answers.PERHAPS)
    elif request.framing == "chunked":
        request.doubt(Answers.PERHAPS)


def _other_target(values: Values, request: Request) -> None:
    chance, path = values.chance, request.target
    request.target = chance.choice(
        [
            b"http://alice.test" + path, b"https://other.test" + path, b"*", path[1:], b"/" + path,
            path + b"#x", path + b"?", path + b"/", b"/xrpc/.." + path, path.replace(b"/", b"%2f"),
            path.replace(b"e", b"%65"), path.replace(b".", b"%2E"), path.upper(), path + b"%00",
            path + b"/" + b"a" * 3000, path + b"?" + b"a=&" * 1300, path + b"?" + b"x" * 9000,
            path.replace(b"/", b"\\"), path + b"%ED%A0%80", path + b"%", b"//x" + path,
            path + b";a=b", quote(chance.choice(_UNKNOWN)).encode(), path + b"%0d%0aX:1",
            b"alice.test:443",
        ]
    )  # fmt: skip
    if not request.target.startswith((b"/", b"http")) or b"\\" in request.target:
        request.doubt(Answers.PERHAPS)


def _broken_target(values: Values, request: Request) -> None:
    at = values.chance.randrange(len(request.target) + 1)
    some = values.chance.choice([b" ", b"\0", b"\t", b"\xff", b"\x7f", b"\x0b", b"\r", b"\n"])
    request.target = request.target[:at] + some + request.target[at:]
    request.doubt(Answers.ANY if some == b"\n" else Answers.PERHAPS)


def _query(values: Values, request: Request) -> None:
    chance = values.chance
    names = [*request.route.query, "x"]
    pairs = []
    for _ in range(chance.choice([1, 2, 40])):
        name = chance.choice(names)
        pairs.append(f"{name}={_quoted(values, values.parameter(name))}")
    path = request.target.partition(b"?")[0]
    raw = chance.choice(
        [b"", b"&", b"&&=&", b"&a", b"&%", b"&%ED%A0%80=1", b"&\xe9=1", b";a=1", b"&a=+"]
    )
    request.target = path + b"?" + "&".join(pairs).encode() + raw
    if b"\xe9" in raw:
        request.doubt(Answers.PERHAPS)


def _header(values: Values, request: Request) -> None:
    """A header that has a meaning, with an odd value."""
    name = values.chance.choice(HEADERS)
    value = _line(values.odd_text().encode("utf-8", "surrogatepass"))
    if name == b"Expect" or (name == b"Connection" and b"close" in value):
        return
    if name == b"Host":
        request.doubt(Answers.PERHAPS)
    if values.chance.random() < 0.8:
        request.set(name, value)
    else:
        request.headers.append((name, value))


def _broken_header(values: Values, request: Request) -> None:
    """What is no header, or ends the head before its time."""
    chance = values.chance
    request.headers.insert(
        chance.randrange(len(request.headers) + 1),
        chance.choice(
            [
                (b"", b"x"), (b"X Y", b"1"), (b"X\0", b"1"), (b"X\xff", b"1"), (b"X ", b"1"),
                (b" X", b"1"), (b"\tX", b"1"), (b"X", b"a\0b"), (b"X", b"a\rb"), (b"X", b"a\r\n b"),
                (b"X", b"\x0b"), (b"(x)", b"1"), (b"X\r", b"1"), (b"Content-Length ", b"5"),
                (b"Transfer-Encoding ", b"chunked"), (b"X:Y", b"1"), (b"Host", b"second.test"),
            ]
        ),
    )  # fmt: skip
    request.doubt(Answers.PERHAPS)


def _many_headers(values: Values, request: Request) -> None:
    count = values.chance.choice([60, 99, 150, 1000, 5000])
    name = values.chance.choice([b"X", b"Cookie", b"If-None-Match", b"X-Forwarded-For", b"Accept"])
    request.headers += [(name, b"a")] * count
    if count > 90:
        request.doubt(Answers.PERHAPS)


def _underscores(values: Values, request: Request) -> None:
    """Headers that CGI cannot tell from others."""
    name = values.chance.choice(
        [
            b"Content_Length",
            b"Transfer_Encoding",
            b"X_Forwarded_For",
            b"Content-Length_",
            b"Host_",
            b"DPo_P",
        ]
    )
    request.headers.append((name, values.chance.choice([b"5", b"chunked", b"6.6.6.6"])))


def _host(values: Values, request: Request) -> None:
    host = values.chance.choice(_HOSTS)
    if values.chance.random() < 0.1:
        request.drop(b"Host")
    else:
        request.set(b"Host", host)
    request.doubt(Answers.PERHAPS)


def _condition(values: Values, request: Request) -> None:
    tags = [*_TAGS, f'"{values.cid()}"'.encode(), b"," + b" " * 3000 + b"x", b'"a",' * 1500]
    name = values.chance.choice([b"If-None-Match", b"If-Match", b"If-Range"])
    request.set(name, values.chance.choice(tags))


def _range(values: Values, request: Request) -> None:
    request.set(b"Range", values.chance.choice(_RANGES))


def _authorization(values: Values, request: Request) -> None:
    who = values.chance.choice(["anybody", "refresh token"])
    if values.is_admin:
        who = request.route.who  # the administrator's password goes where it was thought of
    request.set(b"Authorization", _line(values.authorization(who)))
    if values.chance.random() < 0.3:
        request.set(b"DPoP", _line(values.proof()))


def _odd_body(values: Values, request: Request) -> None:
    """A body of another kind, or in another character set."""
    chance, body = values.chance, request.body
    text = body.decode("utf-8", "replace")
    odd = chance.choice(ODD_TEXTS).encode("utf-8", "surrogatepass")
    request.body = chance.choice(
        [
            lambda: text.encode("utf-16"), lambda: text.encode("utf-32"), lambda: odd,
            lambda: text.encode("utf-8-sig"), lambda: text.encode("latin-1", "replace"),
            lambda: text.encode("utf-16-le"), lambda: text.encode("utf-32-be"), lambda: HIDDEN,
            lambda: b"[" * 100_000,
            lambda: body.replace(b'"', b'"\xed\xa0\x80', 3), lambda: body.replace(b"a", b"\0", 2),
            lambda: body.replace(b"a", odd, 1), lambda: body[: len(body) // 2], lambda: body + body,
            lambda: b" " * 50_000 + body, lambda: HIDDEN * 30, lambda: b"", lambda: b'{"a":' * 5000,
            lambda: body.replace(b"}", b',"' + odd + b'":1}', 1), lambda: bytes(1_000_001),
            lambda: b'"' + b"\\" * 50_000, lambda: b"1" * 50_000, lambda: b"-" * 5,
            lambda: b"\xff\xfe",
        ]
    )()  # fmt: skip
    if request.framing == "none":
        request.framing = "length"


def _content_type(values: Values, request: Request) -> None:
    request.set(
        b"Content-Type",
        values.chance.choice(
            [
                b"", b"application/json; charset=utf-16", b"text/plain", b"*/*", b"image/*", b"a",
                b"/", b"image/jpeg;" + b"a=b;" * 1800, b'application/json; a="' + b"\\" * 7000,
                b"multipart/form-data; boundary=x", b"application/x-www-form-urlencoded",
                b"video/mp4", b"image/png", b"text/html", b"image/svg+xml", b"a/" + b"a" * 7000,
                b"image/jpeg, text/html", b"\xff/\xff",
            ]
        ),
    )  # fmt: skip


def _content_encoding(values: Values, request: Request) -> None:
    request.body, coding = values.encoded(request.body)
    request.set(b"Content-Encoding", coding)
    if request.framing == "none":
        request.framing = "length"


def _chunks(values: Values, request: Request) -> None:
    """Chunks of another size."""
    request.framing = "chunked"
    request.chunk_bytes = values.chance.choice([1, 2, 7, 4096, 65_536, 10**6])
    if request.chunk_bytes < 7:
        request.body = request.body[:3000]


def _unread_body(values: Values, request: Request) -> None:
    """A body where none is wanted."""
    request.framing = values.chance.choice(["length", "chunked"])
    request.body = HIDDEN * values.chance.choice([1, 50, 700, 1500])


def _expect(values: Values, request: Request) -> None:
    request.set(
        b"Expect",
        values.chance.choice([b"100-continue", b"100-continue", b"200-ok", b"100-Continue,x", b""]),
    )
    if request.version != b"HTTP/1.1" or request.headers[-1][1] != b"100-continue":
        request.doubt(Answers.PERHAPS)


def _connection(values: Values, request: Request) -> None:
    request.set(
        b"Connection",
        values.chance.choice(
            [b"close", b"keep-alive", b"Upgrade", b"Host", b"Authorization, close", b"," * 99]
        ),
    )
    if values.chance.random() < 0.5:
        request.set(b"Upgrade", values.chance.choice([b"websocket", b"h2c", b"TLS/1.0", b"x"]))


def _two_lengths(values: Values, request: Request) -> None:
    """A body whose end a proxy may see elsewhere."""
    request.body = request.body or HIDDEN
    request.framing = "none"
    length = b"%d" % len(request.body)
    odd = values.chance.choice(_LENGTHS)
    request.headers += values.chance.choice(
        [
            [(b"Content-Length", length), (b"Transfer-Encoding", b"chunked")],
            [(b"Transfer-Encoding", b"chunked"), (b"Content-Length", length)],
            [(b"Content-Length", b"0"), (b"Content-Length", length)],
            [(b"Content-Length", length), (b"Content-Length", length)],
            [(b"Content-Length", length), (b"Content-Length", odd)],
            [(b"Content-Length", odd)],
            [(b"Transfer-Encoding", values.chance.choice(_CODINGS))],
            [(b"Content-Length", length), (b"Transfer-Encoding", values.chance.choice(_CODINGS))],
            [
                (b"Transfer-Encoding", b"chunked"),
                (b"Transfer-Encoding", values.chance.choice(_CODINGS)),
            ],
        ]
    )
    names = [name for name, _ in request.headers]
    alone = b"Content-Length" in names and b"Transfer-Encoding" not in names
    # Lengths that a lenient reader takes, and body bytes that are then another request.
    request.doubt(Answers.ANY if alone and odd in (b" 5", b"05", b"-0", b"") else Answers.PERHAPS)


def _broken_chunks(values: Values, request: Request) -> None:
    body = request.body[:50] or b"hello"
    size = values.chance.choice(_SIZES)
    request.framing = "none"
    request.set(b"Transfer-Encoding", b"chunked")
    request.body = values.chance.choice(
        [
            size + b"\r\n" + body + b"\r\n0\r\n\r\n",
            b"%x\r\n%sX0\r\n\r\n" % (len(body), body),
            b"%x\n%s\n0\n\n" % (len(body), body),
            b"%x\r\n%s\r\n0\r\nX: 1\r\n\r\n" % (len(body), body),
            b"%x\r\n%s\r\n0\r\n" % (len(body), body) + b"X: 1\r\n" * 3000 + b"\r\n",
            b"%x;%s\r\n%s\r\n0\r\n\r\n" % (len(body), b"a=b;" * 10, body),
            b"%x\r\n%s\r\n" % (len(body), body),
            b"0\r\n\r\n" + HIDDEN,
        ]
    )
    request.doubt(Answers.ANY)  # some end early, and what follows is another request


CHANGES: list[Callable[[Values, Request], None]] = [
    _method, _version, _other_target, _broken_target, _query, _query, _header, _header, _header,
    _broken_header, _many_headers, _underscores, _host, _condition, _range, _authorization,
    _odd_body, _odd_body, _content_type, _content_encoding, _chunks, _unread_body, _expect,
    _connection, _two_lengths, _broken_chunks,
]  # fmt: skip
