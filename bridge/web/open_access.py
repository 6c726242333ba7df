"""Open access of the demo in the application: who is let in without signing in, and what is refused instead."""

from __future__ import annotations

from flask import Flask, Response, request

from bridge.config.open_access import forwarding_header, is_local_host, is_loopback
from bridge.services import Services
from bridge.web.api.problems import problem_answer

__all__ = ["is_open_here", "refuse_other_hosts"]


def is_open_here(services: Services) -> bool:
    """Whether the current request needs no sign-in: the demo is open, and its caller and its page are here."""
    return services.settings.open_access and is_loopback(request.remote_addr or "") and _problem() is None


def refuse_other_hosts(app: Flask) -> None:
    """Refuse whatever comes for another host or through a proxy, except webhooks, which have secrets of their own.

    Call it before anything else looks at requests.
    """

    def refuse() -> Response | None:
        problem = _problem()
        if problem is None:
            return None
        if request.path.startswith("/api/"):
            return problem_answer(403, problem)
        return Response(f"{problem}\n", status=403, content_type="text/plain; charset=utf-8")

    app.before_request(refuse)


def _problem() -> str | None:
    """Why the request may not come from this machine, in one line."""
    remedy = "Remedy: open http://127.0.0.1 or http://localhost on the machine of the demo"
    if not is_local_host(request.environ.get("HTTP_HOST", "")):
        return f"unknown Host: the demo is open without signing in, only on this machine. {remedy}"
    if (name := forwarding_header(request.headers.keys())) is not None:
        return f"came through a proxy: {name}. {remedy}"
    return None
