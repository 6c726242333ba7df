"""The operator API below `/api/v1`: authorisation, errors, and the description in OpenAPI 3.1."""

from __future__ import annotations

from flask import Flask, request
from flask_smorest import Api

from bridge.config import access
from bridge.web.api import watches
from bridge.web.api.common import VIEWER, require
from bridge.web.hooks import MAX_BODY_BYTES

__all__ = ["register_api"]

_PREFIX = "/api"


def register_api(app: Flask) -> None:
    """Add the API and its description at `/api/v1/openapi.json`. Raises `BridgeError` for an invalid token file."""
    app.config.update(
        API_TITLE="Attempt Bridge",
        API_VERSION="1.0",
        OPENAPI_VERSION="3.1.0",
        OPENAPI_URL_PREFIX="/api/v1",
        OPENAPI_JSON_PATH="openapi.json",
        # Of the API; the receiver of webhooks has its own limit.
        MAX_CONTENT_LENGTH=MAX_BODY_BYTES,
    )
    app.extensions["bridge.tokens"] = access.tokens(app.extensions["bridge"].config)
    app.before_request(_guard)
    api = Api(app)
    api.spec.components.security_scheme("token", {"type": "http", "scheme": "bearer"})
    api.register_blueprint(watches.blueprint)


def _guard() -> None:
    # Addresses without a decorated view too: the description, and unknown addresses.
    if request.path == _PREFIX or request.path.startswith(f"{_PREFIX}/"):
        require(VIEWER)
