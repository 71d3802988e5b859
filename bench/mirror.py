"""How fast a mirror fetches all that a PDS has, beside curl with the same list."""

import os
import random
import sqlite3
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from cases import KIB, Bench, median
from servers import Missing, support

_ACCOUNTS, _EACH, _SIZE = 20, 150, 16 * KIB
_BLOBS = _ACCOUNTS * _EACH
_AT_ONCE = 10  # records in one commit


def first_sync(bench: Bench) -> None:
    """Blobs a second, from the start of the command to the last of them; curl asks for 50 at once.

    The PDS is the reference, on this machine. It and the mirror take a core each, curl hardly any:
    where others use the cores, the mirror has less of them than curl needs.
    """
    followed, reference = support("followed_pds"), support("reference_pds")
    if not reference.PDS.exists():
        raise Missing("the reference PDS: set ATPROTO_PDS_DIR to an install (bench/README.md)")
    rates: dict[str, list[float]] = {"a mirror": [], "curl": []}
    with reference.ReferencePds(bench.folder / "pds", "http://localhost:2583") as pds:
        upstream = followed.Upstream(pds)
        members = [followed.Member(upstream, f"member{number}.test") for number in range(_ACCOUNTS)]
        with ThreadPoolExecutor(8) as threads:
            urls = [url for found in threads.map(_publish, members) for url in found]
        runs: dict[str, Callable[[Path], float]] = {
            "a mirror": lambda folder: _mirror(bench, pds, folder),
            "curl": lambda folder: _fetch(pds.url, urls, folder),
        }
        order = random.Random(bench.seed)
        for turn in range(bench.rounds):
            for name in order.sample(sorted(runs), len(runs)):
                seconds = runs[name](bench.folder / f"{name.replace(' ', '-')}-{turn}")
                rates[name].append(_BLOBS / seconds)
    for name, measured in rates.items():
        bench.facts[f"first sync, {name}: blobs a second"] = median(measured)
    bench.facts["first sync: times curl"] = median(
        [ours / curl for ours, curl in zip(rates["a mirror"], rates["curl"], strict=True)]
    )


def _publish(member: Any) -> list[str]:
    """Give *member* of a PDS a record for each of so many blobs; the paths of the blobs."""
    blobs = [member.upload(os.urandom(_SIZE)) for _ in range(_EACH)]
    writes = [
        {
            "$type": "com.atproto.repo.applyWrites#create",
            "collection": "com.example.file",
            "rkey": str(number),
            "value": {"$type": "com.example.file", "file": blob},
        }
        for number, blob in enumerate(blobs)
    ]
    for start in range(0, len(writes), _AT_ONCE):
        member.call("repo.applyWrites", repo=member.did, writes=writes[start : start + _AT_ONCE])
    return [
        f"/xrpc/com.atproto.sync.getBlob?did={member.did}&cid={blob['ref']['$link']}"
        for blob in blobs
    ]


def _mirror(bench: Bench, pds: Any, folder: Path) -> float:
    """Follow *pds* until all of its blobs are in the new folder *folder*; the seconds."""
    service = support("live_service").Service(
        folder,
        AURORA_BLOBS_MIRROR="pds",
        AURORA_BLOBS_FOLLOW=pds.url,
        AURORA_BLOBS_PLC_URL=pds.plc_url,
    )
    service.run("init-db")
    mirror = support("followed_pds").Mirror(service, folder)
    began = time.monotonic()
    mirror.start()
    try:
        while _held(folder / "data" / "aurora.sqlite3") < _BLOBS:
            time.sleep(0.05)
        seconds = time.monotonic() - began
        bench.facts["first sync: CPU of the mirror, ms a blob"] = (
            support("process_watch").cpu_seconds(mirror.pid) * 1e3 / _BLOBS
        )
        return seconds
    finally:
        mirror.end()


def _held(database: Path) -> int:
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as rows:
        count: int = rows.execute("SELECT COUNT(*) FROM blob_metadata").fetchone()[0]
    return count


def _fetch(url: str, paths: list[str], folder: Path) -> float:
    """Write what is at each of *paths* to a file in *folder*, by curl; the seconds."""
    folder.mkdir()
    (folder / "list").write_text(
        "".join(
            f'url = "{url}{path}"\noutput = "{folder}/{number}"\n'
            for number, path in enumerate(paths)
        )
    )
    began = time.monotonic()
    command = ["curl", "--no-progress-meter", "--fail", "--parallel", "--config", folder / "list"]
    subprocess.run(command, check=True)
    return time.monotonic() - began
