"""The errors of this package, by what to do about each."""

from __future__ import annotations

__all__ = ["ConfigurationError", "EventRejected", "ReceiptFailed"]


class EventRejected(Exception):
    """What was received is not an event of the bridge: answer `status`, and do nothing.

    `reason` is one of a few fixed words, usable as a metric label:

    * `missing_header`, `malformed_header`: not signed as in Standard Webhooks
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
    """Unpickles an `EventRejected`: exceptions cross processes, such as those of a Celery pool."""
    return EventRejected(message, reason=reason)


class ConfigurationError(ValueError):
    """The receiving service is misconfigured: a secret, a connection, a missing package."""


class ReceiptFailed(Exception):
    """The bridge did not accept a receipt. It sends the event again, so that copy can be confirmed.

    `status`: the HTTP status of its answer, None if it did not answer.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
