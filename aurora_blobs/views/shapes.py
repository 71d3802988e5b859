"""How things look on the wire where more than one method shows them."""

from typing import Any

from aurora_blobs.catalog.blobs import Entry
from aurora_blobs.cid import aurora_form
from aurora_blobs.config import Config


def shown_cid(cid: str, config: Config) -> str:
    """*cid*, a blob's, in the form that the settings ask for."""
    return aurora_form(cid) if config.cid_format == "aurora" else cid


def reference(entry: Entry, config: Config) -> dict[str, Any]:
    """The typed reference of *entry*. https://atproto.com/specs/data-model#blob-type"""
    return {
        "$type": "blob",
        "ref": {"$link": shown_cid(entry.cid, config)},
        "mimeType": entry.mime_type,
        "size": entry.size,
    }
