"""Whether everything that happened at the vendor is in the journal once, as it is, and reached everybody. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from itertools import pairwise
from typing import Any

from bridge.journal import StoredEvent
from bridge.sdk.simulator import ExpectedAttempt
from schemas.event import COMPLETED, REVISED, VOIDED

__all__ = ["Name", "by_attempt", "problems"]

#: Source and attempt id.
Name = tuple[str, str]
_OF_ATTEMPTS = (COMPLETED, REVISED, VOIDED)


def by_attempt(events: Iterable[StoredEvent], attempts: Collection[Name]) -> dict[Name, list[StoredEvent]]:
    """The events of `attempts`, each attempt's in the order given; every attempt has a list."""
    found: dict[Name, list[StoredEvent]] = {attempt: [] for attempt in attempts}
    for event in events:
        if event.type in _OF_ATTEMPTS:
            found.setdefault((event.source, event.attempt), []).append(event)
    return found


def problems(
    truth: Mapping[Name, ExpectedAttempt],
    events: Iterable[StoredEvent],
    received: Mapping[str, Collection[str]],
) -> list[str]:
    """One line per attempt with something wrong, naming it and what is missing; empty: all is well.

    `truth`: what the vendors know. `events`: the journal since this run began, oldest first. `received`: subscriber
    -> ids of the events it printed.
    """
    lines = []
    for name, history in by_attempt(events, truth).items():
        if name not in truth:
            lines.append(f"{name[0]} {name[1]}: is in the journal, but never happened")
            continue
        wrong = list(_wrong_in_journal(truth[name], history))
        for subscriber, ids in received.items():
            missing = [event.type for event in history if event.id not in ids]
            wrong += [f"{subscriber} did not get {', '.join(missing)}"] if missing else []
        if wrong:
            lines.append(f"{name[0]} {name[1]}: {'; '.join(wrong)}")
    return lines


def _wrong_in_journal(truth: ExpectedAttempt, history: list[StoredEvent]) -> Iterable[str]:
    if truth.voided and not history:
        return  # void before anybody was told of it
    first = sum(event.type != REVISED for event in history)
    if first != 1:
        yield f"{first} {COMPLETED} in the journal instead of 1"
        return
    stories = [json.loads(event.event)["data"] for event in history]
    if any(_news(old) == _news(new) for old, new in pairwise(stories)):
        yield f"{REVISED} although nothing changed"
    data: dict[str, Any] = stories[-1]
    result = data["result"]
    if result["percentage"] not in (None, truth.percentage):
        yield f"the last event says {result['percentage']} %, the vendor {truth.percentage} %"
    if (data["attempt"]["status"] == "voided") != truth.voided:
        yield f"the last event says {data['attempt']['status']}, the vendor the opposite"
    if (result["grading"] in ("provisional", "pending")) != truth.needs_grading:
        yield f"the last event says grading {result['grading']}, the vendor the opposite"


def _news(data: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a revision must have changed some of."""
    result = {name: value for name, value in data["result"].items() if name != "previous"}
    attempt = data["attempt"]
    others = [data.get(name) for name in ("sections", "flags", "vendor")]
    return attempt["status"], attempt.get("completed_at"), result, *others
