"""Clients that post photos: ``posting.py TARGET SECONDS PHOTO [PRESET…]``.

A line of its input is a client: the JSON of an account, with ``did`` and ``accessJwt``. A post is
the photo (another one each time), a record that names it, the photo as everybody gets it, and its
thumbnail of each PRESET. Each client makes one that is not counted. Then all post for SECONDS.

Prints what load.c prints, of whole posts; and the median of each step, in milliseconds.
"""

import http.client
import json
import secrets
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

_UNIQUE = 16  # bytes at the photo's end, another ones in each post


class Client:
    """One connection of one account."""

    def __init__(
        self, target: str, account: dict[str, str], photo: bytes, presets: list[str]
    ) -> None:
        host, port = target.split(":")
        self._connection = http.client.HTTPConnection(host, int(port), timeout=120)
        self._did = account["did"]
        self._headers = {"Authorization": f"Bearer {account['accessJwt']}"}
        self._photo = photo
        self._presets = presets
        self.seconds: list[float] = []
        self.steps: dict[str, list[float]] = {}
        self.problems: list[str] = []

    def run(self, ready: threading.Barrier, seconds: float) -> None:
        self._counted()
        self.seconds, self.steps = [], {}
        ready.wait()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._counted()

    def _counted(self) -> None:
        began = time.monotonic()
        try:
            self._post()
        except (OSError, http.client.HTTPException, RuntimeError) as error:
            self.problems.append(str(error) or repr(error))
            self._connection.close()  # the next request opens it again
        self.seconds.append(time.monotonic() - began)

    def _post(self) -> None:
        photo = self._photo[:-_UNIQUE] + secrets.token_bytes(_UNIQUE)
        blob = json.loads(self._timed("uploadBlob", lambda: self._upload(photo)))["blob"]
        self._timed("createRecord", lambda: self._record(blob))
        cid = blob["ref"]["$link"]
        path = f"/xrpc/com.atproto.sync.getBlob?did={self._did}&cid={cid}"
        if self._timed("getBlob", lambda: self._ask("GET", path)) != photo:
            raise RuntimeError("getBlob gave other bytes")
        for preset in self._presets:
            shown = f"/img/{preset}/plain/{self._did}/{cid}@jpeg"
            self._timed(preset, lambda shown=shown: self._ask("GET", shown))

    def _timed(self, step: str, work: Callable[[], bytes]) -> bytes:
        began = time.monotonic()
        answer = work()
        self.steps.setdefault(step, []).append(time.monotonic() - began)
        return answer

    def _upload(self, photo: bytes) -> bytes:
        headers = self._headers | {"Content-Type": "image/jpeg"}
        return self._ask("POST", "/xrpc/com.atproto.repo.uploadBlob", photo, headers)

    def _record(self, blob: dict[str, object]) -> bytes:
        record = {
            "$type": "app.bsky.feed.post",
            "text": "A photo",
            "createdAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "embed": {"$type": "app.bsky.embed.images", "images": [{"alt": "", "image": blob}]},
        }
        body = {"repo": self._did, "collection": record["$type"], "record": record}
        headers = self._headers | {"Content-Type": "application/json"}
        path = "/xrpc/com.atproto.repo.createRecord"
        return self._ask("POST", path, json.dumps(body).encode(), headers)

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> bytes:
        self._connection.request(method, path, body, headers or {})
        answer = self._connection.getresponse()
        data = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path.partition('?')[0]}: {answer.status} {data[:150]!r}")
        return data


def main() -> None:
    target, seconds, photo, *presets = sys.argv[1:]
    data = Path(photo).read_bytes()
    clients = [Client(target, json.loads(line), data, presets) for line in sys.stdin]
    ready = threading.Barrier(len(clients) + 1)
    threads = [
        threading.Thread(target=client.run, args=(ready, float(seconds))) for client in clients
    ]
    for thread in threads:
        thread.start()
    ready.wait()
    cpu, began = time.process_time(), time.monotonic()
    for thread in threads:
        thread.join()
    elapsed = time.monotonic() - began
    posts = sorted(one for client in clients for one in client.seconds)
    problems = [problem for client in clients for problem in client.problems]
    steps: dict[str, list[float]] = {}
    for client in clients:
        for step, taken in client.steps.items():
            steps.setdefault(step, []).extend(taken)
    counted = {
        "requests": len(posts),
        "failed": len(problems),
        "seconds": elapsed,
        "bytes": len(posts) * len(data),
        "p50_ms": posts[len(posts) // 2] * 1e3,
        "p99_ms": posts[len(posts) * 99 // 100] * 1e3,
        "client_cpu_seconds": time.process_time() - cpu,
        "problem": next(iter(problems), ""),
        "steps": {step: sorted(taken)[len(taken) // 2] * 1e3 for step, taken in steps.items()},
    }
    print(json.dumps(counted))


main()
