"""The service, its workers and a collector are killed at random moments, under load, with nginx."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager

import pytest
from support.crash_member import Member
from support.impatient_collector import collect
from support.nginx import service_behind
from support.project import TESTS
from support.services import close, services_of

from aurora_blobs.app import create_app
from aurora_blobs.config import Config

pytestmark = pytest.mark.live

MEMBERS = 5


@pytest.fixture
def service(tmp_path):
    with service_behind(
        tmp_path,
        AURORA_BLOBS_ACCEL_REDIRECT="/_blobs/",
        AURORA_BLOBS_ADMIN_PASSWORD="open sesame",
        AURORA_BLOBS_WORKERS="2",
        # What a process has written outlives the process. It is the machine that needs a sync.
        AURORA_BLOBS_DURABILITY="os",
    ) as service:
        yield service


class Killer:
    """Kills by *chance*, and starts again what does not start by itself."""

    def __init__(self, service, chance):
        self.service, self._chance = service, chance
        self.kills = Counter()
        self._begin_to_collect()

    def kill(self, number):
        time.sleep(self._chance.uniform(0.01, 0.3))
        if number % 10 == 0:
            kind = self._kill_service
        else:
            kind = self._chance.choice([self._kill_worker, self._kill_worker, self._kill_collector])
        kind()
        self.kills[kind.__name__.removeprefix("_kill_")] += 1

    def stop(self):
        self._collector.kill()
        self._collector.wait()

    def _kill_worker(self):
        workers = self.service.workers()
        if workers:  # else the last ones have just died
            os.kill(self._chance.choice(workers), signal.SIGKILL)

    def _kill_collector(self):
        self.stop()
        self._begin_to_collect()

    def _kill_service(self):
        self.service.kill()
        self.service.start()

    def _begin_to_collect(self):
        self._collector = subprocess.Popen(
            [sys.executable, "-m", "support.impatient_collector", "0.02"],
            cwd=TESTS,
            env=self.service.environ(),
        )


@contextmanager
def opened(service):
    app = create_app(Config.from_environ(service.environ()))
    yield services_of(app)
    close(app)


@pytest.mark.parametrize("kills", [20, pytest.param(1000, marks=pytest.mark.long)])
def test_a_kill_takes_back_no_answer_and_leaves_no_other_file(service, nginx, kills):
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)
    sizes = [10, 5_000, 70_000, 262_145, 1_000_000]
    shared = [b"\xff\xd8\xff" + chance.randbytes(size) for size in sizes]
    members = []
    for number in range(MEMBERS):
        own = [b"\xff\xd8\xff" + chance.randbytes(size) for size in sizes]
        account = service.account(f"member{number}.test").at(nginx)
        members.append(Member(account, own + shared, chance.random()))

    killer = Killer(service, chance)
    for member in members:
        member.start()
    while killer.kills.total() < kills and not any(member.wrong for member in members):
        killer.kill(killer.kills.total() + 1)
    killer.stop()
    for member in members:
        member.leave()
    service.kill()
    service.start()

    assert list((service.folder / "data" / "spool").iterdir()) == []
    for member in members:
        for content in member.contents:
            member.look(content)
    wrong = [it for member in members for it in member.wrong]
    answered = sum((member.answered for member in members), Counter())
    print(f"kills {dict(killer.kills)}, answered {dict(answered)}, wrong {len(wrong)}")
    assert wrong == []
    assert answered.total() > kills
    with opened(service) as services:
        collect(services, grace_seconds=0)
    checked = service.run("blobs", "fsck", "--json")
    assert checked.returncode == 0, checked
    listed = {path.name for path in (service.folder / "data" / "blobs").glob("*/*")}
    rows = service.run("blobs", "list", "--json").stdout.splitlines()
    assert {blob["cid"] for blob in map(json.loads, rows)} == listed
