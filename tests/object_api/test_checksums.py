"""CRC-32C, which is done here because neither Python nor zlib has it."""

import random

import pytest

from aurora_blobs.object_api.checksums import checksum


def crc32c(data):
    """Bit by bit, as RFC 3720 says it."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return (value ^ 0xFFFFFFFF).to_bytes(4, "big")


def of(*pieces):
    found = checksum("x-amz-checksum-crc32c")
    for piece in pieces:
        found.update(piece)
    return found.digest()


@pytest.mark.parametrize(
    "data, value",
    [
        (b"123456789", "e3069283"),
        (bytes(32), "8a9136aa"),
        (b"\xff" * 32, "62a8ab43"),
        (bytes(range(32)), "46dd794e"),
    ],
    ids=["digits", "zeros", "ones", "ascending"],
)
def test_the_examples_of_the_rfc_are_right(data, value):
    assert of(data).hex() == value


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 40_000, 100_001])
def test_it_is_the_same_in_whatever_pieces_the_bytes_come(size):
    chance = random.Random(size)
    data = chance.randbytes(size)
    cut = chance.randrange(size + 1)

    assert of(data) == of(data[:cut], data[cut:]) == crc32c(data)
