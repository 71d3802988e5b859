"""The credentials of a request, and the two kinds of callers: a person or the administrator."""

from dataclasses import dataclass

from aurora_blobs.auth.scopes import (
    allows_blob,
    allows_import,
    allows_repo,
    needed_for_blob,
    needed_for_repo,
)
from aurora_blobs.errors import AccountDeactivated, AuthMissing, InvalidToken, ScopeMissing
from aurora_blobs.protocol.quoting import shown


@dataclass(frozen=True, slots=True)
class Credentials:
    """The parts of a request that show its caller. *url* and *address* are the client's."""

    authorization: str | None
    dpop: str | None
    method: str
    url: str
    address: str


@dataclass(frozen=True, slots=True)
class Person:
    """An account that showed valid credentials.

    *scope* is what OAuth granted; None, of a session or a service token, grants everything.
    """

    did: str
    scope: str | None = None
    deactivated: bool = False
    taken_down: bool = False

    def may_upload(self, mime_type: str) -> bool:
        """Whether the scope allows a blob of *mime_type*, written as the client wrote it."""
        return self.scope is None or allows_blob(self.scope, mime_type)

    def require_upload(self, mime_type: str) -> None:
        """Check an upload of *mime_type*, declared or detected. Raises ScopeMissing."""
        if not self.may_upload(mime_type):
            raise ScopeMissing(needed_for_blob(shown(mime_type)))

    def require_write(self, collection: str, action: str) -> None:
        """Check a create, update or delete in *collection*. Raises ScopeMissing."""
        if self.scope is not None and not allows_repo(self.scope, collection, action):
            raise ScopeMissing(needed_for_repo(collection, action))

    def require_import(self) -> None:
        """Check importRepo. Raises ScopeMissing."""
        if self.scope is not None and not allows_import(self.scope):
            raise ScopeMissing("account:repo?action=manage")

    def require_active(self) -> None:
        """Check a write to the repository. Raises AccountDeactivated."""
        if self.deactivated:
            raise AccountDeactivated()


@dataclass(frozen=True, slots=True)
class Administrator:
    """The operator, or the moderation service: no scope limits what it may do.

    `name` is ``admin``, or the DID of the service.
    """

    name: str = "admin"

    def require_write(self, collection: str, action: str) -> None:
        """Every record may be written."""

    def require_import(self) -> None:
        """Every repository may be imported."""


Requester = Person | Administrator


def parse_authorization(header: str | None) -> tuple[str, str]:
    """The scheme of an Authorization *header* in lower case, and the credentials after it.

    Raises AuthMissing for None, InvalidToken.
    """
    if header is None:
        raise AuthMissing()
    parts = header.split(" ")
    if len(parts) != 2 or not all(parts):
        raise InvalidToken("Malformed authorization header")
    scheme = parts[0].lower()
    if scheme not in ("basic", "bearer", "dpop"):
        raise InvalidToken(f"Unsupported authorization type: {shown(parts[0])}")
    return scheme, parts[1]
