"""Every metric there is: its name, its labels, what it means. docs/metrics.md has the table."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

PREFIX = "aurora_blobs_"
FAMILIES: "list[Family]" = []


@dataclass(frozen=True, slots=True)
class Family:
    """One metric, in Prometheus' terms. A label's values are a closed set, or set by the operator.

    No label is `job` or `instance`: Prometheus has these itself, and would rename ours.

    https://prometheus.io/docs/concepts/metric_types/
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    meaning: str


class Measured(NamedTuple):
    """A value of *family*; *labels* are those of its values, in their order."""

    family: Family
    labels: tuple[str, ...]
    value: float


class Distribution(NamedTuple):
    """Of a histogram: how many were at most each of *bounds*, then how many in all, and the sum."""

    family: Family
    labels: tuple[str, ...]
    bounds: tuple[float, ...]
    counts: tuple[float, ...]
    sum: float


def _family(
    name: str, kind: Literal["counter", "gauge", "histogram"], labels: str, meaning: str
) -> Family:
    family = Family(PREFIX + name, kind, tuple(labels.split()), meaning)
    FAMILIES.append(family)
    return family


BUILD = _family(
    "build_info",
    "gauge",
    "version database storage node",
    "always 1: what runs here; `node` is `AURORA_BLOBS_NODE`",
)
WORKER_STARTS = _family(
    "worker_starts_total",
    "counter",
    "",
    "starts of gunicorn's processes; more of them than `AURORA_BLOBS_WORKERS` are of processes "
    "that took the place of dead ones",
)
REQUESTS = _family(
    "request_seconds",
    "histogram",
    "method status",
    "requests, from their head to the head of their answer, the request's body included; `method` "
    "is that of XRPC, a route, or the S3 call of a PDS",
)
RECEIVED = _family("received_bytes_total", "counter", "", "bytes of the bodies of requests")
SENT = _family(
    "sent_bytes_total",
    "counter",
    "",
    "bytes of the bodies of answers, as announced; what nginx or a store sends is not among them",
)
UPLOADS = _family(
    "uploads_total",
    "counter",
    "result reason",
    "uploads whose caller was known, also by the object API: `stored`, also if the bytes were here "
    "already; `refused`; `failed`, which is no fault of the client. `reason` is a class of "
    "`errors.py`",
)
UPLOADED = _family("uploaded_bytes_total", "counter", "", "bytes of blobs that were `stored`")
DATABASE = _family(
    "database_seconds",
    "histogram",
    "kind",
    "transactions of kind `read` and `write`, from when they were asked for to their end, a "
    "write's until it is on the disk. On PostgreSQL reads of one statement are among them; on "
    "SQLite those take less than measuring them would",
)
DATABASE_WAITS = _family(
    "database_wait_seconds",
    "histogram",
    "kind",
    "the part of that before they began: for a connection, and of a write for its locks",
)
DATABASE_ERRORS = _family(
    "database_errors_total",
    "counter",
    "error",
    "transactions that the database did not do: `ServiceBusy` waited in vain, or it was away; "
    "`Conflict` were in each other's way; `InsufficientStorage`; `DatabaseError` is anything else",
)
STORE = _family(
    "store_seconds",
    "histogram",
    "operation",
    "what the store was asked to do, until it had answered; `size` in S3 alone, `open` until the "
    "first bytes can be read",
)
STORE_ERRORS = _family(
    "store_errors_total",
    "counter",
    "operation error",
    "what the store failed to do, by class of `errors.py`; `BlobNotFound` are bytes that are lost",
)
UP = _family(
    "up",
    "gauge",
    "part",
    "1 if `database`, `store` and `data_folder` work, 0 if not; as `_health`, which is 503 for any",
)
CHECKED = _family(
    "checked_timestamp_seconds",
    "gauge",
    "",
    "when `up`, space, leases, jobs and mirrors were last asked for",
)
DISK_FREE = _family(
    "disk_free_bytes",
    "gauge",
    "place",
    "bytes that the file systems of `data` and, where it is a file, `database` have left",
)
RESERVE = _family(
    "disk_reserve_whole",
    "gauge",
    "",
    "0 while a part of `AURORA_BLOBS_DISK_RESERVE` is given up: whatever adds is refused",
)
SPOOL = _family("spool_bytes", "gauge", "", "bytes of the files in `spool/`: uploads under way")
THUMBNAILS = _family(
    "thumbnail_seconds",
    "histogram",
    "result",
    "pictures for `/img/` that the service was asked for, until there were any: `kept` from "
    "before, `made` now, `failed`, which is the blob's fault, and `busy`",
)
THUMBNAIL_CACHE = _family(
    "thumbnail_cache_bytes",
    "gauge",
    "",
    "bytes of the cache that `AURORA_BLOBS_IMAGE_CACHE_SIZE` bounds",
)
LEASES = _family(
    "leases", "gauge", "family node", "leases in force, by what for and who has them; PostgreSQL"
)
JOB_SUCCESS = _family(
    "job_success_timestamp_seconds",
    "gauge",
    "name",
    "when `gc`, `fsck`, `scrub` and `backup` last came to their end, with findings or without",
)
JOB_FINDINGS = _family(
    "job_findings", "gauge", "name", "what that run found wrong and did not mend"
)
JOB_FAILED = _family(
    "job_failed", "gauge", "name", "1 if the last run failed or died, 0 if it did not"
)
ENTRIES = _family(
    "entries",
    "gauge",
    "state",
    "blobs of accounts, one for each owner, by the states of `blobs list`",
)
ENTRY_BYTES = _family("entry_bytes", "gauge", "state", "the same in bytes")
BLOBS = _family("blobs", "gauge", "", "different blobs, of which each is stored once")
BLOB_BYTES = _family("blob_bytes", "gauge", "", "their bytes, of those that are stored")
BLOBS_WITHOUT_BYTES = _family(
    "blobs_without_bytes", "gauge", "", "those that are lost, or on their way to S3"
)
QUARANTINED = _family("quarantined", "gauge", "", "copies of wrong bytes in the quarantine")
TAKEDOWNS = _family("takedowns", "gauge", "subject", "takedowns in force, of `blob` and `account`")
COUNTED = _family(
    "counted_timestamp_seconds",
    "gauge",
    "",
    "when `entries` to `takedowns`, and `mirror_accounts` and `mirror_blobs`, were counted",
)
MIRROR_LAG = _family(
    "mirror_lag_seconds",
    "gauge",
    "host",
    "what the last event of a PDS that is followed took until it was handled",
)
MIRROR_SEEN = _family(
    "mirror_seen_timestamp_seconds", "gauge", "host", "when its stream was last known to work"
)
MIRROR_ALARM = _family(
    "mirror_alarm", "gauge", "host", "1 while an alarm holds back what it refuses, else 0"
)
MIRROR_ACCOUNTS = _family(
    "mirror_accounts",
    "gauge",
    "host state",
    "its accounts: `all`, and of these `inactive` ones, those `due` to be fetched, and `failing` "
    "ones of them",
)
MIRROR_BLOBS = _family(
    "mirror_blobs",
    "gauge",
    "host state",
    "`missing` blobs of it are still to be fetched, `refused` ones of them could not be; of those "
    "here it refuses `doubtful` ones, and `hidden` ones for good",
)
