"""The production server: ``gunicorn -c python:aurora_blobs.gunicorn_conf aurora_blobs.wsgi:app``.

`aurora-blobs run` starts it.

The address and the numbers of processes and threads come from the service's own settings. Anything
else goes on gunicorn's command line or into GUNICORN_CMD_ARGS; both win over this file.
"""

import errno
import gc
import os
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import aurora_blobs
from aurora_blobs import logs
from aurora_blobs.config import MOST_USUAL_WORKERS, Config, ConfigError
from aurora_blobs.server.addresses import is_local
from aurora_blobs.server.config_warnings import config_warnings
from aurora_blobs.server.malloc_tuning import keep_freed_memory
from aurora_blobs.server.restarts import until_it_works
from aurora_blobs.server.shared_memory import join_all


def _check_address(config: Config) -> None:
    """Raise ConfigError for an address that cannot be bound: gunicorn's own error is many lines."""
    if config.bind.startswith("unix:"):
        _check_socket_path(config, Path(config.bind.removeprefix("unix:")))
    else:
        host, _, port = config.bind.rpartition(":")
        _check_host(config, host, int(port))


def _check_socket_path(config: Config, path: Path) -> None:
    fits = len(os.fsencode(path)) < 108  # sockaddr_un, with its final NUL
    if fits and path.is_socket():
        return  # gunicorn replaces it; `run` has looked whether somebody listens
    folder = path.parent
    can_be_made = folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
    if not fits or path.exists() or not can_be_made:
        raise config.refusal(
            "bind", "unix:PATH of up to 107 bytes, in a folder that can be written"
        )


def _check_host(config: Config, host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), port))
        except (OSError, UnicodeError) as error:  # UnicodeError: a name that DNS cannot hold
            # An address in use may become free: gunicorn tries again.
            if getattr(error, "errno", None) != errno.EADDRINUSE:
                raise config.refusal("bind", f"HOST:PORT of this machine: {error}") from None


try:
    _config = Config.from_environ(os.environ)
    _check_address(_config)
except ConfigError as error:
    raise SystemExit(f"aurora_blobs: {error}") from None

logs.configure(_config.log_format, _config.log_level)

bind = _config.bind

# Only hashing and reading release the interpreter lock, so there is a process per core. At least
# two, so that one serves while the other restarts.
workers = _config.workers or min(max(2, len(os.sched_getaffinity(0))), MOST_USUAL_WORKERS)

# A thread waits only for a body that is arriving; a stalled one keeps it for 20 seconds. Threads
# are started when they are needed.
worker_class = "aurora_blobs.server.worker.Worker"
threads = _config.threads

# Connections per process, idle ones included. More of them wait in the backlog.
worker_connections = 2000 + threads
backlog = 2048

# Longer than nginx's keepalive (60 s), so that nginx closes first. Otherwise it would send an
# upload into a connection that is being closed, and it does not repeat a POST.
keepalive = 75

# Seconds after which a worker that has not looked at its connections counts as hung. Uploads may
# take longer: they run in threads.
timeout = 60

# Seconds that uploads in flight have at a stop. Then they are cut off without an answer.
graceful_timeout = 120

# Workers are not restarted after a number of requests: nothing grows, and a restart cuts
# connections that are kept alive.
max_requests = 0

# The heartbeat is a file that is touched every second. On a disk, a stall would look like a dead
# worker.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

# Loading before the fork halves the start-up time and shares memory between the workers. The schema
# is upgraded, and cleaning up after a crash is done, before there is a worker.
preload_app = True

# The access log has fields, as all lines have. gunicorn's own format has the query and the
# referrer, which can hold secrets.
logger_class = "aurora_blobs.server.gunicorn_log.GunicornLog"
loglevel = _config.log_level
access_log_format = ""

# AURORA_BLOBS_PROXY_HOPS says which proxies are trusted. By default gunicorn takes the scheme and
# the path from the headers of any client on this machine or at a Unix socket.
secure_scheme_headers: dict[str, str] = {}
forwarder_headers = ""

control_socket_disable = True  # unused here, and it would be made in the home folder


_STOPS = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}


def on_starting(server: Any) -> None:
    """Raise the soft limit of open files, which usually is 1024.

    A connection, an upload and a database take a file each.
    """
    server.manage_workers = partial(_manage_workers, server, server.manage_workers)
    server.spawn_worker = partial(_spawn_worker, server.spawn_worker)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4 * worker_connections
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _manage_workers(server: Any, manage: Callable[[], None]) -> None:
    """Start and end workers as gunicorn does, which would end where a process cannot be made."""
    try:
        manage()
    except OSError as error:  # no process, file or memory left; gunicorn asks again in a second
        server.log.error("a worker cannot be started now: %s", error)


def _spawn_worker(spawn: Callable[[], int]) -> int:
    """Start a worker as gunicorn does. A stop waits until `post_worker_init`, where it is heeded.

    A new process has the handler of the one that forks, which would note the signal for nobody:
    the stop would last for `graceful_timeout`.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)
    try:
        return spawn()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)


def _as_bound(listeners: Iterable[Any]) -> Config:
    """The settings, with an address of *listeners* that others reach, if there is one.

    Those of gunicorn's own -b, and of systemd, take the place of AURORA_BLOBS_BIND.
    """
    for listener in listeners:
        name = listener.getsockname()  # a text for a Unix socket
        if isinstance(name, tuple) and not is_local(name[0]):
            host = f"[{name[0]}]" if ":" in name[0] else name[0]
            return replace(_config, bind=f"{host}:{name[1]}")
    return _config


def when_ready(server: Any) -> None:
    """Log warnings, say which address is bound, and what to try."""
    for line in config_warnings(_as_bound(server.LISTENERS)):
        server.log.warning("%s", line)
    address = str(server.LISTENERS[0])
    curl = f"curl {address}"
    if address.startswith("unix:"):
        curl = f"curl --unix-socket {address.removeprefix('unix:')} http://localhost"
    # Nobody reads an object a line to try something.
    say = server.log.info if _config.log_format == "json" else partial(print, flush=True)
    say(
        f"aurora_blobs {aurora_blobs.__version__} listens on {address}, "
        f"its data in {_config.data_dir}. Try:"
    )
    say(f"  {curl}/xrpc/_health")


def pre_fork(server: Any, worker: Any) -> None:
    """Give *worker* a part of what the workers count together."""
    taken = {other.part for other in server.WORKERS.values()}
    worker.part = next(part for part in count() if part not in taken)


def post_fork(server: Any, worker: Any) -> None:
    join_all(worker.part)
    keep_freed_memory()
    # What was loaded before the fork is no garbage, and a full collection of it takes 15 ms.
    gc.freeze()


def post_worker_init(worker: Any) -> None:
    """Let people sign up or not, and clean up after a dead worker, whose place this may be."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPS)
    services = worker.wsgi.extensions["aurora_blobs"]
    services.sign_ups.policy = _as_bound(worker.sockets).signup_policy
    until_it_works(services.blobs.recover, "undoing what a dead process has left")
    services.purges.start()
    services.daily_totals.start()
    if worker.age == 1:
        # The log names a store that does not work, and what it refuses, before the first upload.
        threading.Thread(target=services.store_health.works, name="canary", daemon=True).start()


def worker_exit(server: Any, worker: Any) -> None:
    """Write down what the worker has counted since it last did."""
    if worker.booted:
        worker.wsgi.extensions["aurora_blobs"].daily_totals.write()
