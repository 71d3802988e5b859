"""The files of tests/corpus, by name."""

from pathlib import Path

CORPUS = Path(__file__).parent.parent / "corpus"
NAMES = sorted(path.name for path in CORPUS.iterdir() if path.name != "README.md")


def corpus(name: str) -> bytes:
    return (CORPUS / name).read_bytes()
