"""The state of a subscription in a word: delivering, failing, stopped. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

__all__ = ["SubscriptionState", "SubscriptionWord", "subscription_state"]


class SubscriptionWord(StrEnum):
    """The states, the worst first."""

    DISABLED = "disabled"
    OPEN = "circuit open"
    BLOCKED = "blocked"
    FAILING = "failing"
    REMOVED = "not configured"
    DEAD = "dead letters"
    PAUSED = "paused"
    DELIVERING = "delivering"


_KINDS = {
    SubscriptionWord.DISABLED: "bad",
    SubscriptionWord.OPEN: "bad",
    SubscriptionWord.BLOCKED: "bad",
    SubscriptionWord.FAILING: "warn",
    SubscriptionWord.REMOVED: "warn",
    SubscriptionWord.DEAD: "warn",
    SubscriptionWord.PAUSED: "off",
    SubscriptionWord.DELIVERING: "good",
}


class SubscriptionState(NamedTuple):
    """A state with the kind of its badge, and its cause in words ("" if the word says it all)."""

    word: SubscriptionWord
    kind: str
    why: str

    @property
    def rank(self) -> int:
        """0 for the worst."""
        return list(SubscriptionWord).index(self.word)


def subscription_state(row: Mapping[str, Any]) -> SubscriptionState:
    """The worst known state of a subscription; `row` is one of the list."""
    word, why = _word(row)
    return SubscriptionState(word, _KINDS[word], why)


def _word(row: Mapping[str, Any]) -> tuple[SubscriptionWord, str]:
    if not row["configured"]:
        return SubscriptionWord.REMOVED, ""
    if row["state"] == "disabled":
        return SubscriptionWord.DISABLED, row["why"]
    if row["state"] == "paused":
        return SubscriptionWord.PAUSED, row["why"]
    if row["circuit"] == "open":
        return SubscriptionWord.OPEN, row["why"]
    if row["waits"]:
        return SubscriptionWord.BLOCKED, row["waits"]
    if row["failing_since"]:
        return SubscriptionWord.FAILING, row["last_error"]
    if row["dead_letters"]:
        return SubscriptionWord.DEAD, ""
    return SubscriptionWord.DELIVERING, ""
