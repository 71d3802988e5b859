"""The part of a lexicon that says where blobs may be: its JSON becomes a tree of schemas.

https://atproto.com/specs/lexicon
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Blob:
    """*accept* has media types, ``type/*`` and ``*/*``; an empty one all types."""

    accept: tuple[str, ...]
    max_bytes: int | None


@dataclass(frozen=True, slots=True)
class Object:
    """Only the properties in which blobs can be."""

    properties: Mapping[str, "Schema"]
    nullable: frozenset[str]


@dataclass(frozen=True, slots=True)
class Array:
    items: "Schema"


@dataclass(frozen=True, slots=True)
class Ref:
    name: str  # like "com.example.thing#main"


@dataclass(frozen=True, slots=True)
class Union:
    names: frozenset[str]  # as in `Ref`


Schema: TypeAlias = Blob | Object | Array | Ref | Union


def compiled(node: Any, lexicon_id: str, where: str) -> Schema | None:
    """The schema for *node*, a part of the lexicon *lexicon_id*; None if it cannot hold a blob.

    *where* is the path of *node*, for messages. Raises ValueError.
    """
    match type_of(node, where):
        case "blob":
            return Blob(_accept_of(node, where), _max_size_of(node, where))
        case "object":
            properties = node.get("properties", {})
            if not isinstance(properties, dict):
                raise ValueError(f"{where}.properties: not an object")
            schemas = {
                key: compiled(property_node, lexicon_id, f"{where}.{key}")
                for key, property_node in properties.items()
            }
            kept = {key: schema for key, schema in schemas.items() if schema is not None}
            return Object(kept, frozenset(_texts(node, "nullable", where))) if kept else None
        case "array":
            items = compiled(node.get("items"), lexicon_id, f"{where}.items")
            return None if items is None else Array(items)
        case "ref":
            if not isinstance(node.get("ref"), str):
                raise ValueError(f"{where}.ref: not a string")
            return Ref(absolute_name(node["ref"], lexicon_id))
        case "union":
            return Union(
                frozenset(absolute_name(name, lexicon_id) for name in _texts(node, "refs", where))
            )
    return None


def type_of(node: Any, where: str) -> str:
    """The "type" of *node*, whose path is *where*. Raises ValueError."""
    if not isinstance(node, dict) or not isinstance(node.get("type"), str):
        raise ValueError(f'{where}: not an object with a "type"')
    return str(node["type"])


def _accept_of(node: Mapping[str, Any], where: str) -> tuple[str, ...]:
    accept = _texts(node, "accept", where)
    if not all("/" in pattern for pattern in accept):
        raise ValueError(
            f"{where}.accept: accepted are media types like image/png, image/* and */*"
        )
    return accept


def _max_size_of(node: Mapping[str, Any], where: str) -> int | None:
    size = node.get("maxSize")
    if size is not None and (type(size) is not int or size < 0):
        raise ValueError(f"{where}.maxSize: not a number of bytes")
    return size


def _texts(node: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    texts = node.get(key, [])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{where}.{key}: not a list of strings")
    return tuple(texts)


def absolute_name(name: str, lexicon_id: str) -> str:
    """The full form of *name*, as written in *lexicon_id*: ``lexicon#definition``."""
    lexicon, _, definition = name.removeprefix("lex:").partition("#")
    return f"{lexicon or lexicon_id}#{definition or 'main'}"


def local_refs(node: Any) -> set[str]:
    """The names of the form ``#definition`` that *node*, a part of a lexicon, refers to."""
    if isinstance(node, list):
        return {name for item in node for name in local_refs(item)}
    if not isinstance(node, dict):
        return set()
    names = []
    if node.get("type") == "ref":
        names = [node.get("ref")]
    elif node.get("type") == "union":
        names = node.get("refs", [])
    found = {name for name in names if isinstance(name, str) and name.startswith("#")}
    return found | {name for item in node.values() for name in local_refs(item)}
