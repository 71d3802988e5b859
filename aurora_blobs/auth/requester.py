"""Who is asking: what a request brought to show it, and what it was found to be."""

from dataclasses import dataclass
from typing import Literal

from aurora_blobs.auth.scopes import (
    allows_blob,
    allows_import,
    allows_repo,
    needed_for_blob,
    needed_for_repo,
)
from aurora_blobs.errors import AccountDeactivated, InvalidToken, ScopeMissing

Kind = Literal["session", "service", "oauth", "admin"]


@dataclass(frozen=True, slots=True)
class Credentials:
    """What of a request decides who is asking. *url* is the one that the client used, *address* is the client's."""

    authorization: str | None
    dpop: str | None
    method: str
    url: str
    address: str


@dataclass(frozen=True, slots=True)
class Requester:
    """Somebody whose credentials hold.

    *did* is None for the administrator. *scope* is the token's, *expires_at* its end in seconds since the epoch,
    None for what does not expire.
    """

    did: str | None
    kind: Kind
    scope: str = ""
    expires_at: int | None = None
    session_id: str | None = None
    deactivated: bool = False
    taken_down: bool = False

    def may_upload(self, mime_type: str) -> bool:
        """Whether the token allows a blob of *mime_type*, written as the client wrote it."""
        return self.kind != "oauth" or allows_blob(self.scope, mime_type)

    def require_upload(self, mime_type: str) -> None:
        """For an upload of *mime_type*: the declared type, and the one that was found. Raises ScopeMissing."""
        if not self.may_upload(mime_type):
            raise ScopeMissing(needed_for_blob(mime_type))

    def require_write(self, collection: str, action: str) -> None:
        """For a record of *collection*; *action* is create, update or delete. Raises ScopeMissing."""
        if self.kind == "oauth" and not allows_repo(self.scope, collection, action):
            raise ScopeMissing(needed_for_repo(collection, action))

    def require_import(self) -> None:
        """For importRepo. Raises ScopeMissing."""
        if self.kind == "oauth" and not allows_import(self.scope):
            raise ScopeMissing("account:repo?action=manage")

    def require_active(self) -> None:
        """For writes to the repository. Raises AccountDeactivated."""
        if self.deactivated:
            raise AccountDeactivated()


def parse_authorization(header: str) -> tuple[str, str]:
    """The scheme in lower case, and what follows it. Raises InvalidToken."""
    parts = header.split(" ")
    if len(parts) != 2 or not all(parts):
        raise InvalidToken("Malformed authorization header")
    scheme = parts[0].lower()
    if scheme not in ("basic", "bearer", "dpop"):
        raise InvalidToken(f"Unsupported authorization type: {parts[0]}")
    return scheme, parts[1]
