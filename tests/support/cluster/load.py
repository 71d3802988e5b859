"""What people do on the nodes of a cluster while its servers fail, and what they were promised."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPException

from support.accounts import ADMIN, Account, set_takedown, sign_up
from support.cids import cid_of
from support.cluster.nodes import Node
from support.databases import execute
from support.http_client import Answer
from support.impatient_collector import GRACE_SECONDS

COLLECTION = "com.example.file"
QUOTA = 3_000_000  # bytes
_CONTENTS = 12  # that people share
_AT_MOST = 4  # records that a person has
_TURN_SECONDS = 0.2
_OF_THE_CROWD = 150_000  # bytes of each blob, of which QUOTA takes 20
PATIENCE_SECONDS = 120  # after which whoever has asked again and again gives up
_LATEST_SECONDS = 12  # of a refusal because the database is away; all waits for it together take 10
_REFUSED = {"ServiceUnavailable", "UpstreamFailure", "UpstreamTimeout"}


def content(number: int) -> bytes:
    """Half of them are spooled to a file."""
    return random.Random(number).randbytes(1_000 + 150_000 * (number % 2))


@dataclass
class Report:
    """What was answered, and what must not have been."""

    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    slowest_seconds: float = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str, seconds: float = 0) -> None:
        with self.lock:
            self.answers[what] += 1
            self.slowest_seconds = max(self.slowest_seconds, seconds)


class GaveUp(Exception):
    """No answer came for PATIENCE_SECONDS."""


class Client(threading.Thread):
    """A thread that asks one of *nodes* after the other, chosen by *seed*, until *over*."""

    def __init__(
        self, nodes: list[Node], report: Report, name: str, seed: str, over: threading.Event
    ) -> None:
        super().__init__(name=name)
        self.nodes = nodes
        self.report = report
        self.random = random.Random(f"{seed}/{name}")
        self.over = over
        self._usual = self.random.choice(nodes)

    def run(self) -> None:
        try:
            self.begin()
            while not self.over.is_set():
                self.step()
        except GaveUp as error:
            self.report.wrong.append(f"{self.name}: {error}")
        except Exception as error:
            self.report.wrong.append(f"{self.name}: {error!r}")
            raise

    def begin(self) -> None:
        """What comes before the first step."""

    def step(self) -> None:
        raise NotImplementedError

    def ask(self, call: Callable[[Node], Answer], node: Node | None = None) -> Answer | None:
        """What *node*, or any, answers to *call*; None if that says nothing of what was done."""
        if node is None:
            # Most ask one node most of the time, else all would soon wait for the one in trouble.
            is_usual = self.random.random() < 0.9
            node = self._usual if is_usual else self.random.choice(self.nodes)
        began = time.monotonic()
        try:
            answer = call(node)
        except (OSError, HTTPException) as error:
            self.report.count("no answer")
            if node.was_calm(began):
                self.report.wrong.append(f"{node.name}, which had no trouble: {error!r}")
            return None
        seconds = time.monotonic() - began
        if answer.status_code < 500:
            self.report.count("answered", seconds)
            return answer
        kind = _error_of(answer)
        self.report.count(f"{answer.status_code} {kind}", seconds)
        if kind not in _REFUSED or "Retry-After" not in answer.headers:
            self.report.wrong.append(f"{node.name}: {answer.status_code} {answer.text}")
        is_late = seconds > _LATEST_SECONDS and not node.stood_still(began)
        if answer.status_code == 503 and is_late:
            self.report.wrong.append(f"{node.name}: 503 after {seconds:.1f} s")
        return None

    def surely(self, call: Callable[[Node], Answer]) -> Answer:
        """The first answer that says what was done. *call* may be repeated."""
        until = time.monotonic() + PATIENCE_SECONDS
        while (answer := self.ask(call)) is None:
            if time.monotonic() > until:
                raise GaveUp(f"no answer within {PATIENCE_SECONDS} s")
            time.sleep(0.2)
        return answer

    def sign_up(self) -> Account:
        """An account of its own. An attempt without an answer may have made another one."""

        def call(node: Node) -> Answer:
            handle = f"{self.name}-{self.random.randrange(10**9)}.test"
            return node.post(
                "/xrpc/com.atproto.server.createAccount",
                json={
                    "handle": handle,
                    "email": f"{handle}@example.com",
                    "password": "correct horse",
                },
            )

        answer = self.surely(call)
        assert answer.status_code == 200, answer.text
        return Account(answer.json["did"], answer.json["accessJwt"], self.nodes[0])


class Writer(Client):
    """Publishes blobs in `account`. `kept` are its records: key to content."""

    account: Account

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.kept: dict[str, bytes] = {}
        self._uploaded: set[bytes] = set()  # by the account

    def upload(self, data: bytes) -> Answer:
        return self.surely(
            lambda node: self.account.at(node).upload(data, "application/octet-stream")
        )

    def publish(self, data: bytes) -> str:
        """Upload *data* and name it in a record; what came of it, in a word."""
        # What is there already goes on as it is: by the settings its grace time lasts an hour.
        is_new = data not in self._uploaded
        self._uploaded.add(data)
        began = time.monotonic()
        answer = self.upload(data)
        if answer.status_code != 200:
            return str(answer.json["error"])
        self.report.count("acknowledged")
        rkey = f"{self.random.randrange(10**12)}"
        record = {"$type": COLLECTION, "file": answer.json["blob"]}
        written = self.surely(
            lambda node: self.account.at(node).post(
                "com.atproto.repo.putRecord",
                repo=self.account.did,
                collection=COLLECTION,
                rkey=rkey,
                record=record,
            )
        )
        if written.status_code == 200:
            self.kept[rkey] = data
            return "published"
        # After that the collector comes for what no record names.
        if is_new and time.monotonic() - began < GRACE_SECONDS:
            self.report.lost.append(f"{cid_of(data)}, just uploaded: {written.text}")
        return str(written.json["error"])

    def delete(self, rkey: str) -> None:
        answer = self.surely(
            lambda node: self.account.at(node).post(
                "com.atproto.repo.deleteRecord",
                repo=self.account.did,
                collection=COLLECTION,
                rkey=rkey,
            )
        )
        assert answer.status_code == 200, answer.text
        del self.kept[rkey]

    def check(self, data: bytes, node: Node | None = None) -> None:
        """Complain unless *data*, which a record names, is served, by *node* or by any."""
        cid = cid_of(data)
        answer = self.ask(lambda node: self.account.at(node).fetch(cid), node)
        if answer is not None and (answer.status_code, answer.data) != (200, data):
            self.report.lost.append(f"{cid} of {self.account.did}: {answer.status_code}")

    def check_all(self, node: Node) -> None:
        for data in set(self.kept.values()):
            self.check(data, node)


class Person(Writer):
    """Does all that one may do, with contents that others have too, in an account of its own."""

    def begin(self) -> None:
        self.account = self.sign_up()
        self._steps = [self._publish] * 4 + [self._look] * 4 + [self._delete] * 3
        self._steps += [self._take_down, self._leave]

    def step(self) -> None:
        self.random.choice(self._steps if len(self.kept) < _AT_MOST else [self._delete])()

    def _publish(self) -> None:
        found = self.publish(content(self.random.randrange(_CONTENTS)))
        assert found in ("published", "BlobNotFound", "InvalidBlob"), found

    def _look(self) -> None:
        if self.kept:
            self.check(self.random.choice(list(self.kept.values())))

    def _delete(self) -> None:
        if self.kept:
            self.delete(self.random.choice(list(self.kept)))

    def _take_down(self) -> None:
        if not self.kept:
            return
        data = self.random.choice(list(self.kept.values()))
        cid = cid_of(data)
        self._set_takedown(cid, True)
        for node in self.nodes:
            self._expect_nothing(cid, node)
        self._set_takedown(cid, False)
        self.check(data)

    def _expect_nothing(self, cid: str, node: Node) -> None:
        answer = self.ask(lambda node: self.account.at(node).fetch(cid), node)
        if answer is not None and answer.status_code == 200:
            self.report.wrong.append(f"{node.name} serves {cid}, which was taken away")

    def _set_takedown(self, cid: str, applied: bool) -> None:
        did = self.account.did
        answer = self.surely(lambda node: set_takedown(node, did, cid, applied))
        assert answer.status_code == 200, answer.text

    def _leave(self) -> None:
        did, taken = self.account.did, set(self.kept.values())
        path = "/xrpc/com.atproto.admin.deleteAccount"
        self.surely(lambda node: node.post(path, json={"did": did}, auth=ADMIN))
        self.kept.clear()
        for data in taken:
            self._expect_nothing(cid_of(data), self.random.choice(self.nodes))
        self._uploaded.clear()
        self.account = self.sign_up()


class OneOfMany(Writer):
    """One of those who write to one account at once, up to its quota."""

    def __init__(self, account: Account, *arguments) -> None:
        super().__init__(*arguments)
        self.account = account

    def step(self) -> None:
        time.sleep(-time.monotonic() % _TURN_SECONDS)  # all at the same moment
        found = self.publish(self.random.randbytes(_OF_THE_CROWD))
        if found == "QuotaExceeded" and self.kept:
            self.delete(self.random.choice(list(self.kept)))
        elif found == "QuotaExceeded":
            time.sleep(0.5)  # others have it all


class Follower(Client):
    """Follows what *writers* publish in their account. `seen` are the CIDs that it was told.

    It goes on from the newest revision in the database at *database_url*.
    """

    def __init__(self, writers: list[OneOfMany], database_url: str, *arguments) -> None:
        super().__init__(*arguments)
        self.writers = writers
        self._url = database_url
        self._since = ""
        self.seen: set[str] = set()

    def step(self) -> None:
        account = self.writers[0].account
        newest = self._newest(account.did)
        parameters = {"since": self._since} if self._since else {}
        answer = self.ask(
            lambda node: account.at(node).get(
                "com.atproto.sync.listBlobs", did=account.did, limit=1000, **parameters
            )
        )
        if answer is not None:
            assert answer.status_code == 200, answer.text
            self.seen.update(answer.json["cids"])
            self._since = newest
        time.sleep(0.1)

    def _newest(self, did: str) -> str:
        import psycopg

        query = f"SELECT MAX(rev) FROM record_blob WHERE did = '{did}'"
        try:
            return execute(self._url, query)[0][0] or self._since
        except psycopg.Error:
            return self._since  # it is being restarted


def _error_of(answer: Answer) -> str:
    try:
        return str(answer.json["error"])
    except (ValueError, KeyError):
        return "without a word"


def new_account(nodes: list[Node], name: str) -> Account:
    """An account, made while all is calm."""
    return sign_up(nodes[0], f"{name}.test")
