"""How long the first thumbnail of a photo takes, and how many a second are served once it is kept.

The first is compared with Pillow alone, which opens, shrinks and encodes the photo in one process;
the kept one, of the service alone and behind nginx, with nginx sending a file of the same bytes.
"""

import io
import secrets
import time
from collections.abc import Callable

import cases
from cases import Bench, Run, load, median
from servers import PROJECT, Missing, Server

_PHOTO = (
    "forensics-samples-files/usr/share/forensics-samples/original-files/pic1/"
    "IMG_20200827_231612.jpg"
)
_FIRST = (
    ("avatar_thumbnail", "webp", 128),
    ("feed_fullsize", "jpeg", 1000),
    ("feed_fullsize", "webp", 1000),
)


def thumbnails(bench: Bench) -> None:
    """Thumbnails of a JPEG of 12 megapixels: each kind once, and the smallest repeatedly."""
    data = photo()
    ours = bench.servers["ours"]
    # The worker process starts here, and is not measured.
    ours.fetch(_published(ours, data, "avatar", "png"))
    for preset, form, side in _FIRST:
        _first(bench, ours, data, preset, form, side)
    _kept(bench, ours, data)


def photo() -> bytes:
    """A JPEG of 12 megapixels. Raises Missing without the one that tests/media.sh brings."""
    try:
        return (PROJECT / ".cache/media" / _PHOTO).read_bytes()
    except FileNotFoundError:
        raise Missing("a photo that tests/media.sh brings") from None


def _first(bench: Bench, ours: Server, photo: bytes, preset: str, form: str, side: int) -> None:
    mine, bare = [], []
    for _ in range(2 * bench.rounds + 1):
        # Other bytes behind the end of the image make another blob of the same image.
        other = photo + secrets.token_bytes(8)
        path = _published(ours, other, preset, form)
        mine.append(_seconds(lambda path=path: ours.fetch(path)))
        bare.append(_seconds(lambda other=other: _shrunk(other, side, form)))
    bench.facts[f"first {preset} of 12 MP, {form}, ms"] = median(mine) * 1e3
    bench.facts[f"first {preset} of 12 MP, {form}: times Pillow alone"] = median(mine) / median(
        bare
    )


def _kept(bench: Bench, ours: Server, photo: bytes) -> None:
    paths = {}
    for server in bench.having("ours", "ours behind nginx"):
        paths[server.name] = _published(server, photo, *_FIRST[0][:2])
        thumbnail = server.fetch(paths[server.name])
        server.fetch(paths[server.name])  # nginx finds it from now on
    paths["nginx"] = cases.below_store(ours.publish(thumbnail, "image/webp"))

    def run_of(server: Server, socket: str, connections: int) -> Run:
        listed = cases.listed(bench, f"thumbnail-{server.name}", [paths[server.name]], "")
        return lambda seconds: load(
            bench, server, socket, connections, seconds, "--get", str(listed)
        )

    cells = []
    for connections in bench.connections:
        contestants = {
            f"{server.name}, {socket}": run_of(server, socket, connections)
            for server in bench.having(*paths)
            for socket in cases.sockets(server)
        }
        cells.append((len(thumbnail), connections, contestants))
    cases.compare(bench, "kept thumbnail", cells)


def _published(ours: Server, photo: bytes, preset: str, form: str) -> str:
    cid = ours.publish(photo, "image/jpeg").rpartition("=")[2]
    return f"/img/{preset}/plain/{ours.did}/{cid}@{form}"


def _shrunk(data: bytes, side: int, form: str) -> bytes:
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        image.thumbnail((side, side))
        output = io.BytesIO()
        image.save(output, form, quality=80)
    return output.getvalue()


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
