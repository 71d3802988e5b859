"""The health check."""

from flask import Blueprint, Response, jsonify

from aurora_blobs import __version__
from aurora_blobs.api.xrpc import query
from aurora_blobs.catalog import schema
from aurora_blobs.errors import DatabaseError, ServiceBusy
from aurora_blobs.services import services

bp = Blueprint("health", __name__)


@query(bp, "_health")
def health() -> tuple[Response, int]:
    """200 while the database and the store answer, the data folder is there and takes more."""
    if not (_database_works() and services().config.data_folder.is_there()):
        services().store_health.doubt()
    elif services().store_health.works() and services().database.space.is_whole():
        return jsonify(version=__version__), 200
    return jsonify(version=__version__, error="Service Unavailable"), 503


def _database_works() -> bool:
    try:
        with services().database.read() as tx:
            schema.version(tx)
    except (DatabaseError, ServiceBusy):
        return False
    return True
