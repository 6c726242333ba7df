"""The operator API below `/api/v1`: authorisation, errors, and the description in OpenAPI 3.1."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from flask import Flask, current_app, request
from flask_smorest import Api, abort

from bridge.config import access
from bridge.config.access import OPERATOR, VIEWER
from bridge.config.model import Token
from bridge.services import Services
from bridge.web.hooks import MAX_BODY_BYTES

__all__ = ["OPERATOR", "VIEWER", "needs", "refuse", "register_api", "role_here", "services_here"]

_PREFIX = "/api"

_View = TypeVar("_View", bound=Callable[..., Any])


def register_api(app: Flask) -> None:
    """Add the API and its description at `/api/v1/openapi.json`. Raises `BridgeError` for an invalid token file."""
    from bridge.web.api import watches  # noqa: PLC0415 - it needs the names above

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


def services_here() -> Services:
    """The services of the current application."""
    services: Services = current_app.extensions["bridge"]
    return services


def refuse(status: int, message: str, errors: Any = None) -> NoReturn:
    """End the request with an error: one line, and the problems of each member where they are known."""
    abort(status, message=message, errors=errors)
    raise AssertionError("abort raises")


def needs(role: str) -> Callable[[_View], _View]:
    """A decorator: the view needs a token with this role."""

    def decorate(view: _View) -> _View:
        def guarded(*args: Any, **kwargs: Any) -> Any:
            _require(role)
            return view(*args, **kwargs)

        guarded.__dict__.update(view.__dict__)
        guarded.__name__, guarded.__doc__ = view.__name__, view.__doc__
        return guarded  # type: ignore[return-value]

    return decorate


def role_here() -> str | None:
    """The role of the request's token; None without a known one."""
    accepted: tuple[Token, ...] = current_app.extensions["bridge.tokens"]
    return access.role_of(request.headers.get("Authorization", ""), accepted)


def _require(role: str) -> None:
    """Refuse the request unless its token has the role. No address is exempt: behind a proxy, all look local."""
    granted = role_here()
    if granted is None:
        if current_app.extensions["bridge.tokens"]:
            refuse(401, "missing or unknown token. Remedy: send Authorization: Bearer TOKEN")
        refuse(401, "no token is configured. Remedy: run attempt-bridge tokens new, add its entry to access.tokens")
    if not access.includes(granted, role):
        refuse(403, f"role {granted} is not sufficient: this call needs role {role}")


def _guard() -> None:
    # Addresses without a decorated view too: the description, and unknown addresses.
    if request.path == _PREFIX or request.path.startswith(f"{_PREFIX}/"):
        _require(VIEWER)
