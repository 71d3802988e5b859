"""Multipart uploads, with the limit for one request lowered to the smallest part size."""

import io
import os
import re
import signal
import time
import tracemalloc

import pytest
from support.cids import cid_of
from support.live_service import becomes
from support.s3_access import BUCKET

from aurora_blobs.errors import BackendTimeout, BackendUnavailable, ServiceBusy
from aurora_blobs.intake.spool import spooled
from aurora_blobs.maintenance.collect import Collector
from aurora_blobs.maintenance.migrate import Migration

pytestmark = pytest.mark.live

PART = 5 * 2**20
SIZES = {"max_put": PART, "part_bytes": PART}
SIZE = 2 * PART + 12_345
STEPS = {
    "create": {"method": "POST", "head": r"\?uploads"},
    "part": {"method": "PUT", "head": "partNumber=2"},
    "complete": {"method": "POST", "head": "uploadId="},
}
REFUSED = (
    b"<?xml version='1.0'?><Error><Code>InternalError</Code><Message>after all</Message></Error>"
)


def now():
    return time.time_ns() // 1000


@pytest.fixture
def store(open_s3, link):
    return open_s3(link.url, **SIZES)


@pytest.fixture
def put(tmp_path):
    folder = tmp_path / "spool"
    folder.mkdir()

    def put(store, data: bytes, change=lambda path: None) -> str:
        with spooled(
            io.BytesIO(data),
            folder=folder,
            inspect=lambda head: "video/mp4",
            max_bytes=10**9,
            declared_size=None,
        ) as blob:
            change(blob.materialize(durable=False))
            store.put(blob)
            return blob.cid

    yield put
    assert list(folder.iterdir()) == []


@pytest.fixture
def bucket(s3_server, tmp_path):
    """The bucket below this test's prefix, seen by a plain client."""
    return Outside(s3_server.client(), f"{tmp_path.name}/")


class Outside:
    def __init__(self, client, prefix):
        self.client = client
        self.prefix = prefix

    def begin(self, key):
        return self.client.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]

    def send(self, key, upload, number=1):
        self.client.upload_part(
            Bucket=BUCKET, Key=key, UploadId=upload, PartNumber=number, Body=b"part"
        )

    def unfinished(self):
        listed = self.client.list_multipart_uploads(Bucket=BUCKET, Prefix=self.prefix)
        return [upload["Key"] for upload in listed.get("Uploads", ())]

    def keys(self):
        listed = self.client.list_objects_v2(Bucket=BUCKET, Prefix=self.prefix)
        return [entry["Key"] for entry in listed.get("Contents", ())]


def test_an_upload_in_parts_is_one_object_with_its_type(store, put, link, bucket, some_bytes):
    data = some_bytes(SIZE)

    cid = put(store, data)

    head = bucket.client.head_object(Bucket=BUCKET, Key=store.key(cid))
    assert (head["ContentLength"], head["ContentType"]) == (SIZE, "video/mp4")
    assert store.open(cid).read() == data
    assert store.open(cid, PART - 5, PART + 5).read() == data[PART - 5 : PART + 5]
    assert [(stored.cid, stored.size) for stored in store.scan()] == [(cid, SIZE)]
    parts = [head for head in link.heads if "partNumber=" in head]
    assert {re.search("partNumber=([0-9]+)", head)[1] for head in parts} == {"1", "2", "3"}
    assert all("x-amz-checksum-sha256: " in head for head in parts)
    assert bucket.unfinished() == []


def test_a_blob_that_fits_one_request_is_not_split(store, put, link, some_bytes):
    put(store, some_bytes(PART))

    assert {head.split(" ", 1)[0] for head in link.heads} == {"PUT"}


def test_no_part_is_held_in_memory(open_s3, put, some_bytes):
    store = open_s3(max_put=PART, part_bytes=4 * PART)
    data = some_bytes(6 * PART)
    put(store, some_bytes(PART + 1))  # what is made once
    tracemalloc.start()
    try:
        put(store, data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < PART


@pytest.mark.parametrize(
    "step, kind, left",
    [
        *((step, kind, 0) for step in STEPS for kind in ("reset", "500", "503", "stall")),
        ("create", "reset-after", 1),  # only the store knows of that one
        *((step, "reset-after", 0) for step in ("part", "complete")),
        *(("part", kind, 0) for kind in ("cut-up", "damage-up")),
    ],
)
def test_one_fault_at_any_step_is_survived(store, put, link, bucket, some_bytes, step, kind, left):
    data = some_bytes(SIZE)
    link.inject(kind, times=1, **STEPS[step])

    cid = put(store, data)

    assert store.open(cid).read() == data
    assert len(bucket.unfinished()) == left


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    "kind, error",
    [
        ("reset", BackendUnavailable),
        ("500", BackendUnavailable),
        ("503", ServiceBusy),
        ("stall", BackendTimeout),
    ],
)
def test_a_lasting_fault_at_any_step_has_a_name_and_leaves_nothing(
    store, put, link, bucket, some_bytes, step, kind, error
):
    link.inject(kind, **STEPS[step])

    with pytest.raises(error) as caught:
        put(store, some_bytes(SIZE))

    assert caught.value.retry_after
    assert (bucket.keys(), bucket.unfinished()) == ([], [])


@pytest.mark.parametrize("kind", ["cut-up", "damage-up"])
def test_a_part_that_never_arrives_whole_leaves_nothing(store, put, link, bucket, some_bytes, kind):
    link.inject(kind, **STEPS["part"])

    with pytest.raises(BackendUnavailable):
        put(store, some_bytes(SIZE))

    assert (bucket.keys(), bucket.unfinished()) == ([], [])


def test_an_error_that_comes_with_200_is_one(store, put, link, bucket, some_bytes):
    link.inject("200", body=REFUSED, **STEPS["complete"])

    with pytest.raises(BackendUnavailable):
        put(store, some_bytes(SIZE))

    assert (bucket.keys(), bucket.unfinished()) == ([], [])


def test_an_error_that_comes_with_200_once_is_survived(store, put, link, some_bytes):
    link.inject("200", body=REFUSED, times=1, **STEPS["complete"])

    cid = put(store, some_bytes(SIZE))

    assert store.open(cid).read() == some_bytes(SIZE)


def test_bytes_that_the_disk_damaged_meanwhile_are_not_stored(store, put, bucket, some_bytes):
    def damage(path):
        with open(path, "r+b") as file:
            file.seek(PART + 7)
            file.write(b"another")

    with pytest.raises(BackendUnavailable):
        put(store, some_bytes(SIZE), damage)

    assert (bucket.keys(), bucket.unfinished()) == ([], [])


def test_a_second_upload_leaves_one_object_and_nothing_else(store, put, bucket, some_bytes):
    cid = put(store, some_bytes(SIZE))

    put(store, some_bytes(SIZE))

    assert store.open(cid).read() == some_bytes(SIZE)
    assert (bucket.keys(), bucket.unfinished()) == ([store.key(cid)], [])


def test_an_object_that_the_store_damaged_is_replaced(store, put, bucket, some_bytes):
    data = some_bytes(SIZE)
    cid = put(store, data)
    bucket.client.put_object(Bucket=BUCKET, Key=store.key(cid), Body=bytes(SIZE))

    put(store, data)

    assert store.open(cid).read() == data
    assert bucket.unfinished() == []


@pytest.mark.parametrize(
    "method, header",
    [("POST", "x-amz-checksum-algorithm"), ("POST", "if-none-match")],
    ids=["checksums", "conditions"],
)
@pytest.mark.parametrize("status", ["400", "501"])
def test_an_upload_in_parts_works_without_optional_headers(
    store, put, link, some_bytes, method, header, status
):
    link.inject(
        status,
        method=method,
        head=f"(?i){header}",
        body=REFUSED.replace(b"InternalError", b"NotImplemented"),
    )

    cid = put(store, some_bytes(SIZE))

    assert store.open(cid).read() == some_bytes(SIZE)
    assert len([head for head in link.heads if header in head.lower()]) == 1


def test_a_large_object_is_quarantined_in_parts(store, put, link, bucket, some_bytes):
    cid = put(store, some_bytes(SIZE))

    store.quarantine(cid)

    (aside,) = set(bucket.keys()) - {store.key(cid)}
    assert bucket.client.get_object(Bucket=BUCKET, Key=aside)["Body"].read() == some_bytes(SIZE)
    assert len([head for head in link.heads if "x-amz-copy-source-range" in head.lower()]) == 3


def collector(core, later_seconds=0):
    return Collector(
        core.backend,
        core.database,
        spool=core.spool,
        grace_seconds=3600,
        clock=lambda: now() + later_seconds * 1_000_000,
    )


@pytest.fixture
def core(open_core, store):
    return open_core(clock=now, backend=store, max_bytes=10**9)


def test_parts_left_by_a_crash_are_collected_after_the_grace(core, link, bucket, some_bytes):
    link.inject("stall", **STEPS["part"])

    child = os.fork()
    if child == 0:  # no pytest in here
        core.upload(some_bytes(SIZE))
        os._exit(1)
    assert becomes(lambda: any("partNumber=2" in head for head in link.heads))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    link.heal()
    early = [found.kind for found in collector(core, 3000).run(dry_run=True)]
    (told,) = [
        found for found in collector(core, 3700).run(dry_run=True) if found.kind == "unfinished"
    ]
    there = bucket.unfinished()
    swept = [found for found in collector(core, 3700).run() if found.kind == "unfinished"]

    assert early == ["spool"]
    assert (told.cid, told.size) == (cid_of(some_bytes(SIZE)), PART)
    assert [key.rpartition(".")[0] for key in there] == [core.backend.key(told.cid)]
    assert swept == [told]
    assert (bucket.unfinished(), bucket.keys(), core.stored()) == ([], [], set())
    assert list(collector(core, 3700).run()) == []


def test_an_upload_that_could_not_be_aborted_is_collected(store, put, link, bucket, some_bytes):
    link.inject("500", **STEPS["part"])
    link.inject("reset", method="DELETE")
    with pytest.raises(BackendUnavailable):
        put(store, some_bytes(SIZE))
    link.heal()
    (left,) = store.unfinished(now() + 2_000_000)

    assert bucket.keys() == []
    assert left.size == PART
    assert left.remove() is True
    left.remove()  # gone already
    assert bucket.unfinished() == []


def test_a_canary_left_by_a_crash_is_collected(store, bucket):
    key = f"{bucket.prefix}probe.0123456789abcdef.1"
    bucket.client.put_object(Bucket=BUCKET, Key=key, Body=b"canary")

    (left,) = store.unfinished(now() + 2_000_000)

    assert (left.cid, left.size) == (None, 6)
    assert list(store.unfinished(left.since)) == []
    assert left.remove() is True
    assert bucket.keys() == []


def test_an_upload_with_a_recent_part_is_not_collected(store, bucket):
    key = store.key("bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e")
    upload = bucket.begin(key)
    bucket.send(key, upload, 1)
    time.sleep(2.1)  # the store reports whole seconds
    before = now()
    (still,) = store.unfinished(before)
    time.sleep(1.1)
    bucket.send(key, upload, 2)

    assert still.size == 4
    assert list(store.unfinished(before)) == []
    (later,) = store.unfinished(now() + 2_000_000)
    assert later.size == 8
    assert later.remove() is True


def test_uploads_under_other_prefixes_are_not_collected(store, bucket):
    cid = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
    theirs = [f"{bucket.prefix}notes.txt", f"{bucket.prefix}00/{cid}", f"else-{store.key(cid)}"]
    ours = [store.key(cid), f"{bucket.prefix}quarantine/{cid}.0123456789abcdef"]
    uploads = {key: bucket.begin(key) for key in theirs + ours}

    found = [left.remove() for left in store.unfinished(now() + 2_000_000)]

    assert found == [True, True]
    for key in theirs:
        bucket.client.abort_multipart_upload(Bucket=BUCKET, Key=key, UploadId=uploads[key])
    assert bucket.unfinished() == []


@pytest.mark.parametrize("status", ["403", "501"])
def test_a_store_that_cannot_list_uploads_is_asked_once(core, link, status):
    link.inject(status, method="GET", head=r"\?uploads")

    assert list(collector(core).run()) == []


def test_a_store_that_is_away_is_a_failure_of_the_collector(core, link):
    link.inject("500", method="GET", head=r"\?uploads")

    (found,) = collector(core).run()

    assert (found.kind, bool(found.failure)) == ("unfinished", True)


@pytest.mark.parametrize("step", STEPS)
def test_a_migration_that_a_fault_ends_goes_on(open_core, store, link, bucket, some_bytes, step):
    core = open_core(max_bytes=10**9)
    blobs = {core.upload(data): data for data in (some_bytes(SIZE), some_bytes(PART + 1), b"small")}

    def migrate(source, target):
        job = Migration(core.database, source, target, core.spool, core.clock, jobs=2)
        return [finding.kind for finding in [*job.run(lambda size: None), *job.verify()]]

    link.inject("500", **{**STEPS[step], "head": STEPS[step]["head"].replace("=2", "=1")})
    with pytest.raises(BackendUnavailable):
        migrate(core.backend, store)
    link.heal()
    there = migrate(core.backend, store)
    for entry in blobs:
        core.backend.delete(entry.cid)
    back = migrate(store, core.backend)

    assert there == back == []
    assert {entry: core.read(entry) for entry in blobs} == blobs
    assert bucket.unfinished() == []
