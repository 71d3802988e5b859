import pytest
from support.s3_stores import running_store


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory):
    with running_store(tmp_path_factory.mktemp("s3")) as server:
        yield server
