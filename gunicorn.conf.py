"""The production server: ``gunicorn -c gunicorn.conf.py wsgi:app``.

Where it binds and how wide it runs come from the service's own settings. Whatever else is to differ goes on gunicorn's
command line or into GUNICORN_CMD_ARGS; both win over this file.
"""

import errno
import gc
import os
import resource
import socket
from pathlib import Path
from typing import Any

import aurora_blobs
from aurora_blobs.config import Config, ConfigError
from aurora_blobs.server.config_warnings import config_warnings
from aurora_blobs.server.malloc_tuning import keep_freed_memory


def _check_address(config: Config) -> None:
    """Raises ConfigError for an address that cannot be bound, of which gunicorn says so in many lines, later."""
    host, _, port = config.bind.rpartition(":")
    if config.bind.startswith("unix:"):
        path = Path(config.bind.removeprefix("unix:"))
        fits = len(os.fsencode(path)) < 108  # sockaddr_un, with its final NUL
        is_free = (
            fits
            and not path.exists()
            and path.parent.is_dir()
            and os.access(path.parent, os.W_OK | os.X_OK)
        )
        if not is_free and not (fits and path.is_socket()):
            raise config.refusal(
                "bind", "unix:PATH of up to 107 bytes, in a folder that can be written"
            )
        return
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), int(port)))
        except (OSError, UnicodeError) as error:  # a name that is none is not even text for DNS
            if (
                getattr(error, "errno", None) != errno.EADDRINUSE
            ):  # which may pass: gunicorn tries again
                raise config.refusal("bind", f"HOST:PORT of this machine: {error}") from None


try:
    _config = Config.from_environ(os.environ)
    _check_address(_config)
except ConfigError as error:
    raise SystemExit(f"aurora_blobs: {error}") from None

bind = _config.bind

# Hashing and reading let go of the interpreter, the rest does not: a process per core. Two at least, so that one is
# there while the other restarts; eight at most, since SQLite takes one writer at a time however many there are.
workers = _config.workers or min(max(2, len(os.sched_getaffinity(0))), 8)

# A thread waits for nothing but a body that is on its way, and a stalled one keeps it for 20 seconds. Threads that
# are not needed are never made.
worker_class = "aurora_blobs.server.worker.Worker"
threads = _config.threads

# Connections that a process holds, idle ones included; beyond it they wait in the backlog.
worker_connections = 2000 + threads
backlog = 2048

# Longer than nginx keeps its own end (60 s): who closes first must be the one that sends requests, or an upload is
# sent into a connection that is just being closed, and nginx does not repeat a POST.
keepalive = 75

# A worker that has not looked at its connections for this long hangs. Uploads may take longer: they run in threads.
timeout = 60

# At a stop, uploads in flight have this long to finish; after it they are cut off, and the client has no answer.
graceful_timeout = 120

# No restart after so many requests: nothing here grows, and a restart cuts connections that are kept alive.
max_requests = 0

# The heartbeat is a file that is touched every second: not on a disk, whose stalls would look like a dead worker.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

# Loaded once, then forked: half the start-up time, and the workers share the memory of what they do not change. It also
# means that the schema is made, and what a crash left is undone, before there is a worker.
preload_app = True

# For who asks for an access log. gunicorn's own holds the query and the referrer, in which secrets come along.
access_log_format = '%(h)s - - %(t)s "%(m)s %(U)s %(H)s" %(s)s %(b)s "-" "%(a)s"'

# Whom to believe about a client is for AURORA_BLOBS_PROXY_HOPS to say. By itself gunicorn takes the scheme and the path
# from the headers of whoever is on this machine or at a Unix socket.
secure_scheme_headers: dict[str, str] = {}
forwarder_headers = ""

control_socket_disable = True  # nobody has asked for it, and it would lie in the home folder


def on_starting(server: Any) -> None:
    """A connection, an upload and a database take a file each, and the usual soft limit is 1024."""
    server.log.error_log.addFilter(_without_quotes)
    for line in config_warnings(_config):
        server.log.warning("%s", line)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * worker_connections
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def when_ready(server: Any) -> None:
    """Bound: say where, and what to try."""
    address = str(server.LISTENERS[0])
    curl = f"curl {address}"
    if address.startswith("unix:"):
        curl = f"curl --unix-socket {address.removeprefix('unix:')} http://localhost"
    print(
        f"aurora_blobs {aurora_blobs.__version__} listens on {address}, its data in {_config.data_dir}. Try:"
    )
    print(f"  {curl}/xrpc/_health", flush=True)


def post_fork(server: Any, worker: Any) -> None:
    keep_freed_memory()
    gc.freeze()  # what was loaded before the fork is no garbage: each look through all of it takes 15 ms


def post_worker_init(worker: Any) -> None:
    """In a worker that is ready, also one in place of another that died: undo what that one left half done."""
    worker.wsgi.extensions["aurora_blobs"].blobs.recover()


def _without_quotes(record: Any) -> bool:
    """gunicorn quotes what it cannot parse, which may be a token; the client is told, the log is not."""
    if str(record.msg).startswith("Invalid request from "):
        record.msg = record.msg.partition("'")[0]
    return True
