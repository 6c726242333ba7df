"""A Flask view for an http subscription."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Callable, Union

from flask import request

from attempt_bridge_client.errors import EventRejected
from attempt_bridge_client.events import Event
from attempt_bridge_client.signature import TOLERANCE, Verifier

__all__ = ["event_view"]


def event_view(
    handler: Callable[[Event], Any],
    secrets: Union[str, Iterable[str]],
    *,
    tests: bool = False,
    tolerance: float = TOLERANCE,
) -> Callable[[], Any]:
    """A view that verifies a request and calls `handler(event)`, for `app.add_url_rule("/events", view_func=...)`.

    It answers 204 when the handler has returned, whatever it returns; 401 and 422 for what is rejected. If the handler
    raises, Flask answers 500, and the event is sent again. `tests`: whether events about invented attempts, and tests
    of the subscription, are handled too; they are answered 204 in any case. `tolerance`: seconds. Raises
    `ConfigurationError` for wrong secrets.
    """
    verifier = Verifier(secrets, tolerance=tolerance)

    def receive_event() -> Any:
        try:
            event = verifier.verify(request.get_data(), request.headers)
        except EventRejected as error:
            return error.reason, error.status
        if tests or not event.bridgetest:
            handler(event)
        return "", 204

    receive_event.methods = ["POST"]  # type: ignore[attr-defined] # how a view tells Flask its methods
    return receive_event
