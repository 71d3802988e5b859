import random
from hashlib import sha256

import libipld
import pytest

from aurora_blobs.protocol import cid

EMPTY = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
HELLO = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
KNOWN = {b"": EMPTY, b"hello world": HELLO}
AURORA = "bafyrei" + sha256(b"hello world").hexdigest()
RECORD = "bafyreigbtj4x7ip5legnfznufuopl4sg4knzc2cof6duas4b3q2fy6swua"  # dag-cbor
OLD = "QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR"  # CIDv0
CANONICAL = [
    "bafkreiaivizp4xldojmmpuzmiu75cmea7nq56dnntnuhzhsjcb63aou5ei",
    "bafkreigy5p3xxceipk2o6nqtnugpft26ol6yleqhboqziino7axvdngtci",
    "bafkreifdklbbcdsyanjz3oqe5pf2omuq5ansthokxlbleagg3eenx62h7e",
    "bafkreih5tzpqvca3ku3qzqxwlhthcwx3bacngh5332x73yslhelpolwuoi",
    "bafkreiakn767wrlxseebzghfwgtl2spuoy3g5hpx3xlgkgk27kwbpdc4c4",
    "bafkreigm2p66mzhqz6g3prokn4byc3wq7celr2qrcxb4wb7e5qw4nzcrce",
    "bafkreib75u5hzfsrbn2iffiup4mzeeqmrif6aclw4h4enyvbm52sh7hxwu",
]


def with_header(header, digest=bytes(32)):
    return libipld.encode_multibase("b", header + digest)


@pytest.mark.parametrize("data, known", KNOWN.items(), ids=["empty", "hello world"])
def test_a_known_content_has_its_known_cid(data, known):
    assert cid.cid_of_digest(sha256(data).digest()) == known


@pytest.mark.parametrize("text", [*KNOWN.values(), *CANONICAL])
def test_a_canonical_cid_is_read_as_it_is(text):
    assert cid.parse_blob_cid(text) == text == cid.parse_cid(text)


def test_cids_are_those_of_the_dag_cbor_library():
    seed = random.randrange(2**32)
    print("seed", seed)
    chance = random.Random(seed)

    for _ in range(500):
        digest = chance.randbytes(32)
        text = cid.cid_of_digest(digest)
        assert libipld.decode_cid(text) == {
            "version": 1,
            "codec": 0x55,
            "hash": {"code": 0x12, "size": 32, "digest": digest},
        }
        assert cid.parse_blob_cid(text) == text
        assert cid.digest_of(text) == digest
        assert cid.shard_of(text) == digest[:1].hex()
        assert cid.name_at(cid.place_of(text)) == cid.cid_in(f"{text}.part") == text
        number = chance.getrandbits(63)
        name = cid.object_name(text, number)
        assert cid.name_at(cid.place_of(name)) == name
        assert (cid.cid_of_name(name), cid.number_in(name)) == (text, number)


@pytest.mark.parametrize("first_byte", range(256))
def test_each_first_byte_of_a_digest_has_a_folder(first_byte):
    assert cid.shard_of(cid.cid_of_digest(bytes([first_byte]) + bytes(31))) == f"{first_byte:02x}"


@pytest.mark.parametrize(
    "place",
    [HELLO, f"00/{HELLO}", f"x/{cid.place_of(HELLO)}", cid.place_of(HELLO) + ".part", "b9/x", ""]
    + [f"{cid.place_of(HELLO)}.{number}" for number in ("", "0", "01", "-1", "1.1", "9" * 20)],
)
def test_no_blob_lies_elsewhere(place):
    assert cid.name_at(place) is None


def test_the_early_form_names_the_same_blob():
    assert cid.parse_blob_cid(AURORA) == HELLO
    assert cid.parse_cid(AURORA) == HELLO
    assert cid.aurora_form(HELLO) == AURORA


NOT_A_BLOB = {
    "another codec": RECORD,
    "version 0": OLD,
    "codec dag-pb": with_header(b"\x01\x70\x12\x20"),
    "hash sha1, its length kept": with_header(b"\x01\x55\x11\x20"),
    "hash blake3": with_header(b"\x01\x55\x1e\x20"),
}
MALFORMED = {
    "nothing": "",
    "one letter": "b",
    "a word": "notacid",
    "upper case": HELLO.upper(),
    "upper case after the prefix": "b" + HELLO[1:].upper(),
    "one letter in upper case": HELLO[:-1] + HELLO[-1].upper(),
    "cut short": HELLO[:-1],
    "a letter more": HELLO + "a",
    "a blank before": " " + HELLO,
    "a blank after": HELLO + " ",
    "a newline after": HELLO + "\n",
    "padded": HELLO + "=====",
    "padding bits that are not zero": HELLO[:-1] + "f",
    "a letter outside the base": HELLO[:-1] + "1",
    "a letter outside ASCII": HELLO[:-1] + "é",
    "another prefix letter": "c" + HELLO[1:],
    "base58": libipld.encode_multibase("z", b"\x01\x55\x12\x20" + sha256(b"hello world").digest()),
    "base16": libipld.encode_multibase("f", b"\x01\x55\x12\x20" + sha256(b"hello world").digest()),
    "base32 upper": libipld.encode_multibase(
        "B", b"\x01\x55\x12\x20" + sha256(b"hello world").digest()
    ),
    "base64": libipld.encode_multibase("m", b"\x01\x55\x12\x20" + sha256(b"hello world").digest()),
    "a digest of 31 bytes": with_header(b"\x01\x55\x12\x1f", bytes(31)) + "a",
    "a digest of 31 bytes that says 32": with_header(b"\x01\x55\x12\x20", bytes(31)),
    "a digest of 33 bytes": with_header(b"\x01\x55\x12\x20", bytes(33)),
    "the early form in upper case": "bafyrei" + AURORA[7:].upper(),
    "the early form, cut short": AURORA[:-1],
    "the early form, a digit more": AURORA + "0",
    "the early form, not hex": AURORA[:-1] + "g",
    "an address": "https://example.com/" + HELLO,
    "a path": "../../etc/passwd",
}


@pytest.mark.parametrize(
    "text", [*MALFORMED.values(), *NOT_A_BLOB.values()], ids=[*MALFORMED, *NOT_A_BLOB]
)
def test_a_cid_of_no_blob_is_refused_as_a_blob_cid(text):
    with pytest.raises(ValueError) as refusal:
        cid.parse_blob_cid(text)

    assert str(refusal.value) == f'Invalid blob CID (got "{text}")'


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_cid_is_refused_as_a_parameter(text):
    with pytest.raises(ValueError) as refusal:
        cid.parse_cid(text)

    assert str(refusal.value) == f'Invalid CID string (got "{text}")'


@pytest.mark.parametrize("text", NOT_A_BLOB.values(), ids=NOT_A_BLOB)
def test_a_cid_of_another_kind_passes_as_a_parameter(text):
    assert cid.parse_cid(text) == text


def digest_or_none(text):
    try:
        return cid.digest_of(cid.parse_blob_cid(text))
    except ValueError:
        return None


def test_one_blob_has_one_text():
    neighbours = {
        HELLO[:place] + letter + HELLO[place + 1 :]
        for place in range(len(HELLO))
        for letter in "abcdefghijklmnopqrstuvwxyz234567"
    }

    same = {text for text in neighbours if digest_or_none(text) == cid.digest_of(HELLO)}

    assert same == {HELLO}
