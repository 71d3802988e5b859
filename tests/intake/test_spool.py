"""A stream is spooled whole, counted and hashed, or refused without a trace."""

import fcntl
import gzip
import io
import os
import random
import signal
import subprocess
import sys
import tracemalloc
from contextlib import ExitStack
from pathlib import Path

import brotli
import pytest
from support.cids import cid_of
from support.full_disk import max_file_size
from support.media_samples import id3
from support.open_files import open_files
from support.streams import PiecewiseStream

from aurora_blobs.errors import BlobTooLarge, InsufficientStorage, InvalidMimeType, UploadIncomplete
from aurora_blobs.intake import spool as spool_module
from aurora_blobs.intake.memory_budget import MemoryBudget
from aurora_blobs.intake.spool import CHUNK, HEAD, IN_MEMORY, LARGE, MAX_HEAD, spooled
from aurora_blobs.intake.stale_files import stale_files

SIZES = [0, 1, HEAD - 1, HEAD, HEAD + 1, IN_MEMORY - 1, IN_MEMORY, IN_MEMORY + 1, 3 * IN_MEMORY + 5]
EDGES = [1000, HEAD, IN_MEMORY, IN_MEMORY + 1, 1_000_000]
BODY = random.Random(3).randbytes(3 * IN_MEMORY + 5)
ENCODE = {"gzip": gzip.compress, "br": lambda data: brotli.compress(data, quality=1)}
ENCODINGS = [(), ("gzip",), ("br",)]


def packed(data, encodings):
    for coding in encodings:
        data = ENCODE[coding](data)
    return data


@pytest.fixture
def spool(spool_folder):
    """`spooled` into the spool folder, with defaults."""

    def spool(
        stream,
        *,
        inspect=lambda head: "test/fake",
        max_bytes=10**9,
        declared_size=None,
        encodings=(),
        **asked,
    ):
        return spooled(
            io.BytesIO(stream) if isinstance(stream, bytes) else stream,
            folder=spool_folder,
            inspect=inspect,
            max_bytes=max_bytes,
            declared_size=declared_size,
            encodings=encodings,
            **asked,
        )

    return spool


def refused(manager, error):
    """The error raised by entering *manager*."""
    with pytest.raises(error) as refusal, manager:
        pytest.fail("the block ran")
    return refusal.value


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
def test_a_body_is_counted_hashed_and_kept(spool, size, declared):
    data = BODY[:size]

    with spool(data, declared_size=size if declared else None) as blob, blob.open() as file:
        assert (blob.cid, blob.size, blob.mime_type) == (cid_of(data), size, "test/fake")
        assert file.read() == data


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("times", [0, 1], ids=["where they are", "in a file"])
def test_the_bytes_can_be_viewed(spool, size, times):
    data = BODY[:size]

    with spool(data) as blob:
        for _ in range(times):
            blob.materialize(durable=False)
        with blob.view() as view:
            assert view[:] == data
        assert blob.head == data[:HEAD]


@pytest.mark.parametrize("size", SIZES)
def test_a_materialized_file_holds_the_bytes_and_is_named_after_the_cid(spool, spool_folder, size):
    data = BODY[:size]

    with spool(data) as blob:
        path = Path(blob.materialize(durable=True))
        assert path.parent == spool_folder
        assert path.name.startswith(blob.cid + ".")
        assert path.read_bytes() == data
        assert Path(blob.materialize(durable=False)) == path
        assert list(spool_folder.iterdir()) == [path]


@pytest.mark.parametrize("size", [0, 1000, IN_MEMORY])
def test_a_small_body_touches_no_file_before_it_is_materialized(spool, spool_folder, size):
    with spool(BODY[:size]) as blob, blob.open() as file, blob.view() as view:
        assert file.read() == view == BODY[:size]
        assert list(spool_folder.iterdir()) == []


def test_larger_bodies_touch_no_file_while_the_memory_budget_has_room(spool, spool_folder):
    size = 5 * 2**20
    data, memory = bytes(size), MemoryBudget(3 * size)

    with ExitStack() as uploads:
        for _ in range(3):
            uploads.enter_context(spool(data, declared_size=size, memory=memory))
        in_memory = list(spool_folder.iterdir())
        with spool(data, declared_size=size, memory=memory) as blob, blob.open() as file:
            assert file.read() == data
        with spool(data, declared_size=size, memory=memory):
            assert len(list(spool_folder.iterdir())) == 1
    with spool(data, declared_size=size, memory=memory):
        afterwards = list(spool_folder.iterdir())

    assert in_memory == afterwards == []


@pytest.mark.parametrize(
    "size, declared_size", [(IN_MEMORY + 1, None), (LARGE, LARGE)], ids=["chunked", "large"]
)
def test_other_bodies_go_to_a_file(spool, spool_folder, size, declared_size):
    with spool(bytes(size), declared_size=declared_size):
        assert len(list(spool_folder.iterdir())) == 1


@pytest.mark.parametrize("early_writeback", [True, False])
def test_a_large_body_is_written_back_early_if_its_fingerprint_is_wanted(
    spool, monkeypatch, early_writeback
):
    asked, written_back = [], []
    monkeypatch.setattr(spool_module, "start_writeback", lambda *given: written_back.append(given))

    def is_wanted(fingerprint):
        asked.append(fingerprint)
        return early_writeback

    with spool(bytes(2 * LARGE), declared_size=2 * LARGE, early_writeback=is_wanted) as blob:
        assert asked == [blob.fingerprint]
        with blob.open() as file:
            assert file.read() == bytes(2 * LARGE)

    assert bool(written_back) == early_writeback


def test_only_large_bodies_have_a_fingerprint_and_it_is_of_their_size_and_head(spool):
    def fingerprint(data, declared_size=None):
        with spool(data, declared_size=declared_size) as blob:
            return blob.fingerprint

    large = bytes(LARGE)

    assert fingerprint(large[1:], LARGE - 1) is None
    assert fingerprint(large) == fingerprint(large, LARGE) == fingerprint(large[:-1] + b"!")
    assert len({fingerprint(data) for data in (large, large + b"\0", b"!" + large[1:])}) == 3


@pytest.mark.parametrize("limit", EDGES)
@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
def test_a_body_of_exactly_the_limit_passes(spool, limit, declared):
    with spool(bytes(limit), max_bytes=limit, declared_size=limit if declared else None) as blob:
        assert blob.size == limit


@pytest.mark.parametrize("limit", EDGES)
def test_one_byte_over_the_limit_by_its_length_is_refused_unread(spool, limit):
    stream = PiecewiseStream(bytes(limit + 1))

    refused(spool(stream, max_bytes=limit, declared_size=limit + 1), BlobTooLarge)

    assert stream.asked == 0


@pytest.mark.parametrize("limit", EDGES)
def test_one_byte_over_the_limit_in_chunks_is_refused(spool, limit):
    refused(spool(bytes(limit + 1), max_bytes=limit), BlobTooLarge)


@pytest.mark.parametrize("limit", EDGES)
def test_an_endless_body_is_refused_at_the_limit(spool, limit):
    class Endless:
        given = 0

        def read(self, size, /):
            self.given += size
            return bytes(size)

    refused(spool(endless := Endless(), max_bytes=limit), BlobTooLarge)

    assert endless.given <= limit + CHUNK


@pytest.mark.parametrize("coding", ENCODE)
@pytest.mark.parametrize("limit", EDGES)
def test_the_limit_holds_for_the_decoded_bytes(spool, coding, limit):
    encode = ENCODE[coding]

    with spool(encode(bytes(limit)), max_bytes=limit, encodings=(coding,)) as blob:
        assert (blob.size, blob.cid) == (limit, cid_of(bytes(limit)))
    refused(spool(encode(bytes(limit + 1)), max_bytes=limit, encodings=(coding,)), BlobTooLarge)


@pytest.mark.parametrize("size", [IN_MEMORY - 1, IN_MEMORY, IN_MEMORY + 1, IN_MEMORY + 2])
@pytest.mark.parametrize("coding", ENCODE)
def test_a_small_limit_holds_where_decoded_bytes_move_to_a_file(spool, coding, size):
    refused(spool(ENCODE[coding](bytes(size)), max_bytes=1000, encodings=(coding,)), BlobTooLarge)


@pytest.mark.parametrize("coding", ENCODE)
@pytest.mark.parametrize("size", SIZES)
def test_an_encoded_body_is_the_blob_that_it_decodes_to(spool, coding, size):
    encoded = ENCODE[coding](BODY[:size])

    with (
        spool(encoded, declared_size=len(encoded), encodings=(coding,)) as blob,
        blob.open() as file,
    ):
        assert (blob.cid, blob.size) == (cid_of(BODY[:size]), size)
        assert file.read() == BODY[:size]


@pytest.mark.parametrize("limit", [1000, IN_MEMORY, 1_000_000])
def test_noise_that_compression_made_longer_than_the_limit_passes(spool, limit):
    data = random.Random(5).randbytes(limit)
    encoded = gzip.compress(data)
    assert len(encoded) > limit

    with spool(encoded, max_bytes=limit, declared_size=len(encoded), encodings=("gzip",)) as blob:
        assert blob.cid == cid_of(data)


@pytest.mark.parametrize("coding", ENCODE)
def test_a_bomb_is_read_no_further_than_the_limit(spool, coding):
    bomb = ENCODE[coding](bytes(64 * 2**20))
    tracemalloc.start()

    try:
        refused(spool(bomb, max_bytes=1_000_000, encodings=(coding,)), BlobTooLarge)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 8 * 2**20  # bytes; the bomb has 64 MiB


def test_a_body_that_decodes_to_nothing_is_read_no_further_than_the_limit_either(spool):
    endless = b"\x78\x01" + b"\x00\x00\x00\xff\xff" * 100_000  # empty blocks of deflate
    stream = PiecewiseStream(endless, (1000,))

    refused(spool(stream, max_bytes=1000, encodings=("deflate",)), BlobTooLarge)

    assert stream.asked < 100


@pytest.mark.parametrize("sent", [0, 1, HEAD, IN_MEMORY + 7])
def test_a_body_shorter_than_its_length_is_refused(spool, sent):
    refusal = refused(spool(BODY[:sent], declared_size=IN_MEMORY + 1000), UploadIncomplete)

    assert (
        refusal.message
        == f"the request body is {IN_MEMORY + 1000 - sent} bytes shorter than its Content-Length"
    )


def test_an_encoded_body_shorter_than_its_length_is_refused(spool):
    encoded = gzip.compress(b"whole")

    refused(spool(encoded, declared_size=len(encoded) + 1, encodings=("gzip",)), UploadIncomplete)


@pytest.mark.parametrize("length", [0, 5, IN_MEMORY + 5])
def test_bytes_past_the_declared_length_are_not_read(spool, length):
    stream = io.BytesIO(BODY)

    with spool(stream, declared_size=length) as blob:
        assert blob.cid == cid_of(BODY[:length])
    assert stream.tell() == length


@pytest.mark.parametrize("sent", [0, 5, HEAD, IN_MEMORY + 7], ids=lambda sent: f"after {sent}")
@pytest.mark.parametrize(
    "error",
    [OSError("gone"), EOFError(), ValueError("parser")],
    ids=lambda error: type(error).__name__,
)
def test_a_connection_that_breaks_is_an_incomplete_upload(spool, sent, error):
    refusal = refused(spool(PiecewiseStream(BODY[:sent], error=error)), UploadIncomplete)

    assert refusal.__cause__ is error


def test_the_type_is_detected_from_the_head_before_more_is_read(spool):
    stream = PiecewiseStream(BODY, [100] * 1000)
    heads = []

    def inspect(head):
        heads.append(head)
        raise InvalidMimeType("no")

    refused(spool(stream, inspect=inspect), InvalidMimeType)

    assert heads == [BODY[:HEAD]]
    assert stream.asked == HEAD // 100 + 1


@pytest.mark.parametrize(
    "tag_size, looked_at",
    [(100, HEAD), (HEAD - 10, HEAD + 4096), (60_000, 64_106), (2_000_000, MAX_HEAD)],
    ids=["in the head", "as long as the head", "longer", "beyond the bound"],
)
def test_sound_behind_a_tag_is_looked_at_within_a_bound(spool, tag_size, looked_at):
    heads = []
    body = id3(tag_size) + b"fLaC" + bytes(100_000)

    def inspect(head):
        heads.append(head)
        return "audio/flac"

    with spool(PiecewiseStream(body, [1000] * 10_000), inspect=inspect) as blob:
        assert blob.cid == cid_of(body)
    assert heads == [body[:looked_at]]


def test_a_tag_cannot_make_the_head_longer_than_a_blob_may_be(spool):
    refused(spool(id3(60_000) + bytes(60_000), max_bytes=HEAD + 100), BlobTooLarge)


@pytest.mark.parametrize("size", [0, 1, HEAD - 1, HEAD, HEAD + 1, IN_MEMORY + 1])
@pytest.mark.parametrize("encodings", ENCODINGS, ids=["plain", *ENCODE])
def test_the_type_is_detected_from_a_decoded_head(spool, size, encodings):
    heads = []
    body = packed(BODY[:size], encodings)

    def inspect(head):
        heads.append(head)
        return "a/b"

    with spool(body, inspect=inspect, encodings=encodings) as blob:
        assert blob.mime_type == "a/b"
    assert heads == [BODY[:size][:HEAD]]


@pytest.mark.parametrize("size", [0, 1000, IN_MEMORY + 1])
@pytest.mark.parametrize("times", [0, 1, 2])
def test_an_error_in_the_block_leaves_nothing(spool, spool_folder, size, times):
    with pytest.raises(ZeroDivisionError), spool(BODY[:size]) as blob:
        for _ in range(times):
            blob.materialize(durable=False)
        raise ZeroDivisionError

    assert list(spool_folder.iterdir()) == []


@pytest.mark.parametrize("size", [1000, IN_MEMORY + 1])
def test_a_link_in_a_backend_outlives_the_spooled_file(spool, tmp_path, size):
    with spool(BODY[:size]) as blob:
        os.link(blob.materialize(durable=False), tmp_path / "taken")

    assert (tmp_path / "taken").read_bytes() == BODY[:size]


def test_a_full_disk_is_known_by_its_name(spool):
    with max_file_size(2 * IN_MEMORY):
        refused(spool(BODY), InsufficientStorage)


def test_a_disk_too_full_for_a_declared_length_is_known_before_the_rest_is_read(spool):
    stream = PiecewiseStream(BODY)

    with max_file_size(2 * IN_MEMORY):
        refused(spool(stream, declared_size=LARGE), InsufficientStorage)

    assert stream.asked == 2


@pytest.mark.parametrize("size", [1000, len(BODY)])
def test_a_full_disk_is_known_when_a_body_in_memory_is_materialized(spool, size):
    with (
        max_file_size(500),
        pytest.raises(InsufficientStorage),
        spool(BODY[:size], declared_size=size) as blob,
    ):
        blob.materialize(durable=True)


@pytest.mark.parametrize("size", [1000, IN_MEMORY + 1])
def test_the_files_of_a_living_upload_are_not_stale(spool, spool_folder, size):
    with spool(BODY[:size]) as blob:
        blob.materialize(durable=False)
        assert list(stale_files(spool_folder)) == []


@pytest.mark.parametrize("size", [1000, IN_MEMORY + 1])
@pytest.mark.parametrize("times", [0, 1], ids=["where it is", "in a file"])
def test_a_body_kept_for_recovery_is_a_stale_file_after_the_block(spool, spool_folder, size, times):
    with spool(BODY[:size]) as blob:
        for _ in range(times):
            blob.materialize(durable=False)
        blob.keep_for_recovery()

    [(path, cid)] = stale_files(spool_folder)
    kept = path.read_bytes()
    path.unlink()

    assert (cid, kept) == (blob.cid, BODY[:size])


def test_a_body_that_a_full_disk_cannot_keep_is_given_up(spool, spool_folder):
    with spool(BODY[:1000]) as blob, max_file_size(500):
        blob.keep_for_recovery()

    assert list(spool_folder.iterdir()) == []


DYING = """
import io, os, sys
from pathlib import Path
from aurora_blobs.intake.spool import spooled

class Stalling:
    def __init__(self, size):
        self.left = size
    def read(self, size):
        if not self.left:
            print("stalled", flush=True)
            sys.stdin.read()
        data = bytes(min(size, self.left))
        self.left -= len(data)
        return data

def upload(stream, **how):
    folder = Path(sys.argv[1])
    return spooled(stream, folder=folder, inspect=lambda head: "a/b", max_bytes=10**9, **how)

if sys.argv[2] == "reading":
    with upload(Stalling(600_000), declared_size=10_000_000):
        pass
else:
    with upload(io.BytesIO(bytes(int(sys.argv[3]))), declared_size=None) as blob:
        blob.materialize(durable=True)
        print("materialized", flush=True)
        sys.stdin.read()
"""


@pytest.mark.parametrize(
    "arguments, cid",
    [
        (("reading",), None),
        (("materialized", "10"), cid_of(bytes(10))),
        (("materialized", "300000"), cid_of(bytes(300_000))),
    ],
    ids=["while it read", "materialized, from memory", "materialized, from a file"],
)
def test_an_upload_that_was_killed_leaves_a_file_that_is_found(spool_folder, arguments, cid):
    command = [sys.executable, "-c", DYING, spool_folder, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        while_alive = list(stale_files(spool_folder))
        process.send_signal(signal.SIGKILL)

    found = list(stale_files(spool_folder))
    for path, _ in found:
        path.unlink()

    assert while_alive == []
    assert [found_cid for _, found_cid in found] == [cid]


def test_a_sweep_between_two_uploads_harms_neither(spool, spool_folder):
    with spool(BODY) as first:
        for path, _ in stale_files(spool_folder):
            path.unlink()
        with spool(BODY[:1000]) as second:
            second.materialize(durable=False)
            for path, _ in stale_files(spool_folder):
                path.unlink()
            with first.open() as one, second.open() as two:
                assert (one.read(), two.read()) == (BODY, BODY[:1000])


def test_a_file_that_is_swept_before_it_is_locked_is_made_again(spool, spool_folder, monkeypatch):
    flock, sweeps = fcntl.flock, iter(["one"])

    def late(file, operation):
        for _ in sweeps:
            [swept] = spool_folder.iterdir()
            swept.unlink()
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)

    with spool(BODY) as blob, blob.open() as file:
        assert file.read() == BODY


def test_no_descriptor_stays_open_after_many_uploads(spool, spool_folder):
    for size in SIZES * 3:
        with spool(BODY[:size]) as blob:
            blob.materialize(durable=False)

    assert open_files(spool_folder) == []


def test_random_bodies_in_random_pieces_come_out_whole_or_not_at_all(spool, spool_folder):
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)

    for _ in range(200):
        data = BODY[: chance.choice([*SIZES, chance.randrange(len(BODY))])]
        encodings = chance.choice(ENCODINGS)
        body = packed(data, encodings)
        sizes = [chance.choice([1, 100, 8191, 8192, 65536, 300_000]) for _ in range(300)]
        limit = chance.choice([len(data), max(0, len(data) - 1), 10**9])
        stream = PiecewiseStream(body, sizes)
        declared = chance.choice([None, len(body)])
        upload = spool(stream, max_bytes=limit, declared_size=declared, encodings=encodings)
        assert outcome(upload) == (cid_of(data) if len(data) <= limit else "too large")
        assert list(spool_folder.iterdir()) == []


def outcome(upload):
    try:
        with upload as blob, blob.open() as file:
            assert cid_of(file.read()) == blob.cid
            return blob.cid
    except BlobTooLarge:
        return "too large"
