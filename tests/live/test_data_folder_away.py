"""The data folder disappears for a while, like a mount: the service reports it and recovers."""

import os
import signal
import time

import pytest
from support.accounts import UPLOAD
from support.live_service import Service, becomes
from support.process_watch import open_files

from aurora_blobs.server.restarts import RETRY_SECONDS
from aurora_blobs.storage.health import FRESH_SECONDS

pytestmark = pytest.mark.live

PNG = b"\x89PNG\r\n\x1a\n"
BODY = PNG + os.urandom(9_000_000)  # too large to be in memory
HEALTH = "/xrpc/_health"
SENT = 2_000_000
WORKERS = 3


@pytest.fixture
def service(tmp_path):
    with Service(
        tmp_path, AURORA_BLOBS_WORKERS=str(WORKERS), AURORA_BLOBS_MAX_BLOB_SIZE="10MB"
    ) as service:
        yield service


def statuses_of_health(service, seconds):
    """The answers of _health on new connections, which any worker may take."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        yield service.get(HEALTH).status_code
        time.sleep(0.02)


def test_after_the_first_503_no_process_says_that_all_is_well(service):
    assert set(statuses_of_health(service, 1)) == {200}
    data = service.folder / "data"

    data.rename(service.folder / "away")
    statuses = list(statuses_of_health(service, 2.5 * FRESH_SECONDS))
    (service.folder / "away").rename(data)

    assert 503 in statuses
    assert set(statuses[statuses.index(503) :]) == {503}
    assert becomes(lambda: service.get(HEALTH).status_code == 200, 2 * FRESH_SECONDS)
    assert set(statuses_of_health(service, 1)) == {200}


class Upload:
    """An upload of `BODY` of which two megabytes have been sent, and lie in a file in the spool."""

    def __init__(self, service, account):
        self._connection = service.connect()
        head = (
            f"POST {UPLOAD} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: image/png\r\n"
        )
        head += f"Authorization: {account.headers['Authorization']}\r\n"
        head += f"Content-Length: {len(BODY)}\r\n\r\n"
        self._connection.sendall(head.encode() + BODY[:SENT])
        assert becomes(lambda: holders(service))
        (self.worker,) = holders(service)

    def finish(self):
        """Send the rest; the answer."""
        self._connection.sendall(BODY[SENT:])
        return b"".join(iter(lambda: self._connection.recv(65_536), b""))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._connection.close()


def holders(service):
    """The workers that have a file in the spool open."""
    return [pid for pid in service.workers() if any(map(is_spooled, open_files(pid)))]


def is_spooled(path):
    return "/spool/upload." in path


def kill(service, pids):
    """Returns when others have taken their places."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    assert becomes(lambda: len(set(service.workers()) - set(pids)) == WORKERS)
    assert becomes(service.is_answering)


def test_a_worker_that_starts_meanwhile_ends_neither_the_service_nor_what_is_under_way(service):
    account = service.account()
    data, away = service.folder / "data", service.folder / "away"

    with Upload(service, account) as upload:
        data.rename(away)
        kill(service, set(service.workers()) - {upload.worker})
        answers = [account.upload(PNG + bytes([number]), "image/png") for number in range(20)]
        answers += [service.get(HEALTH) for _ in range(20)]
        made_anew = data.exists()
        away.rename(data)
        answer = upload.finish()

    assert answer.startswith(b"HTTP/1.1 200 "), answer
    assert {answer.status_code for answer in answers} == {503}
    assert not made_anew
    assert becomes(lambda: service.get(HEALTH).status_code == 200, 2 * FRESH_SECONDS)
    assert account.upload(PNG + b"after", "image/png").status_code == 200
    assert service.process.poll() is None


def test_what_a_dead_worker_left_is_undone_when_the_folder_is_back(service):
    data, away = service.folder / "data", service.folder / "away"

    with Upload(service, service.account()) as upload:
        data.rename(away)
        kill(service, [upload.worker])
        left = list((away / "spool").iterdir())
        away.rename(data)

    assert len(left) == 1
    assert becomes(lambda: list((data / "spool").iterdir()) == [], 3 * RETRY_SECONDS)


# What a worker does at its start, and what is done to make it.
FAILING = """
from pathlib import Path
exec(Path("gunicorn.conf.py").read_text())
init = post_worker_init

def post_worker_init(worker):
    init(worker)
    with open("FLAG.booted", "a") as booted:
        booted.write(".")

before = NAME

def NAME(PARAMETERS):
    if Path("FLAG").exists():
        raise OSError("not now")
    before(PARAMETERS)
"""


WAITING = """
import time
from pathlib import Path
exec(Path("gunicorn.conf.py").read_text())
forked = post_fork

def post_fork(server, worker):
    while Path("FLAG").exists():
        Path("FLAG.waits").touch()
        time.sleep(0.02)
    with open("FLAG.passed", "a") as passed:
        passed.write(".")
    forked(server, worker)
"""


def failing(folder, hook, parameters):
    """A configuration in *folder* whose *hook* fails while a file is there; that file."""
    configuration, flag = folder / "gunicorn.conf.py", folder / "flag"
    text = FAILING.replace("NAME", hook).replace("PARAMETERS", parameters)
    configuration.write_text(text.replace("FLAG", str(flag)))
    return str(configuration), flag


@pytest.mark.parametrize(
    "hook, parameters", [("post_worker_init", "worker"), ("pre_fork", "server, worker")]
)
def test_a_worker_that_cannot_start_is_tried_again(tmp_path, hook, parameters):
    configuration, flag = failing(tmp_path, hook, parameters)
    with Service(tmp_path, "-c", configuration, AURORA_BLOBS_WORKERS="2") as service:
        # The first workers have to be there: one of them that fails ends the service.
        assert becomes(lambda: flag.with_suffix(".booted").read_text() == "..")
        first, second = service.workers()
        flag.touch()
        os.kill(first, signal.SIGKILL)
        assert becomes(lambda: "not now" in service.log)
        statuses = set(statuses_of_health(service, 3))
        flag.unlink()

        assert statuses == {200}
        assert becomes(lambda: len(set(service.workers()) - {first}) == 2)
        assert second in service.workers()


def test_a_stop_ends_a_worker_that_is_being_started(tmp_path):
    configuration, flag = tmp_path / "gunicorn.conf.py", tmp_path / "flag"
    configuration.write_text(WAITING.replace("FLAG", str(flag)))
    with Service(tmp_path, "-c", str(configuration), AURORA_BLOBS_WORKERS="2") as service:
        assert becomes(lambda: flag.with_suffix(".passed").read_text() == "..")
        first, second = service.workers()
        flag.touch()
        os.kill(first, signal.SIGKILL)
        assert becomes(flag.with_suffix(".waits").exists)
        service.process.terminate()
        assert becomes(lambda: second not in service.workers())
        flag.unlink()

        assert becomes(lambda: service.process.poll() is not None)


def test_a_service_whose_first_workers_cannot_start_ends(tmp_path):
    configuration, flag = failing(tmp_path, "post_worker_init", "worker")
    flag.touch()
    service = Service(tmp_path, "-c", configuration, AURORA_BLOBS_WORKERS="2")

    with pytest.raises(AssertionError, match="not now"), service:
        pass

    assert service.process.returncode != 0
