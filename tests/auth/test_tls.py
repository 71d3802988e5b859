"""A did:web is fetched over TLS with the certificate of its name."""

import socket
import ssl

import pytest
from support.certificates import certificate
from support.document_server import send, serving

from aurora_blobs.auth import fetch as fetching
from aurora_blobs.auth.connections import Connections
from aurora_blobs.auth.fetch import FetchFailed, fetch, is_public_or_loopback
from aurora_blobs.auth.resolver import Resolver

NAME = "alice.example.com"


@pytest.fixture
def trust(monkeypatch):
    """``trust(certificate)`` makes it the only trusted one."""

    def trust(path):
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        fetching.tls_context.cache_clear()

    yield trust
    fetching.tls_context.cache_clear()


@pytest.fixture
def ask(tmp_path):
    """``ask(name)`` fetches from *name*, where a server with the certificate of NAME answers."""
    names = []

    def noted(connection, name, context):
        names.append(name)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(NAME, tmp_path))
    context.sni_callback = noted

    def here(host, port, **_):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    with serving(
        lambda handler: send(handler, {"host": handler.headers["Host"]}),
        context,
        version="HTTP/1.1",
    ) as address:
        port = address.rpartition(":")[2]

        def ask(name, connections=None):
            return fetch(
                f"https://{name}:{port}/",
                allowed=is_public_or_loopback,
                resolver=Resolver(lookup=here),
                connections=connections,
            ), names

        yield ask


def test_tls_checks_and_sends_the_name(ask, trust, tmp_path):
    trust(tmp_path / f"{NAME}.pem")

    body, names = ask(NAME)

    assert body.startswith(b'{"host": "alice.example.com:')
    assert names == [NAME]


def test_a_certificate_for_another_name_is_refused(ask, trust, tmp_path):
    trust(tmp_path / f"{NAME}.pem")

    with pytest.raises(FetchFailed, match="certificate is not valid for 'bob.example.com'"):
        ask("bob.example.com")


def test_an_untrusted_certificate_is_refused(ask, trust, tmp_path):
    trust(certificate("authority.example.com", tmp_path))

    with pytest.raises(FetchFailed, match="certificate verify failed"):
        ask(NAME)


def test_a_connection_that_is_kept_is_for_the_name_of_its_certificate(ask, trust, tmp_path):
    trust(tmp_path / f"{NAME}.pem")
    kept = Connections()

    for _ in range(3):
        ask(NAME, kept)
    with pytest.raises(FetchFailed, match="certificate is not valid for 'bob.example.com'"):
        ask("bob.example.com", kept)
    _, names = ask(NAME, kept)

    assert names == [NAME, "bob.example.com"]
