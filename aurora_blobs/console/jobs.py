"""The jobs over the whole store: how each last ran, what it found, and what one would take now."""

import os
import subprocess
import sys
import threading
from itertools import islice

from flask import Response, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from aurora_blobs.catalog.jobs import MOST_FINDINGS
from aurora_blobs.config import Config
from aurora_blobs.console.frame import author, field, page
from aurora_blobs.errors import InvalidRequest
from aurora_blobs.intake.stale_files import lock
from aurora_blobs.services import Services, services

_SHOWN = 100  # of what a collection would take
_STARTED = ("gc", "scrub", "fsck")  # as the commands do without options
_NICE = 10  # as the units of deploy/ have it: whoever is served goes first


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
        may_start=_STARTED,
        done="The run begins." if "started" in request.args else None,
    )


def start() -> AnyResponse:
    """Begin a run in a process of its own, which is noted as a timer's is. Nobody waits for it."""
    parts, job = services(), field("job", 20)
    if job not in _STARTED:
        raise InvalidRequest(f"There is no such job: accepted are {', '.join(_STARTED)}")
    if Config.from_environ(os.environ) != parts.config:
        raise InvalidRequest("This service has its settings from a program: use the command")
    if any(status.job == job and status.state == "running" for status in parts.job_log.statuses()):
        raise InvalidRequest(f"{job} runs already")
    _start(parts, job)
    return redirect(url_for("console.jobs_jobs", started=1), 303)


def _start(parts: Services, job: str) -> None:
    """Begin a run of *job*, unless one that was begun here goes on: it has the lock of a file."""
    path = parts.config.data_folder.jobs / "started"
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not lock(file, path):
            raise InvalidRequest("A run that was started here goes on: one at a time is accepted")
        parts.audit.note(author(), "run", new=job)
        # The lock is the process's as well, and lasts until both have closed the file.
        process = subprocess.Popen(
            [sys.executable, "-m", "aurora_blobs", "blobs", job],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # what it would print is on the page
            pass_fds=(file,),
        )
    finally:
        os.close(file)
    os.setpriority(os.PRIO_PROCESS, process.pid, os.getpriority(os.PRIO_PROCESS, 0) + _NICE)
    threading.Thread(target=process.wait, name="job", daemon=True).start()
