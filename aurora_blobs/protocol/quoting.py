"""What others wrote, cut for an error message: enough to recognise it, never all that was sent."""

import json
import re
import threading
from collections import deque
from itertools import islice
from typing import Any, TypeAlias

from aurora_blobs import logs

SHOWN = 100  # characters of a text; a guess, a DID of did:plc and a CID fit
_SHOWN_ENTRIES = 2  # of an object
_MIN_SECRET = 4  # characters; what is shorter is none, and would be cut out of words
_PLAIN_KEY = re.compile(r"[a-zA-Z_$][a-zA-Z0-9_]*")
_ENCODER = json.JSONEncoder(ensure_ascii=False)

# Where a value is in a record: the place of what holds it, and its key or index there. None is the
# record. The path is written out for a message alone: at every level it would hold all keys above.
Place: TypeAlias = "tuple[Place, str | int] | None"


class _Quoted(threading.local):
    """What this thread has quoted lately, more than one message holds, and for which request."""

    def __init__(self) -> None:
        self.texts: deque[tuple[str | None, str]] = deque(maxlen=32)


_quoted = _Quoted()


def unquoted(message: str) -> str:
    """*message*, of an error, for a log: without what it quotes, which may be a secret."""
    request = logs.request_id()
    # What earlier requests have quoted is not in it, and would be cut out of its own words.
    quotes = [text for asker, text in _quoted.texts if asker == request]
    for text in sorted(quotes, key=len, reverse=True):
        if len(text) >= _MIN_SECRET:
            message = message.replace(text, "…")
    return message


def _noted(quote: str) -> str:
    _quoted.texts.append((logs.request_id(), quote))
    return quote


def shown(text: str) -> str:
    """The beginning of *text*, at most `SHOWN` characters."""
    return _noted(text if len(text) <= SHOWN else text[: SHOWN - 1] + "…")


def shown_json(value: object) -> str:
    """The beginning of *value* as JSON, written no further than it is shown."""
    if isinstance(value, str):
        return _noted(json.dumps(shown(value), ensure_ascii=False))
    text = ""
    for part in _ENCODER.iterencode(value):
        text += part
        if len(text) > SHOWN:
            break
    return shown(text)


def outlined(value: Any) -> str:
    """*value*, JSON, as the reference PDS has it in messages: objects and lists in outline."""
    if isinstance(value, dict):
        entries = [f"{shown_json(key)}: ..." for key in islice(value, _SHOWN_ENTRIES)]
        if len(value) > _SHOWN_ENTRIES:
            entries.append("...")
        return "{" + ", ".join(entries) + "}"
    if isinstance(value, list):
        return "[...]" if value else "[]"
    return shown_json(value)


def path_of(place: Place) -> str:
    """The path of *place*, like ``$.record.embed.images[0]``; of a long one both ends."""
    segments = []
    while place is not None:
        place, segment = place
        segments.append(_shown_segment(segment))
    path = "$.record" + "".join(reversed(segments))
    return _noted(path if len(path) <= 2 * SHOWN else f"{path[:SHOWN]}…{path[-SHOWN:]}")


def _shown_segment(segment: str | int) -> str:
    if isinstance(segment, int):
        return f"[{segment}]"
    if _PLAIN_KEY.fullmatch(segment):
        return f".{shown(segment)}"
    return f"[{shown_json(segment)}]"
