"""A PDS that lies, trickles or floods: nothing wrong is served, and others are mirrored on."""

import time

import pytest
from support.car_files import Car
from support.cids import cid_of
from support.document_server import send
from support.fake_pds import higher, signature
from support.live_service import becomes

from aurora_blobs.protocol.syntax import new_tid

CAROL = "did:plc:ewvi7nxzyoun6zhxrhs64oiz"
DAVE = "did:plc:z72i7hdynmk6r22z27h6tvur"
EVE = "did:plc:44ybard66vv44zksje25o7dz"
PATH, SECOND = "com.example.file/one", "com.example.file/two"
PHOTO, OTHER = b"a photo", b"another photo"


@pytest.fixture
def followed(pds, mirror):
    """`mirror`, which has a photo of CAROL, and one of DAVE, who is honest."""
    for did in (CAROL, DAVE):
        pds.add(did)
        pds.write(did, {PATH: record(pds, did, PHOTO)})
        assert mirror.serves(did, PHOTO)
    assert mirror.has_handled(pds)
    return mirror


def record(pds, did, data):
    return {"$type": "com.example.file", "file": pds.blob(did, data)}


def an_honest_account_is_mirrored_on(pds, mirror):
    pds.write(DAVE, {SECOND: record(pds, DAVE, OTHER)})
    return mirror.serves(DAVE, OTHER, 20)


def wrong_block(event, repo):
    first, *rest = repo.car.blocks
    blocks = {first: b"\xa0", **{cid: repo.car.blocks[cid] for cid in rest}}
    return {"blocks": file_of(blocks, repo.root)}


def file_of(blocks, root):
    car = Car()
    car.blocks = dict(blocks)
    return car.file(root).getvalue()


def without_record(event, repo):
    kept = {
        cid: block
        for cid, block in repo.car.blocks.items()
        if cid not in [operation["cid"] for operation in event["ops"]]
    }
    return {"blocks": file_of(kept, repo.root)}


def without_tree(event, repo):
    kept = {cid: block for cid, block in repo.car.blocks.items() if cid != repo.tree}
    return {"blocks": file_of(kept, repo.root)}


LIES = {
    "a block that is not its CID": wrong_block,
    "a record that is not there": without_record,
    "a tree that is not there": without_tree,
    "no CAR file": lambda event, repo: {"blocks": b"\x0a" + bytes(40)},
    "another account": lambda event, repo: {"repo": DAVE},
    "another revision": lambda event, repo: {"rev": new_tid(repo_time(repo) + 5, event["rev"])},
    "another commit": lambda event, repo: {"commit": repo.tree},
    "a change that is not told": lambda event, repo: {"ops": []},
    "a change that is not there": lambda event, repo: {
        "ops": [*event["ops"], {**event["ops"][0], "path": "com.example.file/more"}]
    },
    "the same change twice": lambda event, repo: {"ops": event["ops"] * 2},
    "what was before is another tree": lambda event, repo: {"prevData": repo.root},
    "what was before is left out": lambda event, repo: {"prevData": ...},
    "too many changes": lambda event, repo: {"ops": event["ops"] * 201},
    "an action of its own": lambda event, repo: {"ops": [{**event["ops"][0], "action": "destroy"}]},
    "a path that is none": lambda event, repo: {"ops": [{**event["ops"][0], "path": "../x"}]},
    "operations that are a text": lambda event, repo: {"ops": "none"},
    "too big, it says": lambda event, repo: {"tooBig": True},
    "no revision": lambda event, repo: {"rev": "yesterday"},
}


def repo_time(repo):
    return 1_750_000_000_000_000


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_of_an_event_that_lies_nothing_is_believed_and_the_repository_tells(pds, followed, lie):
    event = pds.told(CAROL, {SECOND: record(pds, CAROL, OTHER)})

    pds.send(event, **lie(event, pds.repos[CAROL]))

    assert an_honest_account_is_mirrored_on(pds, followed)
    pds.write(CAROL, {"com.example.file/three": record(pds, CAROL, b"true")})
    assert followed.serves(CAROL, b"true")
    assert set(followed.listed(CAROL)) == {cid_of(PHOTO), cid_of(OTHER), cid_of(b"true")}


@pytest.mark.parametrize("sign", ["another key", "the higher one", "too short", "none"])
def test_what_is_not_signed_as_the_identity_says_is_not_here(pds, followed, sign):
    repo, stranger = pds.repos[CAROL], pds.repos[DAVE].signer
    repo.sign = {
        "another key": lambda signer, data: signature(stranger, data),
        "the higher one": lambda signer, data: higher(signature(signer, data)),
        "too short": lambda signer, data: signature(signer, data)[:63],
        "none": lambda signer, data: b"",
    }[sign]

    pds.write(CAROL, {SECOND: record(pds, CAROL, OTHER), PATH: None})

    assert an_honest_account_is_mirrored_on(pds, followed)
    assert becomes(lambda: followed.account(CAROL).failure is not None)
    assert followed.get(CAROL, OTHER) == "BlobNotFound"
    assert followed.get(CAROL, PHOTO) == PHOTO


def test_a_revision_in_the_future_is_not_here(pds, followed):
    ahead = new_tid(followed.services.clock() + 3600 * 1_000_000, None)

    event = pds.told(CAROL, {SECOND: record(pds, CAROL, OTHER)}, rev=ahead)
    pds.send(event)

    assert becomes(lambda: "future" in (followed.account(CAROL).failure or ""))
    assert followed.get(CAROL, OTHER) == "BlobNotFound"
    assert an_honest_account_is_mirrored_on(pds, followed)


def test_a_pds_speaks_for_no_account_of_another_one(pds, followed):
    pds.documents[CAROL] = pds.document(CAROL, endpoint="https://elsewhere.example.com")
    pds.add(EVE)
    pds.documents[EVE] = pds.document(EVE, endpoint="https://elsewhere.example.com")

    pds.tell_status(EVE, "deleted")
    pds.write(EVE, {PATH: record(pds, EVE, OTHER)})

    assert an_honest_account_is_mirrored_on(pds, followed)
    assert becomes(lambda: followed.account(EVE) is None)
    assert followed.get(EVE, OTHER) == "RepoNotFound"


def test_of_two_pdses_none_hides_an_account_of_the_other(pds, followed):
    with followed.services.database.write() as tx:
        tx.run(
            "UPDATE upstream_account SET host = 'https://other.example.com' WHERE did = ?", CAROL
        )
    pds.documents[CAROL] = pds.document(CAROL, endpoint="https://other.example.com")
    pds.tell_identity(CAROL)
    followed.services.clock.advance(3700)

    pds.tell_status(CAROL, "deleted")

    assert an_honest_account_is_mirrored_on(pds, followed)
    assert followed.get(CAROL, PHOTO) == PHOTO
    assert followed.account(CAROL).status is None


def test_a_frame_of_six_megabytes_is_passed_over(pds, followed):
    event = pds.told(CAROL, {SECOND: record(pds, CAROL, OTHER)})

    pds.send(event, padding=bytes(6_000_000))

    assert followed.serves(CAROL, OTHER)
    assert an_honest_account_is_mirrored_on(pds, followed)
    assert pds.streams == [None]


@pytest.mark.parametrize(
    "frame",
    [bytes(9_000_000), b"", b"\xff", b"\xa1" * 5000, b"\x80" * 9000],
    ids=["nine megabytes", "empty", "no CBOR", "too deep", "too many values"],
)
def test_a_place_in_the_stream_that_cannot_be_read_is_left_out(pds, followed, frame):
    pds.seq += 1
    pds.send_raw(frame)
    assert becomes(lambda: pds.streams[-1] is None and len(pds.streams) > 2, 30)
    assert becomes(lambda: followed.host().listed_at is not None, 30)

    assert an_honest_account_is_mirrored_on(pds, followed)


def test_a_record_that_names_too_many_blobs_is_not_here_and_ends_nothing_else(pds, followed):
    many = [pds.blob(CAROL, b"%d" % number) for number in range(1001)]

    pds.write(CAROL, {SECOND: {"$type": "com.example.file", "files": many}})

    assert becomes(lambda: "1001 blobs" in (followed.account(CAROL).failure or ""), 20)
    assert followed.listed(CAROL) == [cid_of(PHOTO)]
    assert an_honest_account_is_mirrored_on(pds, followed)


def endless(handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n")
    for _ in range(200):
        handler.wfile.write(bytes(2**20))


def bomb(handler):
    import zlib

    squeezer = zlib.compressobj(9, wbits=31)
    body = b"".join(squeezer.compress(bytes(2**20)) for _ in range(200)) + squeezer.flush()
    send(handler, body, **{"Content-Encoding": "gzip"})


def longer(handler):
    send(handler, OTHER + b"!")


def shorter(handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + OTHER)


def wrong(handler):
    send(handler, b"a wrong photo")


def redirects(target):
    def answer(handler):
        send(handler, b"", 302, Location=target)

    return answer


BODIES = {
    "wrong bytes": wrong,
    "more bytes": longer,
    "fewer bytes than it says": shorter,
    "without an end": endless,
    "a bomb of gzip": bomb,
    "a server error": lambda handler: send(handler, {}, 500),
    "a redirect over http": redirects("http://example.com/"),
    "a redirect to a file": redirects("file:///etc/passwd"),
    "a redirect to loopback": redirects("https://127.0.0.1:1/"),
    "a redirect to a private address": redirects("https://10.0.0.1/"),
    "a redirect to link-local": redirects("https://169.254.169.254/latest/meta-data/"),
    "a redirect to a mapped address": redirects("https://[::ffff:127.0.0.1]/"),
    "a redirect that is none": redirects("https://[/"),
}


@pytest.mark.parametrize("answer", BODIES.values(), ids=BODIES)
def test_a_blob_that_is_not_what_the_record_names_is_not_here(pds, open_mirror, answer):
    mirror = open_mirror(MAX_BLOB_SIZE="1MB").start()
    pds.add(CAROL)
    pds.add(DAVE)
    value = record(pds, CAROL, OTHER)
    pds.blobs[CAROL, cid_of(OTHER)] = answer
    pds.write(CAROL, {PATH: value})

    assert becomes(lambda: failures(mirror) != [], 20)
    assert mirror.get(CAROL, OTHER) == "BlobNotFound"
    assert an_honest_account_is_mirrored_on(pds, mirror)

    pds.blobs[CAROL, cid_of(OTHER)] = OTHER
    mirror.services.clock.advance(3600)
    assert mirror.serves(CAROL, OTHER, 20)
    assert becomes(lambda: mirror.rows()["upstream_blob"] == [])


def failures(mirror):
    with mirror.services.database.read() as tx:
        return tx.all("SELECT failure FROM upstream_blob WHERE failure IS NOT NULL")


def test_what_nobody_names_is_not_fetched(pds, followed):
    pds.blob(CAROL, b"in a space alone")

    assert an_honest_account_is_mirrored_on(pds, followed)
    assert [path for path in pds.asked if cid_of(b"in a space alone") in path] == []
    assert followed.get(CAROL, b"in a space alone") == "BlobNotFound"


def test_a_pds_that_asks_for_a_pause_gets_it(pds, followed):
    asked = []

    def busy(handler):
        asked.append(time.monotonic())
        time.sleep(0.3)  # long enough for the next ones to be waiting behind these
        send(handler, {"error": "RateLimitExceeded"}, 429, **{"Retry-After": "2"})

    pds.answers["com.atproto.sync.getBlob"] = busy
    for number in range(20):
        pds.write(CAROL, {f"com.example.file/{number}": record(pds, CAROL, b"%d" % number)})
    assert becomes(lambda: asked)
    time.sleep(1)

    # As many as were under way when the first answer came.
    assert len(asked) <= 4
