"""A real Prometheus reads the metrics of a real gunicorn, whose processes count together."""

import os
import signal

import pytest
from botocore.exceptions import ClientError
from support.accounts import ADMIN, CAROL
from support.cids import cid_of
from support.live_service import Service, becomes
from support.media_samples import jpeg
from support.metrics import HEADERS, TOKEN, Scrape
from support.nginx import in_front, service_behind
from support.object_api import BUCKET, object_service, s3_client
from support.prometheus import Prometheus, promtool

pytestmark = pytest.mark.live

STORED = 'aurora_blobs_uploads_total{result="stored"}'
TWO_WORKERS = {"AURORA_BLOBS_METRICS_TOKEN": TOKEN, "AURORA_BLOBS_WORKERS": "2"}


@pytest.fixture
def service(tmp_path):
    with Service(tmp_path / "service", **TWO_WORKERS) as service:
        yield service


@pytest.fixture
def prometheus(tmp_path, service):
    with Prometheus(tmp_path / "prometheus", service.port) as prometheus:
        yield prometheus


def files(service):
    """Paths of all files of *service*."""
    return {path for path in service.folder.rglob("*") if path.is_file()}


def kill_one_of(service):
    """Kill a worker, and wait for the one that takes its place."""
    assert becomes(lambda: len(service.workers()) == 2)
    one = service.workers()[0]
    os.kill(one, signal.SIGKILL)
    assert becomes(lambda: one not in service.workers())


def test_prometheus_finds_no_fault_in_the_format(service):
    alice = service.account()
    alice.publish(jpeg("cat"))
    service.get("/nowhere")
    assert becomes(lambda: Scrape(service).value("counted_timestamp_seconds"))

    checked = promtool("check", "metrics", given=Scrape(service).text)

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_nothing_is_lost_with_a_worker_and_each_start_begins_anew(service, prometheus):
    alice = service.account()
    for number in range(20):
        alice.blob(jpeg(f"before {number}"))
    assert becomes(lambda: prometheus.number(STORED) == 20)

    kill_one_of(service)
    for number in range(20):
        alice.blob(jpeg(f"after {number}"))

    assert becomes(lambda: prometheus.number(STORED) == 40)
    assert becomes(lambda: prometheus.number("aurora_blobs_worker_starts_total") == 3)
    assert prometheus.number('up{job="aurora-blobs"}') == 1
    service.stop()
    service.start()
    alice.blob(jpeg("after the start"))
    assert becomes(lambda: prometheus.number(STORED) == 1)
    assert becomes(lambda: prometheus.number("aurora_blobs_worker_starts_total") == 2)
    assert prometheus.number(f"resets({STORED}[10m])") == 1


def test_every_worker_says_the_same(service):
    alice = service.account()
    for number in range(20):
        alice.blob(jpeg(f"{number}"))

    counts = {Scrape(service).value("uploads_total", result="stored") for _ in range(20)}

    assert counts == {20}


def test_workers_that_die_leave_nothing_behind(service):
    Scrape(service)
    before = files(service)

    for _ in range(5):
        kill_one_of(service)

    assert becomes(lambda: Scrape(service).value("worker_starts_total") == 7)
    assert files(service) == before


def test_the_shipped_nginx_passes_metrics_on_to_who_has_the_token(tmp_path):
    with (
        service_behind(tmp_path, AURORA_BLOBS_METRICS_TOKEN=TOKEN) as service,
        in_front(service, tmp_path / "nginx") as nginx,
    ):
        assert nginx.get("/metrics").status_code == 401
        assert nginx.get("/metrics", auth=ADMIN).status_code == 401
        assert nginx.get("/metrics", headers=HEADERS).status_code == 200
        assert becomes(lambda: Scrape(nginx).value("worker_starts_total") == 2)


def test_calls_of_the_object_api_are_counted_by_name(tmp_path):
    photo = jpeg("cat")
    with object_service(tmp_path, **TWO_WORKERS) as service:
        s3 = s3_client(f"http://127.0.0.1:{service.port}")
        staged, public = {"Key": f"tmp/{CAROL}/cat"}, {"Key": f"blocks/{CAROL}/{cid_of(photo)}"}
        s3.put_object(Bucket=BUCKET, Body=photo, **staged)
        s3.copy_object(Bucket=BUCKET, CopySource=f"{BUCKET}/{staged['Key']}", **public)
        s3.get_object(Bucket=BUCKET, **public)["Body"].read()
        s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [staged]})
        with pytest.raises(ClientError):
            s3_client(f"http://127.0.0.1:{service.port}", secret="wrong").head_bucket(Bucket=BUCKET)

        found = Scrape(service).by("request_seconds_count", "method", "status")

    calls = ("PutObject", "CopyObject", "GetObject", "DeleteObjects")
    assert {call: found[call, "200"] for call in calls} == dict.fromkeys(calls, 1)
    assert found[f"/{BUCKET}", "403"] == 1
