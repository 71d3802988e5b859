"""What no log may hold: the secrets of a server's settings, passwords, tokens."""

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from aurora_blobs.config import PREFIX, Config

_SECRET = [f"{PREFIX}{found.name.upper()}" for found in fields(Config) if found.metadata["secret"]]
_TOKEN = re.compile(rb"eyJ[\w-]{10,}\.[\w-]{10,}\.?")  # a JWT, of anybody
_SHORTEST = 8  # characters: what is shorter may be a word of a log


def secrets_of(settings: Mapping[str, str]) -> set[str]:
    """The secrets of a service with *settings*, and what is made of them."""
    found = {"correct horse"}  # of the accounts of the tests
    for name in (*_SECRET, "AWS_SECRET_ACCESS_KEY"):
        found.update(settings.get(name, "").split(","))
    password = settings.get(f"{PREFIX}ADMIN_PASSWORD", "")
    found.add(b64encode(f"admin:{password}".encode()).decode())
    made = Path(settings[f"{PREFIX}DATA_DIR"]) / "jwt.secret"
    if made.is_file():
        found.add(made.read_text().strip())
    return {secret for secret in found if len(secret) >= _SHORTEST}


def told_in_logs(folder: Path, secrets: set[str]) -> list[tuple[str, str]]:
    """Which log in *folder* holds which of *secrets*, or a token."""
    found = []
    for path in sorted(folder.glob("*.log")):
        text = path.read_bytes()
        found += [(path.name, secret) for secret in secrets if secret.encode() in text]
        found += [(path.name, token.decode()) for token in _TOKEN.findall(text)]
    return found
