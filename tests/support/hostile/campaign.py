"""Attacks one after another on a running service, and what they leave behind."""

import os
import random
import re
import socket
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from support import process_watch
from support.hostile import judge
from support.hostile.exchange import Exchange, Note
from support.hostile.grammar import Attack
from support.hostile.objects import ObjectStage
from support.hostile.stage import Stage
from support.live_service import Server, Service, becomes
from support.wire import NotHttp, Silence, Wire

AnyStage = Stage | ObjectStage
_RENEWAL = 25  # attacks between two looks at whether the attacker still has an account
_REPEATS = 2
_MAX_SPOOLED = 12_000_000  # the honest and the attacker upload less than that at once
# A worker has 50 MB at its start. What a request of 1 MB of JSON needed may be kept for the next.
_MAX_RESIDENT = 250_000_000
_SHOWN = 700  # bytes of an attack in a finding


@dataclass
class Finding:
    """What was wrong, and the first attack that showed it."""

    what: str
    attack: str
    index: int
    data: bytes
    count: int = 1

    def __str__(self) -> str:
        shown = self.data[:_SHOWN]
        cut = f" … {len(self.data)} bytes" if len(self.data) > _SHOWN else ""
        return f"{self.what}; {self.count} x, first {self.index}: {self.attack}\n    {shown!r}{cut}"


class Campaign:
    """Attacks through *front*, which is *service* itself or a proxy before it."""

    def __init__(self, service: Service, front: Server, stage: AnyStage) -> None:
        self.service = service
        self.findings: dict[str, Finding] = {}
        self.answered: list[int] = []
        self.worst = judge.Cost(0, 0)  # that an attack had, each figure by itself
        self.resident = 0  # bytes that a worker had at most
        self._front = front
        self._stage = stage
        self._is_proxied = front is not service
        self._workers = service.workers()
        self._data = Path(service.environ()["AURORA_BLOBS_DATA_DIR"])
        self._honest = Honest(stage)
        self._spool = SpoolWatch(self._data / "spool")
        self._logged_before = len(service.log)
        self._files = max(len(process_watch.open_files(pid)) for pid in self._workers)

    def __enter__(self) -> "Campaign":
        self._honest.begin()
        self._spool.begin()
        return self

    def __exit__(self, *_: object) -> None:
        self._honest.end()
        self._spool.end()

    def attack(self, index: int, attack: Attack, chance: random.Random) -> list[int]:
        """Make one attack; the statuses that it was answered with."""
        if index % _RENEWAL == 0:
            self._stage.renew()
        data = attack.data or b"".join(request.wire() for request in attack.requests)

        def note(what: str) -> None:
            self._note(what, attack.name, index, data)

        answered, cost = self._make(attack, data, chance, note)
        budget = judge.budget(attack.requests)
        for _ in range(_REPEATS):
            if cost.is_within(budget):
                break
            # It may have been another process's doing, or the honest client's.
            with self._honest.idle:
                cost = cost.least(self._make(attack, data, chance, lambda what: None)[1])
        if not cost.is_within(budget):
            note(f"{cost}, of {budget}")
        self.worst = self.worst.most(cost)
        if (spooled := self._spool.peak()) > _MAX_SPOOLED:
            note(f"{spooled // 10**6} MB in the spool")
        self.answered += answered
        return answered

    def finish(self) -> None:
        """Look at what is left when all clients have gone."""
        check = self.service.run("blobs", "fsck")
        if check.returncode != 0:
            said = (check.stdout + check.stderr).decode()
            self._note(f"fsck: {said[-2000:]}", "at the end", -1, b"")
        for what in self._honest.complaints:
            self._note(what, "an honest client", -1, b"")
        for what in self._leftovers():
            self._note(what, "at the end", -1, b"")

    def report(self) -> str:
        """The findings in words."""
        return "\n".join(map(str, self.findings.values()))

    def figures(self) -> str:
        """What the answers were, and what the attacks cost at most."""
        answers = sorted(Counter(self.answered).items())
        resident = self.resident // 10**6
        return f"answers {answers}, worst {self.worst}, a worker at most {resident} MB"

    def _note(self, what: str, attack: str, index: int, data: bytes) -> None:
        key = re.sub(r"[0-9]+", "0", what) + attack.partition(" ")[0]
        if key in self.findings:
            self.findings[key].count += 1
        else:
            self.findings[key] = Finding(what, attack, index, data)

    def _make(
        self, attack: Attack, data: bytes, chance: random.Random, note: Note
    ) -> tuple[list[int], judge.Cost]:
        """Make *attack* once; the statuses of the answers, and what it cost the workers."""
        before = [process_watch.forget_peak(pid) for pid in self._workers]
        began = sum(map(process_watch.cpu_seconds, self._workers))
        with self._connect(chance) as wire:
            exchange = Exchange(wire, attack, is_proxied=self._is_proxied, note=note)
            try:
                exchange.run(data, *self._stage.canary(chance))
            except NotHttp as error:
                # nginx speaks HTTP/0.9, which has no head.
                if not self._is_proxied or not attack.may_be_plain:
                    note(f"no HTTP: {error}")
            except Silence:
                note("no answer in a minute")
        ended = sum(map(process_watch.cpu_seconds, self._workers))
        peaks = [process_watch.peak_bytes(pid) for pid in self._workers]
        self.resident = max(self.resident, *peaks)
        grown = max(peak - start for peak, start in zip(peaks, before, strict=True))
        return exchange.answered, judge.Cost(ended - began, grown)

    def _connect(self, chance: random.Random) -> Wire:
        # One of this machine's many addresses: some limits are per address.
        source = (f"127.{chance.randrange(1, 250)}.{chance.randrange(250)}.1", 0)
        return Wire(socket.create_connection(("127.0.0.1", self._front.port), 60, source))

    def _leftovers(self) -> list[str]:
        found = []
        service, data = self.service, self._data
        if service.workers() != self._workers:
            found.append("a worker died")
        spool = data / "spool"
        if not becomes(lambda: list(spool.iterdir()) == [], 40):
            found.append(f"left in the spool: {[path.name for path in spool.iterdir()][:5]}")
        found += [f"left of a part: {path}" for path in data.glob("parts/*/incoming.*")]
        for pid in self._workers:
            # Some threads keep a connection to the database.
            if not becomes(
                lambda pid=pid: len(process_watch.open_files(pid)) < self._files + 60, 40
            ):
                found.append(f"{len(process_watch.open_files(pid))} open files")
            gone = [name for name in process_watch.open_files(pid) if name.endswith("(deleted)")]
            found += [f"open and deleted: {name}" for name in gone if str(data) in name]
        kept = max(process_watch.resident_bytes(pid) for pid in self._workers)
        if kept > _MAX_RESIDENT:
            found.append(f"a worker keeps {kept // 10**6} MB")
        return found + self._logged()

    def _logged(self) -> list[str]:
        log = self.service.log[self._logged_before :]
        found = []
        for word in ("Traceback", "[ERROR]", "[CRITICAL]", "WORKER TIMEOUT", " ERROR "):
            if word in log:
                at = log.index(word)
                found.append(f"in the log: {log[max(0, at - 200) : at + 1500]}")
        if any(ord(letter) < 0x20 and letter not in "\n\t" for letter in log):
            found.append("control characters in the log")
        if (longest := max(map(len, log.splitlines()), default=0)) > 2000:
            found.append(f"a line of {longest} characters in the log")
        if self._is_proxied:
            # What nginx says of us, and not of its clients.
            words = r"upstream prematurely|upstream sent|no live upstreams|\[(?:alert|crit|emerg)\]"
            found += [
                f"in nginx's log: {line}"
                for line in self._front.log.splitlines()  # type: ignore[attr-defined]
                if re.search(words, line)
            ][:3]
        return found


class _Background:
    """A thread that does `_once` again and again between `begin` and `end`."""

    _seconds = 0.1  # between two times

    def __init__(self) -> None:
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        self._is_over.clear()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._is_over.set()
        assert self._thread is not None
        self._thread.join(120)

    def _run(self) -> None:
        while not self._is_over.wait(self._seconds):
            self._once()

    def _once(self) -> None:
        raise NotImplementedError


class SpoolWatch(_Background):
    """How many bytes were in the folder at most."""

    _seconds = 0.02

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._peak = 0

    def peak(self) -> int:
        """Since it was last asked."""
        peak, self._peak = self._peak, 0
        return peak

    def _once(self) -> None:
        size = 0
        with os.scandir(self._folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    size += entry.stat().st_size
        self._peak = max(self._peak, size)


class Honest(_Background):
    """A client that does what clients do while the service is attacked: all of it has to succeed.

    Who holds `idle` is alone with the service.
    """

    def __init__(self, stage: AnyStage) -> None:
        super().__init__()
        self.complaints: set[str] = set()
        self.idle = threading.Lock()
        self._stage = stage
        self._chance = random.Random(1)

    def _once(self) -> None:
        with self.idle:
            try:
                self._stage.visit(self._chance)
            except Exception as error:  # whatever it is, an honest client has met it
                self.complaints.add(f"an honest client met {str(error)[:200]!r}")
