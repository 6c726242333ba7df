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
    "mask_persons",
    "needs",
    "refuse",
    "require",
    "sees_persons",
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
    if is_local():
        local: Caller = request.environ[LOCAL_CALLER]
        return local
    given = request.headers.get("Authorization", "")
    if given.partition(" ")[0].lower() == "bearer":
        accepted: tuple[Token, ...] = current_app.extensions["bridge.tokens"]
        token = access.token_of(given, accepted)
        return None if token is None else Caller(token.name, token.role)
    proxy = services_here().config.access.proxy
    if proxy is None:
        return None
    user = access.proxy_user(proxy, request.remote_addr or "", request.headers.get(proxy.header, ""))
    return None if user is None else Caller(*user)


def require(role: str) -> None:
    """Refuse the request unless its caller has the role. No address is exempt: behind a proxy, all look local."""
    caller = caller_here()
    if caller is None:
        if current_app.extensions["bridge.tokens"]:
            refuse(401, "missing or unknown token. Remedy: send Authorization: Bearer TOKEN")
        refuse(401, "no token is configured. Remedy: run attempt-bridge tokens new, add its entry to access.tokens")
    if caller.role == access.NO_ROLE:
        refuse(403, f"user without a role: {caller.name}. Remedy: add the name to access.proxy.roles")
    if not access.includes(caller.role, role):
        refuse(403, f"role {caller.role} is not sufficient: this call needs role {role}")


def sees_persons() -> bool:
    """Whether the caller may see names, e-mail addresses, labels, bodies and answers of receivers."""
    caller = caller_here()
    if caller is None:
        return False
    return access.includes(caller.role, OPERATOR) or (
        services_here().config.access.viewers_see_persons and access.includes(caller.role, VIEWER)
    )


def mask_persons(row: Mapping[str, Any], *members: str) -> dict[str, Any]:
    """The row; for callers who may not see persons, with `***` for every text in these members."""
    if sees_persons():
        return dict(row)
    return {name: _masked(value) if name in members else value for name, value in row.items()}


def _masked(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _masked(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(member) for member in value]
    # Numbers too: they may be a candidate's.
    return value if value is None or isinstance(value, bool) else "***"
