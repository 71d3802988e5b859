"""How long the first thumbnail of a photo takes, and how many a second once it is cached.

    python bench/images.py [--photo PATH] [--rounds N]

Beside Pillow alone in one process, which opens the file, shrinks and encodes it, and beside nginx that sends a file of
the same bytes. The photo is one of 12 megapixels that tests/setup.sh brings, if no other is given. Prints a table and
writes bench/out/images.json.
"""

import argparse
import contextlib
import http.client
import io
import json
import secrets
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cases
import servers
from cases import Bench, median
from PIL import Image
from run import PLAIN_NGINX
from servers import HERE, PROJECT, Missing, Server

_PHOTO = "forensics-samples-files/usr/share/forensics-samples/original-files/pic1/IMG_20200827_231612.jpg"
FIRST = [("avatar_thumbnail", "webp", 128), ("feed_fullsize", "jpeg", 1000), ("feed_fullsize", "webp", 1000)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo", type=Path, default=PROJECT / ".cache/media" / _PHOTO)
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    photo = arguments.photo.read_bytes()
    try:
        client, _ = servers.build()
    except Missing as missing:
        raise SystemExit(f"bench: stopped: this needs {missing}") from None
    out = HERE / "out"
    with tempfile.TemporaryDirectory(dir=out) as name, open(f"{name}/log", "wb") as log:
        folder = Path(name)
        bench = Bench(client, folder, {}, seconds=1.0, rounds=3)
        ours = servers.start_ours(folder / "ours", log)
        try:
            rows = [*_first(ours, photo, arguments.rounds), *_cached(bench, ours, photo, log)]
        finally:
            ours.stop()
    for row in rows:
        print(f"{row['what']:<34} {row['who']:<14} {row['value']:>9.1f} {row['unit']}")
    (out / "images.json").write_text(json.dumps(rows, indent=1) + "\n")


def _first(ours: Server, photo: bytes, rounds: int) -> list[dict[str, object]]:
    _get(ours, _published(ours, photo, "avatar", "png"))  # the helper process starts once, and is not measured
    rows = []
    for preset, form, side in FIRST:
        runs: dict[str, list[float]] = {"ours": [], "Pillow alone": []}
        for _ in range(rounds):
            # Other bytes behind the end of the picture: another blob, the same picture.
            other = photo + secrets.token_bytes(8)
            path = _published(ours, other, preset, form)
            runs["ours"].append(_seconds(lambda path=path: _get(ours, path)))
            runs["Pillow alone"].append(_seconds(lambda data=other, side=side, form=form: _shrunk(data, side, form)))
        rows += [
            {"what": f"first {preset}, {form}", "who": who, "value": median(times) * 1000, "unit": "ms"}
            for who, times in runs.items()
        ]
    return rows


def _cached(bench: Bench, ours: Server, photo: bytes, log: object) -> list[dict[str, object]]:
    path = _published(ours, photo, "avatar_thumbnail", "webp")
    picture = _get(ours, path)
    contestants = [("ours", ours, path)]
    store = bench.folder / "static"
    store.mkdir()
    (store / "picture").write_bytes(picture)
    rows = []
    with contextlib.ExitStack() as stack:
        try:
            user = "user root;"
            config = PLAIN_NGINX.replace("STORE", str(store)).replace("USER", user)
            nginx = servers.start_nginx(bench.folder / "nginx", log, config, "nginx")
            stack.callback(nginx.stop)
            contestants.append(("nginx, a file", nginx, "/picture"))
        except Missing as missing:
            print(f"without nginx: this needs {missing}")
        for connections in (1, 8):
            for who, server, target in contestants:
                paths = bench.folder / "paths"
                paths.write_text(f"{target}\n")
                counted = [
                    cases.load(bench, server, "tcp", connections, bench.seconds, "--get", str(paths))
                    for _ in range(bench.rounds)
                ]
                rate = median([one["requests"] / one["seconds"] for one in counted])
                what = f"cached, {len(picture)} bytes, {connections} at once"
                rows.append({"what": what, "who": who, "value": rate, "unit": "per second"})
    return rows


def _published(ours: Server, photo: bytes, preset: str, form: str) -> str:
    cid = ours.publish(photo, "image/jpeg").rpartition("=")[2]
    return f"/img/{preset}/plain/{ours.did}/{cid}@{form}"


def _get(ours: Server, path: str) -> bytes:
    host, port = ours.targets["tcp"].split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        data = answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise RuntimeError(f"{path}: {answer.status} {data[:200]!r}")
    return data


def _shrunk(data: bytes, side: int, form: str) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        image.thumbnail((side, side))
        output = io.BytesIO()
        image.save(output, form, quality=80)
    return output.getvalue()


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
