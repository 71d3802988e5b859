"""The S3 store over TLS, where boto3 makes other requests than over HTTP."""

import datetime
import io
import ipaddress
import ssl
from hashlib import sha256

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from support.faulty_link import FaultyLink

from aurora_blobs.errors import BackendUnavailable
from aurora_blobs.intake.spool import spooled

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    path.write_bytes(
        signed.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@pytest.fixture
def tls_link(s3_server, certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    link = FaultyLink(("127.0.0.1", s3_server.ports[0]), tls=context)
    yield link
    link.close()


def test_an_upload_over_tls_sends_its_length_and_both_digests(
    open_s3, tls_link, certificate, tmp_path, monkeypatch, some_bytes
):
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    store = open_s3(tls_link.url)
    data = some_bytes(300_000)

    with spooled(
        io.BytesIO(data),
        folder=tmp_path,
        inspect=lambda head: "image/png",
        max_bytes=10**6,
        declared_size=None,
    ) as blob:
        store.put(blob)

    head = tls_link.heads[0].lower()
    assert "\r\ncontent-length: 300000\r\n" in head
    assert "transfer-encoding" not in head
    assert f"\r\nx-amz-content-sha256: {sha256(data).hexdigest()}\r\n" in head
    assert "\r\nx-amz-checksum-sha256: " in head
    assert store.open(blob.cid).read() == data
    assert store.open(blob.cid, 10, 20).read() == data[10:20]
    store.probe()


def test_an_untrusted_certificate_is_refused(open_s3, tls_link):
    with pytest.raises(BackendUnavailable):
        open_s3(tls_link.url).probe()
