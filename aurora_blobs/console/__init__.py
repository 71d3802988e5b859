"""``/console``: pages for the administrator. Their code is imported with the first request."""

from importlib import import_module
from typing import Any

from flask import Blueprint, Flask
from werkzeug.exceptions import HTTPException

from aurora_blobs.errors import BlobServiceError

_GET, _POST = ["GET", "HEAD"], ["POST"]
# Path below /console, verbs, and the view: a function in a module of this folder.
PAGES = (
    ("/sign-in", _GET, "frame.sign_in"),
    ("/sign-in", _POST, "frame.signed_in"),
    ("/sign-out", _POST, "frame.signed_out"),
    ("/static/<name>", _GET, "frame.static"),
    ("", _GET, "overview.overview"),
    ("/gallery", _GET, "gallery.gallery"),
    ("/blob/<cid>", _GET, "blob.blob"),
    ("/blob/<cid>/take-down", _POST, "blob.take_down"),
    ("/blob/<cid>/lift", _POST, "blob.lift"),
    ("/blob/<cid>/verify", _POST, "blob.verify"),
    ("/accounts", _GET, "account.accounts"),
    ("/account/<name>", _GET, "account.account"),
    ("/account/<name>/quota", _POST, "account.quota"),
    ("/account/<name>/deactivate", _POST, "account.deactivate"),
    ("/account/<name>/activate", _POST, "account.activate"),
    ("/account/<name>/take-down", _POST, "account.take_down"),
    ("/account/<name>/lift", _POST, "account.lift"),
    ("/account/<name>/delete", _POST, "account.delete"),
    ("/moderation", _GET, "moderation.moderation"),
    ("/moderation/lift", _POST, "moderation.lift"),
    ("/moderation/list", _POST, "moderation.take_down_listed"),
    ("/audit", _GET, "audit.audit"),
    ("/jobs", _GET, "jobs.jobs"),
    ("/jobs/start", _POST, "jobs.start"),
    ("/picture/<did>/<cid>", _GET, "gallery.picture"),
    ("/content/<did>/<cid>", _GET, "gallery.content"),
    ("/", _GET, "frame.start"),
    ("/<path:rest>", _GET, "frame.nowhere"),
)


def install(app: Flask) -> None:
    """Give *app* the pages."""
    bp = Blueprint("console", __name__, url_prefix="/console")
    for path, verbs, view in PAGES:
        bp.add_url_rule(
            path,
            view.replace(".", "_"),
            _Later(view),
            methods=verbs,
            provide_automatic_options=False,
        )
    bp.before_request(_Later("frame.guard"))
    bp.after_request(_Later("frame.protected"))
    bp.register_error_handler(BlobServiceError, _Later("frame.refused"))
    bp.register_error_handler(HTTPException, _Later("frame.not_routed"))
    bp.register_error_handler(Exception, _Later("frame.failed"))
    app.register_blueprint(bp)


class _Later:
    """The function *name*, ``module.function`` of this folder, imported when it is called."""

    def __init__(self, name: str) -> None:
        self._module, _, self._function = name.partition(".")

    def __call__(self, *given: Any, **named: Any) -> Any:
        module = import_module(f"{__name__}.{self._module}")
        return getattr(module, self._function)(*given, **named)
