"""Unexpected errors as the failed try of one event: foreign code must not stop the delivery of other events."""

from __future__ import annotations

import structlog

from bridge.errors import DeliveryFailed

__all__ = ["UNEXPECTED_ERROR", "unexpected_failure"]

#: `reason` of such a failure.
UNEXPECTED_ERROR = "unexpected_error"

_log = structlog.get_logger(__name__)


def unexpected_failure(error: Exception, *, about_event: bool = True, **context: object) -> DeliveryFailed:
    """A charged failure; logs the frames of `error`, never its text, which may quote anything."""
    _log.error("delivery_unexpected_error", exc_info=error, **context)
    text = f"unexpected {type(error).__name__}; see the log of dispatch"
    return DeliveryFailed(text, reason=UNEXPECTED_ERROR, about_event=about_event)
