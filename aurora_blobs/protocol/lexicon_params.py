"""What a method takes, checked and named: query parameters as text, input as JSON."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aurora_blobs.protocol.quoting import shown_json

_KINDS: dict[type, str] = {
    str: "string",
    int: "integer",
    bool: "boolean",
    dict: "object",
    list: "array",
}
_BOOLEANS = {"true": True, "false": False}
_INTEGER = re.compile(r"-?[0-9]+")
_MAX_INTEGER_TEXT = 19  # characters; 2**63 - 1 has 19 digits


@dataclass(frozen=True, slots=True)
class Param:
    """One query parameter, or one property of a JSON input.

    *parse* raises ValueError with the message for the client. *low* and *high* bound an integer,
    both included. An absent one that is not *required* has *default*. Null is absence, unless the
    parameter is *nullable*.
    """

    kind: type = str
    parse: Callable[[Any], Any] | None = None
    required: bool = False
    default: Any = None
    low: int | None = None
    high: int | None = None
    nullable: bool = False

    def checked(self, value: Any) -> Any:
        """*value* as the method wants it. Raises ValueError."""
        if value is None and self.nullable:
            return None
        if not isinstance(value, self.kind) or (isinstance(value, bool) and self.kind is not bool):
            raise ValueError(f"Expected {_KINDS[self.kind]} value type (got {shown_json(value)})")
        if isinstance(value, int):
            self._check_bounds(value)
        return value if self.parse is None else self.parse(value)

    def _check_bounds(self, value: int) -> None:
        if self.low is not None and value < self.low:
            raise ValueError(f"integer too small (minimum {self.low}, got {value})")
        if self.high is not None and value > self.high:
            raise ValueError(f"integer too big (maximum {self.high}, got {value})")


def required(parse: Callable[[Any], Any] | None = None, kind: type = str) -> Param:
    """A parameter that has to be there."""
    return Param(kind, parse, required=True)


def optional(parse: Callable[[Any], Any] | None = None, kind: type = str) -> Param:
    """A parameter that may be absent, and then is None."""
    return Param(kind, parse)


def limit(high: int, default: int) -> Param:
    """The `limit` of a method that lists: 1 to *high*."""
    return Param(int, default=default, low=1, high=high)


def from_query(params: Mapping[str, Param], query: Mapping[str, list[str]]) -> dict[str, Any]:
    """The parameters in *query*, a list of texts for each name. Unknown names are ignored.

    Raises ValueError.
    """
    given = {name: _typed(params[name], texts) for name, texts in query.items() if name in params}
    return _checked(params, given)


def from_json(params: Mapping[str, Param], value: object) -> dict[str, Any]:
    """The properties in *value*. Unknown ones are ignored. Raises ValueError."""
    if not isinstance(value, dict):
        raise ValueError(f"Expected object value type (got {shown_json(value)})")
    given = {
        name: item
        for name, item in value.items()
        if name in params and (item is not None or params[name].nullable)
    }
    return _checked(params, given)


def _checked(params: Mapping[str, Param], given: Mapping[str, Any]) -> dict[str, Any]:
    result = {}
    for name, param in params.items():
        # An empty `limit=` means the default. An empty text is for its parser to judge.
        if name in given and (given[name] != "" or param.kind is str):
            result[name] = param.checked(given[name])
        elif param.required:
            raise ValueError(f'Missing required key "{name}"')
        else:
            result[name] = param.default
    return result


def _typed(param: Param, texts: list[str]) -> Any:
    if len(texts) > 1:
        return texts
    text = texts[0]
    if param.kind is int and len(text) <= _MAX_INTEGER_TEXT and _INTEGER.fullmatch(text):
        return int(text)
    if param.kind is bool:
        return _BOOLEANS.get(text, text)
    return text
