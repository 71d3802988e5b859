"""``make bench``: how fast the service is, beside what limits it and beside the reference PDS.

    python bench/run.py [--only uploads,downloads] [--quick] [--publish] [--seed N] [--rows N]

Needs a C compiler. Anything else that is missing (nginx, the reference PDS, an S3 server) is named
and leaves its columns empty. Writes bench/out/results.json, .md and .svg. No figure makes it fail.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import bulk
import cases
import images
import machine
import mirror
import plot
import posts
import report
import rows
import servers
import sizing
from cases import Bench
from servers import HERE, PROJECT, Missing, Server

GROUPS: dict[str, Callable[[Bench], None]] = {
    "start": rows.start_time,
    "even": rows.evenness,
    "memory": cases.memory,  # before the others leave memory behind in the servers
    "client": cases.client,
    "uploads": cases.uploads,
    "duplicates": cases.duplicates,
    "downloads": cases.downloads,
    "cpu": cases.cpu,
    "images": images.thumbnails,
    "slow": cases.slow_clients,
    "posts": posts.photo_posts,
    "stores": cases.stores,
    "rows": rows.growth,
    "postgresql": cases.postgresql,
    "s3": cases.s3,
    "bulk": bulk.commands,
    "mirror": mirror.first_sync,
    "sizing": sizing.sizing,
}
# The servers that a group needs beside ours; each is started for the first group that needs it.
_NEEDS = {
    "client": ["discard"],
    "uploads": ["ours behind nginx", "sink", "reference"],
    "duplicates": ["ours behind nginx", "reference"],
    "downloads": ["ours behind nginx", "nginx", "reference"],
    "images": ["ours behind nginx", "nginx"],
    "memory": ["reference"],
    "slow": ["ours behind nginx"],
    "posts": ["ours behind nginx", "reference behind nginx"],
    "stores": ["reference", "reference on ours", "reference on S3"],
    "postgresql": ["ours on PostgreSQL"],
    "s3": ["ours on S3"],
}
PLAIN_NGINX = """
USER worker_processes 2; pid FOLDER/nginx.pid; error_log FOLDER/error.log;
events { worker_connections 1024; }
http {
    access_log off; sendfile on; tcp_nopush on; keepalive_timeout 75; keepalive_requests 1000000;
    client_body_temp_path FOLDER/body; proxy_temp_path FOLDER/proxy;
    fastcgi_temp_path FOLDER/fastcgi; uwsgi_temp_path FOLDER/uwsgi; scgi_temp_path FOLDER/scgi;
    server { listen 127.0.0.1:PORT; root STORE; }
}
"""
# Run by root, nginx would give its processes a user that may not read the store.
_NGINX_USER = "user root;" if os.geteuid() == 0 else ""


class Everyone:
    """The servers of one run, each started when it is first needed and all stopped at the end."""

    def __init__(self, folder: Path, log: IO[bytes], say: Callable[[str], None]) -> None:
        self._folder = folder
        self._log = log
        self._say = say
        self._missing: set[str] = set()
        self._sink_program = servers.build("sink")
        self.running: dict[str, Server] = {}

    def start(self, name: str) -> None:
        if name in self.running or name in self._missing:
            return
        try:
            self.running[name] = self._start(name)
        except Missing as missing:
            self._missing.add(name)
            self._say(f"without {name}: this needs {missing}")

    def _start(self, name: str) -> Server:
        folder = self._folder / name.replace(" ", "-")
        if name == "sink":
            return servers.start_sink(self._sink_program, folder, "--row")
        if name == "discard":
            server = servers.start_sink(self._sink_program, folder, "--discard")
            server.name, server.written = "discard", []
            return server
        if name == "reference":
            return servers.start_reference(folder, self._log)
        if name == "nginx":
            self.start("ours")
            store = self._folder / "ours" / "blobs"
            return servers.start_nginx(
                folder,
                self._log,
                PLAIN_NGINX.replace("STORE", str(store)).replace("USER", _NGINX_USER),
                "nginx",
            )
        if name == "ours behind nginx":
            return servers.start_behind_nginx(folder, self._log)
        if name == "reference behind nginx":
            return servers.start_reference_behind_nginx(folder, self._log)
        if name == "reference on ours":
            return servers.start_reference_on_ours(folder, self._log)
        if name == "reference on S3":
            return servers.start_reference_on_s3(folder, self._log)
        if name == "ours on PostgreSQL":
            return servers.start_on_postgresql(folder, self._log)
        if name == "ours on S3":
            return servers.start_on_s3(folder, self._log)
        return servers.start_ours(folder, self._log)

    def stop(self) -> None:
        for server in reversed(self.running.values()):
            server.stop()


def main() -> int:
    arguments = _arguments()
    only = arguments.only.split(",") if arguments.only else list(GROUPS)
    unknown = set(only) - set(GROUPS)
    if unknown:
        print(
            f"bench: no such part: {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}",
            file=sys.stderr,
        )
        return 2
    try:
        load = servers.build("load")
    except Missing as missing:
        print(f"bench: stopped: this needs {missing}", file=sys.stderr)
        return 0
    out = HERE / "out"
    home = Path(arguments.folder) if arguments.folder else out / "stores"
    machine.fresh_folder(home)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=home))
    bench = Bench(load, folder, {}, seconds=1.0, rounds=3, seed=arguments.seed)
    if arguments.sizes:
        bench.sizes = tuple(size for size in cases.SIZES if str(size) in arguments.sizes.split(","))
    if arguments.quick:
        bench.seconds, bench.rounds, bench.connections = 0.4, 1, (1, 8)
        bench.is_quick = True
    bench.rounds = arguments.rounds or bench.rounds
    bench.many_rows = arguments.rows
    print(f"bench: seed {bench.seed}, stores and logs in {folder}", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: stopped, and its servers with it"))
    with (folder / "log").open("ab") as log:
        everyone = Everyone(folder, log, bench.say)
        bench.servers = everyone.running
        try:
            _run(only, bench, everyone)
        finally:
            everyone.stop()
    facts = machine.describe(folder)
    text = report.as_markdown(bench, facts)
    (out / "results.json").write_text(json.dumps(report.as_json(bench, facts), indent=1) + "\n")
    (out / "results.md").write_text(text)
    (out / "results.svg").write_text(
        plot.as_svg(bench.rows, f"8 at once, {facts['cpu']}, {facts['date']}")
    )
    print(f"\n{text}\nWritten: {out}/results.json, .md, .svg")
    if arguments.publish:
        report.publish(bench, facts, out, PROJECT)
    if not arguments.keep:
        shutil.rmtree(folder)
    return 0


def _run(only: list[str], bench: Bench, everyone: Everyone) -> None:
    for group in GROUPS:
        if group not in only:
            continue
        began = time.monotonic()
        for name in ("ours", *_NEEDS.get(group, ())):
            everyone.start(name)
        if "ours" not in everyone.running:
            raise SystemExit("bench: the service does not start; see the log")
        try:
            GROUPS[group](bench)
        except Missing as missing:
            bench.say(f"{group}: left out, this needs {missing}")
        bench.say(f"{group}: {time.monotonic() - began:.0f} s")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", metavar="PARTS", help=f"a comma list of {', '.join(GROUPS)}")
    parser.add_argument("--sizes", metavar="BYTES", help="a comma list of some of the sizes")
    parser.add_argument(
        "--quick", action="store_true", help="one short round, 1 and 8 at once: a few minutes"
    )
    parser.add_argument(
        "--rounds", type=int, metavar="N", help="how often each figure is measured; 3 if not given"
    )
    parser.add_argument(
        "--rows",
        type=int,
        default=1_000_000,
        metavar="N",
        help="how many rows are many for the part rows",
    )
    parser.add_argument(
        "--publish", action="store_true", help="also put table and plot into bench/README.md"
    )
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--folder", help="where the stores are made; bench/out/stores if not given")
    parser.add_argument("--keep", action="store_true", help="leave stores and logs behind")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
