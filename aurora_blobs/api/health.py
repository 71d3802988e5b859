"""The health check."""

from flask import Blueprint, Response, jsonify

from aurora_blobs import __version__
from aurora_blobs.api.xrpc import query
from aurora_blobs.services import services

bp = Blueprint("health", __name__)


@query(bp, "_health")
def health() -> tuple[Response, int]:
    """200 while the database and the store answer, the data folder is there and takes more.

    The database has to have a version that this program serves.
    """
    if not (services().database_health.works() and services().config.data_folder.is_there()):
        services().store_health.doubt()
    elif services().store_health.works() and services().database.space.is_whole():
        return jsonify(version=__version__), 200
    return jsonify(version=__version__, error="Service Unavailable"), 503
