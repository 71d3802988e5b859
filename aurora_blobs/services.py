"""What one application is made of, for the views and the commands to work with."""

from collections.abc import Callable
from dataclasses import dataclass

from flask import current_app

from aurora_blobs.accounts import Accounts
from aurora_blobs.auth import Authenticator
from aurora_blobs.auth.identity import Identities
from aurora_blobs.config import Config
from aurora_blobs.db import Database
from aurora_blobs.importing import Importer
from aurora_blobs.lexicons import Lexicons
from aurora_blobs.limits import Limits
from aurora_blobs.manager import BlobManager
from aurora_blobs.moderation import Moderation
from aurora_blobs.pictures import Pictures
from aurora_blobs.records import Records
from aurora_blobs.repos import Repos
from aurora_blobs.shelf import OpenShelf
from aurora_blobs.watch import StoreWatch


@dataclass(frozen=True, slots=True)
class Services:
    """What the views work with; one per application."""

    config: Config
    database: Database
    blobs: BlobManager
    records: Records
    repos: Repos
    accounts: Accounts
    authenticator: Authenticator
    identities: Identities
    lexicons: Lexicons
    moderation: Moderation
    importer: Importer
    pictures: Pictures
    clock: Callable[[], int]
    limits: Limits
    watch: StoreWatch
    shelf: OpenShelf

    def delete_account(self, did: str) -> None:
        """Remove *did* and all that it has: rows, bytes that nobody else holds, and what was derived of them."""
        self.pictures.forget(self.blobs.delete_account(did))


def services() -> Services:
    """The application's."""
    found: Services = current_app.extensions["aurora_blobs"]
    return found
