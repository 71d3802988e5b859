"""Paths of the project."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "aurora_blobs"
TESTS = ROOT / "tests"
BENCH = ROOT / "bench"
DEPLOY = ROOT / "deploy"
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PHOTO = ROOT / "examples" / "rocket.jpg"
CACHE = ROOT / ".cache"  # where tests/setup.sh installs
