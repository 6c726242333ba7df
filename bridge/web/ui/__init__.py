"""The dashboard below `/ui/`: pages made on the server, only from the operator API."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Flask, Response, abort, g, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from bridge.web.ui import (
    actions,
    attempts,
    audit,
    backfills,
    configuration,
    dead_letters,
    deliveries,
    events,
    failure_groups,
    live,
    overview,
    reconciliations,
    replay_new,
    replays,
    requests,
    sign_in,
    sources,
    subscriptions,
    system,
    watches,
)
from bridge.web.ui.blueprint import PageBlueprint, refused_page
from bridge.web.ui.calls import Refused, read
from bridge.web.ui.pages import PREFIX, problem_page
from bridge.web.ui.static_files import blueprint as static_blueprint

__all__ = ["register_ui"]

#: Any other address below `/ui/`.
_unknown = PageBlueprint("unknown", __name__)
#: In the order of the navigation, as far as it lists them.
_BLUEPRINTS = (
    static_blueprint,
    sign_in.blueprint,
    actions.blueprint,
    overview.blueprint,
    live.blueprint,
    attempts.blueprint,
    events.blueprint,
    requests.blueprint,
    deliveries.blueprint,
    failure_groups.blueprint,
    dead_letters.blueprint,
    replays.blueprint,
    replay_new.blueprint,
    subscriptions.blueprint,
    sources.blueprint,
    watches.blueprint,
    backfills.blueprint,
    reconciliations.blueprint,
    system.blueprint,
    audit.blueprint,
    configuration.blueprint,
    _unknown,
)
#: What can be read without signing in.
_PUBLIC = (f"{PREFIX}static/", f"{PREFIX}sign-in")
#: Nothing from other hosts and nothing inline. `data:` is for the icons in the style sheet of Pico.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def register_ui(app: Flask) -> None:
    """Add the dashboard, and the way from `/` to it. The API must be registered in the same application."""
    for blueprint in _BLUEPRINTS:
        app.register_blueprint(blueprint)
    for name, path in (("ui_start", "/"), ("ui_slash", PREFIX.rstrip("/"))):
        app.add_url_rule(path, name, lambda: redirect(PREFIX))
    # Errors of addresses without a page, such as one that is called with another method.
    app.register_error_handler(Refused, refused_page)
    app.before_request(_guard)
    app.after_request(_add_headers)


@_unknown.route("/<path:_>", methods=["GET", "POST"])
def show_unknown(_: str) -> AnyResponse:
    """No page."""
    abort(404)


def _is_page() -> bool:
    return request.path.startswith(PREFIX)


def _guard() -> AnyResponse | None:
    if not _is_page():
        return None
    if request.method not in ("GET", "HEAD", "OPTIONS") and not _is_from_here():
        return problem_page(403, "this form was sent by another site. Remedy: open the page of the dashboard again")
    if not request.path.startswith(_PUBLIC):
        g.ui_session = read("session")
    return None


def _is_from_here() -> bool:
    """Whether a page of the dashboard sent the form, according to the browser: foreign pages can send forms too.

    The CSRF token alone does not protect callers named by a proxy: theirs is known.
    """
    if (site := request.headers.get("Sec-Fetch-Site")) is not None:
        return site == "same-origin"
    origin = request.headers.get("Origin")
    return origin is not None and urlsplit(origin).netloc == request.host


def _add_headers(answer: Response) -> Response:
    if _is_page():
        answer.headers["Content-Security-Policy"] = _POLICY
        answer.headers.setdefault("Cache-Control", "no-store")
        answer.headers["Referrer-Policy"] = "same-origin"
    return answer
