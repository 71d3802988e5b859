import pytest
from support.accounts import ALICE
from support.credentials import SECRET, SERVICE
from support.databases import database_url

from aurora_blobs.auth import Authenticator
from aurora_blobs.auth.session import SessionTokens
from aurora_blobs.catalog import accounts, sessions
from aurora_blobs.config import Config
from aurora_blobs.db import SCHEMA, open_database


@pytest.fixture
def tokens(clock):
    return SessionTokens((SECRET,), SERVICE, clock)


@pytest.fixture
def database(tmp_path):
    """A database with one account, and one session of it."""
    database = open_database(database_url(tmp_path / "db"), durable=False)
    database.upgrade(SCHEMA.read_text())
    with database.write() as tx:
        accounts.make_external(tx, ALICE, 0)
        sessions.add(tx, sessions.Session("s1", ALICE, "j1", 0, 1 << 60))
    yield database
    database.close()


@pytest.fixture
def authenticator(database, clock, tokens):
    return Authenticator(
        Config(service_did=SERVICE, admin_password="open sesame"), database, clock, tokens
    )
