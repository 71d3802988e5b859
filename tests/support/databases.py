"""The databases of the tests: SQLite files, or with TEST_DATABASE=postgresql those of a server.

The server is made for the process, in a folder of its own, and reached by a socket there. A path
stands for a database of it, which has the schema and is empty again for the next test.
"""

import atexit
import os
import shutil
import tempfile
import time
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

from support.postgresql_server import PostgresqlServer

ENGINE = os.environ.get("TEST_DATABASE", "sqlite")
# Of the process that has started the server; processes that it starts use the same.
_FOLDER = "TEST_POSTGRESQL_FOLDER"
_TEMPLATE = "aurora_template"
_SETTINGS = {
    "listen_addresses": "",
    "max_connections": 300,
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "logging_collector": "off",
    "log_min_messages": "log",
}


def database_url(path):
    """The URL of the database that *path* stands for, the same for each call within a test."""
    return _url(path) if ENGINE == "postgresql" else f"sqlite:{path}"


def new_database_url(path):
    """As `database_url`, of a database that has no schema, or is not there yet."""
    return _url(path, "template0") if ENGINE == "postgresql" else f"sqlite:{path}"


def database_settings(path):
    """The settings of a service whose database is the one that *path* stands for."""
    if ENGINE != "postgresql":
        return {}
    return {
        "AURORA_BLOBS_DATABASE_URL": database_url(path),
        "AURORA_BLOBS_JWT_SECRET": "a secret of all processes",
    }


@contextmanager
def forgotten_afterwards():
    """Empty the databases that are used in the block first."""
    before = _servers[0].used() if _servers else set()
    yield
    if _servers:
        _servers[0].clean(_servers[0].used() - before)


def _url(path, template=_TEMPLATE):
    if _FOLDER not in os.environ:
        _servers.append(Server())
        os.environ[_FOLDER] = str(_servers[0].folder)
    folder = Path(os.environ[_FOLDER])
    entry = folder / "names" / sha256(str(path).encode()).hexdigest()
    if not entry.exists():
        if template == _TEMPLATE and _servers and _servers[0].spare:
            name = _servers[0].spare.pop()
        else:
            name = f"test_{time.monotonic_ns()}"
            execute(url_of(folder, "postgres"), f"CREATE DATABASE {name} TEMPLATE {template}")
        kind = "kept" if template == _TEMPLATE else "dropped"
        entry.write_text(f"{name} {kind}")
    return url_of(folder, entry.read_text().split()[0])


def url_of(folder, name):
    return f"postgresql:///{name}?host={quote(str(folder), safe='')}&user=postgres"


def execute(url, script):
    """Run *script* in the database on PostgreSQL at *url*; the rows of its last statement."""
    import psycopg  # not there for who tests on SQLite alone

    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(script)
        return cursor.fetchall() if cursor.description else []


class Server:
    """PostgreSQL in a folder of its own, as a user who is not root. `spare` are empty databases."""

    def __init__(self):
        parent = os.environ.get("PYTEST_DEBUG_TEMPROOT") or None
        self.folder = Path(tempfile.mkdtemp(prefix="pg-", dir=parent))
        self._owner = os.getpid()
        self.spare = []
        prefix = []
        if os.getuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
            prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
            prefix += ["--pdeathsig=QUIT", "--"]
        url = url_of(self.folder, "postgres")
        settings = {**_SETTINGS, "unix_socket_directories": self.folder}
        self._server = PostgresqlServer(self.folder, prefix, url, **settings)
        atexit.register(self.stop)
        self._server.make()
        self._server.start()
        (self.folder / "names").mkdir()
        self._make_template()

    def _make_template(self):
        from aurora_blobs.db import SCHEMA, open_database

        execute(url_of(self.folder, "postgres"), f"CREATE DATABASE {_TEMPLATE} TEMPLATE template0")
        database = open_database(url_of(self.folder, _TEMPLATE), durable=False)
        database.upgrade(SCHEMA.read_text())
        database.close()
        execute(url_of(self.folder, _TEMPLATE), _KEYS_ASSERTED)

    def used(self):
        return set((self.folder / "names").iterdir())

    def clean(self, entries):
        for entry in entries:
            name, kind = entry.read_text().split()
            entry.unlink()
            if kind == "kept":
                execute(url_of(self.folder, name), _EMPTY)
                self.spare.append(name)
            else:
                execute(url_of(self.folder, "postgres"), f"DROP DATABASE {name} WITH (FORCE)")

    def stop(self):
        if os.getpid() == self._owner:  # not in a child that a test has forked
            self._server.stop()
            shutil.rmtree(self.folder, ignore_errors=True)


_servers = []

# In any order: no key is checked meanwhile.
_EMPTY = """
SET session_replication_role = replica;
DO $$
DECLARE name text;
BEGIN
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
        IF name <> 'schema_version' THEN
            EXECUTE format('DELETE FROM %I', name);
        END IF;
    END LOOP;
END $$;
INSERT INTO total (name, bytes) VALUES ('derivative', 0);
"""

# A row that is changed without the lock of its key, or that of everything, fails. The keys of a row
# are pairs of a kind in db/keys.py and a column, or TABLE/COLUMN/... of `row_key`.
_KEYS_ASSERTED = """
CREATE FUNCTION has_lock(number BIGINT) RETURNS BOOLEAN LANGUAGE plpgsql AS $$
DECLARE
    -- For the rest of the transaction, which takes no more locks: pg_locks takes 0.2 ms.
    known TEXT := 'keys.of_' || number;
BEGIN
    IF COALESCE(current_setting(known, TRUE), '') = '' THEN
        PERFORM set_config(known, EXISTS (
            SELECT 1 FROM pg_locks
             WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND objsubid = 1
               AND mode = 'ExclusiveLock' AND classid::BIGINT << 32 | objid::BIGINT = number
        )::TEXT, TRUE);
    END IF;
    RETURN current_setting(known);
END $$;

CREATE FUNCTION key_name(changed JSONB, described TEXT) RETURNS BYTEA LANGUAGE plpgsql AS $$
DECLARE
    name BYTEA := convert_to(split_part(described, '/', 1), 'UTF8');
    part TEXT;
BEGIN
    IF changed ? described THEN
        RETURN convert_to(changed ->> described, 'UTF8');
    END IF;
    FOREACH part IN ARRAY (string_to_array(described, '/'))[2:] LOOP
        name := name || '\\x00'::BYTEA || convert_to(changed ->> part, 'UTF8');
    END LOOP;
    RETURN name;
END $$;

CREATE FUNCTION assert_keys() RETURNS TRIGGER LANGUAGE plpgsql AS $$
DECLARE
    changed JSONB;
    kind BIGINT;
    name BYTEA;
BEGIN
    IF NOT has_lock(0) THEN
        changed := to_jsonb(CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END);
        FOR i IN 0 .. TG_NARGS / 2 - 1 LOOP
            kind := TG_ARGV[2 * i];
            name := key_name(changed, TG_ARGV[2 * i + 1]);
            IF NOT has_lock(
                kind << 56 | ('x' || encode(substr(sha256(name), 1, 7), 'hex'))::BIT(56)::BIGINT
            ) THEN
                RAISE EXCEPTION '% of % without the key % of %', TG_OP, TG_TABLE_NAME, kind, name;
            END IF;
        END LOOP;
    END IF;
    RETURN NULL;
END $$;

DO $$
DECLARE rule TEXT[];
BEGIN
    FOREACH rule SLICE 1 IN ARRAY ARRAY[
        ['account', 'INSERT OR UPDATE OR DELETE', '1, did'],
        ['deleted_account', 'INSERT OR UPDATE', '1, did'],
        ['account_deletion', 'INSERT OR UPDATE OR DELETE', '1, did'],
        ['migration', 'INSERT OR UPDATE OR DELETE', '1, did'],
        ['taken_down_account', 'INSERT OR UPDATE OR DELETE', '1, did'],
        ['session', 'INSERT OR UPDATE OR DELETE', '1, did'],
        ['record', 'INSERT OR UPDATE OR DELETE', '1, did'],
        ['record_blob', 'INSERT OR UPDATE OR DELETE', '1, did'],
        ['record_usage', 'INSERT OR UPDATE OR DELETE', '1, did'],
        ['blob_charset', 'INSERT OR UPDATE OR DELETE', '1, did'],
        ['staged_object', 'INSERT OR UPDATE OR DELETE', '1, did'],
        ['blob_metadata', 'UPDATE', '1, creator_did'],
        ['blob_metadata', 'INSERT OR DELETE', '1, creator_did, 2, cid'],
        ['blob', 'INSERT OR UPDATE OR DELETE', '2, cid'],
        ['blob_start', 'INSERT OR UPDATE OR DELETE', '2, cid'],
        ['removal', 'INSERT OR UPDATE OR DELETE', '2, cid'],
        ['hiding', 'INSERT OR UPDATE OR DELETE', '2, cid'],
        ['seen_token', 'INSERT OR UPDATE', '3, seen_token/issuer/jti'],
        ['identity', 'INSERT OR UPDATE', '3, identity/did'],
        ['derivative', 'INSERT OR UPDATE OR DELETE', '3, derivative'],
        ['total', 'INSERT OR UPDATE OR DELETE', '3, derivative'],
        ['upstream_host', 'INSERT OR UPDATE OR DELETE', '3, upstream_host/host'],
        ['upstream_account', 'INSERT OR UPDATE OR DELETE', '1, did'],
        ['upstream_blob', 'INSERT OR UPDATE OR DELETE', '1, did'],
        ['upstream_read', 'INSERT OR UPDATE OR DELETE', '1, did'],
        ['upstream_refusal', 'INSERT OR UPDATE OR DELETE', '1, did'],
        ['daily_total', 'INSERT OR UPDATE OR DELETE', '3, daily_total'],
        ['audit', 'INSERT OR UPDATE OR DELETE', '1, did'],
        ['upstream_round', 'INSERT OR UPDATE OR DELETE', '3, upstream_round/host'],
        ['takedown', 'INSERT OR UPDATE OR DELETE', '1, did, 2, cid'],
        ['job_run', 'INSERT OR UPDATE OR DELETE', '3, job_run/job'],
        ['invite_code', 'INSERT OR UPDATE OR DELETE', '3, invite_code/code'],
        -- Only without keys.
        ['store', 'INSERT OR UPDATE OR DELETE', '0, kind']
    ] LOOP
        EXECUTE format(
            'CREATE TRIGGER %I AFTER %s ON %I FOR EACH ROW EXECUTE FUNCTION assert_keys(''%s'')',
            replace('keys_' || rule[2], ' ', '_'), rule[2], rule[1],
            replace(rule[3], ', ', ''', '''));
    END LOOP;
END $$;
"""
