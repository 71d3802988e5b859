"""What once did harm, as it was found, on every route that it may be meant for."""

import random

import pytest
from support.hostile.campaign import Campaign
from support.hostile.grammar import Attack
from support.hostile.shapes import SHAPES, Requests

pytestmark = pytest.mark.live


def attacked(scene, routes, shape):
    """The campaign of *shape*, and the steps that were not answered as they should be."""
    service, front, stage = scene
    wrong = []
    with Campaign(service, front, stage) as campaign:
        for index, step in enumerate(shape(Requests(routes, stage))):
            attack = Attack([step.request], "plain")
            statuses = campaign.attack(index, attack, random.Random(index))
            if not all(status in step.statuses for status in statuses):
                wrong.append((attack.name, statuses, step.request.wire()[:300]))
    campaign.finish()
    return campaign, wrong


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_what_did_harm_does_none(alone, routes, shape):
    campaign, wrong = attacked(alone, routes, shape)

    assert not campaign.findings, campaign.report()
    assert wrong == []


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_what_did_harm_does_none_through_nginx(behind_nginx, routes, shape):
    campaign, wrong = attacked(behind_nginx, routes, shape)

    assert not campaign.findings, campaign.report()
    assert wrong == []
