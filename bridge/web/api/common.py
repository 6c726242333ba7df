"""What the views of the API share: services, errors, the caller and its role."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

from flask import current_app, g, request
from flask_smorest import abort

from bridge.config import access
from bridge.config.access import OPERATOR, RECEIVER, VIEWER
from bridge.config.model import Token
from bridge.errors import clip
from bridge.services import Services
from bridge.text import did_you_mean
from bridge.web.api.failures import FailedLogins
from bridge.web.open_access import is_open_here
from bridge.web.sessions import COOKIE, Sessions

__all__ = [
    "LOCAL_CALLER",
    "OPERATOR",
    "RECEIVER",
    "VIEWER",
    "Caller",
    "caller_here",
    "failed_login",
    "is_local",
    "known_source",
    "mask_persons",
    "may_read",
    "needs",
    "refuse",
    "refuse_if_blocked",
    "require",
    "sees_persons",
    "services_here",
]

#: WSGI key of a `Caller` in this process, the command line. A request's own headers are under `HTTP_` names.
LOCAL_CALLER = "attempt_bridge.caller"

#: CSRF token of callers without a session: a foreign page cannot set the header at all.
_SAME_ORIGIN = "same-origin"

_View = TypeVar("_View", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a call: the name of a token or of a proxy's user, or `cli:<user>` beside the server; and the role.

    `csrf`: what a change must send back if the call has no token, because any page can make a browser send it.
    `subscription`: whose events a receiver may confirm.
    """

    name: str
    role: str
    csrf: str | None = None
    subscription: str | None = None


#: Whoever calls an open demo from its own machine.
_DEMO = Caller("demo", OPERATOR, csrf=_SAME_ORIGIN)


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
    accepted: tuple[Token, ...] = current_app.extensions["bridge.tokens"]
    if (given := _bearer()) is not None:
        token = None if _failures().wait(_address()) else access.token_of(given, accepted)
        return None if token is None else Caller(token.name, token.role, subscription=token.subscription)
    if is_open_here(services_here()):
        return _DEMO
    if (secret := request.cookies.get(COOKIE)) is not None:
        session = Sessions(services_here().state).find(secret, accepted)
        return None if session is None else Caller(session.name, session.role, session.csrf)
    proxy = services_here().config.access.proxy
    if proxy is None:
        return None
    user = access.proxy_user(proxy, request.remote_addr or "", request.headers.get(proxy.header, ""))
    return None if user is None else Caller(*user, csrf=_SAME_ORIGIN)


def _bearer() -> str | None:
    given = request.headers.get("Authorization", "")
    return given if given.partition(" ")[0].lower() == "bearer" else None


def _failures() -> FailedLogins:
    failures: FailedLogins = current_app.extensions["bridge.failures"]
    return failures


def _address() -> str:
    proxy = services_here().config.access.proxy
    return access.client_address(proxy, request.remote_addr or "", request.headers.get("X-Forwarded-For", ""))


def refuse_if_blocked() -> None:
    """Refuse a login with 429, without checking it, while its address has had too many failures."""
    if wait := _failures().wait(_address()):
        _refuse_many(wait)


def may_read() -> bool:
    """Whether the caller may read anything: a receiver, or a user without a role, may not."""
    caller = caller_here()
    return caller is not None and access.includes(caller.role, VIEWER)


def failed_login(problem: str) -> NoReturn:
    """Count a failed login and refuse it: with 401, or with 429 after too many."""
    if wait := _failures().record(_address()):
        _refuse_many(wait)
    refuse(401, problem)


def _refuse_many(wait: int) -> NoReturn:
    refuse(429, f"too many failed logins. Remedy: try again in {wait} s", headers={"Retry-After": str(wait)})


def require(role: str) -> None:
    """Refuse the request unless its caller has the role. No address is exempt: behind a proxy, all look local."""
    caller = caller_here()
    if caller is None:
        if not current_app.extensions["bridge.tokens"]:
            refuse(401, "no token is configured. Remedy: run attempt-bridge tokens new, add its entry to access.tokens")
        problem = "missing or unknown token. Remedy: send Authorization: Bearer TOKEN"
        if _bearer() is not None:
            refuse_if_blocked()
            failed_login(problem)
        refuse(401, problem)
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
