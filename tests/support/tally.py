"""A small database: names with a number each."""

SCHEMA = """
-- A comment; with a semicolon.
CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL);
CREATE TABLE IF NOT EXISTS tally (name TEXT PRIMARY KEY, value BIGINT NOT NULL CHECK (value >= 0));
CREATE TABLE IF NOT EXISTS note (
    name TEXT NOT NULL REFERENCES tally (name) ON DELETE CASCADE, text TEXT
);
INSERT INTO tally (name, value) VALUES ('n', 0) ON CONFLICT (name) DO NOTHING;
"""

# Runs in processes of their own. `ready` waits until all of them may begin.
PREAMBLE = f"""
import atexit, os, sys, threading
from aurora_blobs.db import open_database
database = open_database(sys.argv[1], durable=False)
atexit.register(database.close)
SCHEMA = '''{SCHEMA}'''
def ready():
    print("ready", flush=True)
    sys.stdin.readline()
def value():
    with database.read() as tx:
        return tx.one("SELECT value FROM tally WHERE name = 'n'")[0]
def add(times=1):
    for _ in range(times):
        with database.write() as tx:
            now = tx.one("SELECT value FROM tally WHERE name = 'n'")[0]
            tx.run("UPDATE tally SET value = ? WHERE name = 'n'", now + 1)
"""


def value(database):
    with database.read() as tx:
        return tx.one("SELECT value FROM tally WHERE name = ?", "n")[0]


def add(database, times=1):
    for _ in range(times):
        with database.write() as tx:
            now = tx.one("SELECT value FROM tally WHERE name = ?", "n")[0]
            tx.run("UPDATE tally SET value = ? WHERE name = ?", now + 1, "n")
