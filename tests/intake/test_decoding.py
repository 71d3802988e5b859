"""Content codings are decoded in bounded steps, or the body is refused."""

import gzip
import random
import zlib

import brotli
import pytest
from support.streams import PiecewiseStream

from aurora_blobs.errors import BlobTooLarge, UnsupportedEncoding, UploadIncomplete
from aurora_blobs.intake.decoding import MAX_CODINGS, decoded, parse_encodings

TEXT = b"The bytes of a blob are those before any Content-Encoding. " * 400
NOISE = random.Random(1).randbytes(300_000)
ENOUGH = 10**9
ENCODE = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
}


def read_all(stream, size=64 * 1024):
    parts = []
    while data := stream.read(size):
        assert len(data) <= size
        parts.append(data)
    assert stream.read(size) == b""
    return b"".join(parts)


def decode(data, *encodings, size=64 * 1024, sizes=(1 << 30,)):
    return read_all(decoded(PiecewiseStream(data, sizes), encodings, ENOUGH), size)


@pytest.mark.parametrize(
    "header, codings",
    [
        ("", ()),
        ("identity", ()),
        ("gzip", ("gzip",)),
        ("GZip", ("gzip",)),
        ("x-gzip", ("x-gzip",)),
        (" deflate , br ", ("deflate", "br")),
        ("gzip,,gzip", ("gzip", "gzip")),
        ("gzip, identity, deflate, identity, br, identity", ("gzip", "deflate", "br")),
    ],
)
def test_a_header_lists_codings_in_the_order_they_were_applied(header, codings):
    assert parse_encodings(header) == codings


@pytest.mark.parametrize("header", ["zstd", "compress", "gzip, zstd", "gzip;q=1", "*", "chunked"])
def test_an_unknown_coding_is_refused(header):
    with pytest.raises(UnsupportedEncoding, match="unsupported content-encoding"):
        parse_encodings(header)


def test_more_codings_than_anybody_applies_are_refused():
    assert len(parse_encodings(", identity, ".join(["gzip"] * MAX_CODINGS))) == MAX_CODINGS

    with pytest.raises(UnsupportedEncoding, match="at most 5"):
        parse_encodings(",".join(["gzip"] * (MAX_CODINGS + 1)))


@pytest.mark.parametrize("coding", ENCODE)
@pytest.mark.parametrize(
    "data", [b"", b"a", TEXT, NOISE], ids=["empty", "one byte", "text", "noise"]
)
def test_a_coding_is_undone(coding, data):
    assert decode(ENCODE[coding](data), coding) == data


@pytest.mark.parametrize("coding", ENCODE)
def test_pieces_of_one_byte_are_enough(coding):
    assert decode(ENCODE[coding](TEXT), coding, size=7, sizes=[1] * 100_000) == TEXT


def test_several_codings_are_undone_last_first():
    data = brotli.compress(zlib.compress(gzip.compress(TEXT)))

    assert decode(data, "gzip", "deflate", "br") == TEXT


def test_without_a_coding_the_stream_is_itself():
    stream = PiecewiseStream(TEXT)

    assert decoded(stream, (), ENOUGH) is stream


def test_a_gzip_file_may_have_several_members():
    assert (
        decode(gzip.compress(TEXT) + gzip.compress(b"") + gzip.compress(NOISE), "gzip")
        == TEXT + NOISE
    )


@pytest.mark.parametrize(
    "sizes", [(1 << 30,), [1] * 1000, [31] * 100], ids=["at once", "by bytes", "by pieces"]
)
def test_members_may_be_cut_anywhere_by_the_network(sizes):
    assert decode(gzip.compress(b"one") + gzip.compress(b"two"), "gzip", sizes=sizes) == b"onetwo"


@pytest.mark.parametrize("coding", ENCODE)
@pytest.mark.parametrize("kept", [0, 1, 5, -1, -4, -9], ids=lambda kept: f"[:{kept}]")
def test_a_body_that_ends_early_is_refused(coding, kept):
    with pytest.raises(UploadIncomplete, match="unable to read input"):
        decode(ENCODE[coding](NOISE)[:kept], coding)


@pytest.mark.parametrize("coding", ENCODE)
@pytest.mark.parametrize(
    "garbage", [b"\0x", b"x", b"garbage" * 50_000], ids=["NUL and byte", "byte", "much"]
)
@pytest.mark.parametrize("sizes", [(1 << 30,), [1] * 100], ids=["at once", "by bytes"])
def test_a_body_that_goes_on_after_its_end_is_refused(coding, garbage, sizes):
    with pytest.raises(UploadIncomplete):
        decode(ENCODE[coding](b"ends") + garbage, coding, sizes=sizes)


@pytest.mark.parametrize("coding", ENCODE)
@pytest.mark.parametrize(
    "data", [b"plain text", b"\x1f\x8b\x08 broken", b"\xff" * 9000], ids=["plain", "start", "ones"]
)
def test_bytes_not_in_the_coding_are_refused(coding, data):
    with pytest.raises(UploadIncomplete, match="unable to read input"):
        decode(data, coding)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_wrong_checksum_is_refused(coding):
    data = bytearray(ENCODE[coding](TEXT))
    data[-5] ^= 1

    with pytest.raises(UploadIncomplete):
        decode(bytes(data), coding)


def bare(data, level=9):
    return zlib.compress(data, level, wbits=-zlib.MAX_WBITS)


# RFC 9110, 8.4.1.2: deflate is the zlib format. Some clients send it without zlib's frame.
@pytest.mark.parametrize("level", [0, 1, 9])
@pytest.mark.parametrize(
    "data", [b"", b"a", TEXT, NOISE], ids=["empty", "one byte", "text", "noise"]
)
@pytest.mark.parametrize(
    "sizes", [(1 << 30,), [1, 1, 1, 1 << 30]], ids=["at once", "its start by bytes"]
)
def test_a_bare_deflate_stream_is_deflate(data, level, sizes):
    assert decode(bare(data, level), "deflate", sizes=sizes) == data


@pytest.mark.parametrize("kept", [0, 1, 5, -1, -9], ids=lambda kept: f"[:{kept}]")
def test_a_bare_deflate_stream_that_ends_early_is_refused(kept):
    with pytest.raises(UploadIncomplete, match="unable to read input"):
        decode(bare(NOISE)[:kept], "deflate")


@pytest.mark.parametrize("garbage", [b"\0", b"x", b"garbage" * 50_000], ids=["NUL", "byte", "much"])
def test_a_bare_deflate_stream_that_goes_on_after_its_end_is_refused(garbage):
    with pytest.raises(UploadIncomplete):
        decode(bare(TEXT) + garbage, "deflate")


@pytest.mark.parametrize("coding", ["gzip", "x-gzip"])
@pytest.mark.parametrize(
    "padding, sizes",
    [(1, [1] * 1000), (511, [1] * 1000), (511, [1 << 30]), (200_000, [1 << 30])],
    ids=["a byte, by bytes", "a block, by bytes", "a block", "much"],
)
def test_zeros_behind_gzip_are_passed_over(coding, padding, sizes):
    padded = gzip.compress(b"one") + bytes(padding)

    assert decode(padded, coding, sizes=sizes) == b"one"
    assert decode(padded + gzip.compress(b"two"), coding, sizes=sizes) == b"onetwo"


def test_zeros_alone_are_not_gzip():
    with pytest.raises(UploadIncomplete):
        decode(bytes(1000), "gzip")


@pytest.mark.parametrize("coding", ENCODE)
def test_a_read_gives_no_more_than_was_asked_for_and_reads_no_further(coding):
    encoded = PiecewiseStream(ENCODE[coding](bytes(8 * 1024 * 1024)))
    stream = decoded(encoded, (coding,), ENOUGH)

    given = [len(stream.read(1000)) for _ in range(50)]

    assert all(0 < size <= 1000 for size in given)
    assert encoded.asked <= 2


def test_a_bomb_in_a_bomb_is_opened_a_piece_at_a_time():
    bomb = gzip.compress(gzip.compress(bytes(32 * 1024 * 1024)))
    stream = decoded(PiecewiseStream(bomb), ("gzip", "gzip"), ENOUGH)

    assert 0 < len(stream.read(4096)) <= 4096


@pytest.mark.parametrize("coding", ENCODE)
@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_no_more_comes_out_than_is_allowed(coding, size):
    encoded = ENCODE[coding](bytes(size))

    assert read_all(decoded(PiecewiseStream(encoded), (coding,), size)) == bytes(size)
    with pytest.raises(BlobTooLarge):
        read_all(decoded(PiecewiseStream(ENCODE[coding](bytes(size + 1))), (coding,), size))


def test_data_between_two_codings_is_bounded():
    # An empty gzip member has 20 bytes: a kilobyte decodes to a gigabyte of members, those to b"".
    bomb = PiecewiseStream(gzip.compress(gzip.compress(b"") * 100_000))

    with pytest.raises(BlobTooLarge):
        read_all(decoded(bomb, ("gzip", "gzip"), 1_000_000))


@pytest.mark.parametrize("coding", ENCODE)
def test_a_failure_of_the_stream_passes(coding):
    broken = PiecewiseStream(ENCODE[coding](NOISE)[:1000], error=ConnectionResetError())

    with pytest.raises(ConnectionResetError):
        read_all(decoded(broken, (coding,), ENOUGH))


def test_random_data_in_random_codings_and_pieces_comes_out_whole():
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)

    for _ in range(150):
        data = chance.randbytes(chance.randrange(40)) * chance.choice([1, 100, 3000])
        codings = chance.choices(list(ENCODE), k=chance.randrange(1, 4))
        encoded = data
        for coding in codings:
            encoded = ENCODE[coding](encoded)
        sizes = [chance.choice([1, 2, 100, 5000, 70_000]) for _ in range(200)]
        assert (
            decode(encoded, *codings, size=chance.choice([1000, 65536, 300_000]), sizes=sizes)
            == data
        )


def test_random_damage_never_ends_in_anything_but_a_refusal_or_bytes():
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)

    for _ in range(1500):
        coding = chance.choice(list(ENCODE))
        encoded = bytearray(ENCODE[coding](TEXT[: chance.randrange(3000)]))
        for _ in range(chance.randrange(1, 5)):
            place = chance.randrange(len(encoded) + 1)
            encoded[place : place + chance.randrange(4)] = chance.randbytes(chance.randrange(4))
        stream = decoded(PiecewiseStream(bytes(encoded)), (coding,), ENOUGH)
        assert outcome(stream) in {"refused", "read"}


def outcome(stream):
    try:
        for _ in range(10_000):
            if not stream.read(65536):
                return "read"
    except UploadIncomplete:
        return "refused"
    return "endless"
