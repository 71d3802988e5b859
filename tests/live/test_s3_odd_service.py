"""The service on stores that know less than AWS does: what a person sees of it."""

import pytest
from support.live_service import Service, becomes
from support.odd_store import odd_store
from support.s3_access import BUCKET, KEYS

pytestmark = pytest.mark.live

PNG = b"\x89PNG\r\n\x1a\n".ljust(100, b"=")


@pytest.fixture
def server():
    with odd_store() as server:
        yield server


@pytest.fixture
def start(tmp_path, server):
    def start():
        return Service(
            tmp_path / "service",
            **KEYS,
            AURORA_BLOBS_STORAGE="s3",
            AURORA_BLOBS_S3_BUCKET=BUCKET,
            AURORA_BLOBS_S3_ENDPOINT_URL=server.url,
            AURORA_BLOBS_S3_ADDRESSING_STYLE="path",
        )

    return start


@pytest.mark.parametrize(
    "header, kind", [("x-amz-checksum-", "checksums"), ("if-none-match", "conditions")]
)
def test_the_start_tells_what_a_store_refuses_and_uploads_succeed(server, start, header, kind):
    server.refused = {header: (400, "InvalidArgument", f"Unsupported header {header}")}

    with start() as service:
        told = becomes(lambda: f"the store refuses {kind} in put_object" in service.log)
        answer = service.account().upload(PNG, "image/png")
        health = service.get("/xrpc/_health")

    assert told, service.log
    assert (answer.status_code, health.status_code) == (200, 200)
    assert PNG in server.objects.values()


def test_a_store_that_is_elsewhere_is_named_by_the_log_and_bad_for_health(server, start):
    server.answers = [(301, "", {"Location": "https://s3.example.com/"})]
    server.always = True

    with start() as service:
        account = service.account()
        server.operations()
        answer = account.upload(PNG, "image/png")
        calls = len(server.operations())
        health = service.get("/xrpc/_health")

    assert (answer.status_code, answer.json["error"]) == (502, "UpstreamFailure")
    assert (health.status_code, calls <= 8) == (503, True)
    assert "it sends us to https://s3.example.com/" in service.log
    assert "Traceback" not in service.log
