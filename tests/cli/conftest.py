import pytest


@pytest.fixture
def run(app):
    """``run("blobs", …)`` runs a command; its result."""

    def run(*arguments):
        return app.test_cli_runner().invoke(args=arguments)

    return run
