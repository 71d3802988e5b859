"""``/metrics``: what the service did and what it holds, for Prometheus."""

import hmac

from flask import Flask, Response, request

from aurora_blobs.config import Config
from aurora_blobs.errors import AuthMissing
from aurora_blobs.metrics.exposition import CONTENT_TYPE, exposition
from aurora_blobs.metrics.metering import Metering
from aurora_blobs.services import current_config, services


def install(app: Flask, config: Config, *, parts: int) -> Metering:
    """Let *app*, which has all of its other routes, answer for its metrics.

    *parts* as of a `SharedCounts`.
    """
    app.add_url_rule("/metrics", "metrics", _answer, methods=["GET"])
    # An XRPC method's name, or the route: the shortest one, where there are several. The object API
    # says itself what was called.
    rules = sorted(app.url_map.iter_rules(), key=lambda rule: -len(rule.rule))
    methods = {rule.endpoint: rule.rule.removeprefix("/xrpc/") for rule in rules}
    calls: tuple[str, ...] = ()
    if config.object_api_bucket is not None:
        from aurora_blobs.api.objects import CALL_NAMES  # few have a PDS, and all would wait

        calls = CALL_NAMES
    return Metering(config, methods, calls, parts=parts)


def _answer() -> Response:
    _require_token()
    metering = services().metering
    assert metering is not None
    text = exposition(metering.read())
    return Response(text, content_type=CONTENT_TYPE, headers={"Cache-Control": "no-store"})


def _require_token() -> None:
    """Raise AuthMissing unless the request has the token of the settings.

    No wrong one is counted: a token is too long to be guessed, and metrics are wanted most when the
    database is away.
    """
    expected = current_config().metrics_token
    assert expected is not None  # else there is no /metrics
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    is_right = hmac.compare_digest(given.encode(), expected.encode())
    if scheme.lower() != "bearer" or not is_right:
        refusal = AuthMissing()
        refusal.headers = (("WWW-Authenticate", "Bearer"),)
        raise refusal
