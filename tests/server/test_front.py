"""What a request meets before the application: address, proxies, body."""

import io

import pytest

from aurora_blobs import logs, patience
from aurora_blobs.server.addresses import UNKNOWN
from aurora_blobs.server.cross_origin import HEADERS
from aurora_blobs.server.front import Front
from aurora_blobs.server.slow_clients import SlowClients

HOUR = 3600


class Seconds:
    now = 1000.0

    def __call__(self):
        return self.now


def app(environ, start_response):
    """Answers 204, reads nothing, and keeps what it was called with."""
    app.environ = environ
    start_response(app.status, [("A", "b")])
    return []


app.status = "204 No Content"


def front(**options):
    slow_clients = SlowClients(per_account=1, per_address=1, threads=4, parts=1)
    return Front(app, slow_clients=slow_clients, **options)


def answer(front, **environ):
    """The headers of the answer to a request with *environ*, without its id."""
    started = []
    environ = {"REMOTE_ADDR": "127.0.0.1", "wsgi.input": io.BytesIO(), **environ}
    list(front(environ, lambda status, headers, exc_info=None: started.append(headers)))
    answer.request_id = dict(started[0])["X-Request-Id"]
    return [(name, value) for name, value in started[0] if name != "X-Request-Id"]


@pytest.mark.parametrize(
    "status", ["200 OK", "204 No Content", "304 Not Modified", "503 Service Unavailable"]
)
def test_an_answer_of_any_status_follows_the_request_s_body(monkeypatch, status):
    monkeypatch.setattr(app, "status", status)
    body = io.BytesIO(bytes(1000))
    sent = {"CONTENT_LENGTH": "1000", "wsgi.input": body}

    assert answer(front(proxy_hops=0), **sent) == [("A", "b"), *HEADERS]
    assert body.tell() == 1000


def test_an_answer_to_a_body_that_cannot_be_read_closes_the_connection():
    body = io.BytesIO(bytes(1000))
    body.close()
    sent = {"CONTENT_LENGTH": "1000", "wsgi.input": body}

    headers = answer(front(proxy_hops=0), **sent)

    assert headers == [("A", "b"), *HEADERS, ("Connection", "close")]


@pytest.mark.parametrize(
    "hops, header, address",
    [
        (0, None, "127.0.0.1"),
        (0, "192.0.2.1", "127.0.0.1"),
        (1, "192.0.2.1", "127.0.0.1"),
        (1, None, UNKNOWN),
        (1, "", UNKNOWN),
        (2, "192.0.2.1", UNKNOWN),
    ],
)
def test_with_proxies_a_request_that_names_no_client_comes_from_no_known_address(
    hops, header, address
):
    answer(front(proxy_hops=hops), **({"HTTP_X_FORWARDED_FOR": header} if header else {}))

    assert app.environ["REMOTE_ADDR"] == address


@pytest.mark.parametrize(
    "hops, forwarded_for, is_taken",
    [(0, None, False), (0, "192.0.2.1", False), (1, None, False), (1, "192.0.2.1", True)],
)
def test_the_id_of_a_request_is_that_of_a_trusted_proxy_or_a_new_one(hops, forwarded_for, is_taken):
    proxy = {"HTTP_X_FORWARDED_FOR": forwarded_for} if forwarded_for else {}

    answer(front(proxy_hops=hops), HTTP_X_REQUEST_ID="given", **proxy)

    assert (answer.request_id == "given") == is_taken
    assert logs.request_id() == answer.request_id


@pytest.mark.parametrize("given", ["x" * 65, "a b", "a\x1bb", ""])
def test_an_id_of_a_proxy_that_is_long_or_odd_is_not_taken(given):
    answer(front(proxy_hops=1), HTTP_X_FORWARDED_FOR="192.0.2.1", HTTP_X_REQUEST_ID=given)

    assert answer.request_id != given
    assert len(answer.request_id) == 32


@pytest.mark.parametrize("name", ["X_FORWARDED_FOR", "FORWARDED", "X_REAL_IP"])
def test_a_proxy_that_no_setting_names_is_logged_a_few_times(caplog, name):
    seconds = Seconds()
    proxied = front(proxy_hops=0, seconds=seconds)

    for _ in range(20):
        for _ in range(100):
            answer(proxied, **{f"HTTP_{name}": "192.0.2.1"})
        seconds.now += HOUR

    assert len(caplog.messages) == 3
    assert "AURORA_BLOBS_PROXY_HOPS=0" in caplog.text
    assert "192.0.2.1" not in caplog.text


@pytest.mark.parametrize("hops, environ", [(0, {}), (1, {"HTTP_X_FORWARDED_FOR": "192.0.2.1"})])
def test_nothing_is_logged_without_a_proxy_or_with_one_that_is_known(caplog, hops, environ):
    answer(front(proxy_hops=hops), **environ)

    assert caplog.messages == []


def test_each_request_has_a_patience_of_its_own_for_the_database():
    left = []

    def waiting(environ, start_response):
        for _ in range(3):
            left.append(patience.left_of(10, at_least=2))
            patience.note_wait(5)
        return app(environ, start_response)

    service = Front(
        waiting,
        proxy_hops=0,
        slow_clients=SlowClients(per_account=1, per_address=1, threads=4, parts=1),
    )
    answer(service)
    answer(service)
    patience.note_wait(5)

    assert left == [10, 5, 2] * 2
    assert patience.left_of(10, at_least=2) == 10
