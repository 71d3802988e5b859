"""The methods in docs/api.md, read from the views: ``make docs`` writes them.

Verb, parameters and body come from a view's decorator and its ``json_input``. Who may call it comes
from what it requires. Its errors are those that it raises, and those of the "Raises …" in the
documentation of what it uses.
"""

import ast
import importlib.util
import inspect
import pkgutil
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from textwrap import dedent
from typing import Any

from support.lexicon_files import answer_fields, lexicons
from support.pages import write_generated
from support.project import DOCS
from werkzeug.exceptions import default_exceptions

from aurora_blobs import api, errors
from aurora_blobs.api.callers import (
    optional_requester,
    require_admin,
    require_owner,
    require_person,
    require_person_or_admin,
)
from aurora_blobs.api.xrpc import json_input
from aurora_blobs.auth.authenticator import Authenticator
from aurora_blobs.auth.oauth import OAuthTokens
from aurora_blobs.auth.service import ServiceTokens
from aurora_blobs.auth.session import ACCESS_SCOPES, SessionTokens
from aurora_blobs.errors import BlobServiceError, InvalidRequest, SubjectNotFound
from aurora_blobs.protocol.lexicon_params import Param
from aurora_blobs.rate_limits import Limits

PAGE = DOCS / "api.md"

# What `require_person` calls them, what a reader does, how they are sent, and what checks them.
KINDS: dict[str, tuple[str, str, tuple[Callable[..., object], ...]]] = {
    "session": (
        "session token",
        "`Bearer`, the `accessJwt` of a log-in here or at the PDS",
        (SessionTokens.verify_access,),
    ),
    "service": (
        "service token",
        "`Bearer`, signed by the account for this one method",
        (ServiceTokens.read, ServiceTokens.verify),
    ),
    "oauth": (
        "OAuth token",
        "`DPoP`, with a proof in the header `DPoP`",
        (OAuthTokens.verify,),
    ),
    "admin": (
        "administrator",
        "`Basic`, user `admin`; where nobody else may call, also a service token of "
        "`AURORA_BLOBS_MODERATION_DID`",
        (Authenticator.administrator,),
    ),
}
# Functions that decide who may call, in words.
_WHO: dict[object, str] = {
    require_admin: "administrator",
    require_person_or_admin: "session token, OAuth token or administrator",
    require_owner: "session token or OAuth token, whatever the state of the account",
    optional_requester: "anybody; credentials may show more",
    Authenticator.refresh: "refresh token: `Bearer`, the `refreshJwt` of a log-in",
    Authenticator.newcomer: "whoever `AURORA_BLOBS_SIGNUPS` lets in; with `did`, a service "
    "token of that DID",
    inspect.unwrap(Limits.password_attempt): "whoever has the password",
}
_LEXICONS = lexicons()  # of this service's own methods
_REQUIRING = (require_admin, require_owner, require_person, require_person_or_admin)
_ERRORS = {
    name: value
    for name, value in vars(errors).items()
    if inspect.isclass(value)
    and issubclass(value, BlobServiceError)
    and value is not BlobServiceError
}

Error = tuple[int, str]  # status and name on the wire
Classes = tuple[type, ...]


@dataclass
class Method:
    """One method as its view has it. *who* is in words; *errors* leave out InvalidRequest."""

    name: str
    path: str
    verb: str
    summary: str
    query: dict[str, Param]
    who: str = "anybody"
    body: dict[str, Param] = field(default_factory=dict)
    takes_bytes: bool = False
    errors: set[Error] = field(default_factory=set)


def families() -> dict[types.ModuleType, list[Method]]:
    """The methods by the module of their views."""
    found = {}
    for module_info in pkgutil.iter_modules(api.__path__):
        module = importlib.import_module(f"{api.__name__}.{module_info.name}")
        tree = ast.parse(inspect.getsource(module))
        views = [_method(module, node) for node in tree.body if isinstance(node, ast.FunctionDef)]
        methods = [method for method in views if method is not None]
        if methods:
            found[module] = methods
    return found


def methods() -> list[Method]:
    """All of them."""
    return [method for family in families().values() for method in family]


def page() -> str:
    """The generated part of docs/api.md."""
    parts = ["## Credentials", _credentials(), "## All methods", _index()]
    for module, family in families().items():
        parts.append(f"## {module.__name__.rpartition('.')[2].capitalize()}")
        parts.append(_sentence(module))
        parts.extend(_section(method) for method in family)
    parts += ["## Errors by name", _error_table()]
    return "\n" + "\n\n".join(parts) + "\n\n"


def _sentence(documented: object) -> str:
    """The first line of the documentation of *documented*, as Markdown."""
    line = (inspect.getdoc(documented) or "").partition("\n")[0]
    return re.sub(r"(?<![\w*])\*(\w+)\*(?![\w*])", r"`\1`", line.replace("``", "`"))


def _method(module: types.ModuleType, view: ast.FunctionDef) -> Method | None:
    for call in view.decorator_list:
        if not isinstance(call, ast.Call):
            continue
        decorator = ast.unparse(call.func)
        if decorator in ("query", "procedure"):
            name = ast.literal_eval(call.args[1])
            query = _fields(module, call)
            verb = "GET" if decorator == "query" else "POST"
            method = Method(name, f"/xrpc/{name}", verb, "", query)
        elif decorator == "bp.get":
            path = ast.literal_eval(call.args[0])
            method = Method(path, path, "GET", "", {})
        else:
            continue
        function = getattr(module, view.name)
        method.summary = _sentence(function)
        _Reader(method).read(function)
        return method
    return None


def _fields(module: types.ModuleType, call: ast.Call) -> dict[str, Param]:
    """The keywords of *call*, in which *module* says what a method takes."""
    return {
        keyword.arg: eval(ast.unparse(keyword.value), vars(module))
        for keyword in call.keywords
        if keyword.arg is not None
    }


class _Reader:
    """Follows a view through the functions of the API, and looks up what other folders raise."""

    def __init__(self, method: Method) -> None:
        self._method = method
        self._seen: set[object] = set()

    def read(self, function: types.FunctionType) -> None:
        """Add what *function*, of the API, requires and raises."""
        if function in self._seen:
            return
        self._seen.add(function)
        module = inspect.getmodule(function)
        assert module is not None
        tree = ast.parse(dedent(inspect.getsource(function))).body[0]
        assert isinstance(tree, ast.FunctionDef)
        scope = _Scope(function, tree)
        for node in [inner for statement in tree.body for inner in ast.walk(statement)]:
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                self._raises(_ERRORS.get(ast.unparse(node.exc.func)))
            if isinstance(node, ast.Constant) and node.value == "wsgi.input":
                self._method.takes_bytes = True
            if isinstance(node, ast.Call):
                self._read_call(module, node)
            if isinstance(node, ast.Name | ast.Attribute):
                for used in scope.functions(node):
                    self._read_use(used)

    def _read_call(self, module: types.ModuleType, call: ast.Call) -> None:
        called = ast.unparse(call.func)
        if called == "json_input":
            self._method.body = _fields(module, call)
        elif called == "abort":
            status = ast.literal_eval(call.args[0])
            self._method.errors.add((status, default_exceptions[status]().name.replace(" ", "")))
        elif called.startswith("require_"):
            self._method.who = _required(module, call)

    def _read_use(self, function: types.FunctionType) -> None:
        if function is require_owner:
            self._raises(SubjectNotFound)
        if function in _REQUIRING:
            return  # the errors of credentials have a table of their own
        self._method.who = _WHO.get(function, self._method.who)
        for error in _documented(function):
            self._raises(error)
        if function.__module__.startswith(f"{api.__name__}.") and function is not json_input:
            self.read(function)

    def _raises(self, error: type[BlobServiceError] | None) -> None:
        if error is not None and error.error != InvalidRequest.error:  # which every method may say
            self._method.errors.update(_wire(error))


class _Scope:
    """What names mean in a function, as far as annotations tell."""

    def __init__(self, function: types.FunctionType, tree: ast.FunctionDef) -> None:
        self._globals = function.__globals__
        self._locals: dict[str, Classes] = {
            name: _classes(hint) for name, hint in _hints(function).items()
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign):
                self._assign(node.targets[0], node.value)

    def functions(self, node: ast.expr) -> list[types.FunctionType]:
        """The functions of this package that *node* may name."""
        found: list[object] = []
        if isinstance(node, ast.Name) and node.id not in self._locals:
            found = [self._globals.get(node.id)]
        elif isinstance(node, ast.Attribute):
            found = [getattr(owner, node.attr, None) for owner in self._types(node.value)]
        unwrapped = [inspect.unwrap(one) for one in found if callable(one)]
        return [
            one
            for one in unwrapped
            if isinstance(one, types.FunctionType) and one.__module__.startswith("aurora_blobs.")
        ]

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for one, its in zip(target.elts, value.elts, strict=True):
                self._assign(one, its)
        elif isinstance(target, ast.Name):
            self._locals[target.id] = self._types(value)

    def _types(self, node: ast.expr) -> Classes:
        hints: list[object] = []
        if isinstance(node, ast.Name):
            return self._locals.get(node.id, ())
        if isinstance(node, ast.Call):
            hints = [_hints(one).get("return") for one in self.functions(node.func)]
        elif isinstance(node, ast.Attribute):
            owners = self._types(node.value)
            hints = [_hints(owner).get(node.attr) for owner in owners]
        return tuple(found for hint in hints for found in _classes(hint))


def _hints(annotated: Any) -> dict[str, Any]:
    """The annotations of *annotated*, also of what its module imports for them alone."""
    module = sys.modules[annotated.__module__]
    names = {
        name.name: getattr(importlib.import_module(str(imported.module)), name.name)
        for guard in ast.parse(inspect.getsource(module)).body
        if isinstance(guard, ast.If) and ast.unparse(guard.test) == "TYPE_CHECKING"
        for imported in guard.body
        if isinstance(imported, ast.ImportFrom) and importlib.util.find_spec(str(imported.module))
        for name in imported.names
    }
    return typing.get_type_hints(annotated, localns=names)


def _classes(hint: object) -> Classes:
    """The classes of which *hint* allows an object."""
    named = typing.get_args(hint) or (hint,)
    return tuple(one for one in named if inspect.isclass(one) and one is not types.NoneType)


def _documented(
    function: Callable[..., object], seen: tuple[str, ...] = ()
) -> Iterator[type[BlobServiceError]]:
    """The errors that the documentation of *function* says it raises."""
    if function.__qualname__ in seen:
        return
    text = " ".join(
        re.findall(r"\bRaises\b(.*?)(?=\n\n|\Z)", inspect.getdoc(function) or "", re.DOTALL)
    )
    yield from (_ERRORS[name] for name in re.findall(r"\w+", text) if name in _ERRORS)
    scope = inspect.unwrap(function).__globals__  # type: ignore[attr-defined]
    for reference in re.findall(r"`([\w.]+)`", text):
        owner, _, name = reference.rpartition(".")
        owner = owner or function.__qualname__.partition(".")[0]
        referred = getattr(scope.get(owner), name, None)
        if inspect.isfunction(referred):
            yield from _documented(referred, (*seen, function.__qualname__))


def _wire(error: type[BlobServiceError]) -> set[Error]:
    """Status and name of *error*; each name where its documentation lists several."""
    names = [error.error]
    if "error" in inspect.signature(error).parameters:
        names = re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", inspect.getdoc(error) or "")
    return {(error.status, name) for name in names}


def _required(module: types.ModuleType, call: ast.Call) -> str:
    """Who may call, by a call of one of `_REQUIRING`."""
    kinds = [KINDS[ast.literal_eval(argument)][0] for argument in call.args]
    several = f"{', '.join(kinds[:-1])} or {kinds[-1]}" if len(kinds) > 1 else "".join(kinds)
    text = several or _WHO[vars(module)[ast.unparse(call.func)]]
    options = {
        keyword.arg: eval(ast.unparse(keyword.value), vars(module)) for keyword in call.keywords
    }
    if "com.atproto.appPass" not in options.get("scopes", ACCESS_SCOPES):
        text += "; not with an app password"
    if options.get("allow_taken_down"):
        text += "; also of an account that was taken down"
    return text


def _credentials() -> str:
    lines = ["| who | header `Authorization` | refused with |", "|---|---|---|"]
    seen: set[Error] = set()
    for name, how, checks in KINDS.values():
        found = _documented_wire(*checks)
        lines.append(f"| {name} | {how} | {_shown_errors(found)} |")
        seen |= found
    others = _documented_wire(Authenticator.person) - seen
    return "\n".join([*lines, f"| any of these | | {_shown_errors(others)} |"])


def _documented_wire(*functions: Callable[..., object]) -> set[Error]:
    return {pair for one in functions for error in _documented(one) for pair in _wire(error)}


def _index() -> str:
    lines = ["| method | verb | who may call |", "|---|---|---|"]
    for method in methods():
        anchor = re.sub(r"[^\w\-]", "", method.name.lower())
        name = f"[`{method.name}`](#{anchor})" if anchor else f"`{method.name}`"
        lines.append(f"| {name} | {method.verb} | {method.who} |")
    return "\n".join(lines)


def _section(method: Method) -> str:
    lines = [f"### `{method.name}`", "", f"{method.verb}. {method.summary}", ""]
    lines.append(f"- Who: {method.who}.")
    if method.query:
        lines.append(f"- Parameters: {_shown_fields(method.query)}.")
    if method.body:
        lines.append(f"- JSON: {_shown_fields(method.body)}.")
    elif method.takes_bytes:
        lines.append("- Body: the bytes.")
    if method.errors:
        lines.append(f"- Errors: {_shown_errors(method.errors)}.")
    if method.name in _LEXICONS:
        lines.append("- Answer, by its [lexicon](../aurora_blobs/lexicons):")
        lines += [
            f"  - `{place}` {kind}. {meaning}".rstrip()
            for place, kind, meaning in answer_fields(_LEXICONS[method.name])
        ]
    return "\n".join(lines)


def _shown_fields(fields: dict[str, Param]) -> str:
    return "; ".join(f"`{name}` {_shown_field(one)}" for name, one in fields.items())


def _shown_field(one: Param) -> str:
    kind = {str: "text", int: "number", bool: "boolean", dict: "object", list: "array"}[one.kind]
    if one.parse is not None:
        words = one.parse.__name__.removeprefix("parse_").split("_")
        kind = " ".join(
            w.upper() if w in ("at", "cid", "did", "nsid", "tid", "uri") else w for w in words
        )
    parts = [f"{kind} or null" if one.nullable else kind]
    if one.low is not None:
        parts.append(f"{one.low} to {one.high}")
    if one.required:
        parts.append("required")
    elif isinstance(one.default, int):
        parts.append(f"default {str(one.default).lower()}")
    return ", ".join(parts)


def _shown_errors(found: Iterable[Error]) -> str:
    by_status: dict[int, list[str]] = {}
    for status, name in sorted(found):
        by_status.setdefault(status, []).append(f"`{name}`")
    return "; ".join(f"{status} {', '.join(names)}" for status, names in by_status.items())


def _error_table() -> str:
    lines = ["| name | status | `Retry-After` |", "|---|---|---|"]
    found = {
        (name, status, error.retry_after or "")
        for error in _ERRORS.values()
        for status, name in _wire(error)
    }
    lines += [f"| `{name}` | {status} | {retry} |" for name, status, retry in sorted(found)]
    return "\n".join(lines)


if __name__ == "__main__":
    write_generated(PAGE, "methods", page())
