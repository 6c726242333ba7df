"""Notices: events about something other than a result: overdue attempts, withdrawn consent, alarms, tests.

The marshmallow declaration of `data` is in `schemas/notice_shapes.py`. A notice is published once and never revised; a
test is sent to one subscription and never published. It holds no name and no address of a person, so operators' tools
may show and log it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.envelope import Envelope

__all__ = [
    "ALARM_TYPES",
    "BUDGET_EXHAUSTED",
    "CONSENT_WITHDRAWN",
    "CREDENTIALS_REJECTED",
    "NOTICE_TYPES",
    "OVERDUE",
    "POLL_FAILING",
    "SUBSCRIPTION_DISABLED",
    "SUBSCRIPTION_FAILING",
    "SUBSCRIPTION_RECOVERED",
    "SUBSCRIPTION_TYPES",
    "TEST",
    "WEBHOOKS_SILENT",
    "NoticeEvent",
]

OVERDUE = "attempt.overdue"
CONSENT_WITHDRAWN = "consent.withdrawn"

WEBHOOKS_SILENT = "source.webhooks_silent"
POLL_FAILING = "source.poll_failing"
BUDGET_EXHAUSTED = "source.budget_exhausted"
CREDENTIALS_REJECTED = "source.credentials_rejected"

ALARM_TYPES = (WEBHOOKS_SILENT, POLL_FAILING, BUDGET_EXHAUSTED, CREDENTIALS_REJECTED)

SUBSCRIPTION_FAILING = "subscription.failing"
SUBSCRIPTION_RECOVERED = "subscription.recovered"
SUBSCRIPTION_DISABLED = "subscription.disabled"

SUBSCRIPTION_TYPES = (SUBSCRIPTION_FAILING, SUBSCRIPTION_RECOVERED, SUBSCRIPTION_DISABLED)
#: What may be published.
NOTICE_TYPES = (OVERDUE, CONSENT_WITHDRAWN, *ALARM_TYPES, *SUBSCRIPTION_TYPES)
#: Sent to one subscription when an operator tests it: never in the journal, and selected by no filter.
TEST = "bridge.test"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeEvent(Envelope):
    """One published, immutable CloudEvent that is not about a result."""

    #: One member, that of its type.
    data: Mapping[str, Any]

    def to_json(self) -> bytes:
        """The event as it is stored and sent."""
        return self.encode(self.data)
