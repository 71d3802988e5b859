"""Requests of every kind on every route: none stops the service, or is taken for two.

A finding names the number of the attack. `TEST_SEED=SEED` repeats a run, and
`TEST_SEED=SEED/NUMBER` one attack of it.
"""

import random
from collections import Counter

import pytest
from support.hostile.campaign import Campaign
from support.hostile.grammar import Grammar

pytestmark = pytest.mark.live


def attacks(grammar, seed, count):
    run, _, number = seed.partition("/")
    for index in [int(number)] if number else range(count):
        chance = random.Random(f"{run}/{index}")
        yield index, grammar.attack(chance), chance


def attack(scene, routes, seed, count):
    """A campaign of *count* attacks."""
    service, front, stage = scene
    with Campaign(service, front, stage) as campaign:
        for index, one, chance in attacks(Grammar(routes, stage), seed, count):
            campaign.attack(index, one, chance)
    campaign.finish()
    print(f"TEST_SEED={seed}", sorted(Counter(campaign.answered).items()))
    return campaign


def test_nothing_that_is_sent_harms_the_service(alone, routes, seed):
    campaign = attack(alone, routes, seed, 2000)

    assert not campaign.findings, campaign.report()


def test_nothing_that_is_sent_through_nginx_harms_the_service(behind_nginx, routes, seed):
    campaign = attack(behind_nginx, routes, seed, 1000)

    assert not campaign.findings, campaign.report()


@pytest.mark.long
def test_60_000_requests_harm_nobody(alone, routes, seed):
    campaign = attack(alone, routes, seed, 60_000)

    assert not campaign.findings, campaign.report()


@pytest.mark.long
def test_40_000_requests_through_nginx_harm_nobody(behind_nginx, routes, seed):
    campaign = attack(behind_nginx, routes, seed, 40_000)

    assert not campaign.findings, campaign.report()
