"""How many slow clients there may be, of an account, of an address, and in all."""

import pytest

from aurora_blobs.errors import RateLimitExceeded, ServiceBusy
from aurora_blobs.server.slow_clients import ACCOUNT, SlowClients

ALICE, BOB = "did:web:alice.test", "did:web:bob.test"
HERE = "192.0.2.1"


def slow_clients(*, per_account=0, per_address=0, threads=100):
    return SlowClients(per_account=per_account, per_address=per_address, threads=threads, parts=1)


def request(address=HERE, account=None):
    return {"REMOTE_ADDR": address, **({ACCOUNT: account} if account else {})}


def enter(slow, *requests, download=False):
    return [slow.enter(each, download=download) for each in requests]


def test_an_account_has_so_many_places_and_gets_one_when_one_is_given_back():
    slow = slow_clients(per_account=2)
    first, _ = enter(slow, request(account=ALICE), request(account=ALICE))

    with pytest.raises(RateLimitExceeded, match="No more than 2 requests of one account") as caught:
        slow.enter(request("192.0.2.2", ALICE), download=False)
    enter(slow, request(account=BOB), request())
    slow.leave(first)

    assert caught.value.retry_after == 5
    slow.enter(request(account=ALICE), download=False)


def test_an_address_has_so_many_places_whatever_its_accounts_and_ports():
    slow = slow_clients(per_address=2)
    enter(slow, request(f"{HERE}:1", ALICE), request(f"{HERE}:2", BOB))

    with pytest.raises(RateLimitExceeded, match="No more than 2 requests of one address"):
        slow.enter(request(HERE), download=False)
    with pytest.raises(RateLimitExceeded):
        slow.enter(request(HERE), download=True)

    slow.enter(request("192.0.2.2"), download=False)


@pytest.mark.parametrize("address", ["", "127.0.0.1", "::1"])
def test_this_machine_s_addresses_are_not_limited(address):
    slow = slow_clients(per_address=2)

    enter(slow, *[request(address)] * 10)


def test_a_download_is_not_counted_for_an_account():
    slow = slow_clients(per_account=1)

    enter(slow, *[request(account=ALICE)] * 3, download=True)
    slow.enter(request(account=ALICE), download=False)


def test_a_quarter_of_the_threads_is_for_quick_clients():
    slow = slow_clients(threads=8)
    enter(slow, *[request(f"192.0.2.{number}") for number in range(6)])

    with pytest.raises(ServiceBusy, match="No more than 6 slow clients"):
        slow.enter(request("192.0.2.99"), download=False)


def test_a_process_of_one_thread_has_a_place():
    slow_clients(threads=1).enter(request(), download=False)


def test_what_was_refused_holds_no_place():
    slow = slow_clients(per_account=1, per_address=3, threads=8)
    slow.enter(request(account=ALICE), download=False)
    for _ in range(100):
        with pytest.raises(RateLimitExceeded):
            slow.enter(request(account=ALICE), download=False)

    enter(slow, request(), request())
    for _ in range(100):
        with pytest.raises(RateLimitExceeded):
            slow.enter(request(), download=False)
    enter(slow, *[request(f"192.0.2.{number}") for number in range(2, 5)])


def test_clients_are_waited_for_less_when_no_place_is_left():
    slow = slow_clients(threads=2)
    before = [slow.patience(download=download) for download in (False, True)]
    place = slow.enter(request(), download=False)
    full = [slow.patience(download=download) for download in (False, True)]
    slow.leave(place)

    assert max(full) < min(before) / 5
    assert [slow.patience(download=download) for download in (False, True)] == before
