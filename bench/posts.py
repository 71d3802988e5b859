"""A photo post, as clients make it, beside the reference PDS."""

import io
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

from cases import KIB, Bench, Run, compare, median, run_client
from images import photo
from servers import Missing, Server, new_account

WORK = "photo post"
PLAIN = "photo post, no thumbnails"
SIZE = 500 * KIB  # bytes of a photo
POSTERS = 8
_PRESETS = ("feed_thumbnail", "feed_fullsize")  # what a client shows of a post
_SIDE = 2000  # pixels, to which clients shrink a photo before they send it


def photo_posts(bench: Bench) -> None:
    """A photo by each of eight accounts, again and again, until it is shown to others.

    The reference makes no thumbnails, so it is asked for none.
    """
    file = bench.folder / "photo.jpg"
    file.write_bytes(_photo())
    contestants: dict[str, dict[str, Run]] = {WORK: {}, PLAIN: {}}
    steps: dict[str, list[float]] = {}
    for server in bench.having("ours behind nginx", "reference behind nginx"):
        accounts = "".join(f"{json.dumps(new_account(server))}\n" for _ in range(POSTERS))
        post = partial(_post, bench, server, accounts, file, steps)
        contestants[PLAIN][f"{server.name}, tcp"] = partial(post, ())
        makes_thumbnails = server.name.startswith("ours")
        contestants[WORK][f"{server.name}, tcp"] = partial(
            post, _PRESETS if makes_thumbnails else ()
        )
    for work, runs in contestants.items():
        compare(bench, work, [(SIZE, POSTERS, runs)])
    for step, taken in steps.items():
        bench.facts[f"{WORK}, {step}, p50 ms"] = median(taken)


def _post(
    bench: Bench,
    server: Server,
    accounts: str,
    file: Path,
    steps: dict[str, list[float]],
    presets: tuple[str, ...],
    seconds: float,
) -> dict[str, Any]:
    """Let clients post. A post takes as long as several requests of other cells: 3 x *seconds*."""
    program = str(Path(__file__).with_name("posting.py"))
    arguments = [server.targets["tcp"], str(3 * seconds), str(file), *presets]
    counted = run_client(bench, server, [sys.executable, program, *arguments], accounts)
    for step, taken in counted["steps"].items():
        steps.setdefault(f"{server.name}: {step}", []).append(taken)
    return counted


def _photo() -> bytes:
    """A photo as a client sends it: a JPEG of `SIZE` bytes, the last of them behind its end."""
    from PIL import Image

    with Image.open(io.BytesIO(photo())) as image:
        image.thumbnail((_SIDE, _SIDE))
        for quality in range(95, 30, -5):
            output = io.BytesIO()
            image.save(output, "jpeg", quality=quality)
            if output.tell() < SIZE - KIB:
                return output.getvalue().ljust(SIZE, b"\0")
    raise Missing("a photo that fits into 500 KiB")
