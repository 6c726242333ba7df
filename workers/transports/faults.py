"""What nobody foresaw, as the failed try of one event: foreign code must not end the delivery of others."""

from __future__ import annotations

import structlog

from bridge.errors import DeliveryFailed

__all__ = ["UNEXPECTED_ERROR", "unexpected"]

#: `reason` of such a failure.
UNEXPECTED_ERROR = "unexpected_error"

_log = structlog.get_logger(__name__)


def unexpected(error: Exception, **where: object) -> DeliveryFailed:
    """A charged failure; the log has the frames. `error`'s own text may hold anything and goes nowhere."""
    _log.error("delivery_unexpected_error", exc_info=error, **where)
    return DeliveryFailed(
        f"unexpected {type(error).__name__}; the log of dispatch has the place", reason=UNEXPECTED_ERROR
    )
