"""Values of parameters, properties and credentials: as clients send them, and as attackers do."""

import base64
import gzip
import json
import random
import time
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

from support.car_files import Car, car_of, cid_of_block, reference, varint
from support.credentials import Signer, Wallet, signed
from support.hostile.request import HIDDEN
from support.hostile.stage import PASSWORD, Stage
from support.media_samples import picture
from support.routes import Route

from aurora_blobs.auth.jwts import Key

_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_LONG = (1, 1, 30, 100, 1000, 3000)  # repetitions of what may be slow
FILLERS = [" ", "\t", ",", ";", '"', "\\", "=", "(", "/", ".", ":", "-", "%", "a", "0", "é", "*"]
FILLERS += [
    "a,",
    ", ",
    "W/",
    '"",',
    "0-0,",
    "a=b;",
    "a;q=0.",
    "%41",
    "../",
    "a.",
    "did:",
    "{",
    "[",
]
_SURROGATE = "\ud800"
ODD_TEXTS = [
    "", " ", "\0", "a\0b", "\r\nX-Injected: 1", "\n", "\x1b[31m", "\x7f", "%", "%zz", "%00", "..",
    "../../../etc/passwd", "é", "İ", "ﬀ", "\u202e", "\ufeff", "\u2028", "😀", _SURROGATE, "null",
    "true", "-1", "0", "1e9", "9" * 30, "9" * 5000, "NaN", "[]", "{}", "'", '"', "<script>", "*",
    "did:web:localhost%3A1", "did:web:127.0.0.1", "did:web:[::1]", "did:plc:", "did:", "at://",
    "xn--80ak6aa92e.test", "localhost", "169.254.169.254", "${jndi:ldap://x}", "file:///etc/passwd",
]  # fmt: skip
_TYPES = ["image/jpeg", "image/png", "video/mp4", "application/json", "text/html", "*/*", "a"]
_HTML = b"<!DOCTYPE html><script>alert(1)</script>"


@cache
def _bomb(size: int) -> bytes:
    """*size* zeros, gzip'd."""
    return gzip.compress(bytes(size), 9)


class Raw:
    """JSON as text, where a parser could not hold what it says."""

    def __init__(self, text: str) -> None:
        self.text = text


class Values:
    """One attack's choices. *is_admin* keeps what may be done to the honest out of them."""

    def __init__(self, chance: random.Random, stage: Stage) -> None:
        self.chance = chance
        self.stage = stage
        self.is_admin = False

    def odd_text(self) -> str:
        """Text that some parser may not be ready for."""
        chance = self.chance
        if chance.random() < 0.6:
            return chance.choice(ODD_TEXTS)
        head, tail = chance.choice(["", "a", *ODD_TEXTS]), chance.choice(["", "x", "\0"])
        return head + chance.choice(FILLERS) * chance.choice(_LONG) + tail

    def parameter(self, name: str) -> str:
        """A value for the query parameter, or the part of a path, *name*."""
        makers: dict[str, Callable[[], str]] = {
            "did": self.did, "repo": self.repo, "actor": self.repo, "collection": self.collection,
            "rkey": self.rkey, "cid": self.cid, "blob": self.cid, "cursor": self.cursor,
            "limit": self.number, "reverse": self.boolean, "since": self.tid, "handle": self.handle,
            "uri": self.uri, "preset": self.preset, "picture": self.picture,
        }  # fmt: skip
        if name not in makers or self.chance.random() < 0.15:
            return self.odd_text()[: self.chance.choice([1000, 1000, 5000])]
        return makers[name]()

    def did(self) -> str:
        known = [self.stage.mallory.did] * 4
        if not self.is_admin:
            known += [self.stage.alice.did] * 2
        return self.chance.choice([*known, f"did:plc:{self._letters(24)}", "did:web:gone.test"])

    def repo(self) -> str:
        return self.chance.choice([self.did(), self.did(), self.stage.handle])

    def handle(self) -> str:
        new = f"{self._letters(8)}.test"
        return self.chance.choice([self.stage.handle, "alice.test", new, new.upper(), "a.b.test"])

    def collection(self) -> str:
        return self.chance.choice(
            ["com.example.file"] * 3 + ["com.example.canary", "app.bsky.actor.profile"]
        )

    def rkey(self) -> str:
        return self.chance.choice(["self", "n1", self.tid(), self._letters(10), "a" * 512])

    def tid(self) -> str:
        return "3l" + self._letters(11)

    def cid(self) -> str:
        stage = self.stage
        return self.chance.choice(
            [stage.published, stage.temporary, stage.loot, "bafkrei" + self._letters(52)]
        )

    def cursor(self) -> str:
        return self.chance.choice([self.cid(), self.rkey(), self.odd_text()])

    def number(self) -> str:
        return self.chance.choice(["1", "2", "50", "100", "1000", "0", "-1", "1e2", "١", "9" * 400])

    def boolean(self) -> str:
        return self.chance.choice(["true", "false", "1", "True"])

    def uri(self) -> str:
        return f"at://{self.did()}/{self.collection()}/{self.rkey()}"

    def preset(self) -> str:
        names = ["avatar", "avatar_thumbnail", "banner", "feed_thumbnail", "feed_fullsize"]
        return self.chance.choice([*names, "avatar_thumbnail", "none"])

    def picture(self) -> str:
        form = self.chance.choice(
            ["", "@jpeg", "@png", "@webp", "@avif", "@", "@tiff", "@jpeg@png"]
        )
        return self.cid() + form

    def json_body(self, route: Route) -> bytes:
        """A JSON object for *route*: most properties as they should be."""
        raws: list[str] = []

        def keep(value: Any) -> str:
            raws.append(value.text)
            return f"@raw{len(raws) - 1}@"

        names = [name for name in route.body if self.chance.random() < 0.85]
        names += ["extra"] * (self.chance.random() < 0.05)
        given = {name: self.property(name) for name in names}
        text = json.dumps(given, default=keep, ensure_ascii=self.chance.random() < 0.5)
        for number, raw in enumerate(raws):
            text = text.replace(f'"@raw{number}@"', raw)
        return text.encode("utf-8", "surrogatepass")

    def property(self, name: str) -> Any:
        """A value for the property *name* of a body."""
        makers: dict[str, Callable[[], Any]] = {
            "repo": self.repo, "did": self.did, "collection": self.collection, "rkey": self.rkey,
            "record": self.record, "writes": self.writes, "subject": self.subject,
            "validate": lambda: self.chance.choice([True, False, None]),
            "takedown": lambda: {"applied": True, "ref": self.odd_text()},
            "deactivated": lambda: {"applied": False},
            "handle": self.handle, "email": lambda: f"{self._letters(8)}@example.com",
            "identifier": self.repo, "password": lambda: PASSWORD,
            "swapRecord": lambda: self.chance.choice([None, self.cid()]),
            "swapCommit": lambda: None, "plcOp": lambda: None, "deleteAfter": lambda: None,
            "allowTakendown": lambda: True, "token": lambda: "x",
        }  # fmt: skip
        if name not in makers or self.chance.random() < 0.15:
            return self.odd_json()
        return makers[name]()

    def record(self) -> dict[str, Any]:
        record: dict[str, Any] = {"$type": self.collection(), "text": "hello"}
        for name in ("file", "embed", "more"):
            if self.chance.random() < 0.3:
                record[name] = self.chance.choice([self.blob, self.odd_json])()
        if self.chance.random() < 0.1:
            record["files"] = [self.blob() for _ in range(self.chance.choice([10, 300]))]
        return record

    def blob(self) -> dict[str, Any]:
        """A reference to a blob."""
        blob = {
            "$type": "blob",
            "ref": {"$link": self.cid()},
            "mimeType": self.chance.choice(_TYPES),
            "size": self.chance.choice([79, 0, -1, 2**63, 1.5]),
        }
        if self.chance.random() < 0.3:
            blob[self.chance.choice([*blob])] = self.odd_json()
        return blob

    def writes(self) -> list[Any]:
        kinds = ["create", "update", "delete", "odd"]
        return [
            {
                "$type": f"com.atproto.repo.applyWrites#{self.chance.choice(kinds)}",
                "collection": self.collection(),
                "rkey": self.rkey(),
                "value": self.record(),
            }
            for _ in range(self.chance.choice([0, 1, 1, 2, 20, 201]))
        ]

    def subject(self) -> dict[str, Any]:
        kinds = {
            "repoRef": {"did": self.did()},
            "repoBlobRef": {"did": self.did(), "cid": self.cid()},
            "odd": {"did": self.did()},
        }
        kind = self.chance.choice(["repoBlobRef", *kinds])
        return {"$type": f"com.atproto.admin.defs#{kind}", **kinds[kind]}

    def odd_json(self) -> Any:
        """A value that nobody expects: of another type, deep, wide, or no text."""
        chance = self.chance
        small = chance.random() < 0.9
        many = chance.choice([10, 300] if small else [1100, 20_000])
        link = {"$link": self.odd_text()}
        return chance.choice(
            [
                None, True, 0, -1, 2**53, 2**64, 1.5, 1e308, [], {}, link, {"$bytes": "a"},
                {"$bytes": self.odd_text()}, {"$type": self.odd_text()}, self.odd_text(),
                {"$type": "blob", "ref": link, "mimeType": self.odd_text(), "size": 1},
                {"cid": self.cid(), "mimeType": self.odd_text()}, {self.odd_text(): 1},
                Raw("[" * many + "]" * many), Raw('{"a":' * many + "1" + "}" * many),
                Raw("[" + "[]," * many + "0]"), Raw("[" + "1," * many + "1]"), Raw("1" * many),
                Raw('{"a":1,"a":2}'), Raw("1e400"), Raw("-0"), Raw('"\\ud800"'), Raw('"\\u0000"'),
                Raw('{"' + "k" * many + '":' * 1 + "1}"), Raw("{" + '"k":1,' * many + '"l":1}'),
                Raw('"' + "\\u0041" * many + '"'), Raw("NaN"), Raw("Infinity"), Raw("tru"),
            ]
        )  # fmt: skip

    def upload(self) -> bytes:
        """The bytes of a blob, or what is said to be one."""
        chance = self.chance
        start = chance.choice([picture("JPEG"), picture("PNG"), picture("GIF"), b"", _HTML, HIDDEN])
        return start + chance.randbytes(chance.choice([0, 1, 5000, 70_000, 300_000]))

    def car(self) -> bytes:
        """A repository, whole or damaged."""
        chance, did = self.chance, self.stage.mallory.did
        kind = chance.randrange(6)
        car = Car()
        if kind == 0:
            blobs = [reference(chance.randbytes(9), self.odd_text()) for _ in range(3)]
            record = {"$type": "com.example.file", "file": blobs}
            return self._encodable(lambda: car_of({"com.example.file/one": record}, did).read())
        if kind == 1:  # many small blocks behind a header
            root = car.commit(car.tree([]), did)
            tiny = [cid_of_block(b"%d" % number) + b"%d" % number for number in range(2000)]
            return car.file(root).read() + b"".join(varint(len(one)) + one for one in tiny)
        if kind == 2:  # deep
            value: Any = 1
            for _ in range(chance.choice([10, 200, 300])):
                value = [value]
            return car_of({"com.example.file/deep": {"a": value}}, did).read()
        whole = bytearray(
            car_of({f"com.example.file/n{n}": {"n": n} for n in range(20)}, did).read()
        )
        if kind == 3:
            return bytes(whole[: chance.randrange(len(whole))])
        for _ in range(chance.choice([0, 1, 5])):
            whole[chance.randrange(len(whole))] = chance.randrange(256)
        if kind == 4:
            return chance.choice([b"", b"\xff" * 20, varint(2**40), varint(2**70)]) + bytes(whole)
        return bytes(whole)

    def encoded(self, body: bytes) -> tuple[bytes, bytes]:
        """*body* and its Content-Encoding, one of which may not fit the other."""
        chance = self.chance
        packed = gzip.compress(body, 1)
        return chance.choice(
            [
                (packed, b"gzip"), (packed, b"x-gzip"), (packed, b"GZIP"), (packed[:-5], b"gzip"),
                (packed[:20], b"gzip"), (packed + b"trailing", b"gzip"), (packed + packed, b"gzip"),
                (body, b"gzip"), (zlib.compress(body), b"deflate"), (body, b"deflate"),
                (gzip.compress(packed), b"gzip, gzip"), (body, b"identity"), (body, b"br"),
                (body, b"zstd"), (body, b"gzip," * 500), (body, b"," * 4000), (b"", b"gzip"),
                (_bomb(20_000_000), b"gzip"), (body, b"compress"),
                (gzip.compress(_bomb(50_000_000)), b"gzip, gzip"),
            ]
        )  # fmt: skip

    def authorization(self, who: str) -> bytes:
        """A value of Authorization: most of those that *who* asks for."""
        chance, stage = self.chance, self.stage
        access, refresh = f"Bearer {stage.mallory.token}", f"Bearer {stage.refresh}"
        admin = "Basic " + base64.b64encode(":".join(stage.admin).encode()).decode()
        if chance.random() < 0.75:
            if who.startswith("administrator"):
                self.is_admin = True
                return admin.encode()
            return (refresh if "refresh" in who else access).encode()
        return chance.choice(
            [
                access, refresh, "Bearer", "Bearer  x", "Basic", "Basic YWRtaW46eA==", "Basic \xff",
                "DPoP x", f"DPoP {stage.mallory.token}", f"bearer {stage.mallory.token}",
                f"Bearer {stage.mallory.token[:-3]}", f"Bearer {self.odd_text()}",
                f"Bearer {self.token()}", f"DPoP {self.token()}", "Digest a=b", "," * 3000,
                f"Bearer {stage.mallory.token},{stage.mallory.token}", "Bearer " + "a." * 4000,
                "Basic " + "Og==" * 1000, "Basic " + base64.b64encode(b"\xed\xa0\x80:\0").decode(),
            ]
        ).encode("utf-8", "surrogatepass")  # fmt: skip

    def token(self) -> str:
        """A token of the attacker's own making."""
        chance, now = self.chance, int(time.time())
        claims: dict[str, Any] = {
            "iss": chance.choice([self.stage.mallory.did, self.did()]),
            "sub": self.stage.mallory.did,
            "aud": chance.choice(["did:web:localhost", "did:web:localhost#atproto_pds", "x"]),
            "lxm": "com.atproto.repo.uploadBlob",
            "scope": "com.atproto.access",
            "exp": now + 60,
            "iat": now,
            "jti": self._letters(8),
        }
        header: dict[str, Any] = {"alg": "ES256K", "typ": "JWT"}
        for part in (claims, header):
            if chance.random() < 0.4:
                part[chance.choice([*part, "kid", "crit", "cnf"])] = self._plain(self.odd_json())
        return signed(_KEY, header, claims)

    def proof(self) -> bytes:
        """A DPoP proof of the attacker's own making."""
        changes = {
            self.chance.choice(["jti", "htm", "htu", "iat", "ath"]): self._plain(self.odd_json())
        }
        return _WALLET.proof("x", "nonce", **changes).encode()

    def _plain(self, value: Any) -> Any:
        return value.text[:2000] if isinstance(value, Raw) else value

    def _encodable(self, make: Callable[[], bytes]) -> bytes:
        try:
            return make()
        except (ValueError, TypeError):  # text that CBOR cannot hold
            return b"\x00"

    def _letters(self, count: int) -> str:
        return "".join(self.chance.choices(_LETTERS, k=count))


_SIGNER, _WALLET = Signer(), Wallet()
_KEY: Key = _SIGNER.key
