"""Debian's podman, with images, volumes and networks of its own, and without a registry.

Containerfile is built on Debian's packages, as tests/setup.sh has put them together.
"""

import re
import subprocess
from pathlib import Path
from typing import Any

from support.project import CACHE, ROOT

IMAGE = "localhost/aurora-blobs"
BASE = re.findall(r"^ARG BASE=(.*)$", (ROOT / "Containerfile").read_text(), re.MULTILINE)[0]
# Its addresses are taken by no other network of this machine; those of podman's own may be.
NETWORK = "tests"
_BASE_TAR = CACHE / f"{BASE.rpartition(':')[2]}.tar"

# runc takes every kind of cgroups. The limits are below those that a machine may have for root:
# podman would raise them. Locks in files are nobody else's. netavark answers for the names of
# containers, which is not Debian 12's default. The driver of images is the best that works here.
_CONFIGURATION = """
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=2048:2048"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
tmp_dir = "{folder}/tmp"
volume_path = "{folder}/volumes"
[network]
network_backend = "netavark"
network_config_dir = "{folder}/networks"
"""
_STORAGE = """
[storage]
graphroot = "{folder}/images"
runroot = "{folder}/run"
"""
_CADDY = f"""
FROM {BASE}
RUN apt-get update && apt-get install --yes --no-install-recommends caddy
ENV XDG_CONFIG_HOME=/config XDG_DATA_HOME=/data
CMD ["caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]
"""


class Podman:
    """``podman(*words)`` runs a command; what it printed. All that is made lies in *folder*."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self.folder = folder
        for name, text in (("containers.conf", _CONFIGURATION), ("storage.conf", _STORAGE)):
            (folder / name).write_text(text.format(folder=folder))
        self._environ = {
            **environ,
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
        }

    def __call__(self, *words: str | Path, input: str | None = None) -> str:
        done = self.run(*words, input=input)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def run(
        self, *words: str | Path, input: str | None = None
    ) -> "subprocess.CompletedProcess[str]":
        return self._run(["podman", *map(str, words)], input=input)

    def shell(self, commands: str, folder: Path) -> str:
        """What *commands* print in *folder*, to the first that fails."""
        done = self._run(["bash", "-euo", "pipefail", "-c", commands], cwd=folder)
        assert done.returncode == 0, (commands, done.stdout, done.stderr)
        return done.stdout

    def _run(self, command: list[str], **options: Any) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command, env=self._environ, capture_output=True, text=True, timeout=300, **options
        )

    def build_image(self) -> None:
        """Build Containerfile. pip trusts whom this machine trusts, its proxy for instance."""
        self("network", "create", NETWORK)
        self("import", "--quiet", _BASE_TAR, BASE)
        settings = self.folder / "pip.conf"
        settings.write_text("[global]\ncert = /etc/certificates-for-pip.crt\n")
        mounts = (
            "/etc/ssl/certs/ca-certificates.crt:/etc/certificates-for-pip.crt:ro",
            f"{settings}:/etc/pip.conf:ro",
        )
        volumes = [word for mount in mounts for word in ("--volume", mount)]
        options = ("--format", "docker", "--network", "host", *volumes)
        self("build", *options, "--tag", "aurora-blobs", ROOT)

    def build_caddy(self) -> None:
        """Debian's caddy, under the name that compose.yaml has, laid out as that image is."""
        empty = self.folder / "empty"
        empty.mkdir()
        options = ("--network", "host", "--tag", "caddy:2")
        self("build", *options, "--file", "-", empty, input=_CADDY)

    def close(self) -> None:
        """End and remove all of it."""
        self("system", "reset", "--force")
