"""A mirror of the network has what it is asked for, if a public record names it; nothing else."""

import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image
from support.accounts import CAROL, blob_path, take_down
from support.cids import cid_of
from support.databases import database_settings
from support.document_server import send, serving
from support.fake_pds import FakePds
from support.live_service import becomes

DAVE = "did:plc:z72i7hdynmk6r22z27h6tvur"
PHOTO, OTHER = b"a photo", b"another photo"
MINUTE, HOUR, DAY = 60, 3600, 86_400
PRIVATE = b"what only some may see"


def publish(pds, *data, did=CAROL):
    """Have *did* publish each of *data* at *pds*, in a record of its own."""
    if did not in pds.repos:
        pds.add(did)
    for one in data:
        value = {"$type": "com.example.file", "file": pds.blob(did, one)}
        pds.repos[did].change({f"com.example.file/{cid_of(one)[-8:]}": value})


def unpublish(pds, data, did=CAROL):
    pds.repos[did].change({f"com.example.file/{cid_of(data)[-8:]}": None})


def asked(pds, method):
    return len([path for path in pds.asked if f"/{method}?" in path])


def test_a_blob_is_fetched_when_it_is_asked_for_and_then_is_here(pds, network):
    publish(pds, PHOTO)

    first = network.client.get(blob_path(CAROL, cid_of(PHOTO)))
    before = list(pds.asked)
    second = network.client.get(blob_path(CAROL, cid_of(PHOTO)), headers={"Range": "bytes=2-4"})

    assert (first.status_code, first.data) == (200, PHOTO)
    assert first.headers["Content-Type"] == "image/jpeg"
    assert (second.status_code, second.data) == (206, PHOTO[2:5])
    assert pds.asked == before


def test_a_picture_is_fetched_for_its_thumbnail(pds, network):
    with io.BytesIO() as file:
        Image.new("RGB", (60, 40), "teal").save(file, "JPEG")
        photo = file.getvalue()
    publish(pds, photo)

    answer = network.client.get(f"/img/avatar/plain/{CAROL}/{cid_of(photo)}@jpeg")
    unknown = network.client.get(f"/img/avatar/plain/{CAROL}/{cid_of(PRIVATE)}@jpeg")

    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/jpeg")
    assert unknown.json["error"] == "BlobNotFound"
    assert network.get(CAROL, photo) == photo
    assert asked(pds, "com.atproto.sync.getBlob") == 1


def test_what_no_public_record_names_is_never_fetched(pds, network):
    publish(pds, PHOTO)
    pds.blobs[CAROL, cid_of(PRIVATE)] = PRIVATE

    assert network.get(CAROL, PRIVATE) == "BlobNotFound"
    assert network.get(CAROL, PHOTO) == PHOTO
    assert network.get(CAROL, PRIVATE) == "BlobNotFound"
    assert asked(pds, "com.atproto.sync.getBlob") == 1


def test_a_list_of_many_pages_is_read_to_its_end_and_remembered(pds, network):
    data = [b"%d" % number for number in range(25)]
    publish(pds, *data)
    pds.page = 10

    assert [network.get(CAROL, one) for one in data] == data
    assert network.listed(CAROL) == sorted(map(cid_of, data))
    assert asked(pds, "com.atproto.sync.listBlobs") == 4


def test_a_list_without_an_end_is_left(pds, network):
    publish(pds, PHOTO)
    pds.answers["com.atproto.sync.listBlobs"] = lambda handler: send(
        handler, {"cids": [cid_of(PHOTO)], "cursor": "again"}
    )

    assert network.get(CAROL, PHOTO) == "BlobNotFound"
    assert network.get(CAROL, PHOTO) == "BlobNotFound"
    assert asked(pds, "com.atproto.sync.listBlobs") == 500


def test_what_was_published_since_the_list_is_found(pds, network):
    publish(pds, PHOTO)
    assert network.get(CAROL, PHOTO) == PHOTO
    network.services.clock.advance(10)
    publish(pds, OTHER)

    assert network.get(CAROL, OTHER) == OTHER


def test_an_account_of_which_nothing_can_be_known_is_not_found(pds, network):
    assert network.get(DAVE, PHOTO) == "RepoNotFound"
    assert network.get("did:web:localhost", PHOTO) == "RepoNotFound"
    assert network.get("did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme", PHOTO) == (
        "RepoNotFound"
    )
    assert network.account(DAVE) is None


@pytest.mark.parametrize(
    "error, status",
    [
        ("RepoDeactivated", "deactivated"),
        ("RepoTakendown", "takendown"),
        ("RepoNotFound", "deleted"),
    ],
)
def test_an_account_that_is_not_active_there_is_not_served(pds, network, error, status):
    publish(pds, PHOTO)
    pds.repos[CAROL].status = status

    assert network.get(CAROL, PHOTO) == error
    assert network.get(CAROL, PHOTO) == error
    assert asked(pds, "com.atproto.sync.getRepoStatus") == 1
    assert asked(pds, "com.atproto.sync.getBlob") == 0


def kept(network, seconds=HOUR):
    """Let *seconds* pass, and list what is due then."""
    network.services.clock.advance(seconds)
    keeper = network.services.keeper()
    while keeper.keep_next():
        pass


def test_what_is_deleted_there_is_hidden_within_the_hour_and_its_bytes_kept(pds, network):
    publish(pds, PHOTO, OTHER)
    assert [network.get(CAROL, PHOTO), network.get(CAROL, OTHER)] == [PHOTO, OTHER]
    unpublish(pds, PHOTO)

    kept(network)

    assert network.get(CAROL, PHOTO) == "BlobNotFound"
    assert network.get(CAROL, OTHER) == OTHER
    assert network.listed(CAROL) == [cid_of(OTHER)]
    assert network.services.blobs.backend.size(cid_of(PHOTO)) == len(PHOTO)


def test_what_is_published_again_is_served_again(pds, network):
    publish(pds, PHOTO)
    assert network.get(CAROL, PHOTO) == PHOTO
    unpublish(pds, PHOTO)
    kept(network)
    publish(pds, PHOTO)

    kept(network)

    assert network.get(CAROL, PHOTO) == PHOTO
    assert asked(pds, "com.atproto.sync.getBlob") == 1


def test_an_account_that_has_not_changed_is_not_listed_again(pds, network):
    publish(pds, PHOTO)
    assert network.get(CAROL, PHOTO) == PHOTO

    kept(network)
    kept(network)

    assert asked(pds, "com.atproto.sync.getRepoStatus") == 3
    assert asked(pds, "com.atproto.sync.listBlobs") == 2


@pytest.mark.parametrize(
    "status, error",
    [
        ("deactivated", "RepoDeactivated"),
        ("takendown", "RepoTakendown"),
        ("suspended", "RepoSuspended"),
    ],
)
def test_an_account_that_is_not_active_any_more_is_hidden_and_comes_back(
    pds, network, status, error
):
    publish(pds, PHOTO)
    assert network.get(CAROL, PHOTO) == PHOTO
    pds.repos[CAROL].status = status
    kept(network)
    assert network.get(CAROL, PHOTO) == error
    pds.repos[CAROL].status = None

    kept(network)

    assert network.get(CAROL, PHOTO) == PHOTO
    assert asked(pds, "com.atproto.sync.getBlob") == 1


def test_an_account_that_was_never_active_here_is_served_when_it_is(pds, network):
    publish(pds, PHOTO)
    pds.repos[CAROL].status = "deactivated"
    assert network.get(CAROL, PHOTO) == "RepoDeactivated"
    pds.repos[CAROL].status = None

    kept(network)

    assert network.get(CAROL, PHOTO) == PHOTO


def test_an_account_is_hidden_when_its_pds_denies_it_twice(pds, network):
    publish(pds, PHOTO)
    assert network.get(CAROL, PHOTO) == PHOTO
    pds.repos[CAROL].status = "deleted"
    kept(network)
    assert network.get(CAROL, PHOTO) == PHOTO

    kept(network, 10 * MINUTE)

    assert network.get(CAROL, PHOTO) == "RepoNotFound"
    assert network.account(CAROL).status == "missing"
    pds.repos[CAROL].status = None
    kept(network, DAY)
    assert network.get(CAROL, PHOTO) == PHOTO


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_while_a_pds_fails_what_is_here_is_served_and_it_is_asked_less_often(pds, network, status):
    publish(pds, PHOTO)
    assert network.get(CAROL, PHOTO) == PHOTO
    pds.answers["com.atproto.sync.getRepoStatus"] = lambda handler: send(handler, {}, status)

    for _ in range(6):
        kept(network)

    assert network.get(CAROL, PHOTO) == PHOTO
    assert asked(pds, "com.atproto.sync.getRepoStatus") < 6


def test_an_account_that_moves_is_followed_to_its_new_pds(pds, network, clock, open_network):
    publish(pds, PHOTO)
    with FakePds(clock).serving() as other:
        network = open_network(FOLLOW=f"{pds.url},{other.url}")
        assert network.get(CAROL, PHOTO) == PHOTO
        publish(other, OTHER)
        pds.documents[CAROL] = pds.document(CAROL, endpoint=other.url)

        kept(network)
        kept(network)

        assert network.get(CAROL, OTHER) == OTHER
        assert network.get(CAROL, PHOTO) == "BlobNotFound"
        assert network.account(CAROL).host == other.url


def test_an_account_of_which_nothing_is_here_is_forgotten_after_a_day(pds, network):
    publish(pds, PHOTO)
    assert network.get(CAROL, OTHER) == "BlobNotFound"

    kept(network, 2 * DAY)

    assert network.account(CAROL) is None
    assert list(network.services.accounts.all()) == []


def test_what_was_not_to_be_had_is_forgotten_when_nobody_asks(pds, network):
    publish(pds, PHOTO)
    pds.repos[DAVE] = pds.add(DAVE)
    pds.answers["com.atproto.sync.getRepoStatus"] = lambda handler: send(handler, {}, 400)
    assert network.get(DAVE, PHOTO) == "RepoNotFound"
    del pds.answers["com.atproto.sync.getRepoStatus"]
    assert network.get(CAROL, OTHER) == "BlobNotFound"
    assert network.account(DAVE) is not None
    assert len(network.rows()["upstream_blob"]) == 1
    network.services.clock.advance(2 * DAY)

    network.services.keeper().sweep()

    assert network.account(DAVE) is None
    assert network.rows()["upstream_blob"] == []


def test_the_command_keeps_it_true(pds, network):
    publish(pds, PHOTO)
    assert network.get(CAROL, PHOTO) == PHOTO
    unpublish(pds, PHOTO)
    network.services.clock.advance(HOUR)
    stop = threading.Event()
    keeping = threading.Thread(target=network.services.keeper().run, args=(stop,))
    keeping.start()

    assert becomes(lambda: network.get(CAROL, PHOTO) == "BlobNotFound")
    stop.set()
    keeping.join(20)
    assert not keeping.is_alive()


def blobs_of(size, count):
    return [bytes([number]) * size for number in range(count)]


def test_of_what_is_kept_the_least_recently_read_goes_first(pds, open_network):
    network = open_network(MIRROR_SIZE="50000")
    data = blobs_of(10_000, 6)
    publish(pds, *data)
    for one in data[:5]:
        assert network.get(CAROL, one) == one
        network.services.clock.advance(61)
    assert network.get(CAROL, data[0]) == data[0]
    network.services.clock.advance(1)

    assert network.get(CAROL, data[5]) == data[5]

    kept = {stored.name for stored in network.services.blobs.backend.scan()}
    assert kept == {cid_of(one) for one in (data[0], data[3], data[4], data[5])}
    assert network.get(CAROL, data[1]) == data[1]
    assert asked(pds, "com.atproto.sync.getBlob") == 7


def test_an_account_has_its_own_bound(pds, open_network):
    network = open_network(QUOTA="25000")
    data = blobs_of(10_000, 3)
    publish(pds, *data)
    publish(pds, PHOTO, did=DAVE)
    assert network.get(DAVE, PHOTO) == PHOTO
    for one in data:
        network.services.clock.advance(1)
        assert network.get(CAROL, one) == one

    kept = {stored.name for stored in network.services.blobs.backend.scan()}
    assert kept == {cid_of(data[1]), cid_of(data[2]), cid_of(PHOTO)}


def test_a_blob_that_has_no_room_is_not_fetched(pds, open_network):
    network = open_network(MIRROR_SIZE="9999")
    (large,) = blobs_of(10_000, 1)
    publish(pds, PHOTO, large)
    assert network.get(CAROL, PHOTO) == PHOTO

    assert network.get(CAROL, large) == "BlobNotFound"
    assert network.get(CAROL, PHOTO) == PHOTO


def test_what_another_account_holds_too_stays(pds, open_network):
    network = open_network(MIRROR_SIZE="25000")
    shared, second, third = blobs_of(10_000, 3)
    publish(pds, shared, second)
    publish(pds, shared, third, did=DAVE)
    assert network.get(CAROL, shared) == shared
    network.services.clock.advance(1)
    assert network.get(DAVE, shared) == shared
    network.services.clock.advance(1)

    assert network.get(CAROL, second) == second

    before = asked(pds, "com.atproto.sync.getBlob")
    assert network.get(DAVE, shared) == shared
    assert asked(pds, "com.atproto.sync.getBlob") == before


@pytest.mark.parametrize(
    "pause", [5 * MINUTE, HOUR, 6 * HOUR, DAY, DAY], ids=["5 m", "1 h", "6 h", "1 d", "1 d"]
)
def test_what_was_not_to_be_had_is_not_asked_for_until_its_time(pds, network, pause):
    pauses = [5 * MINUTE, HOUR, 6 * HOUR, DAY]
    publish(pds, PHOTO)
    held = pds.blobs.pop((CAROL, cid_of(PHOTO)))
    for before in pauses[: pauses.index(pause)]:
        assert network.get(CAROL, PHOTO) == "BlobNotFound"
        network.services.clock.advance(before + 1)
    assert network.get(CAROL, PHOTO) == "BlobNotFound"
    times = asked(pds, "com.atproto.sync.getBlob")
    pds.blobs[CAROL, cid_of(PHOTO)] = held

    network.services.clock.advance(pause - 1)
    assert network.get(CAROL, PHOTO) == "BlobNotFound"
    assert asked(pds, "com.atproto.sync.getBlob") == times
    network.services.clock.advance(2)

    assert network.get(CAROL, PHOTO) == PHOTO


@pytest.mark.parametrize(
    "allow", [CAROL, "localhost", f"{DAVE},localhost"], ids=["by DID", "by host", "by either"]
)
def test_who_is_allowed_is_served(pds, open_network, allow):
    publish(pds, PHOTO)

    assert open_network(MIRROR_ALLOW=allow).get(CAROL, PHOTO) == PHOTO


@pytest.mark.parametrize("allow", [DAVE, "pds.example.com", "localhost:1"])
def test_who_is_not_allowed_is_not_served_and_a_did_alone_asks_nobody(pds, open_network, allow):
    publish(pds, PHOTO)

    assert open_network(MIRROR_ALLOW=allow).get(CAROL, PHOTO) == "RepoNotFound"
    assert [path for path in pds.asked if "atproto.sync" in path] == []


def restarted(open_network, before, **settings):
    """The mirror *before* with other settings, and its keeper at its start."""
    network = open_network(DATA_DIR=before.services.config.data_dir, **settings)
    network.services.keeper().apply_settings()
    return network


@pytest.mark.parametrize("allow", [DAVE, "pds.example.com"], ids=["by DID", "by host"])
def test_who_is_not_allowed_any_more_is_hidden_and_kept_for_the_grace_time(
    pds, open_network, allow
):
    network = open_network(PURGE_URL="http://127.0.0.1:9/")
    publish(pds, PHOTO)
    assert network.get(CAROL, PHOTO) == PHOTO
    before = len(pds.asked)

    network = restarted(open_network, network, MIRROR_ALLOW=allow, PURGE_URL="http://127.0.0.1:9/")

    assert network.get(CAROL, PHOTO) == "RepoNotFound"
    assert network.listed(CAROL) == "RepoNotFound"
    assert [one for one in pds.asked[before:] if ".sync." in one] == []
    with network.services.database.read() as tx:
        assert tx.all("SELECT did, cid FROM purge") == [(CAROL, "")]
    kept(network)
    network.services.clock.advance(30 * DAY - HOUR - 1)
    assert collected(network) == []
    network.services.clock.advance(2)
    assert collected(network) == [("account", CAROL)]
    assert list(network.services.blobs.backend.scan()) == []
    assert network.account(CAROL) is None


def collected(network):
    return [(found.kind, found.did) for found in network.services.collector().run()]


@pytest.mark.parametrize("allow", ["", CAROL, "localhost"], ids=["everybody", "by DID", "by host"])
def test_who_is_allowed_again_is_shown_as_the_pds_lists_it_and_fetched_once(
    pds, open_network, allow
):
    network = open_network()
    publish(pds, PHOTO, OTHER)
    assert [network.get(CAROL, PHOTO), network.get(CAROL, OTHER)] == [PHOTO, OTHER]
    network = restarted(open_network, network, MIRROR_ALLOW=DAVE)
    kept(network)
    assert network.get(CAROL, PHOTO) == "RepoNotFound"
    unpublish(pds, OTHER)

    network = restarted(open_network, network, **({"MIRROR_ALLOW": allow} if allow else {}))
    before = network.get(CAROL, PHOTO)
    kept(network, 0)

    assert before == "RepoDeactivated"
    assert network.get(CAROL, PHOTO) == PHOTO
    assert network.get(CAROL, OTHER) == "BlobNotFound"
    assert asked(pds, "com.atproto.sync.getBlob") == 2


def test_who_calls_a_pds_of_the_settings_by_its_public_name_stays(pds, open_network):
    pds.answers["com.atproto.server.describeServer"] = lambda handler: send(
        handler, {"did": "did:web:pds.example.com"}
    )
    publish(pds, PHOTO)
    pds.documents[CAROL] = pds.document(CAROL, endpoint="https://pds.example.com")
    network = open_network(MIRROR_ALLOW="pds.example.com")
    assert network.get(CAROL, PHOTO) == PHOTO

    network = restarted(open_network, network, MIRROR_ALLOW="pds.example.com")

    assert network.get(CAROL, PHOTO) == PHOTO


def test_nobody_is_hidden_before_a_pds_has_said_its_name(pds, open_network):
    network = open_network()
    publish(pds, PHOTO)
    assert network.get(CAROL, PHOTO) == PHOTO
    pds.answers["com.atproto.server.describeServer"] = lambda handler: send(handler, {}, 503)

    network = restarted(open_network, network, MIRROR_ALLOW="pds.example.com")

    assert network.get(CAROL, PHOTO) == PHOTO


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://127.0.0.1:{port}",
        "http://127.0.0.1:{port}/path",
        "https://127.0.0.1:{port}",
        "https://[::1]:{port}",
        "https://169.254.169.254",
        "ftp://localhost",
        "http://pds.example.com",
        "",
    ],
)
def test_an_endpoint_is_public_over_https_or_one_of_the_settings(pds, network, endpoint):
    publish(pds, PHOTO)
    pds.documents[CAROL] = pds.document(
        CAROL, endpoint=endpoint.format(port=pds.url.rpartition(":")[2]) or None
    )
    if not endpoint:
        pds.documents[CAROL]["service"] = []

    answer = network.client.get(blob_path(CAROL, cid_of(PHOTO)))

    assert answer.json["error"] in ("RepoNotFound", "UpstreamFailure")
    assert [path for path in pds.asked if "atproto.sync" in path] == []


def test_a_redirect_into_this_network_is_not_followed(pds, network):
    publish(pds, PHOTO)
    inside = []

    def redirect(handler):
        send(handler, b"", 302, Location=f"http://{address}/secret")

    with serving(lambda handler: inside.append(handler.path) or send(handler, PHOTO)) as address:
        pds.blobs[CAROL, cid_of(PHOTO)] = redirect
        answer = network.client.get(blob_path(CAROL, cid_of(PHOTO)))

    assert (answer.status_code, answer.json["error"]) == (502, "UpstreamFailure")
    assert inside == []


def test_wrong_bytes_are_not_served_and_not_kept(pds, network):
    publish(pds, PHOTO)
    pds.blobs[CAROL, cid_of(PHOTO)] = b"not the photo"

    assert network.get(CAROL, PHOTO) == "BlobNotFound"
    assert network.get(CAROL, PHOTO) == "BlobNotFound"
    assert asked(pds, "com.atproto.sync.getBlob") == 1
    assert list(network.services.blobs.backend.scan()) == []


def test_a_blob_without_an_end_is_left(pds, open_network):
    network = open_network(MAX_BLOB_SIZE="100000")
    publish(pds, PHOTO)

    def endless(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\n\r\n")
        while True:
            handler.wfile.write(bytes(10_000))

    pds.blobs[CAROL, cid_of(PHOTO)] = endless

    assert network.get(CAROL, PHOTO) == "BlobNotFound"
    assert list(network.services.config.data_folder.spool.iterdir()) == []


@pytest.mark.parametrize("status, name", [(429, "Retry-After"), (503, "Retry-After")])
def test_a_pds_that_asks_for_a_pause_gets_it(pds, network, status, name):
    publish(pds, PHOTO, OTHER)
    assert network.get(CAROL, OTHER) == OTHER
    pds.blobs[CAROL, cid_of(PHOTO)] = lambda handler: send(handler, {}, status, **{name: "40"})

    first = network.client.get(blob_path(CAROL, cid_of(PHOTO)))
    times = len(pds.asked)
    second = network.client.get(blob_path(CAROL, cid_of(PHOTO)))

    assert (first.status_code, first.json["error"]) == (502, "UpstreamFailure")
    assert 38 <= int(first.headers["Retry-After"]) <= 40
    assert second.status_code == 502
    assert len(pds.asked) == times
    assert network.get(CAROL, OTHER) == OTHER


def test_who_asks_for_what_is_not_to_be_had_asks_in_vain_after_a_while(pds, network):
    publish(pds, PHOTO, OTHER)
    assert network.get(CAROL, PHOTO) == PHOTO

    answers = [
        network.client.get(blob_path(CAROL, cid_of(b"%d" % number)), environ_base=FROM)
        for number in range(310)
    ]

    assert [answer.status_code for answer in answers] == [400] * 300 + [429] * 10
    assert asked(pds, "com.atproto.sync.listBlobs") == 4
    assert network.client.get(blob_path(CAROL, cid_of(PHOTO)), environ_base=FROM).data == PHOTO
    assert network.get(CAROL, OTHER) == OTHER  # of another address
    assert len(network.rows()["upstream_blob"]) == 300


FROM = {"REMOTE_ADDR": "198.51.100.7"}


def test_many_who_ask_for_one_blob_wait_for_one_request(pds, network):
    data = bytes(60_000)
    publish(pds, data)
    goes_on = threading.Event()

    def slow(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data))
        handler.wfile.write(data[:1000])
        goes_on.wait(20)
        handler.wfile.write(data[1000:])

    pds.blobs[CAROL, cid_of(data)] = slow
    with ThreadPoolExecutor(50) as threads:
        answers = [threads.submit(fetched, network, data) for _ in range(50)]
        time.sleep(0.5)
        goes_on.set()

        assert all(answer.result() == data for answer in answers)
    assert asked(pds, "com.atproto.sync.getBlob") == 1
    assert asked(pds, "com.atproto.sync.listBlobs") == 2


@pytest.mark.postgresql
def test_each_node_asks_once_for_a_blob_that_is_asked_for_at_all_of_them(
    pds, open_network, network, tmp_path
):
    publish(pds, PHOTO)
    folder = network.services.config.data_folder
    (tmp_path / "node").mkdir()
    (tmp_path / "node" / "blobs").symlink_to(folder.blobs)
    settings = database_settings(folder.path / "aurora.sqlite3")
    node = open_network(
        DATA_DIR=str(tmp_path / "node"),
        **{name.removeprefix("AURORA_BLOBS_"): value for name, value in settings.items()},
    )
    both = threading.Barrier(2)

    def slow(handler):
        both.wait(10)
        send(handler, PHOTO)

    pds.blobs[CAROL, cid_of(PHOTO)] = slow
    with ThreadPoolExecutor(20) as threads:
        got = list(threads.map(lambda one: fetched(one, PHOTO), [network, node] * 10))

    assert got == [PHOTO] * 20
    assert asked(pds, "com.atproto.sync.getBlob") == 2


def test_no_more_than_four_blobs_are_fetched_from_a_pds_at_once(pds, network):
    data = [b"%d" % number for number in range(20)]
    publish(pds, *data)
    under_way, most = [], []

    def slow(one):
        def answer(handler):
            under_way.append(one)
            most.append(len(under_way))
            time.sleep(0.05)
            under_way.remove(one)
            send(handler, one)

        return answer

    for one in data:
        pds.blobs[CAROL, cid_of(one)] = slow(one)
    with ThreadPoolExecutor(20) as threads:
        got = list(threads.map(lambda one: fetched(network, one), data))

    assert got == data
    assert max(most) == 4


def fetched(network, data):
    client = network.client.application.test_client()
    return client.get(blob_path(CAROL, cid_of(data))).data


def test_what_an_administrator_took_down_is_not_fetched(pds, network):
    publish(pds, PHOTO, OTHER)
    assert network.get(CAROL, OTHER) == OTHER
    take_down(network.client, CAROL, cid_of(PHOTO))

    assert network.get(CAROL, PHOTO) == "BlobNotFound"
    assert asked(pds, "com.atproto.sync.getBlob") == 1
