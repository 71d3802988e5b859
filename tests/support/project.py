"""Where the parts of the project lie."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "aurora_blobs"
TESTS = ROOT / "tests"
DEPLOY = ROOT / "deploy"
DOCS = ROOT / "docs"
EXAMPLES = ROOT / "examples"
BENCH = ROOT / "bench"
README = ROOT / "README.md"
CACHE = ROOT / ".cache"  # what tests/setup.sh installs
