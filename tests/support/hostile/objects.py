"""Attacks on the object API: by whoever has its secret, and by strangers."""

import random
import secrets
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from types import SimpleNamespace
from urllib.parse import quote
from zlib import crc32

from support.accounts import ALICE, CAROL, blob_path
from support.cids import cid_of
from support.hostile.grammar import CHANGES, Grammar
from support.hostile.request import HIDDEN, Request
from support.hostile.values import Values
from support.live_service import Server
from support.object_api import BUCKET, KEY_ID, SECRET, Signature, s3_client
from support.routes import Route

ROUTE = Route(f"/{BUCKET}/<path:key>", "GET", ("prefix", "uploadId", "partNumber", "max-keys"))
_CANARIES = 32
_SMALL = 3000  # bytes per chunk of aws-chunked
_QUERIES = [
    "", "acl", "tagging", "versionId=1", "uploads", "delete", "location", "list-type=2",
    "list-type=3", "list-type=2&prefix=blocks/&delimiter=/", "prefix=tmp&marker=tmp/z",
    "list-type=2&continuation-token=%F4%8F%BF%BF", "list-type=2&start-after=blocks/did:plc:",
    "max-keys=0", "max-keys=-1", "max-keys=99999999999", "encoding-type=url&prefix=%00",
    "partNumber=1&uploadId=x", "partNumber=99999&uploadId=x", "uploadId=../..", "delimiter=a",
    "X-Amz-Signature=" + "0" * 64, "X-Amz-Algorithm=x&X-Amz-Signature=x", "x-id=PutObject",
]  # fmt: skip
_AMZ = [
    b"x-amz-checksum-crc32", b"x-amz-checksum-crc32c", b"x-amz-checksum-sha1", b"Content-MD5",
    b"x-amz-checksum-sha256", b"x-amz-checksum-crc64nvme", b"x-amz-checksum-mode", b"x-amz-acl",
    b"x-amz-copy-source", b"x-amz-copy-source-if-match", b"x-amz-decoded-content-length",
    b"x-amz-trailer", b"x-amz-date", b"x-amz-content-sha256", b"x-amz-meta-a", b"x-amz-tagging",
    b"x-amz-sdk-checksum-algorithm", b"x-amz-storage-class", b"x-amz-security-token",
]  # fmt: skip
_ODD_VALUES = [
    b"", b"0", b"-1", b"5", b"AAAAAA==", b"9" * 40, b"a" * 4000, b"=" * 3000, b"%zz", b"\xff", b"*",
    b"x-amz-checksum-crc32", b"x-amz-trailer-signature", b"/", f"{BUCKET}/".encode(), b"a\tb",
    f"/{BUCKET}/tmp/{CAROL}/abc".encode(), f"{BUCKET}/blocks/{ALICE}/x".encode(),
    b"%2e%2e/" * 300, b"19700101T000000Z", b"99999999T999999Z", b"20241301T250000Z",
    b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD", b"UNSIGNED-PAYLOAD", b"0" * 64, b"ENABLED",
]  # fmt: skip
_ODD_AUTHORIZATIONS = [
    b"", b"AWS4-HMAC-SHA256", b"AWS4-HMAC-SHA256 Credential=", b"AWS AKIDEXAMPLE:x", b"Basic YTpi",
    b"AWS4-HMAC-SHA256 " + b"Credential=a/" * 500, b"AWS4-HMAC-SHA256 " + b" " * 7000 + b"x",
    b"AWS4-HMAC-SHA256 Credential=a, SignedHeaders=" + b"a;" * 3500 + b", Signature=" + b"0" * 64,
    b"AWS4-HMAC-SHA256 Credential=\xff/a/b/s3/aws4_request, SignedHeaders=host, Signature="
    + b"0" * 64,
    b"AWS4-ECDSA-P256-SHA256 Credential=a, SignedHeaders=host, Signature=00",
]  # fmt: skip


def _xml_of_keys(*names: str) -> bytes:
    rows = "".join(f"<Object><Key>{name}</Key></Object>" for name in names)
    return f"<Delete>{rows}</Delete>".encode()


def _xml_of_parts(*parts: tuple[str, str]) -> bytes:
    rows = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>" for number, tag in parts
    )
    return f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode()


_ENTITIES = "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(9))
ODD_XML: list[Callable[[], bytes]] = [
    lambda: b"",
    lambda: b"<Delete/>",
    lambda: b"<Delete>",
    lambda: b"<" * 5000,
    lambda: _xml_of_keys(*[f"tmp/{CAROL}/{number}" for number in range(1000)]),
    lambda: _xml_of_keys(*["x"] * 1001),
    lambda: _xml_of_keys("x" * 5000),
    lambda: _xml_of_keys("&#0;"),
    lambda: _xml_of_keys("&#xd800;"),
    lambda: _xml_of_keys("&amp;" * 1024),
    lambda: _xml_of_keys("a<!-- -->" * 2000),
    lambda: _xml_of_keys("a<?x?>" * 2000),
    lambda: _xml_of_keys("<![CDATA[a]]>" * 2000),
    lambda: _xml_of_keys("<b>" * 5000),
    lambda: _xml_of_parts(*[(str(number), "x") for number in range(1, 10_002)]),
    lambda: _xml_of_parts(("2", "x"), ("1", "x")),
    lambda: _xml_of_parts(("-1", "x")),
    lambda: _xml_of_parts(("9" * 5000, "x")),
    lambda: _xml_of_parts(("1", '"' * 3000)),
    lambda: f'<!DOCTYPE Delete [<!ENTITY a0 "a">{_ENTITIES}]><Delete>&a9;</Delete>'.encode(),
    lambda: b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
    lambda: b'<?xml version="1.0" encoding="utf-16"?><Delete/>',
    lambda: b'<?xml version="1.0" encoding="x-none"?><Delete/>',
    lambda: "<Delete><Object><Key>a</Key></Object></Delete>".encode("utf-16"),
    lambda: b"<Delete " + b" ".join(b'a%d=""' % number for number in range(20_000)) + b"/>",
    lambda: b'<Delete a="' + b"a" * 300_000 + b'"/>',
    lambda: b"<" + b"a" * 300_000 + b"/>",
    lambda: b"<Delete>" + b" " * 4_000_000 + b"</Delete>",
    lambda: b"<Delete>" + b"<a/>" * 100_000 + b"</Delete>",
    lambda: b"<Delete>" + b"<!---->" * 100_000 + b"</Delete>",
    lambda: b"<Delete xmlns:a='b'><a:Object><a:Key>x</a:Key></a:Object></Delete>",
]


class ObjectStage:
    """Whose objects are attacked, and those of an honest account, which no attack names.

    An attack with the secret is one of a PDS that has lost its mind; it may harm itself.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.s3 = s3_client(f"http://127.0.0.1:{server.port}")
        self.admin = ("admin", "x")
        self.alice = SimpleNamespace(did=ALICE)
        self.refresh = self.handle = self.temporary = "x"
        self.canaries = [secrets.token_bytes(9) for _ in range(_CANARIES)]
        for canary in self.canaries:
            self._put(f"blocks/{ALICE}/{cid_of(canary)}", canary)
        self.published = cid_of(self.canaries[0])
        self.renew()

    def canary(self, chance: random.Random) -> tuple[bytes, Callable[[bytes], bool]]:
        """A request of an honest client, and whether a body is the right answer to it."""
        canary = chance.choice(self.canaries)
        target = blob_path(ALICE, cid_of(canary))
        wire = f"GET {target} HTTP/1.1\r\nHost: alice.test\r\n\r\n".encode()
        return wire, lambda body: body == canary

    def renew(self) -> None:
        """Attack another account, which has something, and an upload in parts that is under way."""
        self.mallory = SimpleNamespace(did=f"did:web:m{secrets.token_hex(5)}.test", token="x" * 300)
        self.data = secrets.token_bytes(1000)
        self.loot = cid_of(self.data)
        self._put(f"tmp/{self.mallory.did}/abc", self.data)
        self._put(f"blocks/{self.mallory.did}/{self.loot}", self.data)
        self.parts = f"tmp/{self.mallory.did}/parts"
        begun = self.s3.create_multipart_upload(Bucket=BUCKET, Key=self.parts)
        self.upload_id = begun["UploadId"]

    def visit(self, chance: random.Random) -> None:
        """Do what an honest PDS does; all of it has to succeed."""
        data, name = chance.randbytes(chance.choice([9, 3000, 90_000])), secrets.token_hex(8)
        staged, stored = f"tmp/{ALICE}/{name}", f"blocks/{ALICE}/{cid_of(data)}"
        self._put(staged, data)
        self.s3.copy_object(Bucket=BUCKET, Key=stored, CopySource=f"{BUCKET}/{staged}")
        self.s3.delete_object(Bucket=BUCKET, Key=staged)
        got = self.s3.get_object(Bucket=BUCKET, Key=stored)["Body"].read()
        assert got == data, got[:200]
        shown = self.server.get(blob_path(ALICE, cid_of(data)))
        assert (shown.status_code, shown.data) == (200, data), shown.data[:200]
        self.s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": stored}]})
        hidden = self.server.get(blob_path(ALICE, cid_of(data)))
        assert hidden.status_code == 400, hidden.status_code

    def _put(self, key: str, data: bytes) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=data)


class _Values(Values):
    """Values that mean something to the object API."""

    stage: ObjectStage

    def parameter(self, name: str) -> str:
        known = {
            "uploadId": [self.stage.upload_id, "0" * 64, "x", "../../spool"],
            "partNumber": ["1", "2", "10000", "10001", "0", "-1", "9" * 400, "١"],
            "max-keys": ["0", "1", "1000", "-1", "9" * 20],
            "prefix": [
                "",
                "tmp/",
                "blocks/",
                f"blocks/{self.stage.mallory.did}/",
                "quarantine",
                "\U0010ffff",
            ],
        }
        if name not in known or self.chance.random() < 0.15:
            return self.odd_text()[:1000]
        return self.chance.choice(known[name])

    def authorization(self, who: str) -> bytes:
        return self.chance.choice(_ODD_AUTHORIZATIONS)

    def key(self, kind: str = "") -> str:
        """A key of the attacker, or what is none."""
        chance, did = self.chance, self.stage.mallory.did
        if kind:
            name = chance.choice(["abc", "parts", secrets.token_hex(4)])
            return f"{kind}/{did}/{name if kind == 'tmp' else self.stage.loot}"
        return chance.choice(
            [
                f"tmp/{did}/abc", f"tmp/{did}/{'x' * 255}", f"tmp/{did}/{'x' * 256}", "tmp//x",
                f"blocks/{did}/{self.stage.loot}", f"blocks/{did}/{self.stage.loot[:-1]}", "..",
                f"quarantine/{did}/{self.stage.loot}", f"tmp/{did}/../../x", f"tmp/{did}/..", "/",
                f"blocks/{did}/{self.cid()}", "x" * 1024, "x" * 1025, "tmp", "blocks/", "a/b/c",
                f"tmp/did:web:%00/{self.stage.loot}", "\N{SNOWMAN}", "\0", "a b", "%zz", "a\nb",
            ]
        )  # fmt: skip


def _usual(values: _Values) -> Request:
    """A call as a PDS makes it, or nearly."""
    chance, stage = values.chance, values.stage
    kept = stage.data
    data = chance.choice([kept, b"", chance.randbytes(9), chance.randbytes(70_000)])
    source = f"/{BUCKET}/{values.key(chance.choice(['tmp', 'blocks', 'quarantine', '']))}"
    part = f"partNumber={chance.choice([1, 2, 3])}&uploadId={stage.upload_id}"
    tag = f'"{sha256(kept).hexdigest()}-1"'
    deleted = _xml_of_keys(values.key("tmp"), values.key("blocks"))
    whole = _xml_of_parts(("1", chance.choice([tag, "x", ""])))
    staged, stored, aside = (values.key(kind) for kind in ("tmp", "blocks", "quarantine"))
    method, key, query, body = chance.choice(
        [
            ("PUT", staged, "", data), ("PUT", staged, "x-id=PutObject", data),
            ("PUT", stored, "", kept), ("PUT", aside, "", kept), ("GET", stored, "", b""),
            ("HEAD", stored, "", b""), ("GET", staged, "", b""), ("DELETE", staged, "", b""),
            ("COPY", stored, "", b""), ("COPY", aside, "", b""), ("COPY", values.key(), "", b""),
            ("POST", "", "delete", deleted), ("POST", "", "delete", chance.choice(ODD_XML)()),
            ("POST", staged, "uploads", b""), ("PUT", stage.parts, part, data),
            ("POST", stage.parts, f"uploadId={stage.upload_id}", whole),
            ("POST", stage.parts, f"uploadId={stage.upload_id}",
             chance.choice(ODD_XML)()),
            ("GET", stage.parts, f"uploadId={stage.upload_id}", b""),
            ("DELETE", stage.parts, "uploadId=" + "0" * 64, b""),
            ("GET", "", chance.choice(_QUERIES), b""), ("HEAD", "", "", b""),
            (chance.choice(["GET", "PUT", "POST", "DELETE"]), values.key(),
             chance.choice(_QUERIES), data),
        ]
    )  # fmt: skip
    target = f"/{BUCKET}/{quote(key, safe=chance.choice(['/', '/:~', '']))}"
    wire_method = b"PUT" if method == "COPY" else method.encode()
    request = Request(
        replace(ROUTE, verb=wire_method.decode()),
        wire_method,
        (target + (f"?{query}" if query else "")).encode(),
        [(b"Host", b"alice.test")],
    )
    request.name.append(f"{method}?{query.partition('=')[0]}")
    if method == "COPY":
        request.set(b"x-amz-copy-source", source.encode())
    if body or method in ("PUT", "POST"):
        request.body, request.framing = body, "length"
    return request


def _amz_header(values: Values, request: Request) -> None:
    request.set(values.chance.choice(_AMZ), values.chance.choice(_ODD_VALUES))


def _odd_query(values: Values, request: Request) -> None:
    path = request.target.partition(b"?")[0]
    request.target = path + b"?" + values.chance.choice(_QUERIES).encode()


_CHANGES = [*CHANGES, *[_amz_header] * 5, *[_odd_query] * 2]


class ObjectGrammar(Grammar):
    """Makes attacks on the object API."""

    def __init__(self, stage: ObjectStage) -> None:
        super().__init__([ROUTE], stage)
        self._objects = stage

    def request(self, chance: random.Random) -> Request:
        """A call as it should be but for a few changes, made before it is signed or after it."""
        values = _Values(chance, self._objects)
        request = _usual(values)
        changes = [chance.choice(_CHANGES) for _ in range(chance.choice([0, 0, 1, 1, 1, 2, 3]))]
        signs_last = chance.random() < 0.7
        if not signs_last:
            _sign(chance, request)
        for change in changes:
            change(values, request)
            request.name.append(change.__name__.strip("_"))
        if signs_last and b"authorization" not in {name.lower() for name, _ in request.headers}:
            _sign(chance, request)
        return request


def _sign(chance: random.Random, request: Request) -> None:
    """Sign *request* as it is, most often with the right secret."""
    secret = SECRET if chance.random() < 0.85 else "another secret"
    body, roll = request.body, chance.random()
    signature = Signature(KEY_ID, secret)
    if request.framing == "length" and roll < 0.25:
        _in_aws_chunks(chance, request, signature)
        return
    payload = chance.choice(["UNSIGNED-PAYLOAD", "0" * 64, "x"]) if roll > 0.85 else None
    if b"x-amz-content-sha256" not in {name for name, _ in request.headers}:
        text = payload or sha256(body).hexdigest()
        request.headers.append((b"x-amz-content-sha256", text.encode()))
    signature.sign(request)


def _in_aws_chunks(chance: random.Random, request: Request, signature: Signature) -> None:
    """Let the body be in chunks, signed or not, perhaps with something odd in them."""
    body, is_signed = request.body, chance.random() < 0.5
    word = b"STREAMING-" + (
        b"AWS4-HMAC-SHA256-PAYLOAD" if is_signed else b"UNSIGNED-PAYLOAD-TRAILER"
    )
    request.set(b"x-amz-content-sha256", word)
    request.set(b"x-amz-decoded-content-length", b"%d" % len(body))
    if not is_signed:
        request.set(b"x-amz-trailer", b"x-amz-checksum-crc32")
    signature.sign(request)
    pieces = [body[at : at + _SMALL] for at in range(0, len(body), _SMALL)]
    made = b""
    for piece in [*pieces, b""]:
        more = b";chunk-signature=" + signature.of_chunk(piece) if is_signed else b""
        made += b"%x" % len(piece) + more + b"\r\n" + piece + (b"\r\n" if piece else b"")
    if not is_signed:
        made += b"x-amz-checksum-crc32:" + b64encode(crc32(body).to_bytes(4, "big")) + b"\r\n"
    made += b"\r\n"
    if chance.random() < 0.4:
        at = chance.randrange(len(made))
        some = chance.choice([b"", b"\r\n", b"0\r\n", b"\0", b"f" * 5000, b";" * 20, HIDDEN])
        made = made[:at] + some + made[at + 1 :]
        request.name.append("odd chunks")
    request.body = made
