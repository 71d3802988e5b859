"""Puts the service together: one Flask application from one set of settings."""

import logging
import socket
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from flask import Flask, Request
from flask.sessions import NullSession, SessionInterface
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.routing import MapAdapter

from aurora_blobs import cli, console
from aurora_blobs.accounts.audit import AuditTrail
from aurora_blobs.accounts.manager import AccountManager
from aurora_blobs.accounts.moderation import Moderation
from aurora_blobs.accounts.queries import RepoQueries
from aurora_blobs.accounts.sign_ups import SignUps
from aurora_blobs.api import (
    admin,
    blob,
    envelope,
    health,
    identity,
    images,
    mirror,
    operator,
    repo,
    server,
    site,
    sync,
)
from aurora_blobs.auth import Authenticator
from aurora_blobs.auth.identity import Identities
from aurora_blobs.auth.session import open_session_tokens
from aurora_blobs.blobs.manager import BlobManager
from aurora_blobs.blobs.public_links import PublicLinks
from aurora_blobs.blobs.store_marks import check_unclaimed, guard_stores
from aurora_blobs.blobs.upload import UploadRules
from aurora_blobs.clock import SharedClock, system_clock
from aurora_blobs.config import MOST_USUAL_WORKERS, Config, ConfigError, is_postgresql
from aurora_blobs.daily_totals import DailyTotals
from aurora_blobs.database_health import DatabaseHealth
from aurora_blobs.db import (
    SCHEMA,
    Database,
    SqliteDatabase,
    disk_space,
    is_there,
    open_database,
)
from aurora_blobs.errors import (
    STORE_AWAY,
    DatabaseError,
    InsufficientStorage,
    ServiceBusy,
    StoreNotOurs,
)
from aurora_blobs.intake.spool_budget import SpoolBudget
from aurora_blobs.leases import Leases
from aurora_blobs.maintenance.job_log import JobLog
from aurora_blobs.protocol.lexicons import open_lexicons
from aurora_blobs.purges import Purges, noting
from aurora_blobs.rate_limits import Limits
from aurora_blobs.records.changes import RecordLimits
from aurora_blobs.records.index import Records
from aurora_blobs.records.repo_import import RepoImporter
from aurora_blobs.server.front import Front
from aurora_blobs.server.slow_clients import SlowClients
from aurora_blobs.services import Services, database_place, mirrored_blobs, open_services
from aurora_blobs.storage import open_backend
from aurora_blobs.storage.base import BlobBackend
from aurora_blobs.storage.health import StoreHealth
from aurora_blobs.thumbnails.cache import ThumbnailCache
from aurora_blobs.thumbnails.presets import presets

if TYPE_CHECKING:
    from aurora_blobs.metrics.metering import Metering

log = logging.getLogger(__name__)


def _parts(config: Config) -> int:
    """The parts of a `SharedTally`: there are twice as many workers while all are replaced."""
    return 2 * (config.workers or MOST_USUAL_WORKERS)


def create_app(config: Config, *, clock: Callable[[], int] = system_clock) -> Flask:
    """The service as *config* says. *clock* gives microseconds since the epoch, UTC.

    In place of the system's clock, nodes that share a database have that one's.

    Makes the data folder, upgrades the database and cleans up after a crash. Raises ConfigError.
    """
    app = _build(config, clock, is_measured=config.metrics_token is not None)
    open_services(app, makes=True)
    return app


def create_command_app(config: Config) -> Flask:
    """The service for commands: nothing is opened before one asks for it by `open_services`.

    The server of `flask run` opens it with its first request.
    """
    app = _build(config, system_clock)

    @app.before_request
    def open_all() -> None:
        open_services(app, makes=True)

    return app


class _NoSessions(SessionInterface):
    _none = NullSession()

    def open_session(self, app: Flask, request: Request) -> NullSession:
        return self._none


class _Synchronous(Flask):
    """Without what Flask does at each request for nobody here: sessions, coroutines, subdomains."""

    session_interface = _NoSessions()

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        # A WebSocket is refused by Flask's own adapter, which looks for one.
        if request is None or "HTTP_UPGRADE" in request.environ:
            return super().create_url_adapter(request)
        return self.url_map.bind(
            request.host,
            script_name=request.root_path,
            url_scheme=request.scheme,
            default_method=request.method,
            path_info=request.path,
            query_args=request.environ.get("QUERY_STRING", ""),
        )

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        return func


def _build(config: Config, clock: Callable[[], int], *, is_measured: bool = False) -> Flask:
    app = _Synchronous("aurora_blobs", static_folder=None)
    app.extensions["aurora_blobs.config"] = config
    envelope.install(app)
    if config.mirror != "off":
        app.before_request(repo.refuse_writes)
    elif config.object_api_bucket is not None:
        app.before_request(repo.refuse_uploads)
    for view in (admin, blob, health, identity, images, mirror, operator, repo, server, site, sync):
        app.register_blueprint(view.bp)
    if config.has_console:
        console.install(app)
    if config.object_api_bucket is not None:
        import_module("aurora_blobs.api.objects").install(app, config.object_api_bucket)
    metering = _metering(app, config) if is_measured else None
    app.extensions["aurora_blobs.open"] = partial(_open_services, config, clock, metering)
    hops = config.proxy_hops
    slow_clients = SlowClients(
        per_account=config.uploads_at_once_per_account,
        per_address=config.uploads_at_once_per_address,
        threads=config.threads,
        parts=_parts(config),
    )
    app.wsgi_app = Front(  # type: ignore[method-assign]
        app.wsgi_app,
        proxy_hops=hops,
        slow_clients=slow_clients,
        measure=None if metering is None else metering.requests.count,
    )
    if hops:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    cli.install(app)
    return app


def _metering(app: Flask, config: Config) -> "Metering":
    try:
        metrics = import_module("aurora_blobs.api.metrics")
    except ImportError as error:
        raise ConfigError(
            f"METRICS_TOKEN needs prometheus-client: install the extra metrics of aurora_blobs "
            f"({error})"
        ) from error
    found: Metering = metrics.install(app, config, parts=_parts(config))
    return found


def check_stores(app: Flask) -> None:
    """Raise StoreNotOurs, with a line for the operator, if a store is not that of the database.

    A store that is away or full may come back: it is no reason not to start.
    """
    services: Services = app.extensions["aurora_blobs"]
    try:
        services.blobs.backend.confirm()
    except StoreNotOurs:
        raise
    except (*STORE_AWAY, InsufficientStorage) as error:
        log.warning("the store does not answer: %s", error.message)


def _open_services(
    config: Config,
    clock: Callable[[], int],
    metering: "Metering | None" = None,
    *,
    makes: bool,
) -> Services:
    backend = open_backend(config)
    if makes:
        _check_unclaimed(config, backend)
    public_links = PublicLinks(config.data_folder.public_links, durable=config.durability == "full")
    with ExitStack() as undo:
        database = _open_database(config, public_links, clock)
        undo.callback(database.close)
        _prepare_database(config, database, upgrades=makes)
        if clock is system_clock and is_postgresql(config.database):
            clock = SharedClock(database.one_shot().now)
        try:
            services = _assemble(config, clock, database, backend, public_links, metering)
            database.space.prepare()
            services.blobs.recover_or_leave()
            public_links.purge()
            if not config.may_link:
                public_links.clear()  # made when the database was another one
            elif makes:  # other commands may lack settings of the service
                public_links.settle(_link_settings(config))
        except OSError as error:
            raise config.refusal("data_dir", f"a folder that can be written: {error}") from error
        undo.pop_all()
    return services


def _link_settings(config: Config) -> str:
    """What links to thumbnails depend on; '' where none is made."""
    if config.accel_redirect is None:
        return ""
    return "\n".join(f"{name} {size}" for name, size in presets(config.image_presets).items())


def _check_unclaimed(config: Config, backend: BlobBackend) -> None:
    url = config.database
    try:
        check_unclaimed(backend, database_place(url), partial(is_there, url))
    except StoreNotOurs:
        raise
    except (OSError, DatabaseError, ServiceBusy) as error:
        raise _no_database(config, error.__cause__ or error) from error


def _thumbnail_rows(config: Config, database: Database) -> Database:
    """Where it is known which thumbnails this machine has: of PostgreSQL, others have theirs."""
    if not is_postgresql(config.database):
        return database
    rows = SqliteDatabase(config.data_folder.thumbnail_rows, durable=False, space=database.space)
    rows.upgrade(SCHEMA.read_text())
    return rows


def _open_database(config: Config, public_links: PublicLinks, clock: Callable[[], int]) -> Database:
    try:
        space = disk_space(config.database, config.data_folder, config.disk_reserve)
    except OSError as error:
        raise _no_database(config, error) from error
    return open_database(
        config.database,
        durable=config.durability == "full",
        before_commit=public_links.before_commit
        if config.purge_url is None
        else noting(public_links.before_commit, clock),
        space=space,
        connections=config.database_connections,
        prepares=config.database_prepare == "on",
    )


def _prepare_database(config: Config, database: Database, *, upgrades: bool) -> None:
    try:
        if upgrades:
            database.upgrade(SCHEMA.read_text())
        else:
            database.check_version()
    except (OSError, DatabaseError, ServiceBusy) as error:
        raise _no_database(config, error.__cause__ or error) from error


def _no_database(config: Config, error: BaseException) -> ConfigError:
    reason = " ".join(str(error).split())
    is_elsewhere = config.database_url is not None
    if is_postgresql(config.database):
        is_elsewhere = not isinstance(error, OSError)
    if is_elsewhere:
        return config.refusal("database_url", f"that of a database that can be written: {reason}")
    return config.refusal("data_dir", f"a folder that can be written, its database too: {reason}")


def _assemble(
    config: Config,
    clock: Callable[[], int],
    database: Database,
    backend: BlobBackend,
    public_links: PublicLinks,
    metering: "Metering | None",
) -> Services:
    plain_database, plain_backend = database, backend
    open_blobs: Callable[..., BlobManager] = BlobManager
    open_thumbnails: Callable[..., ThumbnailCache] = ThumbnailCache
    if metering is not None:
        database, backend = metering.database(database), metering.backend(backend)
        open_blobs, open_thumbnails = metering.open_blobs, metering.open_thumbnails
    spool = config.data_folder.spool
    guard_stores(database, backend, clock)
    daily_totals = DailyTotals(database, clock)
    blobs = open_blobs(
        backend,
        database,
        spool=spool,
        rules=UploadRules.of(config),
        clock=clock,
        spool_budget=SpoolBudget(
            per_account=config.spool_size_per_account,
            total=config.spool_size,
            threads=config.threads,
            parts=_parts(config),
        ),
        verify=config.verify_on_read == "on",
        count=daily_totals.count,
    )
    thumbnails = open_thumbnails(
        blobs,
        database,
        folder=config.data_folder.thumbnails,
        presets=presets(config.image_presets),
        max_bytes=config.image_cache_size,
        clock=clock,
        rows=_thumbnail_rows(config, database),
    )
    identities = Identities(config, database, clock)
    tokens = open_session_tokens(config, clock)
    limits = Limits(config, database, clock)
    record_limits = RecordLimits.of(config)
    node = config.node or socket.gethostname()
    leases = Leases(database, node if is_postgresql(config.database) else None)
    network = None
    if config.mirror == "network":
        from aurora_blobs.mirror.network import Network
        from aurora_blobs.mirror.room import Room

        fetched = mirrored_blobs(config, backend, database, clock)
        room = Room(
            database,
            backend,
            clock,
            max_bytes=config.mirror_size,
            max_account_bytes=config.quota,
            on_gone=thumbnails.forget,
        )
        network = Network(
            config, database, fetched, identities, clock, room=room, parts=_parts(config)
        )
    database_health, store_health = DatabaseHealth(database, clock), StoreHealth(backend)
    job_log = JobLog(database, config.data_folder.jobs, clock)
    if metering is not None:
        metering.take_stock(
            database=plain_database,
            backend=plain_backend,
            thumbnail_rows=thumbnails.rows,
            database_health=database_health,
            store_health=store_health,
            job_log=job_log,
            clock=clock,
        )
    repos = RepoQueries(database, clock, open_to_reports=config.accounts == "external")
    return Services(
        config=config,
        clock=clock,
        database=database,
        database_health=database_health,
        store_health=store_health,
        blobs=blobs,
        public_links=public_links,
        purges=Purges(config, database, clock),
        thumbnails=thumbnails,
        records=Records(database, backend, clock, record_limits),
        repo_importer=RepoImporter(
            database,
            spool=spool,
            max_bytes=config.max_import_size,
            clock=clock,
            limits=record_limits,
            at_once=config.imports_at_once,
            leases=leases,
        ),
        lexicons=open_lexicons(config.lexicon_dir),
        repos=repos,
        accounts=AccountManager(config, database, tokens, clock),
        sign_ups=SignUps(config, database, limits, clock),
        moderation=Moderation(database, repos, clock),
        audit=AuditTrail(database),
        identities=identities,
        authenticator=Authenticator(
            config, database, clock, tokens, identities=identities, limits=limits
        ),
        limits=limits,
        leases=leases,
        daily_totals=daily_totals,
        job_log=job_log,
        network=network,
        metering=metering,
    )
