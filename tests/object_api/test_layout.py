"""Keys are those of PDSes, or nothing; and what each PDS does with its own."""

import pytest
from support.accounts import CAROL, blob_path
from support.cids import cid_of
from support.object_api import SignedClient, code_of

from aurora_blobs.object_api.layout import Key, Kind, parse_key, parse_place

CID = cid_of(b"x")


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
def test_a_key_of_the_reference_pds_is_read_and_written_alike(kind):
    key = parse_key(f"{kind.value}/{CAROL}/{CID}")

    assert key == Key(kind, CAROL, CID)
    assert str(key) == f"{kind.value}/{CAROL}/{CID}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "blocks",
        f"blocks/{CAROL}",
        f"blocks/{CAROL}/",
        f"blocks/{CAROL}/{CID}/",
        f"blocks/{CAROL}/{CID.upper()}",
        f"blocks/{CAROL}/{CID[:-1]}",
        f"blocks/{CAROL}/bafyrei{'0' * 64}",
        f"blocks/alice.test/{CID}",
        f"blocks//{CID}",
        f"/blocks/{CAROL}/{CID}",
        f"other/{CAROL}/{CID}",
        f"tmp/{CAROL}/a/b",
        f"tmp/{CAROL}/{'a' * 256}",
        f"tmp/{CAROL}/a\0b",
        f"tmp/{CAROL}/..%2f",
        f"tmp/{CAROL}/..",
        f"tmp/{CAROL}/.",
        f"tmp/did:plc:{'a' * 3000}/a",
    ],
)
def test_another_text_is_no_key(text):
    assert parse_key(text) is None


@pytest.mark.parametrize(
    "name, kind",
    [
        (f"blocks/{CAROL}/{CID}", Kind.STORED),
        (f"prefix/blocks/{CAROL}/{CID}", Kind.STORED),
        (f"{CAROL}/{CID}", Kind.STORED),
        (f"blobs/{CAROL}/{CID}", Kind.STORED),
        (f"tempt/{CAROL}/{CID}", Kind.STAGED),
        (f"prefix/tmp/{CAROL}/{CID}", Kind.STAGED),
        (f"blobs/quarantine/{CAROL}/{CID}", Kind.QUARANTINED),
    ],
)
def test_places_in_a_store_of_the_reference_pds_are_read(name, kind):
    assert parse_place(name) == Key(kind, CAROL, CID)


@pytest.mark.parametrize("name", ["", CID, f"x/{CID}", f"{CAROL}/notes.txt", f"tempt/{CAROL}/.."])
def test_other_files_are_no_objects(name):
    assert parse_place(name) is None


class Rsky:
    """Calls that rsky 0.13.17 makes, in its order: it looks first, and names an ACL.

    https://github.com/blacksky-algorithms/rsky, rsky-pds/src/actor_store/aws/s3.rs
    """

    def __init__(self, pds: SignedClient) -> None:
        self._pds = pds

    def upload(self, name, data):
        answer = self._pds.put(f"tmp/{CAROL}/{name}", data, x_amz_acl="public-read")
        assert answer.status_code == 200, answer.text

    def make_permanent(self, name, cid):
        if self._pds.head(f"blocks/{CAROL}/{cid}").status_code == 200:
            assert self._pds.delete(f"tmp/{CAROL}/{name}").status_code == 204
            return
        self.move(f"tmp/{CAROL}/{name}", f"blocks/{CAROL}/{cid}")

    def move(self, source, target):
        copied = self._pds.copy(source, target, x_amz_acl="public-read")
        assert copied.status_code == 200, copied.text
        assert self._pds.delete(source).status_code == 204


def test_a_blob_lives_as_rsky_lets_it(objects_app, pds):
    rsky, stored, aside = Rsky(pds), f"blocks/{CAROL}/{CID}", f"quarantine/{CAROL}/{CID}"

    def shown():
        answer = objects_app.test_client().get(blob_path(CAROL, CID))
        return answer.data if answer.status_code == 200 else None

    states = []
    for act in (
        lambda: rsky.upload("one", b"x"),
        lambda: rsky.make_permanent("one", CID),
        lambda: rsky.upload("two", b"x"),
        lambda: rsky.make_permanent("two", CID),
        lambda: rsky.move(stored, aside),
        lambda: rsky.move(aside, stored),
        lambda: pds.delete_many([stored]),
    ):
        act()
        states.append(shown())

    assert states == [None, b"x", b"x", b"x", None, b"x", None]
    assert [pds.head(key).status_code for key in (stored, aside, f"tmp/{CAROL}/two")] == [404] * 3


@pytest.mark.parametrize(
    "key",
    [f"blobs/{CAROL}/{CID}", "temp/0e4a6f0c-8d0b-4d32-a8a5-2ad3d8a3a7e5", CID, f"blobs/{CID}"],
    ids=["cocoon", "Tranquil", "Tranquil, named", "Tranquil, below a prefix"],
)
def test_a_pds_whose_keys_say_too_little_is_told_so_at_its_first_upload(pds, key):
    refused = pds.put(key, b"x")

    assert code_of(refused) == (403, "AccessDenied")
    assert b"blocks/&lt;DID&gt;/&lt;CID&gt;" in refused.data
