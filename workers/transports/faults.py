"""Unexpected errors as the failed try of one event: foreign code must not stop the delivery of other events."""

from __future__ import annotations

import structlog

from bridge.errors import DeliveryFailed

__all__ = ["UNEXPECTED_ERROR", "unexpected_failure"]

#: `reason` of such a failure.
UNEXPECTED_ERROR = "unexpected_error"

_log = structlog.get_logger(__name__)


def unexpected_failure(error: Exception, **context: object) -> DeliveryFailed:
    """A charged failure; logs the frames of `error`, never its text, which may quote anything."""
    _log.error("delivery_unexpected_error", exc_info=error, **context)
    return DeliveryFailed(f"unexpected {type(error).__name__}; see the log of dispatch", reason=UNEXPECTED_ERROR)
