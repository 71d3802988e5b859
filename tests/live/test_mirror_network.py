"""A mirror of the network on real servers: of the reference PDS, and for a crowd."""

import os
import socket
import threading
import time

import pytest
from support.accounts import CAROL, blob_path
from support.cids import cid_of
from support.clock import Clock
from support.document_server import send
from support.fake_pds import FakePds
from support.followed_pds import Member, Mirror, Upstream, answer_of, lists
from support.live_service import Service, becomes
from support.process_watch import children, resident_bytes
from support.reference_pds import ReferencePds

pytestmark = pytest.mark.live

CLIENTS = 1000


def test_of_the_reference_pds_what_is_public_is_served_and_kept_true(tmp_path):
    with ReferencePds(tmp_path / "pds", "http://localhost:2583") as pds:
        upstream = Upstream(pds)
        alice = Member(upstream, "alice.test")
        public, other, temporary = (os.urandom(size) for size in (2_000_000, 1000, 1001))
        alice.put("one", public)
        alice.put("two", other)
        alice.upload(temporary)
        with Service(
            tmp_path / "network",
            AURORA_BLOBS_MIRROR="network",
            AURORA_BLOBS_FOLLOW=pds.url,
            AURORA_BLOBS_PLC_URL=pds.plc_url,
        ) as service:
            mirror = Mirror(service, tmp_path)
            for data in (public, other):
                expected = answer_of(upstream, alice.did, data)
                assert answer_of(service, alice.did, data) == expected
            assert mirror.hides(alice, temporary)
            alice.delete("one")
            time.sleep(2.1)  # so often an account is asked for what is new
            alice.put("three", b"published later")
            assert mirror.serves(alice, b"published later")

            mirror.start()
            make_due(service)
            assert becomes(lambda: mirror.hides(alice, public), 20)
            alice.set_active(False)
            make_due(service)
            assert becomes(lambda: lists(service, alice.did) == "RepoDeactivated", 20)
            assert mirror.hides(alice, other)
            assert mirror.end() == 0
            assert "Traceback" not in mirror.log


@pytest.mark.parametrize("knows_password", [True, False])
def test_what_the_reference_pds_takes_down_is_hidden_until_it_is_lifted(tmp_path, knows_password):
    with ReferencePds(tmp_path / "pds", "http://localhost:2583") as pds:
        password = pds.facts["adminPassword"]
        upstream = Upstream(pds)
        alice = Member(upstream, "alice.test")
        photos = [os.urandom(1000) for _ in range(3)]
        alice.put("one", *photos)
        with Service(
            tmp_path / "network",
            AURORA_BLOBS_MIRROR="network",
            AURORA_BLOBS_FOLLOW=pds.url,
            AURORA_BLOBS_PLC_URL=pds.plc_url,
            **({"AURORA_BLOBS_FOLLOW_ADMIN_PASSWORD": password} if knows_password else {}),
        ) as service:
            mirror = Mirror(service, tmp_path)
            assert all(mirror.serves(alice, photo) for photo in photos)
            mirror.start()
            assert becomes(lambda: round_begun(service))

            take_down_there(upstream, password, alice, photos[0], True)
            assert becomes(lambda: ask_all(service) and mirror.hides(alice, photos[0]))
            assert all(mirror.serves(alice, photo) for photo in photos[1:])
            # By a password it is known at once. The log has it after the database.
            assert becomes(
                lambda: (mirror.log.count("is refused by its PDS") == 1) == knows_password
            )

            take_down_there(upstream, password, alice, photos[0], False)
            assert becomes(lambda: ask_all(service) and mirror.serves(alice, photos[0]))
            assert mirror.end() == 0
            assert "Traceback" not in mirror.log


def take_down_there(upstream, password, member, data, applied):
    answer = upstream.post(
        "/xrpc/com.atproto.admin.updateSubjectStatus",
        json={
            "subject": {
                "$type": "com.atproto.admin.defs#repoBlobRef",
                "did": member.did,
                "cid": cid_of(data),
            },
            "takedown": {"applied": applied},
        },
        auth=("admin", password),
    )
    assert answer.status_code == 200, answer.text


def round_begun(service):
    with service.database() as database:
        return database.one_shot().one("SELECT 1 FROM upstream_round")


def ask_all(service):
    """Let each blob be asked for now that would be within the day, and a refusal be an old one."""
    with service.database() as database, database.write() as tx:
        tx.run("UPDATE upstream_round SET due_at = 0, began_at = 0")
        tx.run("UPDATE upstream_refusal SET due_at = 0, refused_at = refused_at - 600000000")
    time.sleep(1)
    return True


def make_due(service):
    """Let each account be listed now that would be within the hour."""
    with service.database() as database, database.write() as tx:
        tx.run("UPDATE upstream_account SET due_at = 0")


def test_a_thousand_who_ask_for_one_blob_cause_one_request_and_are_served(tmp_path):
    data = os.urandom(20_000_000)
    clock = Clock()
    clock.advance(time.time() - clock() / 1_000_000)
    with (
        FakePds(clock).serving() as pds,
        Service(
            tmp_path,
            AURORA_BLOBS_MIRROR="network",
            AURORA_BLOBS_FOLLOW=pds.url,
            AURORA_BLOBS_PLC_URL=pds.url,
        ) as service,
    ):
        pds.add(CAROL)
        pds.repos[CAROL].change({"a.b.c/1": {"file": pds.blob(CAROL, data)}})
        goes_on = threading.Event()

        def slow(handler):
            goes_on.wait(20)
            send(handler, data, **{"Content-Type": "image/jpeg"})

        pds.blobs[CAROL, cid_of(data)] = slow
        workers = children(service.process.pid)
        before = {worker: resident_bytes(worker) for worker in workers}
        request = (
            f"GET {blob_path(CAROL, cid_of(data))} HTTP/1.1\r\nHost: localhost\r\n"
            f"Range: bytes=19999000-19999999\r\nConnection: close\r\n\r\n"
        ).encode()
        clients = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(CLIENTS)]
        for client in clients:
            client.settimeout(120)
            client.sendall(request)
        time.sleep(1)
        goes_on.set()
        answers = [received(client) for client in clients]

        assert {answer.split(b" ", 2)[1] for answer in answers} == {b"206"}
        assert {answer[-1000:] for answer in answers} == {data[19_999_000:]}
        assert len([path for path in pds.asked if "getBlob?" in path]) == 1
        # A thread for each client that waits, 256 in a worker: 17 to 19 MiB were measured.
        used = [resident_bytes(worker) - before[worker] for worker in workers]
        print(*(f"{size / 2**20:.0f} MiB more" for size in used))
        assert max(used) < 32 * 2**20


def received(client):
    with client:
        parts = []
        while part := client.recv(65536):
            parts.append(part)
        return b"".join(parts)
