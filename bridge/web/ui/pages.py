"""What every page has: navigation, its reader, notices, and the texts of times, numbers and durations."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

from flask import Response, g, make_response, request
from jinja2 import Environment, PackageLoader, StrictUndefined
from werkzeug.wrappers import Response as AnyResponse

from bridge import __version__
from bridge.web.ui import formats
from bridge.web.ui.calls import Refused
from bridge.web.ui.static_files import static_url

__all__ = ["NAVIGATION", "PREFIX", "Entry", "add_notice", "is_operator", "problem_page", "render_page", "session_here"]

PREFIX = "/ui/"
_NOTICE = "bridge_notice"
_NOTICE_SECONDS = 60


class Entry(NamedTuple):
    """A page of the navigation. `key`: what is pressed after `g` to go there, "" for none."""

    path: str
    title: str
    key: str = ""

    @property
    def url(self) -> str:
        """Its address."""
        return f"{PREFIX}{self.path}"


#: Heading of a group of pages -> its pages.
NAVIGATION: Mapping[str, tuple[Entry, ...]] = {
    "": (Entry("", "Overview", "o"), Entry("live", "Live", "l")),
    "Received": (
        Entry("attempts", "Attempts", "a"),
        Entry("events", "Events", "e"),
        Entry("requests", "Requests", "q"),
    ),
    "Delivered": (
        Entry("deliveries", "Deliveries", "d"),
        Entry("failure-groups", "Failure groups", "f"),
        Entry("dead-letters", "Dead letters", "x"),
        Entry("replays", "Replays", "r"),
        Entry("subscriptions", "Subscriptions", "u"),
    ),
    "Vendors": (
        Entry("sources", "Sources", "s"),
        Entry("watches", "Watches", "w"),
        Entry("backfills", "Backfills", "b"),
        Entry("reconciliations", "Reconciliations", "c"),
    ),
    "Bridge": (Entry("system", "System", "y"), Entry("audit", "Audit", "t"), Entry("settings", "Settings", "i")),
}


def session_here() -> Mapping[str, Any] | None:
    """The reader of the page: `name`, `role`, `csrf`; None before signing in."""
    session: Mapping[str, Any] | None = g.get("ui_session")
    return session


def is_operator() -> bool:
    """Whether the reader of the page may change something."""
    session = session_here()
    return session is not None and session["role"] == "operator"


def render_page(template: str, *, title: str, status: int = 200, active: str | None = None, **context: Any) -> Response:
    """The page of a template that extends `layout.html`.

    `title`: its heading. `active`: the path of its entry in the navigation; default: that of the request's address.
    """
    notice = _notice()
    text = (
        _environment()
        .get_template(template)
        .render(
            title=title,
            active=request.path.removeprefix(PREFIX).partition("/")[0] if active is None else active,
            session=session_here(),
            is_operator=is_operator(),
            here=request.full_path.rstrip("?"),
            notice=notice,
            **context,
        )
    )
    answer = make_response(text, status)
    if notice is not None:
        answer.delete_cookie(_NOTICE, path=PREFIX)
    return answer


def problem_page(status: int, detail: str) -> Response:
    """A page that says what is wrong."""
    return render_page("problem.html", title="Problem", status=status, refused=Refused(status, {"detail": detail}))


def add_notice(answer: AnyResponse, text: str, *, is_problem: bool = False) -> None:
    """Have the next page show a line. It must not name a person: a cookie holds it until then."""
    value = urlsafe_b64encode(json.dumps([is_problem, text[:1000]]).encode()).decode()
    answer.set_cookie(_NOTICE, value, max_age=_NOTICE_SECONDS, path=PREFIX, httponly=True, samesite="Strict")


def _notice() -> dict[str, Any] | None:
    try:
        is_problem, text = json.loads(urlsafe_b64decode(request.cookies.get(_NOTICE, "")))
    except (ValueError, TypeError, RecursionError):
        # Another application of this host may set it too.
        return None
    return {"is_problem": bool(is_problem), "text": str(text)}


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("bridge.web.ui"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(formats.FILTERS)
    environment.globals.update(navigation=NAVIGATION, prefix=PREFIX, static=static_url, version=__version__)
    return environment
