"""The files of tests/corpus, by name."""

from pathlib import Path

CORPUS = Path(__file__).parent.parent / "corpus"
NAMES = sorted(path.name for path in CORPUS.iterdir() if path.name != "README.md")
_TYPES = {".jpg": "image/jpeg", ".png": "image/png", ".avif": "image/avif", ".heic": "image/heic"}
_LACKS_PIXELS = "jpg_cut10.jpg"
# Those that are shown, with their types.
PICTURES = {
    name: _TYPES[suffix]
    for name in NAMES
    if (suffix := Path(name).suffix) in _TYPES and name != _LACKS_PIXELS
}


def corpus(name: str) -> bytes:
    return (CORPUS / name).read_bytes()
