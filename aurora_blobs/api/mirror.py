"""blue.aurora.mirror: what is here of the PDSes that are followed."""

from typing import Any

from flask import Blueprint

from aurora_blobs.api.callers import require_admin
from aurora_blobs.api.xrpc import query
from aurora_blobs.mirror.status import statuses
from aurora_blobs.services import services

bp = Blueprint("mirror", __name__)


@query(bp, "blue.aurora.mirror.getStatus")
def get_status() -> dict[str, Any]:
    """Where the stream of each PDS is that is followed, what is here of it, and what is missing."""
    require_admin()
    return {"hosts": list(statuses(services().database, services().config.follow))}
