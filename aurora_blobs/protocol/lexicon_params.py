"""What a method takes, checked and named: query parameters as text, input as JSON."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_KINDS: dict[type, str] = {
    str: "string",
    int: "integer",
    bool: "boolean",
    dict: "object",
    list: "array",
}
_SHOWN = 256  # characters of a refused value in a message
_BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Field:
    """One parameter or property. *parse* raises ValueError with the message for the client.

    *low* and *high* bound an integer, both included. An absent field that is not required has *default*; null is
    absence, save where the field is *nullable*.
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
            raise ValueError(f"Expected {_KINDS[self.kind]} value type (got {_shown(value)})")
        if isinstance(value, int):
            self._check_bounds(value)
        return value if self.parse is None else self.parse(value)

    def _check_bounds(self, value: int) -> None:
        if self.low is not None and value < self.low:
            raise ValueError(f"integer too small (minimum {self.low}, got {value})")
        if self.high is not None and value > self.high:
            raise ValueError(f"integer too big (maximum {self.high}, got {value})")


def required(parse: Callable[[Any], Any] | None = None, kind: type = str) -> Field:
    """A field that has to be there."""
    return Field(kind, parse, required=True)


def optional(parse: Callable[[Any], Any] | None = None, kind: type = str) -> Field:
    """A field that may be absent, and then is None."""
    return Field(kind, parse)


def limit(high: int, default: int) -> Field:
    """The `limit` of a method that lists: 1 to *high*."""
    return Field(int, default=default, low=1, high=high)


def from_query(fields: Mapping[str, Field], query: Mapping[str, list[str]]) -> dict[str, Any]:
    """The parameters in *query*, a list of texts for each name; unknown ones are ignored. Raises ValueError."""
    return _checked(
        fields, {name: _typed(fields[name], query[name]) for name in fields if name in query}
    )


def from_json(fields: Mapping[str, Field], value: object) -> dict[str, Any]:
    """The properties in *value*; unknown ones are ignored. Raises ValueError."""
    if not isinstance(value, dict):
        raise ValueError(f"Expected object value type (got {_shown(value)})")
    return _checked(
        fields,
        {
            n: value[n]
            for n in fields
            if n in value and (value[n] is not None or fields[n].nullable)
        },
    )


def _checked(fields: Mapping[str, Field], values: Mapping[str, Any]) -> dict[str, Any]:
    result = {}
    for name, field in fields.items():
        # An empty `limit=` means the default; for a text, being empty is for its parser to judge.
        if name in values and not (values[name] == "" and field.kind is not str):
            result[name] = field.checked(values[name])
        elif field.required:
            raise ValueError(f'Missing required key "{name}"')
        else:
            result[name] = field.default
    return result


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _typed(field: Field, texts: list[str]) -> Any:
    if len(texts) > 1:
        return texts
    text = texts[0]
    if (
        field.kind is int
        and text.removeprefix("-").isascii()
        and text.removeprefix("-").isdigit()
        and len(text) < 20
    ):
        return int(text)
    if field.kind is bool:
        return _BOOLEANS.get(text, text)
    return text
