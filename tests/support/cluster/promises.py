"""What is true of a cluster when all is quiet again, and what it says of itself meanwhile."""

import json
import threading
import time
from collections.abc import Iterator

from support.accounts import sign_up
from support.cids import cid_of
from support.cluster.load import QUOTA, Follower, Writer
from support.cluster.nodes import Node
from support.cluster.troubles import Cluster
from support.databases import execute
from support.http_client import Answer

_UPLOADS = 4  # that an account may make in a day
_SERVER = "/xrpc/com.atproto.server"
_IDLE_SECONDS = 9  # of a transaction; sessions say 6

_UNTRUE = {
    "who is public is not who a record names": """
        SELECT creator_did, cid FROM blob_metadata m
         WHERE (unreferenced_since IS NULL) <> EXISTS (
               SELECT 1 FROM record_blob r WHERE r.did = m.creator_did AND r.cid = m.cid)
    """,
    "removals have not ended": "SELECT * FROM removal WHERE swept_at IS NULL",
    "contents are pinned, and nobody has them": "SELECT cid FROM blob WHERE stored_at IS NULL",
    "a revision was given twice": """
        SELECT did, rev FROM record_blob GROUP BY did, rev HAVING COUNT(DISTINCT record_uri) > 1
    """,
    "deletions of accounts have not ended": "SELECT did FROM account_deletion",
}
# The longest time that a session is idle in a transaction, in seconds, and the bytes of the largest
# account.
_AT_ANY_TIME = """
    SELECT (SELECT COALESCE(MAX(EXTRACT(EPOCH FROM NOW() - state_change)), 0)::FLOAT8
              FROM pg_stat_activity
             WHERE state LIKE 'idle in transaction%' AND datname = current_database()),
           (SELECT COALESCE(MAX(bytes), 0)::BIGINT
              FROM (SELECT SUM(size) AS bytes FROM blob_metadata GROUP BY creator_did) AS sums)
"""


def complaints(
    cluster: Cluster, database_url: str, writers: list[Writer], follower: Follower
) -> Iterator[str]:
    """What is wrong with *cluster*, which nobody uses any more."""
    for writer in writers:
        for node in cluster.nodes:
            writer.check_all(node)
    for node in cluster.nodes:
        node.collect_all()
        found = node.run("blobs", "gc", "--json")
        if found.returncode:
            yield f"{node.name}: blobs gc: {found.stdout!r} {found.stderr!r}"
        if left := list((node.folder / "data" / "spool").iterdir()):
            yield f"{node.name}: in the spool: {left}"
    found = cluster.nodes[0].run("blobs", "fsck", "--json")
    for finding in json.loads(found.stdout)["findings"]:
        yield f"fsck: {finding}"
    for what, statement in _UNTRUE.items():
        if rows := execute(database_url, statement):
            yield f"{what}: {rows[:5]} and {len(rows[5:])} more"
    kept = {cid_of(data) for writer in follower.writers for data in writer.kept.values()}
    if kept - follower.seen:
        yield f"who follows was not told of {kept - follower.seen}"


def clock_complaints(ahead: Node, behind: Node) -> Iterator[str]:
    """What is wrong with two nodes, whose clocks are wrong, that nobody uses any more."""
    for node in (ahead, behind):
        if "seconds from the database's, which counts" not in node.log:
            yield f"{node.name} does not say that its clock is wrong"
    for one, other in ((ahead, behind), (behind, ahead)):
        made = sign_up(one, f"{one.name}-made.test")
        words = {"identifier": made.did, "password": "correct horse"}
        first = one.post(f"{_SERVER}.createSession", json=words).json["refreshJwt"]
        tokens = _refreshed(other, first).json
        found = (
            made.at(other).get("com.atproto.server.getSession").status_code,
            _refreshed(one, first).status_code,
            _refreshed(one, tokens.get("refreshJwt", "")).status_code,
        )
        if found != (200, 400, 200):
            yield f"a session of {one.name}, used at {other.name}: {found}"
        one.run("account", "quota", made.did, "--uploads-per-day", str(_UPLOADS))
        statuses = [
            made.at(node).upload(b"%d" % number, "text/plain").status_code
            for number, node in enumerate((one, other) * _UPLOADS)
        ]
        if statuses != [200] * _UPLOADS + [429] * _UPLOADS:
            yield f"uploads of a day, {_UPLOADS} of which are allowed: {statuses}"


def _refreshed(node: Node, token: str) -> Answer:
    path = f"{_SERVER}.refreshSession"
    return node.post(path, headers={"Authorization": f"Bearer {token}"})


class HealthWatch(threading.Thread):
    """Asks *node* again and again how it is. `said` has when each answer came, and its status."""

    def __init__(self, node: Node, over: threading.Event) -> None:
        super().__init__()
        self._node = node
        self._over = over
        self.said: list[tuple[float, int]] = []

    def run(self) -> None:
        while not self._over.wait(0.3):
            try:
                status = self._node.get("/xrpc/_health").status_code
            except Exception:
                status = 0
            self.said.append((time.monotonic(), status))

    def seconds_until_ill(self, since: float) -> float | None:
        """When it first said 503 after *since*, in seconds; None if never."""
        return next((at - since for at, status in self.said if at > since and status == 503), None)


class DatabaseWatch(threading.Thread):
    """Looks again and again for what must not be in the database at *database_url* at any time."""

    def __init__(self, database_url: str, over: threading.Event) -> None:
        super().__init__()
        self._url = database_url
        self._over = over
        self._longest_seconds = 0.0
        self._largest_bytes = 0

    def run(self) -> None:
        import psycopg

        while not self._over.wait(0.3):
            try:
                [(seconds, size)] = execute(self._url, _AT_ANY_TIME)
            except psycopg.Error:
                continue  # it is being restarted
            self._longest_seconds = max(self._longest_seconds, seconds)
            self._largest_bytes = max(self._largest_bytes, size)

    def complaints(self) -> Iterator[str]:
        if self._longest_seconds > _IDLE_SECONDS:
            yield f"a session was idle in a transaction for {self._longest_seconds:.0f} s"
        if self._largest_bytes > QUOTA:
            yield f"an account had {self._largest_bytes} bytes, its quota is {QUOTA}"
