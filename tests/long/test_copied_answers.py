"""A database of a million rows goes to PostgreSQL and back, and each answer stays what it was."""

import json
import os
import random
import sys
import time
from contextlib import contextmanager

import pytest
from support.accounts import ADMIN, Account, sign_up, take_down
from support.databases import Server, execute, url_of
from support.live_service import Service
from support.project import BENCH

sys.path.append(str(BENCH))

import rows

pytestmark = [pytest.mark.live, pytest.mark.long]

# A blob has four rows: of its content, of its owner, of its record, of the name in that.
BLOBS = int(os.environ.get("TEST_COPIED_BLOBS", "250000"))
REAL = 60  # that have bytes
SAMPLES = 300  # of each kind of question
PNG = b"\x89PNG\r\n\x1a\n"
# Of one answer alone, or of the connection.
_OWN = {"date", "x-request-id", "connection", "server", "keep-alive"}


@pytest.fixture
def postgresql():
    """The URL of an empty database."""
    server = Server()
    execute(url_of(server.folder, "postgres"), "CREATE DATABASE copied TEMPLATE template0")
    yield url_of(server.folder, "copied")
    server.stop()


@contextmanager
def serving(folder, url):
    """A service with the store in *folder* and the database at *url*."""
    with Service(
        folder,
        AURORA_BLOBS_DATABASE_URL=url,
        AURORA_BLOBS_JWT_SECRET="a secret of all of them",
        AURORA_BLOBS_ADMIN_PASSWORD=ADMIN[1],
    ) as service:
        yield service


def copy(service, source, target):
    began = time.monotonic()
    done = service.run("database", "copy", source, target)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    print(f"{source.partition(':')[0]} to {target.partition(':')[0]}:", end=" ")
    print(f"{time.monotonic() - began:.0f} s, {done.stdout.decode()[-200:]}")


def answers(service, alice, cids, seed):
    """What is said to questions of each kind, the same ones for each *seed*: pairs of both."""
    rng = random.Random(seed)
    alice = alice.at(service)

    def ask(path, headers=None, auth=None, **query):
        answer = service.get(path, query_string=query, headers=headers, auth=auth)
        lasting = [(k.lower(), v) for k, v in answer.headers.items() if k.lower() not in _OWN]
        return (path, sorted(query.items())), (answer.status_code, sorted(lasting), answer.data)

    def pages(nsid, **query):
        page = {"cursor": None}
        while "cursor" in page:
            cursor = {name: value for name, value in page.items() if name == "cursor" and value}
            question, answer = ask(f"/xrpc/{nsid}", alice.headers, **query, **cursor)
            yield question, answer
            page = json.loads(answer[2])

    sync, repo, blob = "com.atproto.sync", "com.atproto.repo", "blue.aurora.blob"
    numbers = [rng.randrange(BLOBS) for _ in range(SAMPLES)]
    yield from pages(f"{sync}.listBlobs", did=alice.did, limit=1000)
    yield from pages(f"{repo}.listMissingBlobs", limit=1000)
    for method in (f"{blob}.getUsage", "com.atproto.server.checkAccountStatus"):
        yield ask(f"/xrpc/{method}", alice.headers)
    for number in rng.sample(range(1000), 30):
        neighbour = f"did:web:neighbour{number}.test"
        yield from pages(f"{sync}.listBlobs", did=neighbour, limit=100)
        yield from pages(f"{repo}.listRecords", repo=neighbour, collection="com.example.file")
        yield ask(f"/xrpc/{repo}.describeRepo", repo=neighbour)
    for number in numbers:
        owner = alice.did if number % 2 else f"did:web:neighbour{number // 2 % 1000}.test"
        record = {"repo": owner, "collection": "com.example.file", "rkey": f"r{number}"}
        yield ask(f"/xrpc/{repo}.getRecord", **record)
        revision = rows.rev(number)
        yield ask(f"/xrpc/{sync}.listBlobs", did=alice.did, since=revision, limit=20)
    listed = service.get(
        f"/xrpc/{sync}.listBlobs", query_string={"did": alice.did, "limit": 1000}
    ).json["cids"]
    for cid in [*cids, *rng.sample(listed, min(SAMPLES, len(listed)))]:
        yield ask(f"/xrpc/{blob}.listRecords", alice.headers, cid=cid)
        subject = {"did": alice.did, "blob": cid}
        yield ask("/xrpc/com.atproto.admin.getSubjectStatus", auth=ADMIN, **subject)
        yield ask(f"/xrpc/{sync}.getBlob", did=alice.did, cid=cid)
        yield ask(f"/xrpc/{sync}.getBlob", {"Range": "bytes=3-40"}, did=alice.did, cid=cid)


def test_each_answer_is_the_same_from_postgresql_and_back(tmp_path, postgresql):
    seed = random.SystemRandom().randrange(10**6)
    print("seed", seed)
    first, back = f"sqlite:{tmp_path / 'first'}", f"sqlite:{tmp_path / 'back'}"
    with serving(tmp_path / "service", first) as service:
        alice = sign_up(service)
        cids = [alice.publish(PNG + os.urandom(9000), "image/png").cid for _ in range(REAL)]
        for cid in cids[:5]:
            take_down(service, alice.did, cid)
    rows.fill(tmp_path / "first", alice.did, BLOBS)

    copy(service, first, postgresql)
    copy(service, postgresql, back)

    said = {}
    for url in (first, postgresql, back):
        with serving(tmp_path / "service", url) as service:
            said[url] = list(answers(service, Account(alice.did, alice.token, service), cids, seed))
    print(len(said[first]), "answers of each database")
    assert {status for _, (status, *_) in said[first]} == {200, 206, 400}
    assert said[postgresql] == said[first]
    assert said[back] == said[first]
