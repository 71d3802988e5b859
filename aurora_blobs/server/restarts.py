"""What may fail when a process starts, and is tried again instead of ending the service."""

import logging
import threading
import time
from collections.abc import Callable

from aurora_blobs.errors import BlobServiceError, DatabaseError

log = logging.getLogger(__name__)

RETRY_SECONDS = 5


def until_it_works(
    job: Callable[[], object], what: str, *, retry_seconds: float = RETRY_SECONDS
) -> None:
    """Run *job*, once if it works, else in a thread again and again until it does.

    *what* is logged for each failure. A failure is an OSError, an error of the database or one of
    the service's own.
    """
    if not _works(job, what):
        threading.Thread(
            target=_repeat, args=(job, what, retry_seconds), name=what, daemon=True
        ).start()


def _repeat(job: Callable[[], object], what: str, retry_seconds: float) -> None:
    time.sleep(retry_seconds)
    while not _works(job, what):
        time.sleep(retry_seconds)


def _works(job: Callable[[], object], what: str) -> bool:
    try:
        job()
    except (OSError, DatabaseError, BlobServiceError) as error:
        log.warning("%s: not now: %s", what, error)
        return False
    return True
