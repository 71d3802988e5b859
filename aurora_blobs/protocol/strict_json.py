"""JSON that others sent: UTF-8, without U+0000, of bounded depth. RFC 8259 and RFC 7493.

Python's own parser takes UTF-16, UTF-32 and halves of surrogate pairs, which no database and no
answer can hold.
"""

import json
import re
from itertools import accumulate

# Levels of objects and lists. A record has 128 of them at most, and a request wraps four around it.
MAX_DEPTH = 132
_TEXTS = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\Z)', re.DOTALL)
# Half of a surrogate pair, or a whole one; U+0000 after an even number of backslashes.
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_NUL = re.compile(r"(?<!\\)(?:\\\\)*+\\u0000")
_STEPS = {**dict.fromkeys("[{", 1), **dict.fromkeys("]}", -1)}
_NO_BRACKETS = re.compile(r"[^\[\]{}]+")


def parse_json(data: bytes) -> object:
    """The value that *data* is. Raises ValueError, whose text says what *data* is or has."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
    return parse_json_text(text)


def parse_json_text(text: str) -> object:
    """As `parse_json`, of decoded text."""
    # Before anything is made of it: the parser's recursion ends at a depth that nobody chose.
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise ValueError(f"is nested too deeply: at most {MAX_DEPTH} levels are accepted")
    if "\0" in text or ("\\u0000" in text and _NUL.search(text)):
        raise ValueError("has a U+0000, which is not accepted")
    try:
        value: object = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error}") from None
    except _Constant as error:
        raise ValueError(f"is not JSON: {error}") from None
    except ValueError:  # int() refuses thousands of digits
        raise ValueError("has an integer of thousands of digits") from None
    if "\\u" in text and _SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("is not UTF-8") from None
    return value


class _Constant(ValueError):
    """NaN, Infinity or -Infinity, which are not JSON."""


def _refuse_constant(name: str) -> None:
    raise _Constant(name)


# Made once: with a parse_constant, json.loads makes one at every call.
_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _depth(text: str) -> int:
    """The levels of *text*, or more where it is not JSON: brackets are counted, not matched."""
    brackets = _NO_BRACKETS.sub("", _TEXTS.sub("", text))
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0)
