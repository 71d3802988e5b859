"""The administrator: HTTP Basic, user ``admin``."""

import hmac
from base64 import b64decode

from aurora_blobs.errors import WrongPassword


def check_admin_password(encoded: str, password: str | None) -> None:
    """Check *encoded*, the base64 after ``Basic``, against *password*; None refuses everybody.

    Raises WrongPassword.
    """
    try:
        given = b64decode(encoded, validate=True)
    except ValueError:
        raise WrongPassword() from None
    # One comparison of the whole pair, so that its time does not tell which half was wrong.
    if password is None or not hmac.compare_digest(given, f"admin:{password}".encode()):
        raise WrongPassword()
