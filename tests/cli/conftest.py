import pytest
from support.services import services_of


@pytest.fixture
def run(app):
    """``run("blobs", …)`` runs a command; its result."""

    def run(*arguments):
        services_of(app).database.close()  # as if the command had a process of its own
        return app.test_cli_runner().invoke(args=arguments)

    return run
