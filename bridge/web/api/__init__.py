"""The operator API below `/api/v1`: authorisation, errors, and the description in OpenAPI 3.1."""

from __future__ import annotations

from flask import Flask, request

from bridge.config import access
from bridge.config.model import Config
from bridge.watch_registration import Moment
from bridge.web.api import watches
from bridge.web.api.common import VIEWER, require
from bridge.web.api.description import DescribedApi, describe, options
from bridge.web.hooks import MAX_BODY_BYTES

__all__ = ["register_api"]

_PREFIX = "/api"


def register_api(app: Flask) -> None:
    """Add the API and its description at `/api/v1/openapi.json`. Raises `BridgeError` for an invalid token file."""
    config: Config = app.extensions["bridge"].config
    # Of the API; the receiver of webhooks has its own limit.
    app.config.update(options(config.bridge.public_url), MAX_CONTENT_LENGTH=MAX_BODY_BYTES)
    app.extensions["bridge.tokens"] = access.tokens(config)
    app.before_request(_guard)
    api = DescribedApi(app)
    api.register_field(Moment, "string", None)
    describe(api)
    api.register_blueprint(watches.blueprint)


def _guard() -> None:
    # Addresses without a decorated view too: the description, and unknown addresses.
    if request.path == _PREFIX or request.path.startswith(f"{_PREFIX}/"):
        require(VIEWER)
