"""Blobs that the reference PDS has lost are served here, and given back to it."""

import json
import os

import pytest
from support.cids import cid_of
from support.followed_pds import Member, Upstream, answer_of, following
from support.live_service import becomes
from support.reference_pds import ReferencePds
from support.s3_access import BUCKET, pds_settings

from aurora_blobs.storage.s3_bucket import Bucket
from aurora_blobs.storage.s3_client import S3Client

pytestmark = pytest.mark.live

PHOTOS = [os.urandom(1000 * (number + 1)) for number in range(5)]


@pytest.fixture
def alice(upstream, mirror):
    """Has published the photos, which are here."""
    alice = Member(upstream, "alice.test")
    for number, photo in enumerate(PHOTOS):
        alice.put(f"photo{number}", photo)
    assert becomes(lambda: all(mirror.serves(alice, photo) for photo in PHOTOS))
    return alice


def file_of(pds, member, data):
    return pds.folder / "blobs" / member.did / cid_of(data)


def give_back(mirror, *words):
    done = mirror.service.run("blobs", "give-back", *words, "--json")
    lines = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert b"Traceback" not in done.stderr, done.stderr
    return done.returncode, lines


def test_files_that_a_pds_has_lost_are_given_back_into_its_folder(mirror, upstream, pds, alice):
    blobs = str(pds.folder / "blobs")
    for photo in PHOTOS[:3]:
        file_of(pds, alice, photo).unlink()
    assert answer_of(upstream, alice.did, PHOTOS[0]) == 400
    assert mirror.serves(alice, PHOTOS[0])
    lacking = give_back(mirror, "--did", alice.did, "--to", blobs, "--dry-run")
    still = answer_of(upstream, alice.did, PHOTOS[0])

    given = give_back(mirror, "--did", alice.did, "--to", blobs)

    assert lacking[0] == 0
    assert {one["cid"] for one in lacking[1]} == {cid_of(photo) for photo in PHOTOS[:3]}
    assert still == 400
    assert given == (0, [{"given": 3, "there": 2, "findings": []}])
    for photo in PHOTOS:
        assert answer_of(upstream, alice.did, photo)[1] == photo
    assert give_back(mirror, "--to", blobs) == (0, [{"given": 0, "there": 5, "findings": []}])


def test_the_whole_folder_is_given_back_and_wrong_files_become_right(mirror, upstream, pds, alice):
    bob = Member(upstream, "bob.test")
    bob.put("one", b"of bob")
    assert becomes(lambda: mirror.serves(bob, b"of bob"))
    for photo in PHOTOS[1:]:
        file_of(pds, alice, photo).unlink()
    file_of(pds, alice, PHOTOS[0]).write_bytes(bytes(len(PHOTOS[0])))
    file_of(pds, bob, b"of bob").unlink()
    file_of(pds, bob, b"of bob").parent.rmdir()

    given = give_back(mirror, "--to", str(pds.folder / "blobs"))

    assert given == (0, [{"given": 6, "there": 0, "findings": []}])
    assert answer_of(upstream, bob.did, b"of bob")[1] == b"of bob"
    assert all(answer_of(upstream, alice.did, photo)[1] == photo for photo in PHOTOS)


def test_what_the_pds_has_taken_down_is_not_given_back(mirror, upstream, pds, alice):
    answer = upstream.post(
        "/xrpc/com.atproto.admin.updateSubjectStatus",
        json={
            "subject": {
                "$type": "com.atproto.admin.defs#repoBlobRef",
                "did": alice.did,
                "cid": cid_of(PHOTOS[0]),
            },
            "takedown": {"applied": True, "ref": "1"},
        },
        auth=("admin", pds.facts["adminPassword"]),
    )
    assert answer.status_code == 200, answer.text
    assert not file_of(pds, alice, PHOTOS[0]).exists()

    given = give_back(mirror, "--to", str(pds.folder / "blobs"))

    assert given == (0, [{"given": 0, "there": 5, "findings": []}])
    assert not file_of(pds, alice, PHOTOS[0]).exists()


def test_bytes_that_are_wrong_here_are_not_given(mirror, pds, alice):
    [file] = (mirror.service.folder / "data" / "blobs").glob(f"*/{cid_of(PHOTOS[0])}")
    file.write_bytes(bytes(len(PHOTOS[0])))
    file_of(pds, alice, PHOTOS[0]).unlink()

    status, [said] = give_back(mirror, "--to", str(pds.folder / "blobs"))

    assert (status, said["given"], [one["kind"] for one in said["findings"]]) == (1, 0, ["lost"])
    assert not file_of(pds, alice, PHOTOS[0]).exists()


def test_a_pds_gets_what_it_misses_by_uploads_of_the_account(mirror, upstream, pds, alice):
    """As at the PDS to which an account moves: its records are there, its blobs are not."""
    mirror.end()
    repository = upstream.get(f"/xrpc/com.atproto.sync.getRepo?did={alice.did}").data
    for number in range(len(PHOTOS)):
        alice.delete(f"photo{number}")
    headers = {"Authorization": f"Bearer {alice.token}"}
    answer = upstream.post(
        "/xrpc/com.atproto.repo.importRepo",
        data=repository,
        headers={**headers, "Content-Type": "application/vnd.ipld.car"},
    )
    assert answer.status_code == 200, answer.text
    missing = upstream.get("/xrpc/com.atproto.repo.listMissingBlobs", headers=headers).json
    assert len(missing["blobs"]) == len(PHOTOS)
    to = ("--did", alice.did, "--to", pds.url)

    given = give_back(mirror, *to, "--token", alice.token)
    again = give_back(mirror, *to, "--token", alice.token)
    refused = mirror.service.run("blobs", "give-back", *to, "--token", "x")

    assert given == (0, [{"given": 5, "there": 0, "findings": []}])
    assert again == (0, [{"given": 0, "there": 5, "findings": []}])
    assert all(answer_of(upstream, alice.did, photo)[1] == photo for photo in PHOTOS)
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert b"the PDS does not say what it misses" in refused.stderr


def test_objects_that_a_pds_has_lost_are_given_back_into_its_bucket(s3_server, s3_keys, tmp_path):
    settings = pds_settings(s3_server.url)
    own = {
        "AURORA_BLOBS_S3_ENDPOINT_URL": s3_server.url,
        "AURORA_BLOBS_S3_ADDRESSING_STYLE": "path",
    }
    bucket = Bucket(
        BUCKET, S3Client(endpoint_url=s3_server.url, region=None, addressing_style="path")
    )
    with (
        ReferencePds(tmp_path / "pds", "http://localhost:2583", **settings) as pds,
        following(pds, tmp_path, **own) as mirror,
    ):
        upstream = Upstream(pds)
        alice = Member(upstream, "alice.test")
        alice.put("photos", *PHOTOS)
        assert becomes(lambda: all(mirror.serves(alice, photo) for photo in PHOTOS))
        for photo in PHOTOS[:2]:
            bucket.call("delete_object", Key=f"blocks/{alice.did}/{cid_of(photo)}")
        wrong = bytes(len(PHOTOS[2]))
        bucket.call("put_object", Key=f"blocks/{alice.did}/{cid_of(PHOTOS[2])}", Body=wrong)
        lost = answer_of(upstream, alice.did, PHOTOS[0])

        given = give_back(mirror, "--to", f"s3://{BUCKET}")

        assert lost == 500  # which says nothing: the mirror serves it on
        assert given == (0, [{"given": 3, "there": 2, "findings": []}])
        assert all(answer_of(upstream, alice.did, photo)[1] == photo for photo in PHOTOS)
