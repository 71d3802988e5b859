"""The object API on a real server, by AWS's own library: alone, behind nginx, and killed."""

import io
import os
import random
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import BotoCoreError, ClientError
from support.accounts import ALICE, BOB, CAROL, blob_path
from support.certificates import certificate
from support.cids import cid_of
from support.live_service import becomes
from support.nginx import own, shipped
from support.object_api import BUCKET, object_service, s3_client
from support.process_watch import forget_peak, peak_bytes

pytestmark = pytest.mark.live

PARTS = TransferConfig(
    multipart_threshold=5 * 2**20, multipart_chunksize=5 * 2**20, max_concurrency=4
)


def some(size, seed):
    return random.Random(seed).randbytes(size)


@pytest.fixture(params=["alone", "behind nginx"])
def front(request, tmp_path):
    """The service, and what clients speak to: itself, or the shipped nginx in front of it."""
    if request.param == "alone":
        with object_service(tmp_path / "service") as service:
            yield service, service
        return
    socket, data = tmp_path / "gunicorn.sock", tmp_path / "service" / "data"
    nginx = shipped(
        *(tmp_path / "nginx", socket, data / "blobs", ("#pds ", ""), ("pds-blobs", BUCKET))
    )
    settings = {
        "AURORA_BLOBS_BIND": f"unix:{socket}",
        "AURORA_BLOBS_PROXY_HOPS": "1",
        "AURORA_BLOBS_ACCEL_REDIRECT": "/_blobs/",
    }
    with object_service(tmp_path / "service", **settings) as service, nginx:
        yield service, nginx


@pytest.fixture
def s3(front):
    return s3_client(f"http://127.0.0.1:{front[1].port}")


def promote(s3, name, cid, did=CAROL):
    s3.copy_object(
        Bucket=BUCKET, Key=f"blocks/{did}/{cid}", CopySource=f"{BUCKET}/tmp/{did}/{name}"
    )


@pytest.mark.parametrize("size", [0, 1, 2**20, 12 * 2**20 + 1])
def test_bytes_come_back_as_they_went_in(front, s3, size):
    data = some(size, size)

    s3.upload_fileobj(io.BytesIO(data), BUCKET, f"tmp/{CAROL}/abc", Config=PARTS)
    promote(s3, "abc", cid_of(data))
    back = io.BytesIO()
    s3.download_fileobj(BUCKET, f"blocks/{CAROL}/{cid_of(data)}", back, Config=PARTS)

    assert back.getvalue() == data
    assert front[1].get(blob_path(CAROL, cid_of(data))).data == data


def test_calls_of_the_bucket_itself_arrive(s3):
    keys = [f"blocks/{CAROL}/{cid_of(b'%d' % number)}" for number in range(3)]
    for number, key in enumerate(keys):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"%d" % number)

    listed = s3.list_objects_v2(Bucket=BUCKET)["Contents"]
    s3.head_bucket(Bucket=BUCKET)
    deleted = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": key} for key in keys]})

    assert {found["Key"] for found in listed} == set(keys)
    assert {found["Key"] for found in deleted["Deleted"]} == set(keys)
    assert "Contents" not in s3.list_objects_v2(Bucket=BUCKET)


def test_over_https_the_body_comes_as_the_sdk_sends_it_there(tmp_path):
    socket, pem = tmp_path / "gunicorn.sock", certificate("localhost", tmp_path)
    nginx = own(
        tmp_path / "nginx",
        f"server {{ listen 127.0.0.1:PORT ssl; ssl_certificate {pem}; ssl_certificate_key {pem};"
        " client_max_body_size 0; location / { proxy_pass http://unix:"
        f"{socket}; proxy_http_version 1.1; proxy_set_header Host $http_host;"
        " proxy_request_buffering off; }}",
    )
    data = some(12 * 2**20, "https")
    settings = {"AURORA_BLOBS_BIND": f"unix:{socket}", "AURORA_BLOBS_PROXY_HOPS": "1"}
    with object_service(tmp_path / "service", **settings), nginx:
        s3 = s3_client(f"https://localhost:{nginx.port}", verify=str(pem))
        s3.upload_fileobj(io.BytesIO(data), BUCKET, f"tmp/{CAROL}/large", Config=PARTS)
        promote(s3, "large", cid_of(data))
        s3.put_object(Bucket=BUCKET, Key=f"tmp/{CAROL}/small", Body=io.BytesIO(b"small"))
        sent = s3.get_object(Bucket=BUCKET, Key=f"blocks/{CAROL}/{cid_of(data)}")["Body"].read()
        small = s3.get_object(Bucket=BUCKET, Key=f"tmp/{CAROL}/small")["Body"].read()

        assert (sent, small) == (data, b"small")


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
def test_a_checksum_is_compared_on_the_way(s3, algorithm):
    data = some(300_000, algorithm)

    s3.put_object(Bucket=BUCKET, Key=f"tmp/{CAROL}/abc", Body=data, ChecksumAlgorithm=algorithm)
    with pytest.raises(ClientError) as wrong:
        s3.put_object(Bucket=BUCKET, Key=f"tmp/{CAROL}/abc", Body=data, ChecksumCRC32="AAAAAA==")

    assert wrong.value.response["Error"]["Code"] == "BadDigest"
    assert s3.head_object(Bucket=BUCKET, Key=f"tmp/{CAROL}/abc")["ContentLength"] == 300_000


def test_another_secret_gets_a_clear_answer(front):
    stranger = s3_client(f"http://127.0.0.1:{front[1].port}", secret="another")

    with pytest.raises(ClientError) as refused:
        stranger.put_object(Bucket=BUCKET, Key=f"tmp/{CAROL}/abc", Body=bytes(2**20))

    assert refused.value.response["Error"]["Code"] == "SignatureDoesNotMatch"


def test_a_presigned_link_needs_nothing_else(front, s3):
    s3.put_object(Bucket=BUCKET, Key=f"blocks/{CAROL}/{cid_of(b'x')}", Body=b"x")

    link = s3.generate_presigned_url(
        "get_object", Params={"Bucket": BUCKET, "Key": f"blocks/{CAROL}/{cid_of(b'x')}"}
    )
    # The host is signed.
    host, _, path = link.removeprefix("http://").partition("/")
    answer = front[1].get(f"/{path}", headers={"Host": host})

    assert (answer.status_code, answer.data) == (200, b"x")


class Died(Exception):
    """The PDS, between two of its calls."""


class Pds:
    """Publishes *contents* of the account *did* and deletes them, until it is told to stop.

    What was not answered it does again, and now and then also what was: it dies between any two
    calls, and before it has noted that all are done. `kept` and `gone` have CIDs.
    """

    def __init__(self, url, did, contents, seed):
        self._s3 = s3_client(url, connect_timeout=5, read_timeout=30)
        self.did = did
        self._contents = contents
        self._chance = random.Random(seed)
        self.kept, self.gone, self.done = {}, set(), Counter()
        self.stopped = False

    def run(self):
        while not self.stopped:
            data = self._chance.choice(self._contents)
            self._until_done(self._publish, data)
            self.kept[cid_of(data)] = data
            self.gone.discard(cid_of(data))
            if self._chance.random() < 0.4:
                cids = self._chance.sample(list(self.kept), min(len(self.kept), 3))
                self._until_done(self._delete, cids)
                self.gone.update(cids)
                for cid in cids:
                    del self.kept[cid]

    def key(self, cid):
        return f"blocks/{self.did}/{cid}"

    def _publish(self, data):
        tmp = f"tmp/{self.did}/{self._chance.randrange(10**9)}"
        self._s3.upload_fileobj(io.BytesIO(data), BUCKET, tmp, Config=PARTS)
        self._may_die()
        self._s3.copy_object(
            Bucket=BUCKET, Key=self.key(cid_of(data)), CopySource=f"{BUCKET}/{tmp}"
        )
        self._may_die()
        self._s3.delete_object(Bucket=BUCKET, Key=tmp)

    def _delete(self, cids):
        keys = [{"Key": self.key(cid)} for cid in cids]
        self._s3.delete_objects(Bucket=BUCKET, Delete={"Objects": keys})

    def _until_done(self, act, given):
        while True:
            try:
                act(given)
                self._may_die()
            except Died:
                self.done["died"] += 1
            # KeyError: of an answer whose body was cut off, botocore's last try has no results.
            except (ClientError, BotoCoreError, KeyError):
                time.sleep(0.05)
            else:
                self.done[act.__name__] += 1
                return

    def _may_die(self):
        if self._chance.random() < 0.15:
            raise Died


def kill_worker(service, chance):
    os.kill(chance.choice(service.workers()), signal.SIGKILL)


def kill_all(service, chance):
    service.kill()
    service.start()


@pytest.mark.parametrize("kills", [12, pytest.param(200, marks=pytest.mark.long)])
def test_a_pds_and_the_service_agree_after_both_have_died(tmp_path, kills):
    seed = os.environ.get("TEST_SEED") or str(random.randrange(10**6))
    print(f"TEST_SEED={seed}")
    chance = random.Random(seed)
    contents = [some(size, f"{seed} {size}") for size in (0, 100, 5_000, 300_000, 6 * 2**20)]
    with object_service(tmp_path / "service") as service:
        url = f"http://127.0.0.1:{service.port}"
        sides = [
            Pds(url, did, [*contents, did.encode()], f"{seed} {did}")
            for did in (ALICE, BOB, CAROL, "did:web:dan.test")
        ]
        with ThreadPoolExecutor(len(sides)) as threads:
            runs = [threads.submit(side.run) for side in sides]
            for kill in [kill_worker, kill_worker, kill_worker, kill_all] * (kills // 4):
                time.sleep(chance.uniform(0.2, 1))
                kill(service, chance)
            enough = {"_publish", "_delete", "died"}
            assert becomes(lambda: all(enough <= set(side.done) for side in sides), 120)
            for side in sides:
                side.stopped = True
        for run in runs:
            run.result()

        print(sum((side.done for side in sides), Counter()))
        for side in sides:
            assert listed(s3_client(url), f"blocks/{side.did}/") == {
                side.key(cid): len(data) for cid, data in side.kept.items()
            }
            for cid, data in side.kept.items():
                assert service.get(blob_path(side.did, cid)).data == data
            for cid in side.gone:
                assert service.get(blob_path(side.did, cid)).status_code == 400
        assert list((tmp_path / "service" / "data" / "spool").iterdir()) == []
        checked = service.run("blobs", "fsck")
        assert checked.returncode == 0, checked


def listed(s3, prefix):
    """Each object below *prefix*, with its size."""
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    return {found["Key"]: found["Size"] for page in pages for found in page.get("Contents", [])}


@pytest.mark.long
def test_an_account_of_2000_blobs_is_gone_after_the_four_calls_of_its_pds(tmp_path):
    with object_service(tmp_path / "service", AURORA_BLOBS_DURABILITY="os") as service:
        url = f"http://127.0.0.1:{service.port}"
        s3 = s3_client(url, max_pool_connections=8)
        cids = [cid_of(b"%d" % number) for number in range(2000)]
        for did, numbers in [(CAROL, range(2000)), (ALICE, range(0, 2000, 100))]:
            with ThreadPoolExecutor(8) as threads:
                list(threads.map(partial(put, s3, did), numbers))
        assert len(listed(s3, f"blocks/{CAROL}/")) == 2000

        seconds = []
        for start in range(0, 2000, 500):  # as the reference PDS does it
            keys = [{"Key": f"blocks/{CAROL}/{cid}"} for cid in cids[start : start + 500]]
            began = time.monotonic()
            answer = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": keys})
            seconds.append(time.monotonic() - began)
            assert len(answer["Deleted"]) == 500

        print("seconds of the calls:", [round(each, 2) for each in seconds])
        assert listed(s3, f"blocks/{CAROL}/") == {}
        assert len(listed(s3, f"blocks/{ALICE}/")) == 20
        assert service.get(blob_path(CAROL, cids[100])).status_code == 400
        assert service.get(blob_path(ALICE, cids[100])).data == b"100"
        assert service.run("blobs", "fsck").returncode == 0


def put(s3, did, number):
    data = b"%d" % number
    s3.put_object(Bucket=BUCKET, Key=f"blocks/{did}/{cid_of(data)}", Body=data)


def test_twenty_promotions_at_once_are_all_done_and_none_waits_long(front, s3):
    """A PDS waits for them inside its own write transaction."""
    url = f"http://127.0.0.1:{front[1].port}"
    clients = [s3_client(url) for _ in range(20)]
    seconds = []

    def timed(s3, name, cid):
        began = time.monotonic()
        promote(s3, name, cid)
        seconds.append(time.monotonic() - began)

    for record in range(10):
        blobs = [some(1000, f"{record} {number}") for number in range(20)]
        names = [f"{record}.{number}" for number in range(20)]
        for name, data in zip(names, blobs, strict=True):
            s3.put_object(Bucket=BUCKET, Key=f"tmp/{CAROL}/{name}", Body=data)
        with ThreadPoolExecutor(20) as threads:
            list(threads.map(timed, clients, names, map(cid_of, blobs)))

    seconds.sort()
    print(f"a promotion: median {seconds[100]:.4f} s, p99 {seconds[197]:.4f} s")
    assert len(listed(s3, f"blocks/{CAROL}/")) == 200
    assert seconds[197] < 5  # the PDS gives up after 60 seconds


def test_uploads_in_parts_take_little_memory(tmp_path):
    data = some(2**20, "large") * 100
    with object_service(tmp_path / "service", AURORA_BLOBS_WORKERS="1") as service:
        s3 = s3_client(f"http://127.0.0.1:{service.port}", max_pool_connections=32)

        def upload(number):
            name = f"tmp/{CAROL}/{number}"
            s3.upload_fileobj(io.BytesIO(data + b"%d" % number), BUCKET, name, Config=PARTS)

        upload(0)
        [worker] = service.workers()
        before = forget_peak(worker)
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(upload, range(8)))

        assert peak_bytes(worker) - before < 64 * 2**20
