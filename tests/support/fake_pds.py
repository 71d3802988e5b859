"""A PDS of our own, which may lie: its repositories, blobs and stream, and a PLC directory."""

import threading
from base64 import b64encode
from contextlib import contextmanager, suppress
from hashlib import sha1
from urllib.parse import parse_qsl, urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from support.car_files import CAR, Car, block_of, reference
from support.cids import cid_of
from support.credentials import Signer
from support.document_server import send, serving

from aurora_blobs.protocol.dag_cbor import cid_text
from aurora_blobs.protocol.syntax import new_tid

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_BINARY, _CLOSE = 0x82, 0x88
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141  # of secp256k1
TIME = "2025-06-15T15:06:40.000Z"  # the clock of the tests when it starts


def signature(signer, data):
    """The lower of the two signatures of *signer* for *data*."""
    r, s = decode_dss_signature(signer.private.sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32) + min(s, _ORDER - s).to_bytes(32)


def higher(low):
    """The other signature, which is as right for everybody who does not look."""
    return low[:32] + (_ORDER - int.from_bytes(low[32:])).to_bytes(32)


class Repo:
    """The repository of *did*. `car` has all of its blocks, of which `root` is the commit."""

    def __init__(self, did, clock):
        self.did = did
        self.signer = Signer()
        self.status = None
        self.records = {}
        self.cids = {}
        self.rev = None
        self.sign = signature
        self._clock = clock
        self.change({})

    def change(self, writes, rev=None):
        """Make *writes*, a value or None by ``collection/rkey``; the operations of an event."""
        operations = []
        for path, value in writes.items():
            before = self.cids.pop(path, None)
            self.records.pop(path, None)
            if value is not None:
                self.records[path] = value
            operations.append({"path": path, "prev": before})
        self.car = Car()
        self.cids = {path: self.car.add(value) for path, value in self.records.items()}
        self.tree = self.car.tree(sorted((path.encode(), cid) for path, cid in self.cids.items()))
        self.rev = rev or new_tid(self._clock(), self.rev)
        self.commit()
        for operation in operations:
            operation["cid"] = self.cids.get(operation["path"])
            operation["action"] = _action(operation)
        return [
            {name: value for name, value in operation.items() if (name, value) != ("prev", None)}
            for operation in operations
        ]

    def commit(self):
        """Sign the tree as it is."""
        unsigned = {"did": self.did, "version": 3, "data": self.tree, "rev": self.rev, "prev": None}
        self.root = self.car.add({**unsigned, "sig": self.sign(self.signer, block_of(unsigned))})

    def file(self):
        return self.car.file(self.root).getvalue()


def _action(operation):
    if operation["cid"] is None:
        return "delete"
    return "create" if operation["prev"] is None else "update"


class FakePds:
    """Answers while `serving` does. *clock* gives microseconds.

    `repos` are by DID. `blobs` are bytes, or a function that gets the request handler, by DID and
    CID. `documents` replace those of the directory. `asked` has the path of each request, `streams`
    the cursor of each stream. `oldest` is the first event that is still there. `taken_down` are
    blobs, by DID and CID, which whoever has the `password` of the administrator is told.
    """

    def __init__(self, clock):
        self.repos = {}
        self.blobs = {}
        self.documents = {}
        self.answers = {}
        self.asked = []
        self.streams = []
        self.oldest = 0
        self.seq = 0
        self.url = ""
        self.is_open = True
        self.taken_down = set()
        self.password = "the PDS's own"
        self.page = None  # blobs in a page, None as many as are asked for
        self._frames = []
        self._clock = clock
        self._changed = threading.Condition()

    @contextmanager
    def serving(self):
        with serving(self) as address:
            self.url = f"http://localhost:{address.rpartition(':')[2]}"
            try:
                yield self
            finally:
                self.is_open = False
                self._wake()

    def add(self, did):
        """An account with an empty repository, of which no event tells."""
        self.repos[did] = Repo(did, self._clock)
        return self.repos[did]

    def blob(self, did, data, mime_type="image/jpeg"):
        """Keep the blob *data* of *did*; the reference to it in a record."""
        self.blobs[did, cid_of(data)] = data
        return reference(data, mime_type)

    def write(self, did, writes, **lies):
        """Make *writes* and tell of them; *lies* replace parts of the event, None removes one."""
        self.send(self.told(did, writes), **lies)

    def told(self, did, writes, **changes):
        """Make *writes*; the event that tells of them."""
        repo = self.repos[did]
        since, before = repo.rev, repo.tree
        operations = repo.change(writes, **changes)
        return {
            "t": "#commit",
            "repo": did,
            "commit": repo.root,
            "rev": repo.rev,
            "since": since,
            "prevData": before,
            "ops": operations,
            "blobs": [],
            "blocks": repo.file(),
            "rebase": False,
            "tooBig": False,
        }

    def sync(self, did, **lies):
        repo = self.repos[did]
        car = Car()
        car.blocks[repo.root] = repo.car.blocks[repo.root]
        blocks = car.file(repo.root).getvalue()
        self.send({"t": "#sync", "did": did, "rev": repo.rev, "blocks": blocks}, **lies)

    def set_status(self, did, status):
        """Let the account be as *status* says, None for active, and tell of it."""
        if did in self.repos:
            self.repos[did].status = status
        self.tell_status(did, status)

    def tell_status(self, did, status):
        event = {"t": "#account", "did": did, "active": status is None}
        self.send(event if status is None else {**event, "status": status})

    def tell_identity(self, did):
        self.send({"t": "#identity", "did": did})

    def send(self, event, **lies):
        """Send *event*, a message with its kind under ``t``."""
        self.seq += 1
        message = {"seq": self.seq, "time": TIME, **event, **lies}
        kind = message.pop("t")
        self.send_raw(
            block_of({"op": 1, "t": kind})
            + block_of({name: value for name, value in message.items() if value is not ...})
        )

    def send_notice(self, name):
        self.send_raw(block_of({"op": 1, "t": "#info"}) + block_of({"name": name}))

    def send_raw(self, frame):
        with self._changed:
            self._frames.append((self.seq, frame))
            self._changed.notify_all()

    def hang_up(self):
        """End each stream that is open."""
        with self._changed:
            self._frames.append((self.seq, None))
            self._changed.notify_all()

    def forget_events(self):
        """Begin with the first event again, as a PDS that was put back."""
        with self._changed:
            self.seq = 0
            self._frames = [(0, None)]
            self._changed.notify_all()

    def _wake(self):
        with self._changed:
            self._changed.notify_all()

    def __call__(self, handler):
        self.asked.append(handler.path)
        parts = urlsplit(handler.path)
        given = dict(parse_qsl(parts.query))
        name = parts.path.removeprefix("/xrpc/")
        with suppress(BrokenPipeError, ConnectionResetError):
            if name in self.answers:
                self.answers[name](handler)
            elif parts.path.startswith("/did:"):
                self._document(handler, parts.path[1:])
            else:
                getattr(self, f"_{name.rpartition('.')[2]}")(handler, given)

    def _document(self, handler, did):
        repo = self.repos.get(did)
        document = self.documents.get(did)
        if document is None and repo is not None:
            document = self.document(did)
        send(handler, document or {}, 200 if document else 404)

    def document(self, did, endpoint=None):
        """The DID document of *did*, whose PDS is at *endpoint*, or here."""
        service = {
            "id": "#atproto_pds",
            "type": "AtprotoPersonalDataServer",
            "serviceEndpoint": endpoint or self.url,
        }
        return {**self.repos[did].signer.document(did), "service": [service]}

    def _describeServer(self, handler, given):
        send(handler, {"did": "did:web:localhost"})

    def _listRepos(self, handler, given):
        after = given.get("cursor", "")
        page = [did for did in sorted(self.repos) if did > after][: int(given["limit"])]
        listed = [self._shown(self.repos[did]) for did in page if self._is_there(did)]
        send(handler, {"repos": listed, **({"cursor": page[-1]} if page else {})})

    def _is_there(self, did):
        return did in self.repos and self.repos[did].status != "deleted"

    def _shown(self, repo):
        shown = {"did": repo.did, "head": cid_text(repo.root), "rev": repo.rev}
        shown["active"] = repo.status is None
        return shown if repo.status is None else {**shown, "status": repo.status}

    def _getRepoStatus(self, handler, given):
        if not self._is_there(given["did"]):
            return send(handler, {"error": "RepoNotFound"}, 400)
        return send(handler, self._shown(self.repos[given["did"]]))

    def _listBlobs(self, handler, given):
        if self._refuses(handler, given["did"]):
            return
        values = self.repos[given["did"]].records.values()
        cids = sorted({cid_text(ref) for value in values for ref in _references(value)})
        after = given.get("cursor", "")
        page = [cid for cid in cids if cid > after][: self.page or int(given["limit"])]
        send(handler, {"cids": page, **({"cursor": page[-1]} if page else {})})

    def _getRepo(self, handler, given):
        if self._refuses(handler, given["did"]):
            return
        data = self.repos[given["did"]].file()
        send(handler, data, **{"Content-Type": CAR})

    def _getBlob(self, handler, given):
        if self._refuses(handler, given["did"]):
            return
        key = given["did"], given["cid"]
        blob = None if key in self.taken_down else self.blobs.get(key)
        if blob is None:
            send(handler, {"error": "InvalidRequest", "message": "Blob not found"}, 400)
        elif callable(blob):
            blob(handler)
        else:
            send(handler, blob, **{"Content-Type": "image/jpeg"})

    def _getSubjectStatus(self, handler, given):
        if handler.headers["Authorization"] != basic("admin", self.password):
            return send(handler, {"error": "AuthenticationRequired"}, 401)
        key = given["did"], given["blob"]
        if key not in self.blobs:
            return send(handler, {"error": "InvalidRequest", "message": "Subject not found"}, 400)
        return send(handler, {"subject": {}, "takedown": {"applied": key in self.taken_down}})

    def _refuses(self, handler, did):
        names = {"deactivated": "RepoDeactivated", "takendown": "RepoTakendown"}
        repo = self.repos.get(did)
        status = "deleted" if repo is None else repo.status
        if status is not None:
            send(handler, {"error": names.get(status, "RepoNotFound")}, 400)
        return status is not None

    def _subscribeRepos(self, handler, given):
        shake_hands(handler)
        self._stream(handler, given.get("cursor"))

    def _stream(self, handler, cursor):
        with self._changed:
            self.streams.append(cursor)
            at = len(self._frames)
            if cursor is not None:
                at = next(
                    (index for index, (seq, _) in enumerate(self._frames) if seq > int(cursor)), at
                )
        if cursor is not None and int(cursor) > self.seq:
            _write(handler, block_of({"op": -1}) + block_of({"error": "FutureCursor"}))
            return _end(handler)
        if cursor is not None and int(cursor) < self.oldest:
            _write(
                handler, block_of({"op": 1, "t": "#info"}) + block_of({"name": "OutdatedCursor"})
            )
        while True:
            with self._changed:
                if at == len(self._frames):
                    self._changed.wait(0.02)
                if not self.is_open:
                    return _end(handler)
                frames = self._frames[at:]
            if len(self._frames) < at:  # put back
                return _end(handler)
            for _, frame in frames:
                at += 1
                if frame is None:
                    return _end(handler)
                _write(handler, frame)
            if not frames and _has_left(handler):
                return None


def shake_hands(handler):
    """Make a WebSocket of the connection."""
    key = handler.headers["Sec-WebSocket-Key"].encode()
    accept = b64encode(sha1(key + _GUID).digest()).decode()
    handler.wfile.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %s\r\n\r\n" % accept.encode()
    )
    handler.close_connection = True


def basic(user, password):
    return f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"


def _references(value):
    """The CIDs of blobs, in bytes, that *value*, any part of a record, has in it."""
    if isinstance(value, dict):
        return [value["ref"]] if "ref" in value else _references([*value.values()])
    if isinstance(value, list):
        return [ref for part in value for ref in _references(part)]
    return []


def _write(handler, data, opcode=_BINARY):
    if len(data) < 126:
        head = bytes([opcode, len(data)])
    elif len(data) < 2**16:
        head = bytes([opcode, 126]) + len(data).to_bytes(2, "big")
    else:
        head = bytes([opcode, 127]) + len(data).to_bytes(8, "big")
    handler.wfile.write(head + data)
    handler.wfile.flush()


def _end(handler):
    _write(handler, (1008).to_bytes(2, "big"), _CLOSE)
    handler.connection.settimeout(5)
    with suppress(OSError):
        while handler.connection.recv(4096):
            pass


def _has_left(handler):
    """Whether the client has closed; what it says else is thrown away."""
    handler.connection.settimeout(0.001)
    try:
        said = handler.connection.recv(4096)
        if said[:1] == bytes([_CLOSE]):
            _write(handler, b"", _CLOSE)
        return said[:1] in (b"", bytes([_CLOSE]))
    except TimeoutError:
        return False
    finally:
        handler.connection.settimeout(None)
