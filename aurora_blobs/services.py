"""What one application is made of, for the views and the commands to work with."""

from collections.abc import Callable
from dataclasses import dataclass

from flask import current_app

from aurora_blobs.accounts.manager import AccountManager
from aurora_blobs.accounts.moderation import Moderation
from aurora_blobs.accounts.queries import RepoQueries
from aurora_blobs.auth import Authenticator
from aurora_blobs.auth.identity import Identities
from aurora_blobs.blobs.manager import BlobManager
from aurora_blobs.blobs.public_links import PublicLinks
from aurora_blobs.config import Config
from aurora_blobs.db import Database
from aurora_blobs.protocol.lexicons import Lexicons
from aurora_blobs.rate_limits import Limits
from aurora_blobs.records.index import Records
from aurora_blobs.records.repo_import import RepoImporter
from aurora_blobs.storage.health import StoreHealth
from aurora_blobs.thumbnails.cache import ThumbnailCache


@dataclass(frozen=True, slots=True)
class Services:
    """What the views work with; one per application."""

    config: Config
    database: Database
    blobs: BlobManager
    records: Records
    repos: RepoQueries
    accounts: AccountManager
    authenticator: Authenticator
    identities: Identities
    lexicons: Lexicons
    moderation: Moderation
    importer: RepoImporter
    thumbnails: ThumbnailCache
    clock: Callable[[], int]
    limits: Limits
    store_health: StoreHealth
    public_links: PublicLinks

    def delete_account(self, did: str) -> None:
        """Remove *did* and all that it has: rows, bytes that nobody else holds, and what was derived of them."""
        self.thumbnails.forget(self.blobs.delete_account(did))


def services() -> Services:
    """The application's."""
    found: Services = current_app.extensions["aurora_blobs"]
    return found
