"""The operator API below `/api/v1`: who may call it, its errors, and its description in OpenAPI 3.1."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

from flask import Flask, current_app, request
from flask_smorest import Api, abort

from bridge.config.model import Config
from bridge.services import Services

__all__ = ["OPERATOR", "VIEWER", "needs", "refuse", "register_api", "services_here"]

VIEWER, OPERATOR = "viewer", "operator"
#: Role -> what it includes.
_INCLUDES: Mapping[str, tuple[str, ...]] = {OPERATOR: (OPERATOR, VIEWER), VIEWER: (VIEWER,)}
_LOOPBACK = ("127.0.0.1", "::1", "localhost", "[::1]")

_View = TypeVar("_View", bound=Callable[..., Any])


def register_api(app: Flask) -> None:
    """Add the API and its description at `/api/v1/openapi.json`."""
    from bridge.web.api import watches  # noqa: PLC0415 - it needs the names above

    app.config.update(
        API_TITLE="Attempt Bridge",
        API_VERSION="1.0",
        OPENAPI_VERSION="3.1.0",
        OPENAPI_URL_PREFIX="/api/v1",
        OPENAPI_JSON_PATH="openapi.json",
    )
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
            _allow(role, services_here().config)
            return view(*args, **kwargs)

        guarded.__dict__.update(view.__dict__)
        guarded.__name__, guarded.__doc__ = view.__name__, view.__doc__
        return guarded  # type: ignore[return-value]

    return decorate


def _allow(role: str, config: Config) -> None:
    """Without configured tokens only this machine may call, and no browser page of another origin."""
    tokens = config.access.tokens
    if not tokens:
        host = request.host.rpartition(":")[0] if request.host.rpartition(":")[2].isdecimal() else request.host
        straight = not any(name in request.headers for name in ("Origin", "Forwarded", "X-Forwarded-For"))
        if straight and request.remote_addr in _LOOPBACK and host in _LOOPBACK:
            return
        refuse(401, "no token is configured; add one under access.tokens, or call from this machine itself")
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    digest = hashlib.sha256(given.strip().encode()).hexdigest()
    granted = ""
    for token in tokens:
        # All are compared, in constant time each.
        if hmac.compare_digest(token.sha256.lower(), digest) and scheme.lower() == "bearer":
            granted = token.role
    if not granted:
        refuse(401, "give a token: Authorization: Bearer ...")
    if role not in _INCLUDES.get(granted, ()):
        refuse(403, f"this token's role is {granted}; the call needs {role}")
