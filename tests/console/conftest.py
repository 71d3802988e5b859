import pytest
from support.console import Console


@pytest.fixture
def visitor(client):
    """A browser that has not signed in."""
    return Console(client)


@pytest.fixture
def console(app):
    """A browser in which the administrator has signed in."""
    console = Console(app.test_client())
    assert console.sign_in().status_code == 303
    return console
