"""What the views of the API share: services, errors, the caller and its role."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from flask import current_app, g, request
from flask_smorest import abort

from bridge.config import access
from bridge.config.access import OPERATOR, VIEWER
from bridge.config.model import Token
from bridge.errors import clip
from bridge.services import Services
from bridge.text import did_you_mean

__all__ = [
    "LOCAL_CALLER",
    "OPERATOR",
    "VIEWER",
    "Caller",
    "caller_here",
    "is_local",
    "known_source",
    "needs",
    "refuse",
    "require",
    "services_here",
]

#: WSGI key of a `Caller` in this process, the command line. A request's own headers are under `HTTP_` names.
LOCAL_CALLER = "attempt_bridge.caller"

_View = TypeVar("_View", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a call: a token's name, or `cli:<user>` beside the server; and its role."""

    name: str
    role: str


def services_here() -> Services:
    """The services of the current application."""
    services: Services = current_app.extensions["bridge"]
    return services


def refuse(status: int, message: str, errors: Any = None, headers: Mapping[str, str] | None = None) -> NoReturn:
    """End the request with problem details. `message`: one line, `fact: value. Remedy`.

    `errors`: what is wrong with each member, `{"member": ["..."]}`, where it is known.
    """
    abort(status, message=message, errors=errors, headers=headers)
    raise AssertionError("abort raises")


def known_source(name: str) -> str:
    """The name of a configured source in a query or body; refuses any other with 422."""
    sources = services_here().config.sources
    if name not in sources:
        problem = f'unknown source: "{clip(name)}". {did_you_mean(name, sources)}'
        refuse(422, problem, errors={"source": [problem]})
    return name


def needs(role: str) -> Callable[[_View], _View]:
    """A decorator: the view needs a caller with this role."""

    def decorate(view: _View) -> _View:
        def guarded(*args: Any, **kwargs: Any) -> Any:
            require(role)
            return view(*args, **kwargs)

        guarded.__dict__.update(view.__dict__)
        guarded.__name__, guarded.__doc__ = view.__name__, view.__doc__
        return guarded  # type: ignore[return-value]

    return decorate


def caller_here() -> Caller | None:
    """Who makes the current request; None without a known token."""
    if "caller" not in g:
        g.caller = _find_caller()
    caller: Caller | None = g.caller
    return caller


def is_local() -> bool:
    """Whether the call comes from a command in this process."""
    return isinstance(request.environ.get(LOCAL_CALLER), Caller)


def _find_caller() -> Caller | None:
    local = request.environ.get(LOCAL_CALLER)
    if isinstance(local, Caller):
        return local
    accepted: tuple[Token, ...] = current_app.extensions["bridge.tokens"]
    token = access.token_of(request.headers.get("Authorization", ""), accepted)
    return None if token is None else Caller(token.name, token.role)


def require(role: str) -> None:
    """Refuse the request unless its caller has the role. No address is exempt: behind a proxy, all look local."""
    caller = caller_here()
    if caller is None:
        if current_app.extensions["bridge.tokens"]:
            refuse(401, "missing or unknown token. Remedy: send Authorization: Bearer TOKEN")
        refuse(401, "no token is configured. Remedy: run attempt-bridge tokens new, add its entry to access.tokens")
    if not access.includes(caller.role, role):
        refuse(403, f"role {caller.role} is not sufficient: this call needs role {role}")
