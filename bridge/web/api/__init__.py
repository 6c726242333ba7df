"""The operator API below `/api/v1`: authorisation, errors, and the description in OpenAPI 3.1."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from flask import Flask, Response, request
from flask.json.provider import DefaultJSONProvider

from bridge.config import access
from bridge.config.model import Token
from bridge.services import Services
from bridge.web.api import (
    attempts,
    audit,
    backfills,
    configuration,
    dead_letters,
    deliveries,
    erasures,
    events,
    failure_groups,
    filter_fields,
    health,
    partitions,
    quarantine,
    receipts,
    reconciliations,
    replays,
    requests,
    sessions,
    source_tests,
    sources,
    stats,
    stream,
    subscriptions,
    watches,
)
from bridge.web.api.auditing import audit_changes
from bridge.web.api.common import RECEIVER, VIEWER, require
from bridge.web.api.description import DescribedApi, options
from bridge.web.api.failures import FailedLogins
from bridge.web.api.idempotency import register_once
from bridge.web.api.page import page_blueprint
from bridge.web.api.problems import register_errors
from bridge.web.api.watch_shapes import Moment
from bridge.web.hooks import MAX_BODY_BYTES
from bridge.web.live import Live

__all__ = ["local_application", "register_api"]

_PREFIX = "/api"
#: One for each resource, in the order of the description.
_BLUEPRINTS = (
    watches.blueprint,
    audit.blueprint,
    sessions.blueprint,
    health.blueprint,
    configuration.blueprint,
    attempts.blueprint,
    events.blueprint,
    stream.blueprint,
    requests.blueprint,
    sources.blueprint,
    subscriptions.blueprint,
    source_tests.blueprint,
    backfills.blueprint,
    reconciliations.blueprint,
    stats.blueprint,
    deliveries.blueprint,
    receipts.blueprint,
    dead_letters.blueprint,
    quarantine.blueprint,
    failure_groups.blueprint,
    replays.blueprint,
    erasures.blueprint,
    partitions.blueprint,
    filter_fields.blueprint,
)


def register_api(app: Flask, live: Live) -> None:
    """Add the API and its description at `/api/v1/openapi.json`. Raises `BridgeError` for an invalid token file."""
    _register(app, access.tokens(app.extensions["bridge"].config), live)


def local_application(services: Services) -> Flask:
    """Only the API, for calls within this process that pass in their `Caller`. It accepts no token.

    Unexpected errors are raised instead of answered.
    """
    app = Flask(__name__, static_folder=None)
    app.extensions["bridge"] = services
    app.config["PROPAGATE_EXCEPTIONS"] = True
    _register(app, (), Live(services.journal_reader, services.journal_tail))
    return app


def _register(app: Flask, tokens: Sequence[Token], live: Live) -> None:
    services: Services = app.extensions["bridge"]
    # The API's limit; the receiver of webhooks has its own.
    app.config.update(options(services.config.bridge.public_url), MAX_CONTENT_LENGTH=MAX_BODY_BYTES)
    if isinstance(app.json, DefaultJSONProvider):
        # Members in the order of their schema, for people who read them.
        app.json.sort_keys = False
    app.extensions["bridge.live"] = live
    app.extensions["bridge.tokens"] = tuple(tokens)
    app.extensions["bridge.failures"] = FailedLogins(services.state, services.now)
    app.before_request(_guard)
    # Answers pass through these in reverse order: the audit comes before what is kept for a repeated call.
    app.after_request(_add_etag)
    register_once(app)
    api = DescribedApi(app)
    api.register_field(Moment, "string", None)
    for blueprint in _BLUEPRINTS:
        api.register_blueprint(blueprint)
    app.register_blueprint(page_blueprint(api))
    register_errors(app)
    audit_changes(app)


def _guard() -> None:
    # Also guards addresses without a decorated view: the description, and unknown addresses.
    if request.path != _PREFIX and not request.path.startswith(f"{_PREFIX}/"):
        return
    if (request.method, request.path) == ("POST", sessions.PATH):
        return
    require(RECEIVER if receipts.is_receipt(request.path) else VIEWER)
    if request.method not in ("GET", "HEAD", "OPTIONS"):
        sessions.check_csrf()


def _add_etag(answer: Response) -> Response:
    """Add an `ETag` to what is read, and answer 304 to a caller that already has it. Streams get none."""
    is_read = request.method in ("GET", "HEAD") and request.path.startswith(f"{_PREFIX}/")
    if not is_read or answer.status_code != HTTPStatus.OK or answer.is_streamed:
        return answer
    answer.add_etag()
    answer.headers.setdefault("Cache-Control", "private, no-cache")
    answer.vary.update(("Authorization", "Cookie"))
    answer.make_conditional(request)
    return answer
