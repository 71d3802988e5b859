"""Repositories in CAR files: every record is read, and every fault is reported."""

import io
import random
import tracemalloc

import pytest
from support.accounts import ALICE
from support.car_files import Car, block_of, car_of, cid_of_block, varint
from support.cids import binary_cid_of

from aurora_blobs.errors import InvalidRequest
from aurora_blobs.protocol.car import Repository
from aurora_blobs.protocol.car_index import MAX_BLOCK_BYTES
from aurora_blobs.protocol.dag_cbor import cid_text

BLOB = binary_cid_of(b"a blob")
LIMIT = 10**9


def post(number):
    return {"$type": "app.bsky.feed.post", "text": f"post {number}"}


def records_of(file, max_bytes=LIMIT):
    return list(Repository(file).records(max_bytes))


def refusal(file, max_bytes=LIMIT):
    with pytest.raises(InvalidRequest) as caught:
        records_of(file, max_bytes)
    return caught.value.message


def test_every_record_is_read_with_its_cid_in_the_order_of_keys():
    values = {f"app.bsky.feed.post/{number:06}": post(number) for number in range(3000)}
    keys = list(values)
    random.Random(7).shuffle(keys)

    found = records_of(car_of({key: values[key] for key in keys}))

    assert [f"{record.collection}/{record.rkey}" for record in found] == sorted(values)
    assert all(record.value == values[f"{record.collection}/{record.rkey}"] for record in found)
    assert all(record.cid == cid_text(cid_of_block(block_of(record.value))) for record in found)


def test_a_record_has_its_links_and_bytes_as_json():
    blob = {"$type": "blob", "ref": BLOB, "mimeType": "image/png", "size": 6}

    (record,) = records_of(
        car_of({"app.bsky.actor.profile/self": {"avatar": blob, "key": b"\x00\x01"}})
    )

    assert record.value == {
        "avatar": {**blob, "ref": {"$link": cid_text(BLOB)}},
        "key": {"$bytes": "AAE"},
    }


def test_a_repository_names_its_account():
    assert Repository(car_of({})).did == ALICE


def test_an_empty_repository_has_no_records():
    assert records_of(car_of({})) == []


def test_blocks_may_come_in_any_order_and_more_than_once():
    car = Car()
    root = car.repository({f"com.example.a/{number}": post(number) for number in range(100)})
    blocks = list(car.blocks.items()) * 2
    random.Random(7).shuffle(blocks)
    header = block_of({"version": 1, "roots": [root]})
    data = varint(len(header)) + header
    data += b"".join(varint(len(cid) + len(block)) + cid + block for cid, block in blocks)

    assert len(records_of(io.BytesIO(data))) == 100


def test_blocks_that_nothing_names_are_passed_over():
    car = Car()
    root = car.repository({"com.example.a/1": post(1)})
    car.add({"left": "over"})

    assert len(records_of(car.file(root))) == 1


def test_the_same_record_may_be_under_two_keys():
    assert len(records_of(car_of({"com.example.a/1": post(1), "com.example.a/2": post(1)}))) == 2


def test_memory_does_not_grow_with_the_size_of_records(tmp_path):
    path = tmp_path / "repository.car"
    records = {
        f"com.example.a/{number:03}": {"text": f"{number:03}" * 200_000} for number in range(100)
    }
    path.write_bytes(car_of(records).getvalue())
    del records

    tracemalloc.start()
    with path.open("rb") as file:
        assert sum(1 for _ in Repository(file).records(LIMIT)) == 100
        peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert path.stat().st_size > 60_000_000
    assert peak < 8_000_000


def test_a_file_that_is_cut_off_anywhere_is_refused():
    data = car_of({f"com.example.a/{number}": post(number) for number in range(20)}).getvalue()

    for length in range(len(data)):
        refusal(io.BytesIO(data[:length]))


@pytest.mark.parametrize("seed", range(3))
def test_a_file_with_a_changed_byte_is_refused_or_has_a_larger_header(seed):
    print(f"{seed=}")
    data = car_of({f"com.example.a/{number}": post(number) for number in range(20)}).getvalue()
    start = data.index(varint(data[0]) + b"\xa2") + data[0] + 1
    rng = random.Random(seed)

    for _ in range(300):
        changed = bytearray(data)
        changed[rng.randrange(start, len(data))] ^= 1 << rng.randrange(8)
        refusal(io.BytesIO(bytes(changed)))


@pytest.mark.parametrize("seed", range(3))
def test_random_bytes_are_refused(seed):
    print(f"{seed=}")
    rng = random.Random(seed)

    for size in (0, 1, 2, 10, 59, 100, 1000, 100_000):
        refusal(io.BytesIO(rng.randbytes(size)))


def test_a_header_must_have_one_root():
    car = Car()
    root = car.repository({})

    assert refusal(car.file()) == "expected one root"
    assert refusal(car.file(root, root)) == "expected one root"


def broken(build):
    """A repository whose tree is made by *build*, which gets the Car and the CID of a record."""
    car = Car()
    return car.file(car.commit(build(car, car.add(post(1)))))


def entry(key, cid, shared=0, right=None):
    return {"p": shared, "k": key, "v": cid, "t": right}


def chain(car, cid, length):
    node = car.add({"l": None, "e": [entry(b"com.example.a/1", cid)]})
    for _ in range(length):
        node = car.add({"l": node, "e": []})
    return node


def shared_subtree(car, cid):
    below = car.add({"l": None, "e": [entry(b"com.example.a/5", cid)]})
    return car.add({"l": below, "e": [entry(b"com.example.a/6", cid, right=below)]})


TREES = {
    "missing node": (lambda car, cid: cid_of_block(b"nowhere"), "missing block bafyrei"),
    "missing record": (
        lambda car, cid: car.add(
            {"l": None, "e": [entry(b"com.example.a/1", cid_of_block(b"nowhere"))]}
        ),
        "missing block bafyrei",
    ),
    "keys out of order": (
        lambda car, cid: car.add(
            {"l": None, "e": [entry(b"com.example.a/2", cid), entry(b"com.example.a/1", cid)]}
        ),
        "key out of order: 'com.example.a/1'",
    ),
    "key twice": (
        lambda car, cid: car.add(
            {"l": None, "e": [entry(b"com.example.a/1", cid), entry(b"", cid, 15)]}
        ),
        "key out of order: 'com.example.a/1'",
    ),
    "subtree twice": (shared_subtree, "key out of order: 'com.example.a/5'"),
    "empty node": (
        lambda car, cid: car.add(
            {"l": car.add({"l": None, "e": []}), "e": [entry(b"com.example.a/1", cid)]}
        ),
        "empty node",
    ),
    "prefix longer than the last key": (
        lambda car, cid: car.add({"l": None, "e": [entry(b"com.example.a/1", cid, 1)]}),
        "malformed",
    ),
    "negative prefix": (
        lambda car, cid: car.add({"l": None, "e": [entry(b"a", cid, -1)]}),
        "malformed",
    ),
    "key as text": (
        lambda car, cid: car.add({"l": None, "e": [entry("com.example.a/1", cid)]}),
        "malformed",
    ),
    "entry without value": (
        lambda car, cid: car.add({"l": None, "e": [{"p": 0, "k": b"a", "t": None}]}),
        "malformed",
    ),
    "entry that is no map": (lambda car, cid: car.add({"l": None, "e": [1]}), "malformed"),
    "entries that are no list": (lambda car, cid: car.add({"l": None, "e": 1}), "malformed"),
    "no collection": (
        lambda car, cid: car.add({"l": None, "e": [entry(b"self", cid)]}),
        "not a record's key: 'self'",
    ),
    "too many parts": (
        lambda car, cid: car.add({"l": None, "e": [entry(b"a.b.c/d/e", cid)]}),
        "not a record's key",
    ),
    "not an NSID": (
        lambda car, cid: car.add({"l": None, "e": [entry(b"posts/1", cid)]}),
        "not a record's key",
    ),
    "not a record key": (
        lambda car, cid: car.add({"l": None, "e": [entry(b"a.b.c/..", cid)]}),
        "not a record's key",
    ),
    "not ASCII": (
        lambda car, cid: car.add({"l": None, "e": [entry(b"a.b.c/\xff", cid)]}),
        "not a record's key",
    ),
    "node that is no map": (lambda car, cid: car.add([]), "tree: not a map"),
    "too deep": (lambda car, cid: chain(car, cid, 1000), "tree is too deep"),
}


@pytest.mark.parametrize("build, reason", TREES.values(), ids=TREES.keys())
def test_a_broken_tree_is_refused(build, reason):
    assert reason in refusal(broken(build))


def test_a_tree_as_deep_as_there_are_layers_is_read():
    assert len(records_of(broken(lambda car, cid: chain(car, cid, 127)))) == 1


@pytest.mark.parametrize(
    "data, reason",
    {
        "block that is not its CID's": (
            varint(37) + cid_of_block(b"a") + b"b",
            "does not match its CID",
        ),
        "block without a CID": (varint(3) + b"abc", "CID is not CIDv1 with SHA-256"),
        "empty section": (varint(0), "CID is not CIDv1 with SHA-256"),
        "CIDv0": (varint(35) + b"\x12\x20" + bytes(33), "CID is not CIDv1 with SHA-256"),
        "huge block": (varint(MAX_BLOCK_BYTES + 1), "at most 2097152 are read"),
        "endless length": (b"\xff" * 20, "bad length"),
        "length of 2**62": (b"\xff" * 8 + b"\x7f", "are read"),
        "half a length": (b"\x80", "cut off"),
    }.values(),
    ids=str,
)
def test_a_broken_block_is_refused(data, reason):
    car = Car()
    file = car.file(car.repository({}))

    assert reason in refusal(io.BytesIO(file.getvalue() + data))


@pytest.mark.parametrize(
    "header, reason",
    [
        ({"version": 2, "roots": [cid_of_block(b"")]}, "version 1 is expected (got 2)"),
        ({"version": "1" * 1000, "roots": []}, "version 1 is expected"),
        ({"roots": []}, "bad header"),
        ({"version": 1}, "bad header"),
        ({"version": 1, "roots": 5}, "expected one root"),
        ({"version": 1, "roots": [None]}, "a CID is not CIDv1 with SHA-256"),
        ([], "bad header"),
        ({"version": 1, "roots": [cid_of_block(b"")]}, "missing block"),
    ],
    ids=range(8),
)
def test_a_broken_header_is_refused(header, reason):
    block = block_of(header)

    assert reason in refusal(io.BytesIO(varint(len(block)) + block))


@pytest.mark.parametrize(
    "commit",
    [
        {},
        {"did": ALICE},
        {"did": "alice", "data": BLOB},
        {"did": ALICE, "data": 1},
        {"did": 1, "data": BLOB},
        [],
    ],
)
def test_a_root_that_is_no_commit_is_refused(commit):
    car = Car()

    assert "Invalid CAR file" in refusal(car.file(car.add(commit)))


def test_a_record_that_is_not_dag_cbor_is_refused():
    car = Car()
    block = b"\x81" * 2000 + b"\x00"
    car.blocks[cid_of_block(block)] = block
    tree = car.add({"l": None, "e": [entry(b"com.example.a/1", cid_of_block(block))]})

    assert refusal(car.file(car.commit(tree))) == (
        "Invalid CAR file: record 'com.example.a/1': nested too deeply: at most 128 levels "
        "are accepted"
    )


@pytest.mark.parametrize("value", [None, 1, "text", [], b"bytes", BLOB], ids=ascii)
def test_a_record_that_is_no_map_is_refused(value):
    assert (
        refusal(car_of({"com.example.a/1": value}))
        == "Invalid CAR file: record 'com.example.a/1': not a map"
    )


def test_one_record_under_many_keys_is_held_to_the_limit():
    records = {f"com.example.a/{number}": {"text": "x" * 10_000} for number in range(100)}

    assert "more bytes than may be imported" in refusal(car_of(records), 500_000)
