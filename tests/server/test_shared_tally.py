"""Tallies that processes share: each counts in its part, and all see the sum."""

import random
import subprocess
import sys
from collections import Counter

import pytest

from aurora_blobs.server.shared_tally import SharedTally

FORKED = """
import os
from aurora_blobs.server.shared_memory import join_all
from aurora_blobs.server.shared_tally import SharedTally

tally = SharedTally(places=3, parts=2)
alone = SharedTally(places=3, parts=1)
tally.add("alice")

class Child:
    def __init__(self, part):
        self.orders, to_child = os.pipe()
        from_child, answers = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(to_child)
            if part is not None:
                join_all(part)
            while order := os.read(self.orders, 100):
                os.write(answers, str(eval(order)).encode())
            os._exit(0)
        self.say, self.hear = to_child, from_child

    def __call__(self, order):
        os.write(self.say, order.encode())
        return os.read(self.hear, 100).decode()

    def kill(self):
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)

one, two, stranger = Child(0), Child(1), Child(None)
print(one("tally.total('alice')"), one("tally.add('alice', 5)"), two("tally.add('alice', 7)"))
print(one("tally.total('alice')"), two("tally.sum()"), stranger("tally.total('alice')"))
print(two("alone.add('bob')"), one("alone.total('bob')"))
one.kill()
print(two("tally.total('alice')"))
another = Child(0)
print(another("tally.sum()"), two("tally.total('alice')"), tally.sum())
"""


@pytest.fixture
def tally():
    return SharedTally(places=4, parts=1)


def test_amounts_are_noted_for_a_name_changed_and_forgotten(tally):
    first, second = tally.add("alice", 3), tally.add("alice")
    tally.add("bob", 10)
    assert (tally.total("alice"), tally.total("bob"), tally.sum()) == (4, 10, 14)

    tally.change(first, 5)
    assert (tally.total("alice"), tally.sum()) == (6, 16)

    tally.remove(second)
    assert (tally.total("alice"), tally.total("carol"), tally.sum()) == (5, 0, 15)


def test_there_are_so_many_places_and_a_place_is_taken_again(tally):
    places = [tally.add(str(number)) for number in range(5)]
    assert sorted(places[:4]) == [0, 1, 2, 3] and places[4] is None
    assert tally.is_full()

    tally.remove(places[0])

    assert not tally.is_full()
    assert tally.add("again") == places[0]


def test_a_tally_is_what_a_counter_would_be():
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    tally, held, model = SharedTally(places=50, parts=3), {}, Counter()
    tally.join(2)
    for _ in range(3000):
        if held and chance.random() < 0.5:
            place = chance.choice(list(held))
            name, amount = held.pop(place)
            tally.remove(place)
            model[name] -= amount
        else:
            name, amount = f"did:web:{chance.randrange(20)}", chance.randrange(10**12)
            place = tally.add(name, amount)
            if place is not None:
                held[place] = name, amount
                model[name] += amount
        assert tally.total(name) == model[name]
    assert tally.sum() == model.total()


def test_processes_share_it_from_when_they_join_and_a_dead_one_s_part_is_emptied():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FORKED], capture_output=True, text=True, timeout=60
    )

    assert done.stdout.splitlines() == ["0 2 2", "12 12 0", "2 0", "12", "7 7 1"], done.stderr
