"""The service is killed at random moments during uploads."""

import json
import random
import threading
from http.client import HTTPException

import pytest
from support.cids import cid_of
from support.live_service import Service

pytestmark = pytest.mark.live

CLIENTS = 6
ROUNDS = 4


@pytest.fixture
def service(tmp_path):
    # No fsync is needed: written data outlives the process, only not the machine.
    with Service(
        tmp_path / "service", AURORA_BLOBS_WORKERS="2", AURORA_BLOBS_DURABILITY="os"
    ) as service:
        yield service


class Uploader(threading.Thread):
    """Uploads *contents* in random order until the service is gone.

    `answered` holds the CIDs of answered uploads.
    """

    def __init__(self, account, contents, seed):
        super().__init__()
        self._account = account
        self._contents, self._chance = contents, random.Random(seed)
        self.answered, self.wrong = set(), []

    def run(self):
        while True:
            content = self._chance.choice(self._contents)
            try:
                answer = self._account.upload(content)
            except (OSError, HTTPException):
                return
            cid = cid_of(content)
            if answer.status_code == 200 and answer.json["blob"]["ref"]["$link"] == cid:
                self.answered.add(cid)
            else:
                self.wrong.append((answer.status_code, answer.data))


def test_a_kill_loses_no_answered_upload_and_leaves_no_other_file(service):
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    accounts = [service.account(f"member{number}.test") for number in range(CLIENTS)]
    kept = {account.did: set() for account in accounts}

    for _ in range(ROUNDS):
        sizes = [chance.choice([10, 5000, 262_145, 1_000_000]) for _ in range(12)]
        contents = [b"\xff\xd8\xff" + chance.randbytes(size) for size in sizes]
        uploaders = [Uploader(account, contents, chance.random()) for account in accounts]
        for uploader in uploaders:
            uploader.start()
        uploaders[0].join(chance.uniform(0.2, 2))
        service.kill()
        for uploader, account in zip(uploaders, accounts, strict=True):
            uploader.join(60)
            kept[account.did] |= uploader.answered
        service.start()

        assert [uploader.wrong for uploader in uploaders] == [[]] * CLIENTS
        assert list((service.folder / "data" / "spool").iterdir()) == []
        checked = service.run("blobs", "fsck", "--json")
        assert checked.returncode == 0, checked

    for account in accounts:
        for cid in kept[account.did]:
            answer = account.fetch(cid, **account.headers)
            assert (answer.status_code, cid_of(answer.data)) == (200, cid)
    listed = {path.name for path in (service.folder / "data" / "blobs").glob("*/*")}
    held = {
        blob["cid"]
        for blob in map(json.loads, service.run("blobs", "list", "--json").stdout.splitlines())
    }
    assert set().union(*kept.values()) <= listed == held
    assert sum(map(len, kept.values())) > 5 * ROUNDS
