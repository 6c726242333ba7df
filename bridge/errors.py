"""Every error of the bridge. The type says what to do next, `reason` is a metric label.

A message has the fact, the value and the remedy.

BridgeError
├── ConfigError            refuse to start: exit 78
├── Rejected               this request can never succeed: answer 4xx, never repeat
│   └── BadSignature         401
├── Unreadable             authentic, but not understood: keep the raw bytes in quarantine
├── Retryable              the same call may succeed later
│   ├── StateUnavailable     503 with Retry-After; exit 69 on the command line
│   ├── VendorUnavailable    vendor down, slow or in maintenance: back off
│   ├── VendorThrottled      vendor said when to come back: `retry_at`
│   └── BudgetExhausted      our own quota for the source is used up: `retry_at`
├── VendorRefused          credentials or permissions: stop the source and report it
├── VendorFault            the vendor reports that our call is wrong: a bug, stop and report it
└── DeliveryFailed         one try of one delivery failed: schedule the next, or dead letter
"""

from __future__ import annotations

__all__ = [
    "BadSignature",
    "BridgeError",
    "BudgetExhausted",
    "ConfigError",
    "DeliveryFailed",
    "Rejected",
    "Retryable",
    "StateUnavailable",
    "Unreadable",
    "VendorFault",
    "VendorRefused",
    "VendorThrottled",
    "VendorUnavailable",
    "clip",
]


def clip(foreign: object, limit: int = 100) -> str:
    """Foreign text for a message: one line, at most `limit` characters."""
    text = " ".join(str(foreign).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


class BridgeError(Exception):
    """Root of the tree. `reason` is one of a few fixed words per type, never data."""

    default_reason = "error"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason or self.default_reason


class ConfigError(BridgeError):
    """The configuration cannot be used. `problems` has one finished line per problem."""

    default_reason = "config"

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Rejected(BridgeError):
    """This request can never succeed."""

    default_reason = "rejected"


class BadSignature(Rejected):
    """The signature is missing, malformed, wrong or stale."""

    default_reason = "bad_signature"


class Unreadable(BridgeError):
    """An authentic request or a polled record that we cannot understand."""

    default_reason = "unreadable"


class Retryable(BridgeError):
    """The same call may succeed later; not before `retry_at` (UNIX seconds) where that is known."""

    default_reason = "retryable"

    def __init__(self, message: str, *, reason: str | None = None, retry_at: float | None = None) -> None:
        super().__init__(message, reason=reason)
        self.retry_at = retry_at


class StateUnavailable(Retryable):
    """The state server is unreachable, stalled, out of memory, read-only or loading."""

    default_reason = "state_unavailable"


class VendorUnavailable(Retryable):
    """The vendor does not answer, or answers that it cannot serve the call now."""

    default_reason = "vendor_unavailable"


class VendorThrottled(Retryable):
    """The vendor refused the call because of its rate limit."""

    default_reason = "vendor_throttled"


class BudgetExhausted(Retryable):
    """No call is left in the budget of the source."""

    default_reason = "budget_exhausted"


class VendorRefused(BridgeError):
    """The vendor refused our credentials or permissions; trying again will not help."""

    default_reason = "credentials_rejected"


class VendorFault(BridgeError):
    """The vendor reports that the call itself is wrong."""

    default_reason = "bad_call"


class DeliveryFailed(BridgeError):
    """One try failed. `permanent`: further tries are useless. `retry_after`: seconds that the receiver asked for.

    `charged`: False if the failure uses up no try, because it is not the receiver's (the broker is down).
    `about_event`: True if the receiver answered and refused only this event, so that the circuit stays closed.
    """

    default_reason = "delivery_failed"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        permanent: bool = False,
        retry_after: float | None = None,
        charged: bool = True,
        about_event: bool = False,
    ) -> None:
        super().__init__(message, reason=reason)
        self.about_event = about_event
        self.permanent = permanent
        self.retry_after = retry_after
        self.charged = charged
