"""The health check."""

from flask import Blueprint, Response, jsonify

from aurora_blobs import __version__
from aurora_blobs.api.xrpc import query
from aurora_blobs.catalog import schema
from aurora_blobs.clock import SharedClock
from aurora_blobs.db import SCHEMA_VERSION
from aurora_blobs.errors import DatabaseError, ServiceBusy
from aurora_blobs.services import services

bp = Blueprint("health", __name__)

# A node of the next version has upgraded the database; this one is replaced soon.
_VERSIONS = (SCHEMA_VERSION, SCHEMA_VERSION + 1)


@query(bp, "_health")
def health() -> tuple[Response, int]:
    """200 while the database and the store answer, the data folder is there and takes more.

    The database has to have a version that this program serves.
    """
    if not (_database_works() and services().config.data_folder.is_there()):
        services().store_health.doubt()
    elif services().store_health.works() and services().database.space.is_whole():
        return jsonify(version=__version__), 200
    return jsonify(version=__version__, error="Service Unavailable"), 503


def _database_works() -> bool:
    try:
        with services().database.read() as tx:
            version = schema.version(tx)
        clock = services().clock
        if isinstance(clock, SharedClock):
            clock.set()
    except (DatabaseError, ServiceBusy):
        return False
    return version in _VERSIONS
