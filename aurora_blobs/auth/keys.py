"""Public keys in the formats of the protocol: did:key, Multikey, hex and JWK."""

from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from aurora_blobs.auth.jwts import Key

_BASE58 = {
    character: value
    for value, character in enumerate("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz")
}
_MAX_MULTIBASE = 128  # characters; an uncompressed point has 90
_CURVES: dict[str, type[ec.EllipticCurve]] = {"ES256K": ec.SECP256K1, "ES256": ec.SECP256R1}
# SEC 2, 2.4.1 and 2.4.2
_ORDERS = {
    "ES256K": 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141,
    "ES256": 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
}
_MULTICODECS = {b"\xe7\x01": "ES256K", b"\x80\x24": "ES256"}  # varints of 0xe7 and 0x1200
_VERIFICATION_TYPES = {
    "EcdsaSecp256k1VerificationKey2019": "ES256K",
    "EcdsaSecp256r1VerificationKey2019": "ES256",
}
# By the names of OAuth's metadata; none with a shared secret.
_JWK_TYPES = dict.fromkeys(
    ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), ("RSA", None)
) | {
    "ES256": ("EC", "P-256"),
    "ES256K": ("EC", "secp256k1"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
}
JWK_ALGORITHMS = frozenset(_JWK_TYPES)


def parse_public_key(text: str) -> Key:
    """The key *text*: ``did:key:z…``, or a secp256k1 point in hex. Raises ValueError."""
    if text.startswith("did:key:"):
        return _multikey(text.removeprefix("did:key:"))
    return _point("ES256K", bytes.fromhex(text))


def verification_key(method: dict[str, Any]) -> Key:
    """The key of *method*, a verification method of a DID document. Raises ValueError.

    https://atproto.com/specs/cryptography#public-key-encoding
    """
    multibase = method.get("publicKeyMultibase")
    if not isinstance(multibase, str):
        raise ValueError("no publicKeyMultibase")
    if method.get("type") == "Multikey":
        return _multikey(multibase)
    algorithm = _VERIFICATION_TYPES.get(str(method.get("type")))
    if algorithm is None:
        raise ValueError("unknown key type")
    return _point(algorithm, _base58btc(multibase))


def signs_commit(key: Key, data: bytes, signature: bytes) -> bool:
    """Whether *signature* (64 bytes) is that of *key* for *data*, a commit without it.

    Only the lower of the two signatures that are equally right is accepted.
    https://atproto.com/specs/cryptography#ecdsa-signature-malleability
    """
    if len(signature) != 64 or int.from_bytes(signature[32:]) > _ORDERS[key.algorithm] // 2:
        return False
    return key.signed(data, signature)


def jwk_key(jwk: dict[str, Any], algorithm: str) -> Key:
    """The public key *jwk* for *algorithm*, one of `JWK_ALGORITHMS`. Raises ValueError."""
    if (
        _JWK_TYPES.get(algorithm) != (jwk.get("kty"), jwk.get("crv"))
        or "d" in jwk
        or jwk.get("alg", algorithm) != algorithm
    ):
        raise ValueError(f"no public key for {algorithm}")
    try:
        return Key(algorithm, PyJWK(jwk, algorithm).key)
    # A hostile JWK can cause any of these.
    except (PyJWTError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError("not a key") from error


def _multikey(multibase: str) -> Key:
    data = _base58btc(multibase)
    algorithm = _MULTICODECS.get(data[:2])
    if algorithm is None:
        raise ValueError("unknown key type")
    return _point(algorithm, data[2:])


def _point(algorithm: str, data: bytes) -> Key:
    return Key(algorithm, ec.EllipticCurvePublicKey.from_encoded_point(_CURVES[algorithm](), data))


def _base58btc(multibase: str) -> bytes:
    if not multibase.startswith("z") or len(multibase) > _MAX_MULTIBASE:
        raise ValueError("not base58btc")
    number = 0
    for character in multibase[1:]:
        if character not in _BASE58:
            raise ValueError("not base58btc")
        number = number * 58 + _BASE58[character]
    zeros = len(multibase[1:]) - len(multibase[1:].lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")
