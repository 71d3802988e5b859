"""What a record's schema says of its blobs: accepted types and sizes, read from lexicon files.

Nothing else in a record is checked. This service only keeps an index of records; the PDS validates
them.

https://atproto.com/specs/lexicon
"""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from aurora_blobs.config import PREFIX, ConfigError
from aurora_blobs.errors import InvalidRequest
from aurora_blobs.protocol.lexicon_schema import (
    Array,
    Blob,
    Object,
    Ref,
    Schema,
    Union,
    absolute_name,
    compiled,
    local_refs,
    type_of,
)

_BUILT_IN = Path(__file__).with_name("lexicons.json")
_NSID = re.compile(r"[a-zA-Z][a-zA-Z0-9-]*(\.[a-zA-Z][a-zA-Z0-9-]*){2,}")
_PLAIN_KEY = re.compile(r"[a-zA-Z_$][a-zA-Z0-9_]*")
_SHOWN = 256  # characters of a client's text that an error message repeats


class Lexicons:
    """The known record types, and where blobs may be in each."""

    def __init__(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """A later document replaces an earlier one of the same id. Raises ValueError."""
        self._records: dict[str, Schema | None] = {}
        self._definitions: dict[str, Schema] = {}
        for document in documents:
            self._add(document)

    def check(self, collection: str, value: object, validate: bool | None) -> str | None:
        """Check the blobs of *value*, a record of *collection*, against the collection's schema.

        The result is the answer's ``validationStatus``: "valid", "unknown" for a type without a
        schema, None where *validate* is False and nothing was checked. A reference is taken at its
        word here; it is compared with the stored blob when the record is written.

        Raises InvalidRequest, also for an unknown type where *validate* is True.
        """
        if validate is False:
            return None
        if collection not in self._records:
            if validate:
                raise InvalidRequest(f"Unknown lexicon type: {collection}")
            return "unknown"
        schema = self._records[collection]
        # A stack instead of recursion: a client decides how deep a value is.
        stack: list[tuple[Schema, Any, str]] = (
            [] if schema is None else [(schema, value, "$.record")]
        )
        while stack:
            schema, value, path = stack.pop()
            if isinstance(schema, Blob):
                _check_blob(schema, value, path, collection)
            else:
                stack.extend(reversed(self._children(schema, value, path)))
        return "valid"

    def _children(self, schema: Schema, value: Any, path: str) -> list[tuple[Schema, Any, str]]:
        match schema:
            case Object() if isinstance(value, dict):
                return [
                    (schema.properties[key], value[key], path + _segment(key))
                    for key in schema.properties
                    if key in value and not (value[key] is None and key in schema.nullable)
                ]
            case Array() if isinstance(value, list):
                return [
                    (schema.items, item, f"{path}[{index}]") for index, item in enumerate(value)
                ]
            case Ref() if schema.name in self._definitions:
                return [(self._definitions[schema.name], value, path)]
            case Union() if isinstance(value, dict) and isinstance(value.get("$type"), str):
                name = absolute_name(value["$type"], "")
                if name in schema.names and name in self._definitions:
                    return [(self._definitions[name], value, path)]
        return []

    def _add(self, document: Mapping[str, Any]) -> None:
        lexicon_id = document.get("id")
        definitions = document.get("defs")
        if (
            document.get("lexicon") != 1
            or not isinstance(lexicon_id, str)
            or not _NSID.fullmatch(lexicon_id)
        ):
            raise ValueError('not a lexicon: needs "lexicon": 1 and an "id" like com.example.thing')
        if not isinstance(definitions, dict):
            raise ValueError('needs "defs", an object')
        self._records.pop(lexicon_id, None)
        for name in [name for name in self._definitions if name.partition("#")[0] == lexicon_id]:
            del self._definitions[name]
        for key, definition in definitions.items():
            where = f"defs.{key}"
            if type_of(definition, where) in ("ref", "union"):
                raise ValueError(
                    f"{where}: a {definition['type']} cannot be a definition of its own"
                )
            if definition["type"] == "record":
                if key != "main":
                    raise ValueError(f"{where}: only main can be a record")
                self._records[lexicon_id] = compiled(
                    definition.get("record"), lexicon_id, f"{where}.record"
                )
            elif (schema := compiled(definition, lexicon_id, where)) is not None:
                self._definitions[f"{lexicon_id}#{key}"] = schema
        for name in sorted(local_refs(definitions)):
            if name.removeprefix("#") not in definitions:
                raise ValueError(f"refers to {name}, which it does not define")


def open_lexicons(folder: Path | None) -> Lexicons:
    """The record types with blobs of Bluesky and standard.site, and those in files below *folder*.

    A file replaces the built-in lexicon of the same id. It may refer to lexicons that are missing;
    those parts are not checked. Raises ConfigError.
    """
    documents: list[Mapping[str, Any]] = json.loads(_BUILT_IN.read_text())
    if folder is None:
        return Lexicons(documents)
    variable = f"{PREFIX}LEXICON_DIR={str(folder)!r}"
    paths = sorted(folder.rglob("*.json"))
    if not paths:
        raise ConfigError(f"{variable}: accepted is a folder with lexicon files, *.json")
    seen: dict[str, Path] = {}
    for path in paths:
        try:
            document = json.loads(path.read_text())
            if not isinstance(document, dict):
                raise ValueError("not a JSON object")
            Lexicons([document])
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigError(f"{variable}: {path.relative_to(folder)}: {error}") from None
        other = seen.setdefault(document["id"], path)
        if other != path:
            raise ConfigError(
                f"{variable}: {path.relative_to(folder)}: same id as {other.relative_to(folder)}"
            )
        documents.append(document)
    return Lexicons(documents)


def accepts(accept: Iterable[str], mime_type: str) -> bool:
    """Whether *mime_type* is among *accept*: exact, ``type/*`` or ``*/*``."""
    return any(
        pattern in ("*/*", mime_type, f"{mime_type.partition('/')[0]}/*") for pattern in accept
    )


def _check_blob(schema: Blob, value: Any, path: str, collection: str) -> None:
    if isinstance(value, dict) and value.keys() == {"cid", "mimeType"}:
        return  # the legacy form is judged where references are collected
    if not _is_typed(value):
        raise _invalid(collection, f"Expected blob value type (got {_shown(value)}) at {path}")
    mime_type = value["mimeType"]
    if schema.accept and not accepts(schema.accept, mime_type):
        *most, last = (_shown(pattern) for pattern in schema.accept)
        expected = f"one of {', '.join(most)} or {last}" if most else last
        raise _invalid(
            collection, f"Expected {expected} (got {_shown(mime_type)}) at {path}.mimeType"
        )
    if schema.max_bytes is not None and value["size"] > schema.max_bytes:
        message = f"blob too big (maximum {schema.max_bytes}, got {value['size']})"
        raise _invalid(collection, f"{message} at {path}")


def _is_typed(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"$type", "ref", "mimeType", "size"}
        and value["$type"] == "blob"
        and isinstance(value["ref"], dict)
        and isinstance(value["mimeType"], str)
        and "/" in value["mimeType"]
        and type(value["size"]) is int
        and value["size"] >= 0
    )


def _invalid(collection: str, message: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid {collection} record: {message}")


def _segment(key: str) -> str:
    return f".{key}" if _PLAIN_KEY.fullmatch(key) else f"[{_shown(key)}]"


def _shown(value: Any) -> str:
    """*value* for an error message: enough to recognise it, never all that a client sent."""
    if isinstance(value, dict):
        entries = [f"{_shown(key)}: ..." for key in list(value)[:2]]
        if len(value) > 2:
            entries.append("...")
        return "{" + ", ".join(entries) + "}"
    if isinstance(value, list):
        return "[...]" if value else "[]"
    if isinstance(value, str) and len(value) >= _SHOWN:
        value = value[: _SHOWN - 1] + "…"
    return json.dumps(value, ensure_ascii=False)
