"""Nodes that share a database share its clock."""

import logging

import pytest
from support.clock import Clock

from aurora_blobs.clock import SharedClock

MINUTE = 60_000_000


def test_clocks_of_two_nodes_agree_whatever_their_machines_say():
    shared, ahead, behind = Clock(), Clock(), Clock()
    ahead.advance(600)
    behind.advance(-600)

    one, two = SharedClock(shared, ahead), SharedClock(shared, behind)

    assert abs(one() - two()) < MINUTE
    assert abs(one() - shared()) < MINUTE


def test_a_shared_clock_goes_on_whoever_sets_that_of_the_machine():
    machine = Clock()
    clock = SharedClock(Clock(), machine)
    before = clock()

    machine.advance(3600)
    after = clock()
    while after == before:
        after = clock()

    assert before < after < before + MINUTE


def test_a_shared_clock_can_be_set_again():
    shared = Clock()
    clock = SharedClock(shared, shared)

    shared.advance(3600)
    clock.set()

    assert abs(clock() - shared()) < MINUTE


@pytest.mark.parametrize("seconds, lines", [(29, 0), (-29, 0), (600, 1), (-600, 1)])
def test_an_operator_is_told_once_of_a_machine_whose_clock_is_wrong(caplog, seconds, lines):
    machine = Clock()
    machine.advance(seconds)
    caplog.set_level(logging.WARNING)

    clock = SharedClock(Clock(), machine)
    clock.set()

    assert len(caplog.messages) == lines
