"""Machines on a network of this process's own: namespaces of Linux, joined by veth pairs."""

import os
import subprocess
from pathlib import Path

from support.live_service import becomes

LINKS = ("clients", "database", "store")
_NOWHERE = "02:00:00:00:00:00"  # the Ethernet address of nobody
# In these one may make namespaces and links, and all that was started ends with its first process.
ALONE = [
    *("unshare", "--map-root-user", "--net", "--mount-proc"),
    *("--pid", "--fork", "--kill-child", "--"),
]


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


class Machine:
    """A machine with a link for each of LINKS. Processes of this one's namespace are beyond them.

    `prefix` is what a command begins with that runs on it.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._holder = subprocess.Popen(["unshare", "--net", "--", "sleep", "infinity"])
        namespace = Path(f"/proc/{self._holder.pid}/ns/net")
        ours = os.readlink("/proc/self/ns/net")
        assert becomes(lambda: os.readlink(namespace) != ours)
        self.prefix = ["nsenter", f"--net={namespace}", "--"]
        self._ip_inside("link", "set", "lo", "up")
        for link in LINKS:
            outside = self._outside(link)
            pid = str(self._holder.pid)
            ip("link", "add", outside, "type", "veth", "peer", "name", link, "netns", pid)
            ip("addr", "add", f"{self.address_beyond(link)}/30", "dev", outside)
            ip("link", "set", outside, "up")
            self._ip_inside("addr", "add", f"{self.address(link)}/30", "dev", link)
            self._ip_inside("link", "set", link, "up")

    def address(self, link: str) -> str:
        """Its own address on *link*."""
        return f"10.{LINKS.index(link)}.{self._number}.2"

    def address_beyond(self, link: str) -> str:
        """The address, beyond *link*, of the servers that it uses."""
        return f"10.{LINKS.index(link)}.{self._number}.1"

    def cut(self, link: str) -> None:
        """Take the cable out: nothing passes, and nobody is told."""
        ip("link", "set", self._outside(link), "down")

    def deafen(self, link: str) -> None:
        """Let what it sends arrive, and nothing come back."""
        words = ("lladdr", _NOWHERE, "nud", "permanent", "dev", self._outside(link))
        ip("neigh", "replace", self.address(link), *words)

    def join(self, link: str) -> None:
        """End `cut` or `deafen`."""
        ip("neigh", "flush", "nud", "permanent", "dev", self._outside(link))
        ip("link", "set", self._outside(link), "up")

    def _outside(self, link: str) -> str:
        return f"{link}{self._number}"

    def _ip_inside(self, *words: str) -> None:
        subprocess.run([*self.prefix, "ip", *words], check=True)
