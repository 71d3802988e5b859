"""What a record's schema says of its blobs: accepted types and sizes, read from lexicon files.

Nothing else in a record is checked. This service only keeps an index of records; the PDS validates
them.

https://atproto.com/specs/lexicon
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

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
from aurora_blobs.protocol.quoting import Place, outlined, path_of, shown_json
from aurora_blobs.regular_files import open_regular

_BUILT_IN = Path(__file__).with_name("lexicons.json")
_NSID = re.compile(r"[a-zA-Z][a-zA-Z0-9-]*(\.[a-zA-Z][a-zA-Z0-9-]*){2,}")

_Part: TypeAlias = tuple[Schema, Any, Place]  # of a record, with the schema that it has to match


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
        stack: list[Iterator[_Part]] = [iter([] if schema is None else [(schema, value, None)])]
        while stack:
            part = next(stack[-1], None)
            if part is None:
                stack.pop()
            elif isinstance(part[0], Blob):
                _check_blob(*part, collection)
            else:
                stack.append(self._children(*part))
        return "valid"

    def _children(self, schema: Schema, value: Any, place: Place) -> Iterator[_Part]:
        match schema:
            case Object() if isinstance(value, dict):
                for key in schema.properties:
                    if key in value and not (value[key] is None and key in schema.nullable):
                        yield schema.properties[key], value[key], (place, key)
            case Array() if isinstance(value, list):
                for index, item in enumerate(value):
                    yield schema.items, item, (place, index)
            case Ref() if schema.name in self._definitions:
                yield self._definitions[schema.name], value, place
            case Union() if isinstance(value, dict) and isinstance(value.get("$type"), str):
                name = absolute_name(value["$type"], "")
                if name in schema.names and name in self._definitions:
                    yield self._definitions[name], value, place

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
            with open_regular(path) as file:
                document = json.loads(file.read().decode())
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


def _check_blob(schema: Schema, value: Any, place: Place, collection: str) -> None:
    assert isinstance(schema, Blob)
    if isinstance(value, dict) and value.keys() == {"cid", "mimeType"}:
        return  # the legacy form is judged where references are collected
    if not _is_typed(value):
        raise _invalid(collection, f"Expected blob value type (got {outlined(value)})", place)
    mime_type = value["mimeType"]
    if schema.accept and not accepts(schema.accept, mime_type):
        *most, last = (shown_json(pattern) for pattern in schema.accept)
        expected = f"one of {', '.join(most)} or {last}" if most else last
        message = f"Expected {expected} (got {shown_json(mime_type)})"
        raise _invalid(collection, message, (place, "mimeType"))
    if schema.max_bytes is not None and value["size"] > schema.max_bytes:
        message = f"blob too big (maximum {schema.max_bytes}, got {value['size']})"
        raise _invalid(collection, message, place)


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


def _invalid(collection: str, message: str, place: Place) -> InvalidRequest:
    return InvalidRequest(f"Invalid {collection} record: {message} at {path_of(place)}")
