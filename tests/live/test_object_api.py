"""The object API on a real server, by AWS's own library: alone, behind nginx, and killed."""

import hashlib
import io
import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import BotoCoreError, ClientError
from support.accounts import CAROL, blob_path
from support.certificates import certificate
from support.cids import cid_of
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


class Uploader:
    """Uploads and promotes blobs as a PDS does, again and again until it is told to stop."""

    def __init__(self, url, number):
        self._s3 = s3_client(url, connect_timeout=5, read_timeout=30)
        self._number = number
        self.promoted = {}
        self.stopped = False

    def run(self):
        count = 0
        while not self.stopped:
            count += 1
            data = some(random.choice([100, 300_000, 6 * 2**20]), f"{self._number} {count}")
            name = f"{self._number}.{count}"
            self._until_done(self._upload, data, name)
            self._until_done(promote, self._s3, name, cid_of(data))
            self.promoted[cid_of(data)] = hashlib.sha256(data).digest()
            self._until_done(self._s3.delete_object, Bucket=BUCKET, Key=f"tmp/{CAROL}/{name}")

    def _upload(self, data, name):
        self._s3.upload_fileobj(io.BytesIO(data), BUCKET, f"tmp/{CAROL}/{name}", Config=PARTS)

    def _until_done(self, call, *given, **named):
        while True:
            try:
                return call(*given, **named)
            # KeyError: of an answer whose body was cut off, botocore's last try has no results.
            except (ClientError, BotoCoreError, KeyError):
                time.sleep(0.05)


def kill_worker(service, chance):
    os.kill(chance.choice(service.workers()), signal.SIGKILL)


def kill_all(service, chance):
    service.kill()
    service.start()


def test_nothing_that_was_promoted_is_lost_when_the_service_is_killed(tmp_path):
    seed = os.environ.get("TEST_SEED") or str(random.randrange(10**6))
    print(f"TEST_SEED={seed}")
    chance = random.Random(seed)
    with object_service(tmp_path / "service") as service:
        url = f"http://127.0.0.1:{service.port}"
        uploaders = [Uploader(url, number) for number in range(4)]
        with ThreadPoolExecutor(4) as threads:
            runs = [threads.submit(uploader.run) for uploader in uploaders]
            for kill in [kill_worker, kill_worker, kill_worker, kill_all] * 3:
                time.sleep(chance.uniform(0.2, 1))
                kill(service, chance)
            time.sleep(1)
            for uploader in uploaders:
                uploader.stopped = True
        for run in runs:
            run.result()
        s3 = s3_client(url)
        promoted = {cid: digest for one in uploaders for cid, digest in one.promoted.items()}

        assert len(promoted) > 8
        for cid, digest in promoted.items():
            body = s3.get_object(Bucket=BUCKET, Key=f"blocks/{CAROL}/{cid}")["Body"].read()
            assert hashlib.sha256(body).digest() == digest
        assert service.run("blobs", "fsck").returncode == 0


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
