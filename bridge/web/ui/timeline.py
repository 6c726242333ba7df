"""One attempt's life on one line: what the API knows about it, in the order in which it happened. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from bridge.web.ui.differences import Difference, event_differences

__all__ = ["MOST_DELIVERIES", "Entry", "Revision", "revisions", "timeline"]

#: Deliveries of one event that are shown: those that have not succeeded first.
MOST_DELIVERIES = 20
_SUCCEEDED = "delivered"
_ZERO, _MILLISECOND = timedelta(0), timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened, or is due. `at`: ISO 8601 UTC.

    `kind`: `request`, `event`, `delivery`, `deliveries` (those that are not shown), `watch`, `recheck` or `deadline`.
    """

    at: str
    kind: str
    row: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Revision:
    """A revision and what it has changed. `before`: the number of the revision that it is compared with."""

    number: int
    before: int
    event: Mapping[str, Any]
    differences: Sequence[Difference]


def timeline(
    details: Mapping[str, Any], requests: Iterable[Mapping[str, Any]], events: Iterable[Mapping[str, Any]]
) -> list[Entry]:
    """Everything, oldest first. `requests`, `events`: those found by searching, besides those of `details`."""
    webhooks = {(row["id"], row["received_at"]): row for row in (*requests, *details["requests"])}
    known = {row["id"] for row in details["events"]}
    entries = [Entry(row["received_at"], "request", row) for row in webhooks.values()]
    entries += [Entry(row["recorded_at"], "event", row) for row in events if row["id"] not in known]
    for row in details["events"]:
        at = _after_its_webhook(row["event"].get("recordedtime", row["recorded_at"]), webhooks.values())
        entries.append(Entry(at, "event", row))
        entries += _deliveries(row, at)
    entries += _watch(details["watch"])
    # At the same moment: the webhook first, then its event, then the deliveries.
    order = {"watch": 0, "request": 1, "event": 2}
    return sorted(entries, key=lambda entry: (entry.at, order.get(entry.kind, 3)))


def _after_its_webhook(recorded: str, webhooks: Iterable[Mapping[str, Any]]) -> str:
    """When an event was recorded, not before its webhook: a webhook's time is rounded, an event's is truncated."""
    moment = datetime.fromisoformat(recorded)
    rounded = (row["received_at"] for row in webhooks)
    return max((at for at in rounded if _ZERO <= datetime.fromisoformat(at) - moment <= _MILLISECOND), default=recorded)


def _deliveries(event: Mapping[str, Any], recorded: str) -> list[Entry]:
    rows = sorted(event["deliveries"] or (), key=lambda row: row["state"] == _SUCCEEDED)
    # The clock of a dispatch process may be behind.
    entries = [Entry(max(recorded, _began(row, event)), "delivery", row) for row in rows[:MOST_DELIVERIES]]
    if len(rows) > MOST_DELIVERIES or event["deliveries"] is None:
        more = {"event": event["id"], "number": len(rows) - MOST_DELIVERIES if rows else None}
        entries.append(Entry(recorded, "deliveries", more))
    return entries


def _began(row: Mapping[str, Any], event: Mapping[str, Any]) -> str:
    """When its first try began, as far as that is kept."""
    began: str = row["log"][0]["at"] if row["log"] else row["at"] or event["recorded_at"]
    return began


def _watch(watch: Mapping[str, Any] | None) -> list[Entry]:
    if watch is None:
        return []
    moments = {"watch": watch["opened_at"], "recheck": watch["next_look"], "deadline": watch["deadline"]}
    return [Entry(at, kind, watch) for kind, at in moments.items() if at is not None]


def revisions(details: Mapping[str, Any]) -> list[Revision]:
    """The revisions that replace another one, newest first; only the result is compared of what is no longer there."""
    revisions: list[Revision] = []
    earlier: Mapping[str, Any] | None = None
    for row in details["events"]:
        data, number = row["event"].get("data", {}), row["revision"]
        if number is None:
            continue
        if earlier is not None and earlier["revision"] == number - 1:
            changed = event_differences(earlier["event"]["data"], data)
        else:
            previous = data.get("result", {}).get("previous")
            changed = [] if previous is None else event_differences({"result": previous}, {"result": data["result"]})
        if number > 1:
            revisions.append(Revision(number, number - 1, row, changed))
        earlier = row
    return revisions[::-1]
