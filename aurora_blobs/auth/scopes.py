"""OAuth scopes: the grammar of permissions, and what they grant.

https://atproto.com/specs/permission
"""

import re
from urllib.parse import parse_qs, quote, unquote

from aurora_blobs.protocol.syntax import parse_nsid

_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_REPO_ACTIONS = ("create", "update", "delete")
# Characters that a permission contains unescaped: those of encodeURIComponent, and the protocol's.
_PLAIN = "!*'()~:/+,@%"


def allows_blob(scope: str, mime_type: str) -> bool:
    """Whether *scope* grants an upload of *mime_type*. Case matters."""
    permissions = scope.split(" ")
    if "transition:generic" in permissions:
        return True
    if not _is_type(mime_type) or "*" in mime_type:
        return False
    return any(
        _accepts(accept, mime_type)
        for permission in permissions
        for accept in _blob_accepts(permission)
    )


def allows_repo(scope: str, collection: str, action: str) -> bool:
    """Whether *scope* grants *action* (create, update, delete) on records of *collection*."""
    permissions = scope.split(" ")
    if "transition:generic" in permissions:
        return True
    for permission in permissions:
        found = _parsed(permission, "repo", ("collection", "action"))
        collections, actions = found.get("collection", []), found.get("action", list(_REPO_ACTIONS))
        valid = all(name == "*" or _is_nsid(name) for name in collections) and set(actions) <= set(
            _REPO_ACTIONS
        )
        if valid and action in actions and ("*" in collections or collection in collections):
            return True
    return False


def allows_import(scope: str) -> bool:
    """Whether *scope* grants an import that replaces the repository."""
    for permission in scope.split(" "):
        found = _parsed(permission, "account", ("attr", "action"))
        actions = found.get("action", ["read"])
        if (
            found.get("attr") == ["repo"]
            and set(actions) <= {"read", "manage"}
            and "manage" in actions
        ):
            return True
    return False


def needed_for_blob(mime_type: str) -> str:
    """The permission for an upload of *mime_type*, as an error names it."""
    return f"blob:{quote(mime_type.lower(), safe=_PLAIN)}"


def needed_for_repo(collection: str, action: str) -> str:
    """The permission for *action* on records of *collection*, as an error names it."""
    return f"repo:{quote(collection, safe=_PLAIN)}?action={action}"


def _blob_accepts(permission: str) -> list[str]:
    accepts = _parsed(permission, "blob", ("accept",)).get("accept", [])
    valid = all(
        _is_type(accept) and ("*" not in accept or accept.endswith("/*")) for accept in accepts
    )
    return accepts if valid else []


def _accepts(accept: str, mime_type: str) -> bool:
    if accept.endswith("/*"):
        return accept == "*/*" or mime_type.startswith(accept[:-1])
    return accept == mime_type


def _is_type(text: str) -> bool:
    top, slash, rest = text.partition("/")
    return bool(top and slash and rest) and "/" not in rest and " " not in text


def _is_nsid(text: str) -> bool:
    try:
        parse_nsid(text)
    except ValueError:
        return False
    return True


def _parsed(permission: str, resource: str, names: tuple[str, ...]) -> dict[str, list[str]]:
    """The parameters of *permission* by name; the first of *names* is the positional one.

    {} for another resource, and for a malformed permission, which is ignored.
    """
    head, _, query = permission.partition("?")
    prefix, colon, positional = head.partition(":")
    if prefix != resource or _BROKEN_ESCAPE.search(permission):
        return {}
    try:
        found = parse_qs(query, keep_blank_values=True, errors="strict", max_num_fields=100)
        if colon:
            if names[0] in found:
                return {}
            found[names[0]] = [unquote(positional, errors="strict")]
    except ValueError:
        return {}
    return found if set(found) <= set(names) else {}
