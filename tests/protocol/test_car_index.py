"""The blocks of a CAR file are checked while it arrives, with little memory for each."""

import tracemalloc

import pytest
from support.accounts import ALICE
from support.car_files import Car, car_of, cid_of_block, varint

from aurora_blobs.errors import InvalidRequest
from aurora_blobs.protocol.car import Repository
from aurora_blobs.protocol.car_index import CarIndex


def section(block):
    cid = cid_of_block(block)
    return varint(len(cid) + len(block)) + cid + block


def blocks(count, size):
    """*count* different blocks of *size* bytes, as they are in a file."""
    return b"".join(section(b"%0*d" % (size, number)) for number in range(count))


def refusal(call, *arguments):
    with pytest.raises(InvalidRequest) as caught:
        call(*arguments)
    return caught.value.message


def feed(index, data, piece=2**16):
    for start in range(0, len(data), piece):
        index.feed(data[start : start + piece])


@pytest.mark.parametrize("piece", [1, 7, 1000, 2**20])
def test_the_pieces_of_a_file_may_have_any_size(piece):
    file = car_of({f"com.example.a/{number}": {"n": number} for number in range(30)})
    index = CarIndex(max_blocks=1000)

    feed(index, file.getvalue(), piece)
    index.close()

    assert len(list(Repository(file, index).records(10**9))) == 30


def test_the_owner_is_told_before_the_rest_has_come():
    told = []
    car = Car()
    commit = car.commit(car.tree([]))
    first = Car()
    first.blocks[commit] = car.blocks[commit]
    index = CarIndex(max_blocks=1000, on_owner=told.append)

    index.feed(first.file(commit).getvalue())

    assert told == [ALICE]


def test_a_bad_block_is_refused_when_it_comes():
    index = CarIndex(max_blocks=1000)
    index.feed(car_of({}).getvalue())

    assert "does not match its CID" in refusal(
        index.feed, varint(37) + cid_of_block(b"a") + b"b" + b"\xff"
    )


def test_no_more_blocks_are_taken_than_may_be():
    index = CarIndex(max_blocks=20)
    index.feed(car_of({}).getvalue())  # 2 blocks

    index.feed(blocks(18, 100))

    assert "more than 20 blocks" in refusal(index.feed, section(b"one more"))


def test_a_flood_of_tiny_blocks_is_refused_before_it_is_over():
    index = CarIndex(max_blocks=10**9)
    index.feed(car_of({}).getvalue())

    index.feed(blocks(9_000, 1))

    assert "at least 100 each are expected" in refusal(feed, index, blocks(3_000, 1), 1000)


def test_many_blocks_of_a_usual_size_are_taken():
    index = CarIndex(max_blocks=10**9)
    index.feed(car_of({}).getvalue())

    feed(index, blocks(20_000, 100))


def peak_bytes(count):
    """The most memory that *count* blocks take while they are noted and sorted."""
    index = CarIndex(max_blocks=10**9)
    index.feed(car_of({}).getvalue())
    tracemalloc.start()
    for start in range(0, count, 1000):
        index.feed(b"".join(section(b"%0100d" % number) for number in range(start, start + 1000)))
    index.close()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_a_block_takes_twenty_bytes_of_memory():
    small, large = peak_bytes(10_000), peak_bytes(30_000)

    assert (large - small) / 20_000 < 24


def test_blocks_that_are_repeated_take_no_memory():
    index = CarIndex(max_blocks=10**9)
    index.feed(car_of({}).getvalue())
    repeated = blocks(100, 100) * 10
    tracemalloc.start()
    for _ in range(50):
        index.feed(repeated)
    index.close()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 1_000_000


def test_a_header_of_megabytes_is_not_read():
    index = CarIndex(max_blocks=10)

    assert "bad header" in refusal(index.feed, varint(2**20))


def node_of(count):
    entries = [
        {"p": 0, "k": b"com.example.a/%06d" % number, "v": cid_of_block(b""), "t": None}
        for number in range(count)
    ]
    return {"l": None, "e": entries}


def test_a_node_of_the_tree_has_as_many_entries_as_chance_gives():
    car = Car()
    car.add({})

    file = car.file(car.commit(car.add(node_of(1000))))

    assert "more than 8192 values" in refusal(lambda: list(Repository(file).records(10**9)))


def test_memory_does_not_grow_with_what_is_beside_the_entries_of_a_node():
    """Every node from the root to the walk's place stays in memory; a client decides how many."""
    car = Car()
    record = car.add({})
    padding = [[] for _ in range(8000)]
    node = car.add({"l": None, "e": [{"p": 0, "k": b"com.example.a/1", "v": record, "t": None}]})
    for number in range(100):
        node = car.add({"l": node, "e": [], "n": number, "padding": padding})
    file = car.file(car.commit(node))
    repository = Repository(file)

    tracemalloc.start()
    assert len(list(repository.records(10**9))) == 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak < 5_000_000


def test_a_record_of_a_hundred_thousand_values_is_refused_before_it_is_decoded():
    car = Car()
    block = b"\xa1\x61a\x9a" + (100_000).to_bytes(4, "big") + b"\x80" * 100_000
    record = cid_of_block(block)
    car.blocks[record] = block
    entries = [{"p": 0, "k": b"com.example.a/1", "v": record, "t": None}]
    repository = Repository(car.file(car.commit(car.add({"l": None, "e": entries}))))

    tracemalloc.start()
    message = refusal(lambda: list(repository.records(10**9)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert "more than 65536 values" in message
    assert peak < 2_000_000


def test_a_long_text_is_one_value():
    text = "x" * 900_000

    (record,) = Repository(car_of({"com.example.a/1": {"text": text}})).records(10**9)

    assert record.value == {"text": text}


def test_a_record_of_more_than_a_megabyte_is_refused():
    file = car_of({"com.example.a/1": {"text": "x" * 2**20}})

    assert "at most 1048576 are read" in refusal(lambda: list(Repository(file).records(10**9)))


def test_a_key_is_no_longer_than_a_record_may_have_it():
    car = Car()
    entries = [{"p": 0, "k": b"x" * 2000, "v": car.add({}), "t": None}]
    file = car.file(car.commit(car.add({"l": None, "e": entries})))

    assert "malformed" in refusal(lambda: list(Repository(file).records(10**9)))
