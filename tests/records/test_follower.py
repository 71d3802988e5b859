"""A model of all that changes what an account's records name, and a follower that misses nothing.

Clients write, repositories are imported, the collector runs. The follower does what a mirror does:
it reads the account's revision, and then asks for the blobs that newer records name.
"""

import random
import threading
import traceback
from contextlib import suppress

import pytest
from support.accounts import ALICE
from support.car_files import car_of, reference
from support.service_core import ServiceCore, blob_of

from aurora_blobs.catalog import accounts, references
from aurora_blobs.errors import BlobNotFound
from aurora_blobs.protocol.car import Repository

WRITES, IMPORTS = 80, 6
COLLECTION = "com.example.file"


def now():
    now.value += 1
    return now.value


now.value = 1_750_000_000_000_000


class Model:
    def __init__(self, core, seed):
        self.core = core
        self.seed = seed
        self.known = set()
        self.rounds = 0
        self.running = threading.Event()
        self.running.set()
        self.broken = []

    def write(self, name):
        """A client that makes and deletes records of its own, which name blobs of its own."""
        chosen = random.Random(f"{self.seed} {name}")
        for number in range(WRITES):
            rkey = f"{name}-{chosen.randrange(20)}"
            if chosen.random() < 0.3:
                self.core.delete(COLLECTION, rkey)
                continue
            entry = self.core.upload(f"{name} {chosen.randrange(200)}".encode(), "text/plain")
            with suppress(BlobNotFound):  # collected before its record came
                self.core.write(COLLECTION, rkey, {"file": blob_of(entry), "n": number})

    def bring(self):
        """Repositories, one after the other, each with some of the records of the one before."""
        chosen = random.Random(f"{self.seed} import")
        for number in range(IMPORTS):
            values = {
                f"{COLLECTION}/imported-{key:04}": {
                    "files": [
                        reference(f"blob {chosen.randrange(900)}".encode(), "text/plain")
                        for _ in range(chosen.randrange(4))
                    ]
                }
                for key in chosen.sample(range(1500), 500)
            }
            self.core.importer.run(Repository(car_of(values)))
            self.core.upload(f"blob {number}".encode(), "text/plain")

    def collect(self):
        while self.running.is_set():
            for _ in self.core.collector(0.0001).run():
                pass

    def follow(self):
        last = ""
        while True:
            is_last = not self.running.is_set()
            with self.core.database.read() as tx:
                rev = accounts.find(tx, ALICE).rev
            after = ""
            while True:
                with self.core.database.read() as tx:
                    page = references.cids(tx, ALICE, after, last, 100)
                self.known.update(page)
                if len(page) < 100:
                    break
                after = page[-1]
            last = rev or ""
            self.rounds += 1
            if is_last:
                return

    def run(self):
        def guarded(call, *arguments):
            try:
                call(*arguments)
            except BaseException:
                self.broken.append(traceback.format_exc())

        def thread(call, *arguments):
            started = threading.Thread(target=guarded, args=(call, *arguments))
            started.start()
            return started

        lasting = [thread(self.collect), thread(self.follow)]
        for working in [thread(self.write, "a"), thread(self.write, "b"), thread(self.bring)]:
            working.join()
        self.running.clear()
        for last in lasting:
            last.join()


@pytest.mark.parametrize("seed", [random.randrange(10**6)])
def test_a_follower_misses_nothing_whatever_happens_meanwhile(tmp_path, seed):
    print(f"{seed=}")
    core = ServiceCore(tmp_path / "core", clock=now, grace_seconds=0.0001)
    core.add_account(ALICE)
    model = Model(core, seed)

    model.run()

    assert model.broken == []
    named = set(core.listed(ALICE))
    print(f"{model.rounds} rounds, {len(named)} blobs are named, {len(model.known)} were seen")
    assert named - model.known == set()
    assert len(named) > 200
    core.database.close()
