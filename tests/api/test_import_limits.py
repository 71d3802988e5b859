"""What an import may take: it is looked at while it comes, and there are few at once."""

import io
import time
from contextlib import ExitStack

import pytest
from support.accounts import ADMIN, sign_up
from support.car_files import CAR, IMPORT, Car, car_of, reference
from support.services import services_of

from aurora_blobs.intake.stale_files import exclusive


class Body(io.BytesIO):
    """A body; *meanwhile* is called when half of it has been read."""

    def __init__(self, data, meanwhile=lambda: None):
        super().__init__(data)
        self.size = len(data)
        self.meanwhile = meanwhile

    def read(self, size=-1):
        piece = super().read(min(size, 200_000))
        if self.tell() > self.size // 2:
            self.meanwhile, meanwhile = lambda: None, self.meanwhile
            meanwhile()
        return piece


@pytest.fixture
def watched(app):
    """A body, and what lies in the spool when half of it has been read.

    After a refusal the rest is drained.
    """

    def watched(data):
        spool, seen = services_of(app).config.data_folder.spool, []
        return Body(data, lambda: seen.extend(path.name for path in spool.iterdir())), seen

    return watched


def send(client, body, **options):
    return client.post(
        IMPORT,
        input_stream=body,
        headers={"Content-Type": CAR, **options.pop("headers", {})},
        content_length=body.size,
        **options,
    )


def repository(did, first=True):
    """A file of 9 MB, which is never kept in memory, with the commit in its first block."""
    car = Car()
    records = {f"com.example.file/{n:03}": {"text": f"{n:03}" * 30_000} for n in range(100)}
    root = car.repository(records, did)
    car.blocks = {root: car.blocks[root], **car.blocks}
    return car.file(root).getvalue()


def said(answer):
    return answer.status_code, answer.json["error"], answer.json["message"]


def test_a_repository_of_somebody_else_is_refused_before_it_is_here(app, alice, watched):
    bob = sign_up(app.test_client(), "bobby.test")
    body, kept = watched(repository(alice.did))

    answer = send(bob.client, body, headers=bob.headers)

    assert said(answer) == (
        400,
        "InvalidRequest",
        f"The repository is of {alice.did}, not of {bob.did}",
    )
    assert kept == []


def test_the_administrator_hears_of_a_stranger_before_the_repository_is_here(app, watched):
    body, kept = watched(repository("did:web:stranger.test"))

    answer = send(app.test_client(), body, auth=ADMIN)

    assert said(answer)[:2] == (400, "RepoNotFound")
    assert kept == []


def test_a_bad_block_ends_an_import_when_it_comes(alice, watched):
    data = bytearray(repository(alice.did))
    data[1000] ^= 1
    body, kept = watched(bytes(data))

    answer = send(alice.client, body, headers=alice.headers)

    assert "does not match its CID" in said(answer)[2]
    assert kept == []


def test_an_account_imports_one_repository_at_a_time(app, alice):
    second = Body(repository(alice.did))
    answers = []
    first = Body(
        repository(alice.did),
        lambda: answers.append(send(app.test_client(), second, headers=alice.headers)),
    )

    assert send(alice.client, first, headers=alice.headers).status_code == 200
    assert [said(answer) for answer in answers] == [
        (
            503,
            "ServiceUnavailable",
            "Another import of this repository is under way, please try again.",
        )
    ]
    assert answers[0].headers["Retry-After"] == "5"


def test_the_administrator_imports_one_repository_of_an_account_at_a_time(app, alice):
    second = Body(repository(alice.did))
    answers = []
    first = Body(
        repository(alice.did), lambda: answers.append(send(app.test_client(), second, auth=ADMIN))
    )

    assert send(alice.client, first, headers=alice.headers).status_code == 200
    assert [said(answer)[0] for answer in answers] == [503]


def test_there_are_few_imports_at_once(open_app):
    app = open_app(IMPORTS_AT_ONCE="2")
    alice, bob, carol = [
        sign_up(app.test_client(), f"{name}.test") for name in ("alice", "bobby", "carol")
    ]
    third = Body(repository(carol.did))
    answers = []

    def import_third():
        answers.append(send(carol.client, third, headers=carol.headers))

    def import_second():
        body = Body(repository(bob.did), import_third)
        answers.append(send(bob.client, body, headers=bob.headers))

    first = Body(repository(alice.did), import_second)

    assert send(alice.client, first, headers=alice.headers).status_code == 200
    assert said(answers[0]) == (
        503,
        "ServiceUnavailable",
        "2 repositories are being imported, no more at once are accepted: please try again.",
    )
    assert answers[1].status_code == 200
    assert send(carol.client, Body(third.getvalue()), headers=carol.headers).status_code == 200


def test_a_free_place_is_found_without_waiting_for_those_that_are_taken(open_app):
    app = open_app(IMPORTS_AT_ONCE="8")
    alice = sign_up(app.test_client(), "alice.test")
    spool = services_of(app).config.data_folder.spool

    with ExitStack() as held:
        for number in range(7):
            assert held.enter_context(exclusive(spool, f"import.place{number}"))
        began = time.monotonic()
        answer = send(alice.client, Body(repository(alice.did)), headers=alice.headers)
        took = time.monotonic() - began

    assert answer.status_code == 200
    assert took < 2  # each one is waited for half a second


def test_an_import_that_was_refused_leaves_its_place(open_app):
    app = open_app(IMPORTS_AT_ONCE="1")
    alice = sign_up(app.test_client(), "alice.test")

    for _ in range(3):
        assert send(alice.client, Body(b"nothing"), headers=alice.headers).status_code == 400
    body = Body(repository(alice.did))

    assert send(alice.client, body, headers=alice.headers).status_code == 200


@pytest.mark.parametrize(
    "count, status", [(5, 200), (6, 400)], ids=["as many as may be", "one more"]
)
def test_a_record_of_an_import_names_no_more_blobs_than_any_other(open_app, count, status):
    alice = sign_up(open_app(MAX_RECORD_REFERENCES="5").test_client(), "alice.test")
    files = [reference(bytes([number])) for number in range(count)]
    body = Body(car_of({"com.example.file/1": {"files": files}}, alice.did).getvalue())

    answer = send(alice.client, body, headers=alice.headers)

    assert answer.status_code == status
    assert status == 200 or said(answer)[2] == (
        "Invalid repository: com.example.file/1: a record names 6 blobs, at most 5 are accepted"
    )
    counts = alice.get("com.atproto.server.checkAccountStatus").json
    assert counts["expectedBlobs"] == (5 if status == 200 else 0)


def test_an_import_over_the_quota_of_records_changes_nothing(open_app):
    app = open_app(RECORD_QUOTA="100000")
    alice = sign_up(app.test_client(), "alice.test")
    small = car_of({"com.example.file/1": {"text": "x" * 90_000}}, alice.did).getvalue()
    assert send(alice.client, Body(small), headers=alice.headers).status_code == 200

    answer = send(alice.client, Body(repository(alice.did)), headers=alice.headers)

    assert said(answer)[:2] == (400, "QuotaExceeded")
    assert "at most 100000 are accepted" in said(answer)[2]
    shown = alice.get("com.atproto.repo.listRecords", repo=alice.did, collection="com.example.file")
    assert [record["uri"].rpartition("/")[2] for record in shown.json["records"]] == ["1"]
    assert send(alice.client, Body(small), headers=alice.headers).status_code == 200


def test_an_import_leaves_nothing_in_the_spool(app, alice):
    spool = services_of(app).config.data_folder.spool

    for data in (repository(alice.did), repository("did:web:x.test"), b"x" * 1000):
        send(alice.client, Body(data), headers=alice.headers)

    assert list(spool.iterdir()) == []
