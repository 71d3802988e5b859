"""Fixtures of what is measured: an application with ``/metrics``."""

import pytest
from support.accounts import sign_up
from support.metrics import TOKEN, Scrape


@pytest.fixture
def app(open_app):
    return open_app(METRICS_TOKEN=TOKEN, ADMIN_PASSWORD="open sesame")


@pytest.fixture
def alice(client):
    return sign_up(client)


@pytest.fixture
def scrape(client):
    """``scrape()`` reads ``/metrics`` now."""
    return lambda: Scrape(client)
