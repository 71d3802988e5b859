"""Requests of every kind on every route: none stops the service, or is taken for two.

A finding names the number of the attack. `TEST_SEED=SEED` repeats a run, and
`TEST_SEED=SEED/NUMBER` one attack of it.
"""

import random

import pytest
from support.hostile.campaign import Campaign
from support.hostile.grammar import Grammar
from support.hostile.objects import ObjectGrammar

pytestmark = pytest.mark.live


def attacks(grammar, seed, count):
    run, _, number = seed.partition("/")
    for index in [int(number)] if number else range(count):
        chance = random.Random(f"{run}/{index}")
        yield index, grammar.attack(chance), chance


def attack(scene, grammar, seed, count):
    """A campaign of *count* attacks that *grammar* makes."""
    with Campaign(*scene) as campaign:
        for index, one, chance in attacks(grammar, seed, count):
            campaign.attack(index, one, chance)
    campaign.finish()
    print(f"TEST_SEED={seed}:", campaign.figures())
    return campaign


def test_nothing_that_is_sent_harms_the_service(alone, routes, seed):
    campaign = attack(alone, Grammar(routes, alone[2]), seed, 2000)

    assert not campaign.findings, campaign.report()


def test_nothing_that_is_sent_through_nginx_harms_the_service(behind_nginx, routes, seed):
    campaign = attack(behind_nginx, Grammar(routes, behind_nginx[2]), seed, 1000)

    assert not campaign.findings, campaign.report()


@pytest.mark.long
def test_60_000_requests_harm_nobody(alone, routes, seed):
    campaign = attack(alone, Grammar(routes, alone[2]), seed, 60_000)

    assert not campaign.findings, campaign.report()


@pytest.mark.long
def test_40_000_requests_through_nginx_harm_nobody(behind_nginx, routes, seed):
    campaign = attack(behind_nginx, Grammar(routes, behind_nginx[2]), seed, 40_000)

    assert not campaign.findings, campaign.report()


def test_nothing_that_is_sent_to_the_object_api_harms_the_service(objects_alone, seed):
    campaign = attack(objects_alone, ObjectGrammar(objects_alone[2]), seed, 1000)

    assert not campaign.findings, campaign.report()


def test_nothing_that_is_sent_to_the_object_api_through_nginx_harms_the_service(
    objects_behind_nginx, seed
):
    campaign = attack(objects_behind_nginx, ObjectGrammar(objects_behind_nginx[2]), seed, 500)

    assert not campaign.findings, campaign.report()


@pytest.mark.long
def test_25_000_requests_to_the_object_api_harm_nobody(objects_alone, seed):
    campaign = attack(objects_alone, ObjectGrammar(objects_alone[2]), seed, 25_000)

    assert not campaign.findings, campaign.report()


@pytest.mark.long
def test_15_000_requests_to_the_object_api_through_nginx_harm_nobody(objects_behind_nginx, seed):
    campaign = attack(objects_behind_nginx, ObjectGrammar(objects_behind_nginx[2]), seed, 15_000)

    assert not campaign.findings, campaign.report()
