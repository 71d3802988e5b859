"""What the kernel says of another process: CPU, memory, open files. Linux."""

import os
import re
import time
from contextlib import suppress
from pathlib import Path


def cpu_seconds(pid: int) -> float:
    """CPU time of the process *pid* and all of its threads, to the nanosecond."""
    # The clock of another process: clock_getcpuclockid(3), which Python has only for threads.
    return time.clock_gettime((~pid << 3) | 2)


def resident_bytes(pid: int) -> int:
    """Memory of its own that the process has now."""
    return status_bytes(pid, "RssAnon")


def peak_bytes(pid: int) -> int:
    """The most memory that it had since `forget_peak`, what it shares with others included."""
    return status_bytes(pid, "VmHWM")


def forget_peak(pid: int) -> int:
    """Measure the peak from now on; returns what there is now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # proc(5)
    return status_bytes(pid, "VmHWM")


def open_files(pid: int) -> list[str]:
    """What its descriptors are open on: paths, and names like ``socket:[123]``."""
    found = []
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
        except FileNotFoundError:
            continue  # closed meanwhile
    return found


def children(pid: int) -> list[int]:
    """The pids of its children, of whichever thread. None when it has ended."""
    found: list[int] = []
    with suppress(FileNotFoundError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(FileNotFoundError):  # ended meanwhile
                text = Path(f"/proc/{pid}/task/{thread}/children").read_text()
                found += map(int, text.split())
    return found


def status_bytes(pid: int, name: str) -> int:
    """The value of *name* in its status, in bytes."""
    text = Path(f"/proc/{pid}/status").read_text()
    match = re.search(rf"^{name}:\s+([0-9]+) kB", text, re.MULTILINE)
    assert match is not None, name
    return 1024 * int(match[1])
