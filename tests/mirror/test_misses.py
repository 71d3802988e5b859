"""Whatever is asked for that is not to be had leaves few rows, little memory and few requests."""

import os
import random
from collections import Counter
from urllib.parse import urlsplit

import pytest
from support.accounts import CAROL, blob_path
from support.cids import cid_of
from support.mirror import UPSTREAM_TABLES
from support.process_watch import resident_bytes

LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
PER_SECOND = 20
MOST_REMEMBERED = 100_000

counts = pytest.mark.parametrize(
    "count", [600, pytest.param(100_000, marks=pytest.mark.long)], ids=["600", "100000"]
)


class Asked(Counter):
    """How often the PDS was asked for the first page of what: no list that grows."""

    def append(self, path):
        parts = urlsplit(path)
        what = "a document" if parts.path.startswith("/did:") else parts.path
        self[what if "cursor=" not in parts.query else "a next page"] += 1


def miss(network, pds, count, what):
    """Ask for *what* of each number below *count*, from as many addresses as it takes.

    Returns the bytes that the process has more at the end than after a tenth of them.
    """
    pds.asked = Asked()
    memory = []
    for number in range(count):
        did, cid = what(number)
        address = f"2001:db8:{number // 250:x}::1"
        answer = network.client.get(blob_path(did, cid), environ_base={"REMOTE_ADDR": address})
        assert answer.status_code == 400
        if number % PER_SECOND == 0:
            network.services.clock.advance(1)
        if number % (count // 10) == 0:
            memory.append(resident_bytes(os.getpid()))
    print(*(f"{size / 2**20:.1f} MiB" for size in memory))
    return memory[-1] - memory[1]


def rows(network, table):
    with network.services.database.read() as tx:
        [(number,)] = tx.all(f"SELECT COUNT(*) FROM {table}")
    return number


@counts
def test_accounts_that_do_not_exist_leave_the_failures_of_a_minute(pds, network, count):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chosen = random.Random(seed)

    grown = miss(
        network,
        pds,
        count,
        lambda number: (f"did:plc:{''.join(chosen.choices(LETTERS, k=24))}", cid_of(b"a photo")),
    )

    assert grown < 4 * 2**20
    assert sum(pds.asked.values()) == count
    assert [path for path in pds.asked if "/xrpc/" in path] == []
    assert rows(network, "identity") <= 61 * PER_SECOND
    assert [rows(network, table) for table in ("account", *UPSTREAM_TABLES)] == [0, 0, 0, 0]
    assert rows(network, "usage_counter") <= 300 * PER_SECOND // 250 + 10


@counts
def test_blobs_that_do_not_exist_cost_a_look_in_two_seconds_and_are_remembered_within_bounds(
    pds, network, count
):
    repo = pds.add(CAROL)
    repo.change({"a.b.c/1": {"file": pds.blob(CAROL, b"a photo")}})
    assert network.get(CAROL, b"a photo") == b"a photo"

    grown = miss(network, pds, count, lambda number: (CAROL, cid_of(b"%d" % number)))

    seconds = count // PER_SECOND + 1
    print(pds.asked)
    assert grown < 4 * 2**20
    assert pds.asked["/xrpc/com.atproto.sync.getBlob"] == 0
    assert pds.asked["/xrpc/com.atproto.sync.listBlobs"] <= seconds // 2 + 1
    # Once an hour.
    assert pds.asked["/xrpc/com.atproto.sync.getRepoStatus"] <= seconds // 3600 + 1
    assert rows(network, "upstream_blob") == count


def test_of_what_is_not_to_be_had_no_more_than_so_much_is_remembered(network):
    many = MOST_REMEMBERED + 1000
    with network.services.database.write() as tx:
        for table, columns in (
            ("upstream_blob", "did, cid, due_at, tries"),
            ("upstream_account", "did, host, due_at, tries, status_at, listed_at"),
        ):
            texts = ("did:", "x")
            tx.run_each(
                f"INSERT INTO {table} ({columns})"
                f" VALUES (?, ?, ?, 1{', 0, 0' if 'host' in columns else ''})",
                [
                    (f"{texts[0]}{number}", texts[1], network.services.clock() + number)
                    for number in range(many)
                ],
            )

    network.services.keeper().sweep()

    assert rows(network, "upstream_blob") == MOST_REMEMBERED
    assert rows(network, "upstream_account") == MOST_REMEMBERED
    with network.services.database.read() as tx:
        assert tx.one("SELECT 1 FROM upstream_blob WHERE did = 'did:0'") is None
