"""The administrator: HTTP Basic, user ``admin``."""

import hmac
from base64 import b64decode

from aurora_blobs.errors import AuthenticationRequired


def require_admin(encoded: str, password: str | None) -> None:
    """Check *encoded*, what follows ``Basic``, against *password*; None refuses everybody.

    Raises AuthenticationRequired.
    """
    try:
        given = b64decode(encoded, validate=True)
    except ValueError:
        raise AuthenticationRequired() from None
    # One comparison of the whole pair: how long it takes says nothing of which half was wrong.
    if password is None or not hmac.compare_digest(given, f"admin:{password}".encode()):
        raise AuthenticationRequired()
