"""The parts of one application, for its views and commands."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import Flask, current_app

from aurora_blobs.accounts.audit import AuditTrail
from aurora_blobs.accounts.manager import AccountManager
from aurora_blobs.accounts.moderation import Moderation
from aurora_blobs.accounts.queries import RepoQueries
from aurora_blobs.accounts.sign_ups import SignUps
from aurora_blobs.auth import Authenticator
from aurora_blobs.auth.identity import Identities
from aurora_blobs.blobs.manager import BlobManager
from aurora_blobs.blobs.public_links import PublicLinks
from aurora_blobs.blobs.upload import UploadRules
from aurora_blobs.catalog.audit import PDS, PROGRAM, Author
from aurora_blobs.config import MAX_S3_OBJECT, Config, masked
from aurora_blobs.daily_totals import DailyTotals
from aurora_blobs.database_health import DatabaseHealth
from aurora_blobs.db import Database, is_there
from aurora_blobs.leases import Leases
from aurora_blobs.maintenance.job_log import JobLog
from aurora_blobs.protocol.lexicons import Lexicons
from aurora_blobs.purges import Purges
from aurora_blobs.rate_limits import Limits
from aurora_blobs.records.index import Records
from aurora_blobs.records.repo_import import RepoImporter
from aurora_blobs.storage.base import BlobBackend
from aurora_blobs.storage.health import StoreHealth
from aurora_blobs.thumbnails.cache import ThumbnailCache

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aurora_blobs.maintenance.collect import Collector
    from aurora_blobs.metrics.metering import Metering
    from aurora_blobs.mirror.keeper import Keeper
    from aurora_blobs.mirror.network import Network
    from aurora_blobs.object_api.objects import Objects
    from aurora_blobs.storage.base import Unfinished


class NoDatabase(ValueError):
    """There is no database yet. The message is one line for the operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The parts of one application. *clock* gives microseconds since the epoch, UTC."""

    config: Config
    clock: Callable[[], int]
    database: Database
    database_health: DatabaseHealth
    store_health: StoreHealth
    blobs: BlobManager
    public_links: PublicLinks
    purges: Purges
    thumbnails: ThumbnailCache
    records: Records
    repo_importer: RepoImporter
    lexicons: Lexicons
    repos: RepoQueries
    accounts: AccountManager
    sign_ups: SignUps
    moderation: Moderation
    audit: AuditTrail
    identities: Identities
    authenticator: Authenticator
    limits: Limits
    leases: Leases
    daily_totals: DailyTotals
    job_log: JobLog
    network: "Network | None" = None
    metering: "Metering | None" = None

    def delete_account(self, did: str, by: Author = PROGRAM) -> None:
        """Delete *did*, its rows, the bytes that nobody else holds, and their thumbnails."""
        self.blobs.delete_account(did, self.thumbnails.forget, by)

    def unlimited_blobs(self) -> BlobManager:
        """`blobs` for what the operator brings in: any type, and any size that S3 takes.

        No quota applies but an account's own.
        """
        return BlobManager(
            self.blobs.backend,
            self.database,
            spool=self.config.data_folder.spool,
            rules=UploadRules(max_bytes=MAX_S3_OBJECT, mime_policy="sniff"),
            clock=self.clock,
        )

    def objects(self, blobs: BlobManager, by: Author = PDS) -> "Objects":
        """The objects of PDSes, whose bytes go through *blobs*. *by* takes them down and lifts."""
        from aurora_blobs.object_api.objects import Objects  # few have a PDS, and all would wait

        return Objects(
            blobs,
            self.database,
            self.repos,
            grace_seconds=self.config.unreferenced_grace,
            clock=self.clock,
            by=by,
        )

    def mirrored_blobs(self, database: Database | None = None) -> BlobManager:
        """`blobs` for what is fetched from a PDS: the settings' types and size, and no limits.

        *database* takes the place of the one that others use.
        """
        database = database or self.database
        return mirrored_blobs(self.config, self.blobs.backend, database, self.clock)

    def collector(self) -> "Collector":
        """What removes that which is over."""
        from aurora_blobs.maintenance.collect import Collector

        return Collector(
            self.blobs.backend,
            self.database,
            spool=self.config.data_folder.spool,
            grace_seconds=self.config.unreferenced_grace,
            clock=self.clock,
            sweep_pictures=self.thumbnails.sweep,
            leases=self.leases,
            idle_uploads=self._idle_uploads,
        )

    def _idle_uploads(self) -> "Iterator[Unfinished]":
        folder = self.config.data_folder.parts
        if not folder.is_dir():
            return iter(())
        from aurora_blobs.object_api.multipart import idle_uploads

        return idle_uploads(folder)

    def keeper(self) -> "Keeper":
        """What keeps a mirror of the network true."""
        from aurora_blobs.mirror.keeper import Keeper

        return Keeper(
            self.config,
            self.database,
            self.blobs.backend,
            self.identities,
            self.clock,
            self.thumbnails.forget,
        )


def mirrored_blobs(
    config: Config, backend: BlobBackend, database: Database, clock: Callable[[], int]
) -> BlobManager:
    """As `Services.mirrored_blobs`."""
    return BlobManager(
        backend,
        database,
        spool=config.data_folder.spool,
        rules=UploadRules(
            max_bytes=config.max_blob_size,
            allowed_mime_types=config.allowed_mime_types,
            mime_policy=config.mime_policy,
        ),
        clock=clock,
    )


def current_config() -> Config:
    """The settings of the current application, whether its services are open or not."""
    config: Config = current_app.extensions["aurora_blobs.config"]
    return config


def services() -> Services:
    """Those of the current application. A command that is the first to ask opens them.

    Raises NoDatabase where there is none: what only looks makes nothing.
    """
    try:
        found: Services = current_app.extensions["aurora_blobs"]
    except KeyError:
        found = open_services(current_app)
    return found


def database_place(url: str) -> str:
    """Where the database at *url* is, for the operator: without its password."""
    return masked(url).removeprefix("sqlite:")


def open_services(app: Flask, *, makes: bool = False) -> Services:
    """The services of *app*, opened unless they are. Raises ConfigError, OSError, NoDatabase.

    A data folder and a database that are not there are made if it *makes* them, and an older
    database is upgraded.
    """
    if "aurora_blobs" not in app.extensions:
        database = app.extensions["aurora_blobs.config"].database
        if not makes and not is_there(database):
            raise NoDatabase(f"no database at {database_place(database)}")
        app.extensions["aurora_blobs"] = app.extensions["aurora_blobs.open"](makes=makes)
    found: Services = app.extensions["aurora_blobs"]
    return found
