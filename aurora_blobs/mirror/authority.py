"""Who may speak for an account: the PDS that its DID document names, with the key in it."""

from typing import Any

from aurora_blobs.auth.identity import Identities, key_in
from aurora_blobs.auth.jwts import Key
from aurora_blobs.auth.keys import signs_commit
from aurora_blobs.mirror.upstream import Upstream
from aurora_blobs.protocol.commits import SignedCommit
from aurora_blobs.protocol.did_document import names_host


class Doubted(Exception):
    """What is known of the identity does not speak for what came: it has to be asked for anew."""


class NotItsHost(Exception):
    """The identity, asked for just now, names another PDS."""


class Authority:
    """Holds what *upstream* says against the identities of its accounts."""

    def __init__(self, upstream: Upstream, identities: Identities) -> None:
        self._upstream = upstream
        self._identities = identities

    def check_known(self, did: str) -> None:
        """Raise Doubted unless the identity that is known names our PDS. Nobody is asked."""
        self._known(did)

    def check_signature(self, commit: SignedCommit) -> None:
        """Raise Doubted unless *commit* is signed as the identity says that is known."""
        key = key_in(self._known(commit.did), "atproto")
        if key is None or not _signs(key, commit):
            raise Doubted(f"{commit.did}: the signature of a commit is wrong")

    def ask(self, did: str, *, anew: bool) -> None:
        """Have the identity of *did* known; *anew*: as it is now.

        Raises NotItsHost, Doubted if there is none, ServiceBusy.
        """
        document = self._identities.document(did, refresh=anew)
        if document is not None and not anew and not self._names_us(document):
            document = self._identities.document(did, refresh=True)  # it may have moved here
        if document is None:
            raise Doubted(f"{did}: its identity cannot be resolved")
        if not self._names_us(document):
            raise NotItsHost(f"{did}: its identity names another PDS")

    def _known(self, did: str) -> dict[str, Any]:
        document = self._identities.known_document(did)
        if document is None or not self._names_us(document):
            raise Doubted(f"{did}: no known identity names this PDS")
        return document

    def _names_us(self, document: dict[str, Any]) -> bool:
        return any(names_host(document, name) for name in self._upstream.names)


def _signs(key: Key, commit: SignedCommit) -> bool:
    return signs_commit(key, commit.signed, commit.signature)
