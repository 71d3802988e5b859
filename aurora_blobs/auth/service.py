"""Service tokens: an account or a service signs for one method with a key of its DID document."""

from collections.abc import Callable
from dataclasses import dataclass

from aurora_blobs.auth.identity import Identities
from aurora_blobs.auth.jwts import Key, Token, one_time_name, seconds_claim
from aurora_blobs.catalog.tokens import token_key, use_token
from aurora_blobs.db import Database
from aurora_blobs.disk_space import Spend
from aurora_blobs.errors import (
    BadJwt,
    BadJwtAudience,
    BadJwtIss,
    BadJwtLexiconMethod,
    BadJwtSignature,
    BadJwtType,
    JwtExpired,
    UntrustedIss,
)
from aurora_blobs.protocol.syntax import parse_did

MAX_LIFE_SECONDS = 3600  # the longest that com.atproto.server.getServiceAuth gives
_SKEW_SECONDS = 30  # how far the issuer's clock may be ahead
_OTHER_TYPES = frozenset({"at+jwt", "refresh+jwt", "dpop+jwt"})
# The key in the DID document for each fragment of an issuer. https://atproto.com/specs/label
_KEYS = {"": "atproto", "atproto_labeler": "atproto_label"}


@dataclass(frozen=True, slots=True)
class ServiceClaims:
    """The claims of a service token. *issuer* is a DID, with a fragment if its service signed.

    *audience* is a DID, or names a service of one. *expires_at* is in seconds since the epoch.
    """

    issuer: str
    audience: str
    jti: str | None
    expires_at: int


class ServiceTokens:
    """Checks service tokens whose audience is one of *audiences*."""

    def __init__(
        self,
        audiences: frozenset[str],
        identities: Identities,
        database: Database,
        clock: Callable[[], int],
    ) -> None:
        self._audiences = audiences
        self._identities = identities
        self._database = database
        self._clock = clock

    def read(self, token: Token, nsid: str) -> ServiceClaims:
        """The claims of *token* for a call of *nsid*, not verified yet.

        Raises BadJwt, BadJwtType, JwtExpired, BadJwtLexiconMethod, BadJwtIss, BadJwtSignature.
        """
        if token.type in _OTHER_TYPES:
            raise BadJwtType(f'Invalid jwt type "{token.header["typ"]}"')
        claims = token.claims
        issuer, audience, method, jti = (claims.get(name) for name in ("iss", "aud", "lxm", "jti"))
        try:
            expires_at, issued_at, not_before = (
                seconds_claim(claims, name) for name in ("exp", "iat", "nbf")
            )
        except ValueError:
            raise BadJwt("poorly formatted jwt") from None
        if not isinstance(issuer, str) or not isinstance(audience, str) or expires_at is None:
            raise BadJwt("poorly formatted jwt")
        if not isinstance(jti, str | None) or not isinstance(method, str | None):
            raise BadJwt("poorly formatted jwt")
        self._check_times(expires_at, issued_at, not_before)
        if method != nsid:
            raise BadJwtLexiconMethod(nsid, missing=method is None)
        did, _, fragment = issuer.partition("#")
        try:
            parse_did(did)
        except ValueError:
            raise BadJwtIss("jwt iss is not a valid did") from None
        if fragment not in _KEYS:
            raise BadJwtIss("jwt iss is not a valid did")
        kid, key_name = token.header.get("kid"), _KEYS[fragment]
        # The key follows from the issuer. Who names another means another token.
        if kid is not None and kid not in (key_name, f"#{key_name}", f"{did}#{key_name}"):
            raise BadJwtSignature(f'jwt key ("kid") must be the issuer\'s: {key_name}')
        return ServiceClaims(issuer, audience, jti, expires_at)

    def verify(
        self, token: Token, claims: ServiceClaims, trusted: frozenset[str] | None = None
    ) -> None:
        """Check the signature and the audience of *token*, then use it up.

        Of another audience, nobody is asked for its key.

        *trusted* are the only issuers accepted; None accepts any. Raises UntrustedIss,
        BadJwtSignature, BadJwtAudience, BadJwt, AuthenticationRequired, ServiceBusy.
        """
        if trusted is not None and claims.issuer not in trusted:
            raise UntrustedIss("Untrusted issuer")
        did, _, fragment = claims.issuer.partition("#")
        if claims.audience not in self._audiences:
            # The reference names the signature first, where both are wrong.
            key = self._identities.known_key(did, _KEYS[fragment])
            if key is not None and not key.verifies(token):
                raise _bad_signature(token, key)
            raise BadJwtAudience("jwt audience does not match service did")
        self._check_signature(token, did, _KEYS[fragment])
        name, expires_at = one_time_name(token, claims.jti), claims.expires_at * 1_000_000
        # Moderators take down on a full disk too.
        is_new = self._database.transact(
            lambda tx: use_token(tx, claims.issuer, name, expires_at, self._clock()),
            Spend.HALF if trusted else Spend.NOTHING,
            keys=(token_key(claims.issuer, name),),
        )
        if not is_new:
            raise BadJwt("jwt has been used before")

    def _check_times(self, expires_at: int, issued_at: int | None, not_before: int | None) -> None:
        now = self._clock() // 1_000_000
        if now >= expires_at:
            raise JwtExpired("jwt expired")
        stated_life = 0 if issued_at is None else expires_at - issued_at
        if max(stated_life, expires_at - now - _SKEW_SECONDS) > MAX_LIFE_SECONDS:
            raise BadJwt(f"jwt lives longer than {MAX_LIFE_SECONDS} seconds")
        if not_before is not None and now < not_before - _SKEW_SECONDS:
            raise BadJwt("jwt is not yet valid")
        if issued_at is not None and now < issued_at - _SKEW_SECONDS:
            raise BadJwt(f"jwt was issued more than {_SKEW_SECONDS} seconds in the future")

    def _check_signature(self, token: Token, did: str, fragment: str) -> None:
        key = self._identities.key(did, fragment)
        # NOTE: (r, n - s) verifies as well as (r, s), and the reference accepts both. So the text
        # of a token is not unique; what is signed in it stops a replay.
        if key.verifies(token):
            return
        renewed = self._identities.key(did, fragment, refresh=True)
        if renewed != key and renewed.verifies(token):
            return
        raise _bad_signature(token, renewed)


def _bad_signature(token: Token, key: Key) -> BadJwtSignature:
    if token.header.get("alg") != key.algorithm:
        return BadJwtSignature("could not verify jwt signature")
    return BadJwtSignature("jwt signature does not match jwt issuer")
