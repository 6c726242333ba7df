"""What the views of the API share: services, errors, and authorisation by token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from flask import current_app, request
from flask_smorest import abort

from bridge.config import access
from bridge.config.access import OPERATOR, VIEWER
from bridge.config.model import Token
from bridge.services import Services

__all__ = ["OPERATOR", "VIEWER", "needs", "refuse", "require", "role_here", "services_here"]

_View = TypeVar("_View", bound=Callable[..., Any])


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
            require(role)
            return view(*args, **kwargs)

        guarded.__dict__.update(view.__dict__)
        guarded.__name__, guarded.__doc__ = view.__name__, view.__doc__
        return guarded  # type: ignore[return-value]

    return decorate


def role_here() -> str | None:
    """The role of the request's token; None without a known one."""
    accepted: tuple[Token, ...] = current_app.extensions["bridge.tokens"]
    return access.role_of(request.headers.get("Authorization", ""), accepted)


def require(role: str) -> None:
    """Refuse the request unless its token has the role. No address is exempt: behind a proxy, all look local."""
    granted = role_here()
    if granted is None:
        if current_app.extensions["bridge.tokens"]:
            refuse(401, "missing or unknown token. Remedy: send Authorization: Bearer TOKEN")
        refuse(401, "no token is configured. Remedy: run attempt-bridge tokens new, add its entry to access.tokens")
    if not access.includes(granted, role):
        refuse(403, f"role {granted} is not sufficient: this call needs role {role}")
