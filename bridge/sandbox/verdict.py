"""Checks that every attempt is in the journal exactly once, correctly, and reached every subscriber. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from itertools import pairwise
from typing import Any

from bridge.journal import StoredEvent
from bridge.sdk.simulator import ExpectedAttempt
from schemas.event import COMPLETED, REVISED, VOIDED

__all__ = ["Name", "by_attempt", "problems"]

#: Source and id of an attempt.
Name = tuple[str, str]
_OF_ATTEMPTS = (COMPLETED, REVISED, VOIDED)


def by_attempt(events: Iterable[StoredEvent], attempts: Collection[Name]) -> dict[Name, list[StoredEvent]]:
    """Attempt -> its events, in the given order; every attempt has a list, even an empty one."""
    events_of: dict[Name, list[StoredEvent]] = {attempt: [] for attempt in attempts}
    for event in events:
        if event.type in _OF_ATTEMPTS:
            events_of.setdefault((event.source, event.attempt), []).append(event)
    return events_of


def problems(
    truth: Mapping[Name, ExpectedAttempt],
    events: Iterable[StoredEvent],
    received: Mapping[str, Collection[str]],
) -> list[str]:
    """One line per attempt with a problem; empty if there is none.

    `truth`: the attempts of the vendors. `events`: the journal since the start of the run, oldest first. `received`:
    subscriber -> ids of the events it received.
    """
    lines = []
    for name, history in by_attempt(events, truth).items():
        if name not in truth:
            lines.append(f"{name[0]} {name[1]}: is in the journal, but not at the vendor")
            continue
        faults = list(_journal_faults(truth[name], history))
        for subscriber, ids in received.items():
            missing = [event.type for event in history if event.id not in ids]
            faults += [f"{subscriber} did not get {', '.join(missing)}"] if missing else []
        if faults:
            lines.append(f"{name[0]} {name[1]}: {'; '.join(faults)}")
    return lines


def _journal_faults(truth: ExpectedAttempt, history: list[StoredEvent]) -> Iterable[str]:
    if truth.voided and not history:
        return  # voided before it was published
    first = sum(event.type != REVISED for event in history)
    if first != 1:
        yield f"{first} {COMPLETED} in the journal instead of 1"
        return
    documents = [json.loads(event.event)["data"] for event in history]
    if any(_content(old) == _content(new) for old, new in pairwise(documents)):
        yield f"{REVISED} although nothing changed"
    data: dict[str, Any] = documents[-1]
    result = data["result"]
    if result["percentage"] not in (None, truth.percentage):
        yield f"the last event says {result['percentage']} %, the vendor {truth.percentage} %"
    if (data["attempt"]["status"] == "voided") != truth.voided:
        yield _opposite(data["attempt"]["status"], "voided", truth.voided)
    if (result["grading"] in ("provisional", "pending")) != truth.needs_grading:
        yield _opposite(f"grading {result['grading']}", "needs_grading", truth.needs_grading)


def _opposite(said: str, member: str, value: bool) -> str:
    remedy = "Remedy: correct `expected()` of the simulator, or `normalise`"
    return f"the last event says {said}, the simulator's `expected()` {member}={value}. {remedy}"


def _content(data: Mapping[str, Any]) -> tuple[Any, ...]:
    """The parts of an event's data; a revision must change at least one of them."""
    result = {name: value for name, value in data["result"].items() if name != "previous"}
    attempt = data["attempt"]
    others = [data.get(name) for name in ("sections", "flags", "vendor")]
    return attempt["status"], attempt.get("completed_at"), result, *others
