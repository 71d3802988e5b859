"""The jobs over the whole store: how each last ran, what it found, and what one would take now."""

from itertools import islice

from flask import Response, request

from aurora_blobs.catalog.jobs import MOST_FINDINGS
from aurora_blobs.console.frame import page
from aurora_blobs.services import services

_SHOWN = 100  # of what a collection would take


def jobs() -> Response:
    """How each job is; with ``?gc``, what the collector would take, and why. Nothing is taken."""
    parts = services()
    found = None
    if "gc" in request.args:
        found = list(islice(parts.collector().run(dry_run=True), _SHOWN + 1))
    return page(
        "jobs.html",
        jobs=parts.job_log.statuses(),
        runs=parts.job_log.runs(),
        findings=parts.job_log.last_findings(),
        most_findings=MOST_FINDINGS,
        now=parts.clock(),
        found=None if found is None else found[:_SHOWN],
        is_cut=found is not None and len(found) > _SHOWN,
        grace_seconds=parts.config.unreferenced_grace,
    )
