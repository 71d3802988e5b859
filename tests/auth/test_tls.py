"""A did:web is fetched over TLS with the certificate of its name."""

import datetime
import socket
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from support.document_server import send, serving

from aurora_blobs.auth import fetch as fetching
from aurora_blobs.auth.fetch import FetchFailed, fetch, is_public_or_loopback
from aurora_blobs.auth.resolver import Resolver

NAME = "alice.example.com"


def certificate(name, folder):
    """A self-signed certificate for *name*, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    path.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain) + made.public_bytes(pem)
    )
    return path


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
        lambda handler: send(handler, {"host": handler.headers["Host"]}), context
    ) as address:
        port = address.rpartition(":")[2]

        def ask(name):
            return fetch(
                f"https://{name}:{port}/",
                allowed=is_public_or_loopback,
                resolver=Resolver(lookup=here),
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
