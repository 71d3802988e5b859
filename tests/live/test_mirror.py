"""A mirror of the reference PDS: what is published, hidden and deleted there is so here."""

import os
import random
import shutil
import signal
import statistics
import time

import pytest
from support.cids import cid_of
from support.followed_pds import (
    COLLECTION,
    Member,
    PdsError,
    Upstream,
    answer_of,
    following,
    lists,
)
from support.live_service import becomes
from support.reference_pds import ReferencePds
from support.s3_access import pds_settings

from aurora_blobs.catalog import leases

pytestmark = pytest.mark.live


def is_same(mirror, upstream, members):
    return not differences(mirror, upstream, members)


def differences(mirror, upstream, members):
    """What the mirror answers otherwise than the PDS: DIDs, and CIDs with both answers."""
    found = [
        one.did for one in members if lists(mirror.service, one.did) != lists(upstream, one.did)
    ]
    for one in members:
        for data in {data for files in one.published.values() for data in files}:
            answers = [answer_of(server, one.did, data) for server in (mirror.service, upstream)]
            if answers[0] != answers[1]:
                found.append((one.did, cid_of(data), *(str(answer)[:60] for answer in answers)))
    return found


def timed(condition, *arguments):
    """The seconds until *condition* is true."""
    began = time.monotonic()
    while not condition(*arguments):
        assert time.monotonic() - began < 20
        time.sleep(0.005)
    return time.monotonic() - began


def test_what_is_published_is_here_and_what_is_hidden_is_not_within_a_second_and_a_half(
    mirror, upstream
):
    alice = Member(upstream, "alice.test")
    served, hidden = [], []
    for number in range(40):
        data = os.urandom(random.randrange(1000, 300_000))
        alice.put("one", data)
        served.append(timed(mirror.serves, alice, data))
        if number % 2:
            alice.delete("one")
        else:
            alice.set_active(False)
        hidden.append(timed(mirror.hides, alice, data))
        alice.set_active(True)

    print(figures("create to served", served), figures("hidden", hidden))
    assert percentile(served, 95) < 1.5
    assert percentile(hidden, 95) < 1.5


def percentile(values, part):
    return sorted(values)[len(values) * part // 100 - 1]


def figures(name, values):
    parts = statistics.median(values), percentile(values, 95), max(values)
    return "{}: median {:.3f} s, p95 {:.3f} s, max {:.3f} s".format(name, *parts)


def test_a_deleted_account_is_hidden(mirror, upstream, pds):
    alice, bob = Member(upstream, "alice.test"), Member(upstream, "bob.test")
    for member in (alice, bob):
        member.put("one", b"a photo of both")
    assert becomes(lambda: is_same(mirror, upstream, [alice, bob]))
    assert mirror.serves(alice, b"a photo of both")

    admin = ("admin", pds.facts["adminPassword"])
    answer = upstream.post(
        "/xrpc/com.atproto.admin.deleteAccount", json={"did": alice.did}, auth=admin
    )
    assert answer.status_code == 200, answer.text

    assert timed(lambda: lists(mirror.service, alice.did) == "RepoNotFound") < 1.5
    assert mirror.hides(alice, b"a photo of both")
    assert mirror.serves(bob, b"a photo of both")


@pytest.mark.parametrize("seed", [random.randrange(10**6)])
def test_whatever_happens_the_mirror_has_in_the_end_what_the_pds_has(tmp_path, seed):
    live_through(seed, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("seed", [random.randrange(10**6) for _ in range(10)])
@pytest.mark.parametrize("keeps_objects", [False, True], ids=["disk", "S3"])
def test_wherever_the_follower_dies_the_mirror_has_in_the_end_what_the_pds_has(
    tmp_path, s3_server, keeps_objects, seed
):
    settings = pds_settings(s3_server.url) if keeps_objects else {}

    live_through(seed, tmp_path, CALLS, **settings)


# Before each of them something is not yet sent, read, on the disk, or known by its name.
CALLS = ["sendto", "recvfrom", "pwrite64", "fsync", "fdatasync", "link", "unlink", "ftruncate"]


def live_through(seed, folder, calls=(), **settings):
    """300 changes at a PDS with *settings*, whose follower is killed now and then.

    Where there are *calls*, it also dies before one of them, each time that it was started.
    """
    print(f"{seed=}")
    chosen = random.Random(seed)
    # A window of two seconds and a buffer of five events: the cursor is often too old.
    settings |= {"REPO_BACKFILL_LIMIT_MS": "2000", "MAX_SUBSCRIPTION_BUFFER": "5"}
    with ReferencePds(folder / "pds", "http://localhost:2583", **settings) as pds:
        upstream = Upstream(pds)
        members = [Member(upstream, f"member{number}.test") for number in range(14)]
        with following(pds, folder) as mirror:
            # Of an account that was never here, the mirror does not say why.
            assert becomes(lambda: is_same(mirror, upstream, members), 60), mirror.log
            if calls:
                mirror.prefix = lambda: dying(chosen.choice(calls), chosen.randint(1, 15))
                mirror.end(signal.SIGKILL)
            faults, deaths = [], 0
            for step in range(300):
                if mirror.has_ended:
                    deaths += 1
                    mirror.start()
                try:
                    change(chosen, chosen.choice(members), pds, mirror, step)
                except PdsError as error:
                    faults.append(error)
            if calls:
                mirror.prefix = list
                mirror.end(signal.SIGKILL)
                mirror.start()
            assert len(faults) <= 3, faults
            # The lease of a follower that was killed on PostgreSQL has to be over first.
            assert becomes(lambda: is_same(mirror, upstream, members), leases.SECONDS + 60), (
                differences(mirror, upstream, members),
                mirror.log[-5000:],
            )
            counted = ("OutdatedCursor", "ConsumerTooSlow", "fetched the repository", "has ended")
            print({text: mirror.log.count(text) for text in counted}, mirror.status())
            print(f"{deaths} deaths, {len(faults)} faults of the PDS: {faults}")
            assert sum(len(one.published) for one in members) > 20


def dying(call, number):
    """What a command begins with that is killed before a thread of it makes *call* that often."""
    return [
        *("strace", "-D", "-f", "-qqq", "-o", "/dev/null"),
        *("-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}"),
    ]


def change(chosen, member, pds, mirror, step):
    action = chosen.random()
    if action < 0.02:
        mirror.end(signal.SIGKILL)
        time.sleep(chosen.choice([0, 0.5, 3]))
        mirror.start()
    elif action < 0.03:
        pds.stop()
        time.sleep(chosen.choice([0, 1]))
        pds.start()
    elif action < 0.1:
        member.set_active(not member.is_active)
    elif not member.is_active:
        member.set_active(True)
    elif action < 0.3 and member.published:
        member.delete(chosen.choice(sorted(member.published)))
    elif action < 0.4:
        several(chosen, member)
    else:
        sizes = [chosen.choice([10, 1000, 100_000, 2_000_000]) for _ in range(chosen.randint(1, 3))]
        member.put(f"r{chosen.randrange(8)}", *[chosen.randbytes(size) for size in sizes])


def several(chosen, member):
    """Some records in one commit, more of them than most commits have."""
    data = chosen.randbytes(500)
    blob = member.upload(data)
    writes = [
        {
            "$type": "com.atproto.repo.applyWrites#create",
            "collection": COLLECTION,
            "rkey": f"s{chosen.randrange(10**9)}",
            "value": {"$type": COLLECTION, "file": blob},
        }
        for _ in range(chosen.randint(2, 30))
    ]
    member.call("repo.applyWrites", repo=member.did, writes=writes)
    member.published |= {write["rkey"]: (data,) for write in writes}


def test_a_pds_that_was_put_back_to_an_older_copy_is_mirrored_as_it_is(mirror, upstream, pds):
    alice = Member(upstream, "alice.test")
    alice.put("one", b"before the copy")
    pds.stop()
    shutil.copytree(pds.folder, pds.folder.with_name("copy"))
    pds.start()
    alice.put("two", b"after the copy")
    bob = Member(upstream, "bob.test")
    bob.put("one", b"of an account that is not in the copy")
    assert becomes(lambda: is_same(mirror, upstream, [alice, bob]))
    assert len(lists(mirror.service, alice.did)) == 2

    pds.stop()
    for name in ("data", "blobs"):
        shutil.rmtree(pds.folder / name)
        shutil.copytree(pds.folder.with_name("copy") / name, pds.folder / name)
    pds.start()

    assert becomes(lambda: len(lists(mirror.service, alice.did)) == 1, 30), mirror.log
    assert becomes(lambda: is_same(mirror, upstream, [alice, bob]), 30), mirror.log
    assert lists(mirror.service, bob.did) == "RepoNotFound"
    alice.put("three", b"after it was put back")
    assert becomes(lambda: is_same(mirror, upstream, [alice]))
