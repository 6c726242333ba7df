"""Webhooks that are marked as tests: `attempt-bridge trigger` sends invented attempts, not to be mistaken for real.

The mark is a member of the body, so the vendor's signature covers it, no proxy drops it and the stored request keeps
it. Events made from a marked webhook have the attribute `bridgetest`, and their attempt ids begin with `test:`: they
never meet the memory of a real attempt. Pointers and consents in it have no effect, because both concern real attempts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bridge.sdk.records import NormalisedAttempt
from bridge.sdk.strict_json import parse

__all__ = ["ID_PREFIX", "MARK", "as_test", "is_marked", "marked"]

#: The member of a body that marks it, with the value true.
MARK = "attempt_bridge_test"
#: What the ids of invented attempts begin with.
ID_PREFIX = "test:"
_MARK_BYTES = MARK.encode()


def marked(body: Mapping[str, Any]) -> dict[str, Any]:
    """The body with the mark."""
    return {**body, MARK: True}


def is_marked(body: bytes) -> bool:
    """Whether a readable body has the mark. Raises `Unreadable`."""
    # Every webhook passes here, so the body is parsed again only where the word occurs.
    if _MARK_BYTES not in body:
        return False
    document = parse(body)
    return isinstance(document, dict) and document.get(MARK) is True


def as_test(attempt: NormalisedAttempt) -> NormalisedAttempt:
    """The invented attempt under a separate id."""
    return replace(attempt, attempt_id=f"{ID_PREFIX}{attempt.attempt_id}")
