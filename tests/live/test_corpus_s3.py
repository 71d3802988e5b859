"""The files of the corpus with their blobs in S3: stored, served and shown as from a disk."""

import pytest
from support.corpus import NAMES, PICTURES, corpus
from support.live_service import Service
from support.s3_access import BUCKET, KEYS

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def settings(s3_server):
    return {
        **KEYS,
        "AURORA_BLOBS_STORAGE": "s3",
        "AURORA_BLOBS_S3_BUCKET": BUCKET,
        "AURORA_BLOBS_S3_PREFIX": "corpus/",
        "AURORA_BLOBS_S3_ENDPOINT_URL": s3_server.url,
        "AURORA_BLOBS_S3_ADDRESSING_STYLE": "path",
        "AURORA_BLOBS_ALLOWED_MIME_TYPES": "*/*",
    }


@pytest.fixture(scope="module")
def accounts(tmp_path_factory, settings):
    """An account of a service on S3, and one of the same service on a disk."""
    folder = tmp_path_factory.mktemp("corpus")
    disk = {"AURORA_BLOBS_ALLOWED_MIME_TYPES": "*/*"}
    with (
        Service(folder / "s3", **settings) as distant,
        Service(folder / "disk", **disk) as near,
    ):
        yield distant.account(), near.account()


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_served_from_s3_as_from_a_disk(accounts, name):
    answers = []
    for account in accounts:
        answer = account.fetch(account.publish(corpus(name), "*/*").cid)
        answers.append((answer.status_code, answer.headers["Content-Type"], answer.data))

    assert answers[0] == answers[1]
    assert answers[0][::2] == (200, corpus(name))


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_in_s3_has_the_thumbnail_that_it_has_on_a_disk(accounts, name):
    answers = []
    for account in accounts:
        cid = account.publish(corpus(name), "*/*").cid
        answer = account.client.get(f"/img/feed_thumbnail/plain/{account.did}/{cid}@jpeg")
        answers.append((answer.status_code, answer.headers["Content-Type"], answer.data))

    assert answers[0] == answers[1]
    assert answers[0][:2] == (200, "image/jpeg")
