"""The state of a source in a word: heard, silent, failing, paused. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

__all__ = ["SourceState", "SourceWord", "budget_is_short", "budget_of", "state_of"]

#: Calls left of a budget, as a share, below which it is near its end.
_SHORT = 0.15


class SourceWord(StrEnum):
    """The states, the worst first."""

    STOPPED = "stopped"
    FAILING = "failing"
    SILENT = "silent"
    NO_CALLS = "no calls left"
    PAUSED = "paused"
    UNREAD = "last poll failed"
    UNHEARD = "not heard yet"
    HEARD = "heard"


class SourceState(NamedTuple):
    """A state with the kind of its badge, and its cause in words ("" if the word says it all)."""

    word: SourceWord
    kind: str
    why: str

    @property
    def rank(self) -> int:
        """0 for the worst."""
        return list(SourceWord).index(self.word)


_OF_ALARM = {
    "source.credentials_rejected": SourceWord.STOPPED,
    "source.poll_failing": SourceWord.FAILING,
    "source.webhooks_silent": SourceWord.SILENT,
    "source.budget_exhausted": SourceWord.NO_CALLS,
}
_KINDS = {
    SourceWord.STOPPED: "bad",
    SourceWord.FAILING: "bad",
    SourceWord.SILENT: "bad",
    SourceWord.NO_CALLS: "warn",
    SourceWord.PAUSED: "off",
    SourceWord.UNREAD: "warn",
    SourceWord.UNHEARD: "warn",
    SourceWord.HEARD: "good",
}


def state_of(row: Mapping[str, Any]) -> SourceState:
    """The worst known state of a source; `row` is one of the list. A pause hides what was raised before it."""
    raised = [_OF_ALARM[kind] for kind in row["raised_alarms"] if kind in _OF_ALARM]
    paused = row["paused"]
    words = [*raised, *([SourceWord.PAUSED] if paused else ()), *([SourceWord.UNREAD] if row["last_error"] else ())]
    if paused and SourceWord.STOPPED not in raised:
        words = [SourceWord.PAUSED]
    is_heard = row["last_webhook_at"] or row["last_poll"]
    word = min(words, key=list(SourceWord).index, default=SourceWord.HEARD if is_heard else SourceWord.UNHEARD)
    why = row["last_error"] or ""
    if word in (SourceWord.PAUSED, SourceWord.STOPPED):
        why = "in the configuration" if paused is True else str(paused or "")
    return SourceState(word, _KINDS[word], why)


def budget_of(row: Mapping[str, Any]) -> tuple[int, int]:
    """(calls left, calls of the budget) of a row of the list, which has them as `7/30`."""
    left, _, every = str(row["budget_left"]).partition("/")
    return int(left), int(every)


def budget_is_short(row: Mapping[str, Any]) -> bool:
    """Whether its budget is near its end."""
    left, every = budget_of(row)
    return left < every * _SHORT
