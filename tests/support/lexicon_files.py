"""The lexicon files of this service's own methods, and answers held against them.

https://atproto.com/specs/lexicon
"""

import json
from collections.abc import Iterator
from typing import Any

from support.project import PACKAGE

FOLDER = PACKAGE / "lexicons"
_KINDS = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}


def lexicons() -> dict[str, dict[str, Any]]:
    """Each file, under the name of its method by its place."""
    return {
        ".".join(path.relative_to(FOLDER).with_suffix("").parts): json.loads(path.read_text())
        for path in sorted(FOLDER.rglob("*.json"))
    }


def answer_fields(lexicon: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Of each field of an answer, where it is, like ``acts[].did``, its kind, and what it means."""
    yield from _fields(lexicon, lexicon["defs"]["main"]["output"]["schema"], "")


def wrong_in(lexicon: dict[str, Any], answer: object) -> list[str]:
    """What of *answer* is not as the method's lexicon says."""
    return list(_wrong(lexicon, lexicon["defs"]["main"]["output"]["schema"], answer, "$"))


def _resolved(lexicon: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if schema["type"] != "ref":
        return schema
    found: dict[str, Any] = lexicon["defs"][schema["ref"].removeprefix("#")]
    return found


def _fields(
    lexicon: dict[str, Any], schema: dict[str, Any], place: str
) -> Iterator[tuple[str, str, str]]:
    for name, field in schema["properties"].items():
        parts = [field.get("format", field["type"])]
        if name in schema.get("nullable", ()):
            parts.append("or null")
        elif name not in schema.get("required", ()):
            parts.append("optional")
        if field["type"] == "array":
            inner = _resolved(lexicon, field["items"])
            yield from _fields(lexicon, inner, f"{place}{name}[].")
        else:
            yield f"{place}{name}", ", ".join(parts), field.get("description", "")


def _wrong(
    lexicon: dict[str, Any], schema: dict[str, Any], value: Any, place: str
) -> Iterator[str]:
    schema = _resolved(lexicon, schema)
    kind = _KINDS[schema["type"]]
    if type(value) is not kind:
        yield f"{place} is {value!r}, no {schema['type']}"
        return
    for number, item in enumerate(value) if kind is list else ():
        yield from _wrong(lexicon, schema["items"], item, f"{place}[{number}]")
    if kind is dict:
        known = schema["properties"]
        yield from (f"{place}.{name} is not known" for name in value if name not in known)
        yield from (
            f"{place}.{name} is missing" for name in schema.get("required", ()) if name not in value
        )
        for name in [name for name in value if name in known]:
            if value[name] is not None or name not in schema.get("nullable", ()):
                yield from _wrong(lexicon, known[name], value[name], f"{place}.{name}")
    if "enum" in schema and value not in schema["enum"]:
        yield f"{place} is {value!r}"
