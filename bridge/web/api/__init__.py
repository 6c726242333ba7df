"""The operator API below `/api/v1`: who may call it, its errors, and its description in OpenAPI 3.1."""

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
    """Add the API and its description at `/api/v1/openapi.json`. Raises `BridgeError` for a token file that is none."""
    from bridge.web.api import watches  # noqa: PLC0415 - it needs the names above

    app.config.update(
        API_TITLE="Attempt Bridge",
        API_VERSION="1.0",
        OPENAPI_VERSION="3.1.0",
        OPENAPI_URL_PREFIX="/api/v1",
        OPENAPI_JSON_PATH="openapi.json",
        # Flask's own; webhooks have theirs in front of it.
        MAX_CONTENT_LENGTH=MAX_BODY_BYTES,
    )
    app.extensions["bridge.tokens"] = access.tokens(app.extensions["bridge"].config)
    app.before_request(_guard)
    api = Api(app)
    api.spec.components.security_scheme("token", {"type": "http", "scheme": "bearer"})
    api.register_blueprint(watches.blueprint)


def services_here() -> Services:
    """The services of the application that answers."""
    services: Services = current_app.extensions["bridge"]
    return services


def refuse(status: int, message: str, errors: Any = None) -> NoReturn:
    """End the request: one line, and what is wrong with each member where that is known."""
    abort(status, message=message, errors=errors)
    raise AssertionError("abort raises")


def needs(role: str) -> Callable[[_View], _View]:
    """A view for holders of a token with this role; see `_allow`."""

    def decorate(view: _View) -> _View:
        def guarded(*args: Any, **kwargs: Any) -> Any:
            _allow(role)
            return view(*args, **kwargs)

        guarded.__dict__.update(view.__dict__)
        guarded.__name__, guarded.__doc__ = view.__name__, view.__doc__
        return guarded  # type: ignore[return-value]

    return decorate


def role_here() -> str | None:
    """The role of whoever asks."""
    accepted: tuple[Token, ...] = current_app.extensions["bridge.tokens"]
    return access.role_of(request.headers.get("Authorization", ""), accepted)


def _allow(role: str) -> None:
    """Wherever the call comes from: a proxy on this machine makes every caller look like a neighbour."""
    granted = role_here()
    if granted is None:
        if current_app.extensions["bridge.tokens"]:
            refuse(401, "give a token: Authorization: Bearer ...")
        refuse(401, "no token is configured. Remedy: attempt-bridge tokens new, then name it under access.tokens")
    if not access.includes(granted, role):
        refuse(403, f"this token's role is {granted}; the call needs {role}")


def _guard() -> None:
    # Also what has no view of its own: the description, and addresses that are none.
    if request.path == _PREFIX or request.path.startswith(f"{_PREFIX}/"):
        _allow(VIEWER)
