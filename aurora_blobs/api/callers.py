"""Who calls: the person or the administrator whose credentials came with the request."""

from flask import g, request

from aurora_blobs.api.serializers import own_url
from aurora_blobs.auth import Credentials, Person, Requester
from aurora_blobs.auth.authenticator import Kind
from aurora_blobs.auth.session import ACCESS_SCOPES
from aurora_blobs.catalog.audit import Author
from aurora_blobs.server.slow_clients import ACCOUNT
from aurora_blobs.services import services


def require_person(
    *kinds: Kind, scopes: frozenset[str] = ACCESS_SCOPES, allow_taken_down: bool = False
) -> Person:
    """The account that calls with one of *kinds* of tokens. Raises as `Authenticator.person`."""
    person = services().authenticator.person(
        _personal_credentials(), g.nsid, kinds, scopes=scopes, allow_taken_down=allow_taken_down
    )
    request.environ[ACCOUNT] = person.did
    return person


def require_owner() -> Person:
    """The account that calls a method about its own. Raises as `Authenticator.owner`."""
    return services().authenticator.owner(_personal_credentials(), g.nsid)


def require_person_or_admin(*, scopes: frozenset[str] = ACCESS_SCOPES) -> Requester:
    """The account that calls, or the administrator.

    Raises as `Authenticator.person_or_administrator`.
    """
    requester = services().authenticator.person_or_administrator(
        _personal_credentials(), g.nsid, scopes=scopes
    )
    if isinstance(requester, Person):
        request.environ[ACCOUNT] = requester.did
    return requester


def require_admin() -> Author:
    """The administrator, who alone may call. Raises as `Authenticator.administrator`."""
    return author(services().authenticator.administrator(_personal_credentials(), g.nsid).name)


def author(name: str) -> Author:
    """Who acts by this method, for the audit trail."""
    return Author(name, g.nsid)


def optional_requester() -> Requester | None:
    """The caller of a method that is open to everybody; None for an anonymous one."""
    g.is_personal = True
    if "HTTP_AUTHORIZATION" not in request.environ:
        return None
    return services().authenticator.optional(_personal_credentials(), g.nsid)


def credentials() -> Credentials:
    """The credentials in the request."""
    environ = request.environ
    proof = environ.get("HTTP_DPOP")
    # Only a DPoP proof names a URL. Making the URL takes a tenth of the time of a small upload's
    # view.
    url = "" if proof is None else own_url() + request.root_path + request.path
    address = environ.get("REMOTE_ADDR") or ""
    return Credentials(environ.get("HTTP_AUTHORIZATION"), proof, request.method, url, address)


def _personal_credentials() -> Credentials:
    """`credentials`, for an answer that depends on them."""
    g.is_personal = True
    shown = credentials()
    headers = services().authenticator.headers(shown)
    if headers:
        g.headers.extend(headers)
    return shown
