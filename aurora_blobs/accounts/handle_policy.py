"""The handles and email addresses that a new local account may have."""

import re

from aurora_blobs.errors import HandleNotAvailable, InvalidHandle, InvalidRequest, UnsupportedDomain
from aurora_blobs.protocol.syntax import parse_handle

_MIN_NAME, _MAX_NAME = 3, 18  # characters in front of a handle's domain, as on the reference PDS
_MAX_EMAIL = 254  # RFC 5321, 4.5.3.1.3
_EMAIL = re.compile(r"[^\s@\x00-\x20\x7f]{1,64}@[a-z0-9-]+(\.[a-z0-9-]+)+")
# A visitor would take these for the service itself.
_RESERVED = re.compile(
    "abuse|account|admin|administrator|api|app|auth|cdn|help|hostmaster|info|login|mail|moderation|"
    "oauth|pds|postmaster|root|security|service|status|support|system|webmaster|www|xrpc"
)


def parse_local_handle(
    text: str, domains: tuple[str, ...], service_did: str, *, allow_reserved: bool
) -> str:
    """*text* as a handle below one of *domains*, in lower case.

    The handle whose ``did:web`` is *service_did* is always reserved. Raises InvalidHandle,
    UnsupportedDomain, HandleNotAvailable.
    """
    try:
        handle = parse_handle(text)
    except ValueError as error:
        raise InvalidHandle(str(error)) from None
    names = [handle.removesuffix(domain) for domain in domains if handle.endswith(domain)]
    if not names:
        raise UnsupportedDomain(
            f"Not a supported handle domain: handles here end in {', '.join(domains)}"
        )
    name = min(names, key=len)  # the longest domain, where one ends in another
    if "." in name:
        raise InvalidHandle("Invalid characters in handle: no dot is allowed before the domain")
    if len(name) < _MIN_NAME:
        raise InvalidHandle(f"Handle too short: {_MIN_NAME} characters or more before the domain")
    if len(name) > _MAX_NAME:
        raise InvalidHandle(f"Handle too long: {_MAX_NAME} characters or fewer before the domain")
    # Reserved by RFC 5891, 4.2.3.1. What begins with xn-- is shown in other letters, and may look
    # like any name.
    if name[2:4] == "--":
        raise InvalidHandle(
            "Invalid characters in handle: no two hyphens are allowed as third and fourth character"
        )
    # An account with the service's own DID could sign for the service.
    if f"did:web:{handle}" == service_did or (_RESERVED.fullmatch(name) and not allow_reserved):
        raise HandleNotAvailable(f"Reserved handle: {handle}")
    return handle


def parse_email(text: str) -> str:
    """The email address *text* in lower case. Raises InvalidRequest."""
    email = text.lower()
    if len(email) > _MAX_EMAIL or not _EMAIL.fullmatch(email):
        raise InvalidRequest("This email address is not supported, please use a different email.")
    return email
