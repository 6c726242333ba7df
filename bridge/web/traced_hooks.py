"""Webhooks with a trace each. Used instead of `Receiver` if the process traces, so that others pay nothing for it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from bridge.telemetry import tracing
from bridge.telemetry.tracing import SERVER
from bridge.web.hooks import Answer, Endpoint, Receiver

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

__all__ = ["TracedReceiver"]

_ROUTE = "/webhooks/{source}"


class TracedReceiver(Receiver):
    """A trace begins with each webhook. A trace that the sender names is linked, never continued: anybody can name one.

    The address is left out, because it may hold the token; so is a source that is not configured.
    """

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        link = environ.get("HTTP_TRACEPARENT", "")
        asked = {"http.request.method": "POST", "http.route": _ROUTE}
        with tracing.start(f"POST {_ROUTE}", SERVER, asked, root=True, link=link):
            return super().__call__(environ, start_response)

    def _record(self, endpoint: Endpoint | None, outcome: str, answer: Answer, request: str, seconds: float) -> None:
        super()._record(endpoint, outcome, answer, request, seconds)
        span, status = tracing.current(), int(answer.status[:3])
        span.set({"attempt_bridge.outcome": outcome, "http.response.status_code": status})
        if endpoint is not None:
            vendor = endpoint.context.vendor.name
            span.set({"attempt_bridge.source": endpoint.source, "attempt_bridge.vendor": vendor})
        if request:
            span.set({"attempt_bridge.request_id": request})
        if status >= 500:
            span.fail(outcome)
