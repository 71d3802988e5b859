"""Name lookups, when the name server does not answer."""

import socket
import threading
import time

import pytest
from support.document_server import send, serving

from aurora_blobs.auth.fetch import FetchFailed, fetch
from aurora_blobs.auth.resolver import Resolver


class SilentServer:
    """A name server that answers only after `answer` was called."""

    def __init__(self):
        self.asked = []
        self._answers = threading.Event()

    def __call__(self, host, port, **_):
        self.asked.append(host)
        self._answers.wait(20)
        raise socket.gaierror("no such name")

    def answer(self):
        self._answers.set()


@pytest.fixture
def silent():
    server = SilentServer()
    yield server
    server.answer()
    for thread in under_way():
        thread.join(10)


def under_way():
    return [thread for thread in threading.enumerate() if thread.name == "name look-up"]


def test_a_name_that_is_not_looked_up_in_time_ends_the_request(silent):
    with pytest.raises(FetchFailed, match="not looked up in time"):
        fetch("http://slow.test/", allowed=None, resolver=Resolver(1, silent), timeout_seconds=0.1)

    assert silent.asked == ["slow.test"]


def test_abandoned_lookups_are_bounded(silent):
    resolver = Resolver(3, silent)

    for number in range(8):
        with pytest.raises(FetchFailed):
            fetch(
                f"http://slow{number}.test/", allowed=None, resolver=resolver, timeout_seconds=0.05
            )

    assert len(silent.asked) == 3
    assert len(under_way()) == 3


def test_a_look_up_that_ends_late_makes_room_again(silent):
    resolver = Resolver(1, silent)
    with pytest.raises(FetchFailed, match="in time"):
        fetch("http://slow.test/", allowed=None, resolver=resolver, timeout_seconds=0.05)
    silent.answer()

    with pytest.raises(FetchFailed, match="no such name"):
        fetch("http://other.test/", allowed=None, resolver=resolver)


def test_an_address_needs_no_look_up_and_so_waits_for_none(silent):
    names = []

    def lookup(host, port, **named):
        names.append(host)
        return (
            socket.getaddrinfo(host, port, **named) if host == "127.0.0.1" else silent(host, port)
        )

    resolver = Resolver(1, lookup)
    with pytest.raises(FetchFailed):
        fetch("http://slow.test/", allowed=None, resolver=resolver, timeout_seconds=0.05)

    with serving(lambda handler: send(handler, {})) as address:
        assert fetch(f"http://{address}/", allowed=None, resolver=resolver) == b"{}"


@pytest.mark.parametrize("host", ["a" * 64 + ".test", "xn--\u20ac.test", "no such name"])
def test_a_failed_lookup_is_an_error_of_the_request(host):
    with pytest.raises((OSError, ValueError)):
        Resolver(1).addresses(host, 80, time.monotonic() + 5)
