"""The S3 store over a link that stalls, breaks, damages bytes or is slow."""

import io
import os
import threading
import time

import pytest
from support.s3_access import BUCKET

from aurora_blobs.errors import BackendTimeout, BackendUnavailable, BlobNotFound, ServiceBusy
from aurora_blobs.intake.spool import spooled

pytestmark = pytest.mark.live

ALWAYS = None


@pytest.fixture
def store(open_s3, link):
    return open_s3(link.url)


@pytest.fixture
def put(tmp_path):
    folder = tmp_path / "spool"
    folder.mkdir()

    def put(store, data: bytes) -> str:
        with spooled(
            io.BytesIO(data),
            folder=folder,
            inspect=lambda head: "image/png",
            max_bytes=10**9,
            declared_size=None,
        ) as blob:
            store.put(blob)
            return blob.cid

    yield put
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "kind", ["reset", "reset-after", "cut-up", "500", "503", "stall", "damage-up"]
)
def test_one_fault_under_an_upload_is_survived(store, put, link, kind, some_bytes):
    data = some_bytes(300_000)
    link.inject(kind, method="PUT", times=1)

    cid = put(store, data)

    assert store.open(cid).read() == data


@pytest.mark.parametrize(
    "kind, error",
    [
        ("reset", BackendUnavailable),
        ("500", BackendUnavailable),
        ("503", ServiceBusy),
        ("stall", BackendTimeout),
        ("damage-up", BackendUnavailable),
        ("cut-up", BackendUnavailable),
    ],
)
def test_a_lasting_fault_under_an_upload_has_a_name_and_leaves_nothing(
    open_s3, store, put, link, kind, error, some_bytes
):
    link.inject(kind, method="PUT", times=ALWAYS)

    with pytest.raises(error) as caught:
        put(store, some_bytes(300_000))

    assert caught.value.retry_after
    assert list(open_s3().scan()) == []


def test_a_store_that_takes_no_more_of_a_body_is_a_timeout(store, put, link, some_bytes):
    link.inject("stall", method="PUT")

    with pytest.raises(BackendTimeout):
        put(store, some_bytes(8_000_000))  # more than the kernel buffers


@pytest.mark.parametrize("operation", ["size", "delete", "open", "scan", "probe"])
@pytest.mark.parametrize(
    "kind, error",
    [
        ("reset", BackendUnavailable),
        ("500", BackendUnavailable),
        ("503", ServiceBusy),
        ("stall", BackendTimeout),
    ],
)
def test_every_call_gives_a_lasting_fault_its_name(store, put, link, operation, kind, error):
    cid = put(store, b"here")
    calls = {
        "size": lambda: store.size(cid),
        "delete": lambda: store.delete(cid),
        "open": lambda: store.open(cid),
        "scan": lambda: list(store.scan()),
        "probe": store.probe,
    }
    link.inject(kind, times=ALWAYS)
    began = time.monotonic()

    with pytest.raises(error):
        calls[operation]()

    assert time.monotonic() - began < 20


def test_a_store_that_is_away_is_unavailable_until_it_is_back(store, put, link):
    cid = put(store, b"here")
    link.cut()

    with pytest.raises(BackendUnavailable):
        store.size(cid)
    link.connect()

    assert store.size(cid) == 4


@pytest.mark.parametrize("kind", ["truncate", "stall-half", "reset-after", "500", "503", "stall"])
def test_a_broken_read_resumes(store, put, link, kind, some_bytes):
    data = some_bytes(3_000_000)
    cid = put(store, data)
    link.inject(kind, method="GET", times=1)

    assert store.open(cid).read() == data


# A deletion holds the database's write lock, so it does not wait for a busy or silent store.
# The next run deletes the object.
@pytest.mark.parametrize("kind", ["reset", "reset-after", "500"])
def test_one_fault_under_a_deletion_is_survived(store, put, link, kind):
    alone, *batch = [put(store, b"%d" % number) for number in range(4)]
    link.inject(kind, method="DELETE", times=1)
    link.inject(kind, method="POST", times=1)

    store.delete(alone)

    assert store.delete_many(batch) == {}
    assert list(store.scan()) == []


@pytest.mark.parametrize(
    "kind, error",
    [
        ("reset", BackendUnavailable),
        ("500", BackendUnavailable),
        ("503", ServiceBusy),
        ("stall", BackendTimeout),
    ],
)
def test_a_lasting_fault_under_a_batch_has_a_name(store, put, link, kind, error):
    cids = [put(store, b"%d" % number) for number in range(3)]
    link.inject(kind, method="POST")

    with pytest.raises(error):
        store.delete_many(cids)


def test_a_broken_range_resumes(store, put, link, some_bytes):
    data = some_bytes(3_000_000)
    cid = put(store, data)
    link.inject("truncate", method="GET", times=2)

    assert store.open(cid, 1_000, 2_900_000).read() == data[1_000:2_900_000]


def test_a_read_that_cannot_resume_raises_and_never_ends_early(store, put, link, some_bytes):
    cid = put(store, some_bytes(3_000_000))
    link.inject("reset", method="GET", times=ALWAYS, after=1)
    link.inject("truncate", method="GET", times=ALWAYS)

    with store.open(cid) as file, pytest.raises(BackendUnavailable):
        file.read()


def test_a_slow_link_carries_the_bytes(store, put, link, some_bytes):
    data = some_bytes(300_000)
    link.inject("slow", rate=1_000_000)

    assert store.open(put(store, data)).read() == data


def test_a_link_that_crawls_is_given_up(store, put, link, some_bytes):
    link.inject("slow", rate=20_000)

    with pytest.raises(BackendTimeout):
        put(store, some_bytes(300_000))


def test_damaged_bytes_are_never_stored(open_s3, store, put, link):
    link.inject("damage-up", method="PUT", times=ALWAYS)

    with pytest.raises(BackendUnavailable):
        put(store, b"x" * 100)

    assert list(open_s3().scan()) == []


def test_an_object_that_the_store_damaged_is_replaced_by_the_next_upload(
    s3_server, store, put, some_bytes
):
    data = some_bytes(1_000)
    cid = put(store, data)
    s3_server.client().put_object(Bucket=BUCKET, Key=store.key(cid), Body=b"y" * len(data))

    put(store, data)

    assert store.open(cid).read() == data


def test_a_missing_bucket_is_not_a_missing_blob(store, put):
    cid = put(store, b"here")
    store.bucket.name = "no-such-bucket"

    with pytest.raises(BackendUnavailable):
        store.open(cid)


def test_wrong_credentials_are_the_store_s_failure(open_s3, monkeypatch, caplog):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")

    with pytest.raises(BackendUnavailable):
        open_s3().probe()

    assert "403" in caplog.text


def test_no_credentials_are_the_store_s_failure(open_s3, monkeypatch, tmp_path):
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))

    with pytest.raises(BackendUnavailable):
        open_s3().probe()


def test_threads_share_a_store(store, put):
    cids, failures = [], []

    def work(number: int) -> None:
        try:
            for turn in range(10):
                data = b"%d %d" % (number, turn)
                cid = put(store, data)
                assert store.open(cid).read() == data
                cids.append(cid)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert failures == []
    assert {stored.cid for stored in store.scan()} == set(cids)


def test_a_forked_process_makes_a_client_of_its_own(store, put):
    cid = put(store, b"here")

    child = os.fork()
    if child == 0:  # no pytest in here
        os._exit(0 if store.open(cid).read() == b"here" else 1)
    _, status = os.waitpid(child, 0)

    assert status == 0
    assert store.open(cid).read() == b"here"


def test_absence_is_not_an_error_where_it_is_an_answer(store):
    cid = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"

    store.delete(cid)

    assert store.size(cid) is None
    with pytest.raises(BlobNotFound):
        store.open(cid)
    with pytest.raises(BlobNotFound):
        store.open(cid, 5, 5)


def test_a_store_that_does_not_know_conditions_gets_plain_uploads(open_s3, store, put, link):
    link.inject("501", method="PUT", head="(?i)if-none-match")

    cids = [put(store, data) for data in (b"one", b"two", b"two")]

    assert {stored.cid for stored in open_s3().scan()} == set(cids)
    conditional = [head for head in link.heads if "if-none-match" in head.lower()]
    assert len(conditional) == 1


def test_a_batch_is_deleted_whole(store, put):
    cids = [put(store, b"%d" % number) for number in range(12)]

    assert store.delete_many(cids[:10]) == {}
    assert {stored.cid for stored in store.scan()} == set(cids[10:])


def test_a_key_that_a_batch_could_not_delete_is_reported(store, put, link):
    cids = [put(store, b"%d" % number) for number in range(3)]
    failed = f"<Error><Key>{store.key(cids[1])}</Key><Code>AccessDenied</Code></Error>"
    body = f"<?xml version='1.0'?><DeleteResult>{failed}</DeleteResult>".encode()
    link.inject("200", method="POST", head="[?&]delete", body=body)

    assert set(store.delete_many(cids)) == {cids[1]}


def test_a_store_without_batches_deletes_one_by_one(store, put, link):
    cids = [put(store, b"%d" % number) for number in range(3)]
    link.inject("501", method="POST", head="[?&]delete")

    assert store.delete_many(cids) == {}
    assert list(store.scan()) == []


def test_quarantined_bytes_outlive_the_object(s3_server, store, put, tmp_path):
    cid = put(store, b"wrong")

    store.quarantine(cid)
    store.delete(cid)

    names = []
    assert list(store.scan(names.append)) == names == []
    listed = s3_server.client().list_objects_v2(
        Bucket=BUCKET, Prefix=f"{tmp_path.name}/quarantine/{cid}."
    )
    assert [entry["Size"] for entry in listed["Contents"]] == [5]

    store.purge_quarantine({cid})
    listed = s3_server.client().list_objects_v2(
        Bucket=BUCKET, Prefix=f"{tmp_path.name}/quarantine/"
    )
    assert listed["KeyCount"] == 0


def test_other_bytes_of_the_same_size_are_another_version(s3_server, store, put):
    cid = put(store, b"right")
    version = store.version(cid)

    s3_server.client().put_object(Bucket=BUCKET, Key=store.key(cid), Body=b"wrong")

    assert store.version(cid) not in (version, None)


def test_keys_that_are_not_blobs_are_reported(s3_server, store, put, tmp_path):
    cid = put(store, b"blob")
    s3_server.client().put_object(Bucket=BUCKET, Key=f"{tmp_path.name}/notes.txt", Body=b"?")
    names = []

    assert [stored.cid for stored in store.scan(names.append)] == [cid]
    assert names == ["notes.txt"]


def test_a_store_that_checks_digests_is_believed_and_not_read_back(store, put, link, some_bytes):
    put(store, some_bytes(300_000))

    assert {head.split(" ", 1)[0] for head in link.heads} == {"PUT"}
