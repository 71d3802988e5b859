"""Every route of the application, with what its page in docs/api.md is made of."""

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from support import api_page
from support.services import close

from aurora_blobs.app import create_app
from aurora_blobs.config import Config

_ARGUMENT = re.compile(r"<(?:\w+:)?(\w+)>")


@dataclass(frozen=True)
class Route:
    """A rule of Flask's. *query* and *body* are names of parameters and of JSON properties."""

    rule: str
    verb: str
    query: tuple[str, ...] = ()
    body: tuple[str, ...] = ()
    takes_bytes: bool = False
    who: str = "anybody"

    @property
    def arguments(self) -> list[str]:
        """The names of the variable parts of its path."""
        return _ARGUMENT.findall(self.rule)

    def path(self, arguments: dict[str, str]) -> str:
        """Its path, with *arguments* as they are."""
        return _ARGUMENT.sub(lambda match: arguments[match[1]], self.rule)


def all_routes() -> list[Route]:
    """Those of an application with the default settings, in the order of its map."""
    documented = {method.path: method for method in api_page.methods()}
    found = {}
    for rule, verbs in _rules():
        method = documented.get(rule)
        if method is None:
            found[rule] = Route(rule, "POST" if "GET" not in verbs else "GET")
        else:
            found[rule] = Route(
                rule,
                method.verb,
                tuple(method.query),
                tuple(method.body),
                method.takes_bytes,
                method.who,
            )
    return list(found.values())


def _rules() -> list[tuple[str, set[str]]]:
    with tempfile.TemporaryDirectory() as folder:
        app = create_app(Config(data_dir=Path(folder), durability="os"))
        rules = [(rule.rule, set(rule.methods or ())) for rule in app.url_map.iter_rules()]
        close(app)
    return rules
