"""A node that stands still in the middle of what it does keeps others waiting for seconds."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.accounts import sign_up
from support.cids import cid_of
from support.databases import execute
from support.live_service import becomes
from support.media_samples import jpeg

from aurora_blobs.db import account_key

pytestmark = pytest.mark.live

WAITING = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


def test_others_go_on_and_whoever_wakes_up_has_lost_nothing_but_the_request(
    start_node, nodes_database
):
    paused, other = start_node(), start_node()
    alice, bob = paused.account("alice.test"), sign_up(other, "bob.test")
    mine, shared = jpeg("of alice"), jpeg("of both")

    def timed(account, data):
        began = time.monotonic()
        return account.upload(data).status_code, time.monotonic() - began

    with ThreadPoolExecutor() as clients:
        with paused.database() as database, database.write(keys=(account_key(alice.did),)):
            interrupted = clients.submit(alice.upload, shared)
            assert becomes(lambda: execute(nodes_database, WAITING))
            paused.pause()
        # It has all locks of its transaction by now, and does nothing with them.
        uploads = [
            clients.submit(timed, account, data)
            for account, data in ((alice.at(other), mine), (bob, shared))
        ]
        found = [upload.result() for upload in uploads]
        paused.go_on()
        refusal = interrupted.result()

    assert [status for status, _ in found] == [200, 200]
    assert 4 < max(seconds for _, seconds in found) < 9  # who waits is refused after ten
    assert refusal.status_code == 503
    assert "Retry-After" in refusal.headers
    owners = f"SELECT creator_did FROM blob_metadata WHERE cid = '{cid_of(shared)}'"
    assert execute(nodes_database, owners) == [(bob.did,)]
    assert alice.publish(shared).cid == cid_of(shared)
    assert alice.at(other).fetch(cid_of(shared)).data == shared
