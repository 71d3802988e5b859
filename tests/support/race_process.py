"""A process of the race test: uploads, writes and deletes records, collects, and checks.

``python -m support.race_process FOLDER NAME SEED SECONDS KIND`` exits with status 1
and prints what failed.
"""

import random
import sys
import threading
import time
import traceback
from collections import Counter
from hashlib import sha256
from pathlib import Path

from support.accounts import ALICE, BOB
from support.backends import OutsideTransactions
from support.cids import cid_of
from support.service_core import ServiceCore, blob_of

from aurora_blobs.clock import system_clock
from aurora_blobs.errors import (
    AccountNotFound,
    BackendTimeout,
    BlobNotFound,
    RepoNotFound,
    ServiceBusy,
)
from aurora_blobs.storage.disk import DiskBackend

# Small, so that blobs are collected and uploaded again at the same moment.
GRACE_SECONDS = 0.002
CONTENTS = 4
MAX_RECORDS = 1  # a racer with more deletes one
COLLECTION = "com.example.race"


class Remote(OutsideTransactions, DiskBackend):
    """A disk store that claims to be on the network."""

    stat_is_cheap = False


class Silent(Remote):
    """A remote store whose answers to deletions are often lost."""

    def delete_many(self, cids):
        failures = super().delete_many(cids)
        if random.random() < 0.5:
            raise BackendTimeout()
        return failures


class Late:
    """Before a class of stores: its removals often come late, as if a lock was lost meanwhile."""

    def delete_many(self, names):
        time.sleep(random.choice((0, 0, 0.002, 0.05)))
        return super().delete_many(names)


class LateLocal(Late, DiskBackend):
    """A disk store whose removals come late."""


class LateRemote(Late, Remote):
    """A remote store whose removals come late."""


BACKENDS = {
    "local": DiskBackend,
    "remote": Remote,
    "silent": Silent,
    "late local": LateLocal,
    "late remote": LateRemote,
}


def content(number):
    return bytes([number]) * (1_000 + 300_000 * (number % 2))  # odd ones are spooled to a file


def open_core(folder, kind):
    backend = BACKENDS[kind](folder / "blobs", durable=False)
    core = ServiceCore(folder, clock=system_clock, backend=backend, grace_seconds=GRACE_SECONDS)
    backend.database = core.database
    return core


class Racer:
    def __init__(self, core, name, seed):
        self.core = core
        self.name = name
        self.random = random.Random(seed)
        self.own_account = f"did:web:{name}.test"
        self.records = {}  # (did, rkey) -> number of the content
        self.serial = 0
        self.broken = []
        self.tally = Counter()

    def run(self, until):
        steps = (
            [self.publish] * 4
            + [self.look] * 3
            + [self.delete] * 3
            + [self.upload, self.move, self.leave]
        )
        while time.monotonic() < until:
            step = self.random.choice(steps) if len(self.records) <= MAX_RECORDS else self.delete
            try:
                step()
                self.tally[step.__name__] += 1
            except ServiceBusy:
                self.tally["busy"] += 1

    def upload(self):
        did, number = self.random.choice((ALICE, BOB)), self.random.randrange(CONTENTS)
        return did, number, self.core.upload(content(number), did=did)

    def publish(self):
        did, number, entry = self.upload()
        self.serial += 1
        rkey = f"{self.name}-{self.serial}"
        try:
            self.core.write(COLLECTION, rkey, {"file": blob_of(entry)}, did=did)
        except BlobNotFound:
            self.tally["collected before its record"] += 1
        else:
            self.records[did, rkey] = number

    def look(self):
        if self.records:
            did, rkey = self.random.choice(list(self.records))
            self.check(did, rkey)

    def check(self, did, rkey):
        data = content(self.records[did, rkey])
        cid = cid_of(data)
        try:
            entry = self.core.blobs.describe(did, cid)
            if sha256(self.core.read(entry)).digest() != sha256(data).digest():
                self.broken.append(f"{cid} of {did} has other bytes")
        except BlobNotFound:
            self.broken.append(f"{cid} of {did}, named by {rkey}, is lost")

    def delete(self):
        if self.records:
            did, rkey = self.random.choice(list(self.records))
            self.core.delete(COLLECTION, rkey, did=did)
            del self.records[did, rkey]

    def move(self):
        """Delete a record and create another with its blob, in one transaction."""
        if self.records:
            did, rkey = self.random.choice(list(self.records))
            number = self.records[did, rkey]
            self.serial += 1
            to = f"{self.name}-{self.serial}"
            entry = self.core.blobs.describe(did, cid_of(content(number)))
            self.core.replace(COLLECTION, rkey, to, {"file": blob_of(entry)}, did=did)
            self.records[did, to] = self.records.pop((did, rkey))

    def leave(self):
        """Create an account, publish a blob that others own too, and delete the account."""
        self.core.add_account(self.own_account)
        try:
            entry = self.core.upload(content(self.random.randrange(CONTENTS)), did=self.own_account)
            self.core.write(COLLECTION, "1", {"file": blob_of(entry)}, did=self.own_account)
        except (BlobNotFound, AccountNotFound, RepoNotFound):
            self.tally["collected before its record"] += 1
        self.core.blobs.delete_account(self.own_account)

    def finish(self):
        for did, rkey in self.records:
            self.check(did, rkey)
        for did, rkey in list(self.records):
            self.core.delete(COLLECTION, rkey, did=did)


def race(core, racers, seconds):
    """Run *racers* and a collector on *core*; what was collected, counted by kind."""
    until = time.monotonic() + seconds
    collected = Counter()

    def collect():
        collector = core.collector(GRACE_SECONDS)
        while time.monotonic() < until:
            collected.update(found.kind for found in collector.run())

    threads = [threading.Thread(target=racer.run, args=(until,)) for racer in racers]
    threads.append(threading.Thread(target=collect))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for racer in racers:
        racer.finish()
    return collected


def main(folder, name, seed, seconds, kind):
    core = open_core(Path(folder), kind)
    racers = [Racer(core, f"{name}{number}", f"{seed}{name}{number}") for number in range(2)]
    broken = []
    threading.excepthook = lambda crash: broken.extend(traceback.format_exception(crash.exc_value))
    collected = race(core, racers, float(seconds))
    core.database.close()
    print(name, dict(sum((racer.tally for racer in racers), collected)))
    broken += [line for racer in racers for line in racer.broken]
    print("\n".join(broken[:20]))
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
