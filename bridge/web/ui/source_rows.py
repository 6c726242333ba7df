"""What the page of a source shows, from the rows of the API. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Shares", "outcomes_of", "shares_of", "spenders_of", "state_of_test"]

_SPENDER = "used_by_"
#: Members of a polling round besides the outcomes of its records.
_OF_ROUND = frozenset(("started", "stream", "from", "to", "records", "calls", "error"))


class Shares(NamedTuple):
    """How attempts were published in a period. `webhook`: None where nothing was published."""

    published: int
    by_webhook: int
    rescued: int
    by_backfill: int
    webhook: float | None


def shares_of(totals: Mapping[str, int]) -> Shares:
    """The share of attempts whose first event came by webhook. A backfill says nothing about it."""
    by_webhook, by_poll = totals.get("published_by_webhook", 0), totals.get("published_by_poll", 0)
    live = by_webhook + by_poll
    backfill = totals.get("published_by_backfill", 0)
    share = by_webhook / live if live else None
    return Shares(live + backfill, by_webhook, totals.get("rescued", 0), backfill, share)


def spenders_of(budget: Mapping[str, Any]) -> dict[str, int]:
    """Spender -> calls that it has used, most first."""
    calls = {name.removeprefix(_SPENDER): number for name, number in budget.items() if name.startswith(_SPENDER)}
    return dict(sorted(calls.items(), key=lambda item: (-item[1], item[0])))


def outcomes_of(polled: Mapping[str, Any]) -> dict[str, int]:
    """Outcome -> number of records of a polling round."""
    return {name: number for name, number in polled.items() if name not in _OF_ROUND}


def state_of_test(test: Mapping[str, Any]) -> tuple[str, str]:
    """A test in a word, and the kind of its badge."""
    if test["ok"] is None:
        return test["state"], "warn"
    return ("passed", "good") if test["ok"] else ("failed", "bad")
