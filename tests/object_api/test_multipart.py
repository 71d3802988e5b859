"""Uploads in parts: what dead ones leave goes, and what an end leaves behind may be repeated."""

import io
import os
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pytest
from support.accounts import ALICE
from support.services import services_of

from aurora_blobs.disk_space import DiskSpace
from aurora_blobs.object_api.layout import Key, Kind
from aurora_blobs.object_api.multipart import IDLE_SECONDS, MultipartUploads, idle_uploads
from aurora_blobs.object_api.payload import Payload
from aurora_blobs.object_api.refusals import Refusal
from aurora_blobs.object_api.signature import Signed

KEY = Key(Kind.STAGED, ALICE, "abc")


@pytest.fixture
def uploads(tmp_path):
    return MultipartUploads(tmp_path / "parts", max_bytes=100, space=DiskSpace())


def payload(data, stated="UNSIGNED-PAYLOAD"):
    signed = Signed(stated, "", "", b"", "")
    headers = {"content-length": str(len(data))}
    return Payload(io.BytesIO(data), headers, signed, skips_sha256=True)


def age(folder, seconds):
    moment = time.time() - seconds
    os.utime(folder, (moment, moment))


def test_parts_of_which_no_more_come_are_collected(uploads, tmp_path):
    folder = tmp_path / "parts"
    old, new = (uploads.create(KEY, None, signature) for signature in ("one", "two"))
    uploads.put(old, KEY, 1, payload(b"part"))
    age(folder / old, IDLE_SECONDS + 1)

    [found] = idle_uploads(folder)

    assert found.remove()
    assert [path.name for path in folder.iterdir()] == [new]


def test_the_collector_finds_them_by_its_command(objects_app):
    folder = services_of(objects_app).config.data_folder.parts
    (folder / ("0" * 64)).mkdir(parents=True)
    age(folder / ("0" * 64), IDLE_SECONDS + 1)

    done = objects_app.test_cli_runner().invoke(args=["blobs", "gc"])

    assert done.exit_code == 0, done.output
    assert "parts" in done.output
    assert list(folder.iterdir()) == []


def test_an_end_that_failed_may_be_tried_again_and_one_that_did_not_is_told_again(uploads):
    upload_id = uploads.create(KEY, "text/plain", "one")
    part = uploads.put(upload_id, KEY, 1, payload(b"part"))
    wanted = [(1, part.etag)]

    def fail(stream, size, media_type):
        raise BlockingIOError

    def take(stream, size, media_type):
        return f"{media_type}: {stream.read(size).decode()}"

    with pytest.raises(BlockingIOError):
        uploads.complete(upload_id, KEY, wanted, fail)
    first = uploads.complete(upload_id, KEY, wanted, take)
    second = uploads.complete(upload_id, KEY, wanted, fail)
    uploads.abort(upload_id, KEY)

    assert first == second == uploads.complete(upload_id, KEY, wanted, fail) == "text/plain: part"
    with pytest.raises(Refusal, match="does not exist"):
        uploads.complete(upload_id, Key(Kind.STAGED, ALICE, "another"), wanted, fail)


def test_one_that_begins_in_the_second_in_which_one_of_its_name_ended_is_another(uploads):
    def take(stream, size, media_type):
        return stream.read(size)[:5].decode()

    told = []
    for data in (b"first", b"second", b"third"):
        upload_id = uploads.create(KEY, None, "one")
        assert uploads.create(KEY, None, "one") == upload_id
        wanted = [(1, uploads.put(upload_id, KEY, 1, payload(data)).etag)]
        told += [uploads.complete(upload_id, KEY, wanted, take) for _ in range(2)]

    assert told == ["first", "first", "secon", "secon", "third", "third"]


def test_one_that_ends_while_another_waits_for_it_is_told_to_both(uploads):
    upload_id = uploads.create(KEY, None, "one")
    wanted = [(1, uploads.put(upload_id, KEY, 1, payload(b"part")).etag)]
    taken = []

    def take(stream, size, media_type):
        taken.append(stream.read(size))
        time.sleep(0.2)
        return "told"

    with ThreadPoolExecutor(4) as threads:
        told = list(threads.map(lambda _: uploads.complete(upload_id, KEY, wanted, take), range(4)))

    assert told == ["told"] * 4
    assert taken == [b"part"]


def test_what_has_ended_is_no_work_for_the_next_upload_and_is_collected(uploads, tmp_path):
    folder = tmp_path / "parts"
    upload_id = uploads.create(KEY, None, "one")
    wanted = [(1, uploads.put(upload_id, KEY, 1, payload(b"part")).etag)]
    uploads.complete(upload_id, KEY, wanted, lambda *given: "told")

    assert [path.name for path in folder.iterdir()] == ["done"]
    assert list(uploads.pending()) == list(idle_uploads(folder)) == []
    age(folder / "done" / upload_id, IDLE_SECONDS + 1)
    age(folder / "done", IDLE_SECONDS + 1)
    [found] = idle_uploads(folder)
    assert found.remove()
    assert list((folder / "done").iterdir()) == []


def test_a_part_that_breaks_off_leaves_nothing(uploads, tmp_path):
    upload_id = uploads.create(KEY, None, "one")
    broken = Payload(
        io.BytesIO(b"par"),
        {"content-length": "4"},
        Signed("UNSIGNED-PAYLOAD", "", "", b"", ""),
        skips_sha256=False,
    )

    with pytest.raises(Exception, match="shorter than its Content-Length"):
        uploads.put(upload_id, KEY, 1, broken)

    assert uploads.parts(upload_id, KEY) == []
    assert [path.name for path in (tmp_path / "parts" / upload_id).iterdir()] == ["target"]


def test_a_part_is_the_one_that_its_request_was_signed_with(uploads, tmp_path):
    upload_id = uploads.create(KEY, None, "one")
    digest = sha256(b"part").hexdigest()

    with pytest.raises(Refusal, match="x-amz-content-sha256"):
        uploads.put(upload_id, KEY, 1, payload(b"trap", digest))

    assert [path.name for path in (tmp_path / "parts" / upload_id).iterdir()] == ["target"]
    assert uploads.put(upload_id, KEY, 1, payload(b"part", digest)).tag == digest
