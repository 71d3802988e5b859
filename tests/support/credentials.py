"""Keys that sign session tokens, service tokens, OAuth tokens and DPoP proofs."""

import json
from hashlib import sha256
from secrets import token_hex

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt import PyJWS
from support.accounts import ALICE
from support.clock import NOW

from aurora_blobs.auth import Credentials
from aurora_blobs.auth.jwts import Key, base64url
from aurora_blobs.errors import BlobServiceError

SECRET = "0123456789abcdef0123456789abcdef"
SERVICE = "did:web:pds.test"
UPLOAD = "com.atproto.repo.uploadBlob"

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_CURVES = {"ES256K": (ec.SECP256K1, b"\xe7\x01"), "ES256": (ec.SECP256R1, b"\x80\x24")}


def credentials(authorization, dpop=None, address="127.0.0.1"):
    return Credentials(authorization, dpop, "POST", f"https://pds.test/xrpc/{UPLOAD}", address)


def refusal(call, *arguments, **named):
    """Status, name and message of the error that *call* raises."""
    with pytest.raises(BlobServiceError) as caught:
        call(*arguments, **named)
    return caught.value.status, caught.value.error, caught.value.message


def base58(data):
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = _BASE58[digit] + text
    return "z" + "1" * (len(data) - len(data.lstrip(b"\0"))) + text


class Signer:
    """A key pair that signs service tokens and has a DID document."""

    def __init__(self, algorithm="ES256K"):
        curve, self._codec = _CURVES[algorithm]
        self.private = ec.generate_private_key(curve())
        self.key = Key(algorithm, self.private)

    def point(self, form=serialization.PublicFormat.CompressedPoint):
        return self.private.public_key().public_bytes(serialization.Encoding.X962, form)

    @property
    def multikey(self):
        return base58(self._codec + self.point())

    def document(self, did, *, fragment="atproto", **changes):
        method = {
            "id": f"{did}#{fragment}",
            "type": "Multikey",
            "controller": did,
            "publicKeyMultibase": self.multikey,
        }
        return {"id": did, "verificationMethod": [method | changes]}

    def token(self, typ="JWT", **changes):
        claims = {
            "iss": ALICE,
            "aud": SERVICE,
            "lxm": UPLOAD,
            "exp": NOW + 60,
            "iat": NOW,
            "jti": token_hex(8),
        }
        return self.key.sign(
            typ, {name: value for name, value in (claims | changes).items() if value is not None}
        )


def signed(key, header, claims):
    """A JWT of *header* and *claims* as given."""
    head = ".".join(base64url(json.dumps(part).encode()) for part in (header, claims))
    signature = PyJWS().get_algorithm_by_name(key.algorithm).sign(head.encode(), key.material)
    return f"{head}.{base64url(signature)}"


class Wallet:
    """An OAuth client: the key of its tokens, and its DPoP proofs."""

    def __init__(self, algorithm="ES256"):
        self.signer = Signer(algorithm)
        numbers = self.signer.private.public_key().public_numbers()
        curve = {"ES256": "P-256", "ES256K": "secp256k1"}[algorithm]
        x, y = (base64url(value.to_bytes(32, "big")) for value in (numbers.x, numbers.y))
        self.jwk = {"kty": "EC", "crv": curve, "x": x, "y": y}
        canonical = json.dumps(self.jwk, sort_keys=True, separators=(",", ":")).encode()
        self.thumbprint = base64url(sha256(canonical).digest())

    def proof(self, token, given_nonce, /, *, header=None, **changes):
        """A proof for `credentials`. *header* and *changes* replace claims; None leaves one out."""
        claims = {
            "jti": token_hex(8),
            "htm": "POST",
            "htu": f"https://pds.test/xrpc/{UPLOAD}",
            "iat": NOW,
            "nonce": given_nonce,
            "ath": base64url(sha256(token.encode()).digest()),
        }
        head = {"typ": "dpop+jwt", "alg": self.signer.key.algorithm, "jwk": self.jwk} | (
            header or {}
        )
        claims = {name: value for name, value in (claims | changes).items() if value is not None}
        return signed(
            self.signer.key,
            {name: value for name, value in head.items() if value is not None},
            claims,
        )
