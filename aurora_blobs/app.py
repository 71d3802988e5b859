"""Puts the service together: one Flask application from one set of settings."""

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from aurora_blobs import cli
from aurora_blobs.accounts.manager import AccountManager
from aurora_blobs.accounts.moderation import Moderation
from aurora_blobs.accounts.queries import RepoQueries
from aurora_blobs.api import admin, blob, health, identity, images, repo, server, sync, xrpc
from aurora_blobs.auth import Authenticator
from aurora_blobs.auth.identity import Identities
from aurora_blobs.auth.session import open_session_tokens
from aurora_blobs.blobs.manager import BlobManager, UploadRules
from aurora_blobs.blobs.public_links import PublicLinks
from aurora_blobs.config import Config
from aurora_blobs.db import Database, open_database
from aurora_blobs.protocol.lexicons import open_lexicons
from aurora_blobs.rate_limits import Limits
from aurora_blobs.records.index import Records
from aurora_blobs.records.repo_import import RepoImporter
from aurora_blobs.services import Services
from aurora_blobs.storage import open_backend
from aurora_blobs.storage.health import StoreHealth
from aurora_blobs.thumbnails.cache import ThumbnailCache
from aurora_blobs.thumbnails.presets import presets

SCHEMA = Path(__file__).with_name("schema.sql")


def create_app(config: Config, *, clock: Callable[[], int] | None = None) -> Flask:
    """The service as *config* says. *clock* gives microseconds since the epoch; tests have one of their own.

    Makes the data folder, brings the database to the newest schema and undoes what a crash left. Raises ConfigError.
    """
    public_links = PublicLinks(config.data_folder.public_links, durable=config.durability == "full")
    database = _database(config, public_links)
    try:
        return _application(
            config, database, public_links, clock or (lambda: time.time_ns() // 1000)
        )
    except OSError as error:
        raise config.refusal("data_dir", f"a folder that can be written: {error}") from error


def _database(config: Config, public_links: PublicLinks) -> Database:
    database = open_database(
        config.database,
        durable=config.durability == "full",
        before_commit=public_links.before_commit,
    )
    try:
        database.upgrade(SCHEMA.read_text())
    except (OSError, sqlite3.Error) as error:
        if config.database_url is None:
            raise config.refusal(
                "data_dir", f"a folder that can be written, its database too: {error}"
            ) from error
        raise config.refusal(
            "database_url", f"sqlite:PATH of a database that can be written: {error}"
        ) from error
    return database


def _application(
    config: Config, database: Database, public_links: PublicLinks, now: Callable[[], int]
) -> Flask:
    backend = open_backend(config)
    rules = UploadRules.of(config)
    verify = config.verify_on_read == "on"
    blobs = BlobManager(
        backend, database, spool=config.data_folder.spool, rules=rules, clock=now, verify=verify
    )
    blobs.recover()
    thumbnails = ThumbnailCache(
        blobs,
        database,
        folder=config.data_folder.thumbnails,
        presets=presets(config.image_presets),
        max_bytes=config.image_cache_size,
        clock=now,
    )
    identities = Identities(config, database, now)
    tokens = open_session_tokens(config, now)
    repos = RepoQueries(database, now, open_to_reports=config.accounts == "external")
    app = Flask("aurora_blobs", static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.extensions["aurora_blobs"] = Services(
        config,
        database,
        blobs,
        Records(database, backend, now),
        repos,
        AccountManager(config, database, tokens, now),
        Authenticator(config, database, now, tokens, identities=identities),
        identities,
        open_lexicons(config.lexicon_dir),
        Moderation(database, repos, now),
        RepoImporter(
            database, spool=config.data_folder.spool, max_bytes=config.max_import_size, clock=now
        ),
        thumbnails,
        now,
        Limits(config, database, now),
        StoreHealth(backend),
        public_links,
    )
    xrpc.install(app)
    for view in (admin, blob, health, identity, images, repo, server, sync):
        app.register_blueprint(view.bp)
    if config.proxy_hops:
        hops = config.proxy_hops
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    cli.install(app)
    return app
