"""What can go wrong, by what to do about it."""

from __future__ import annotations

__all__ = ["ConfigurationError", "EventRejected", "ReceiptFailed"]


class EventRejected(Exception):
    """What was received is not an event of the bridge: answer `status`, and do nothing.

    `reason` is one of a few fixed words, fit for a metric:

    * `missing_header`, `malformed_header`: not signed by Standard Webhooks
    * `timestamp_out_of_tolerance`: a copy of an old request, or the clocks differ
    * `wrong_signature`: signed by none of the secrets, or changed on the way
    * `unreadable`: signed, but not an event of this major version
    """

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason

    def __reduce__(self) -> tuple[object, ...]:
        return (_rejected, (self.message, self.reason))

    @property
    def status(self) -> int:
        """The HTTP status to answer: 422 if the event is genuine but unreadable, otherwise 401."""
        return 422 if self.reason == "unreadable" else 401


def _rejected(message: str, reason: str) -> EventRejected:
    """Exceptions cross processes, such as those of a Celery pool."""
    return EventRejected(message, reason=reason)


class ConfigurationError(ValueError):
    """The service that receives is set up wrongly: a secret, a connection, a missing package."""


class ReceiptFailed(Exception):
    """The bridge did not take a receipt. It sends the event again, so the copy can be confirmed.

    `status`: the HTTP status of its answer, None if there was none.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
