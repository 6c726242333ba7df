"""Whether everything that happened at the vendor is in the journal once, as it is, and reached everybody. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from bridge.journal import StoredEvent
from bridge.vendors.classmarker.simulator import Expected
from schemas.event import COMPLETED

__all__ = ["by_attempt", "problems"]


def by_attempt(events: Iterable[StoredEvent], attempts: Collection[str]) -> dict[str, list[StoredEvent]]:
    """The events of `attempts`, each attempt's in the order given; every attempt has a list."""
    found: dict[str, list[StoredEvent]] = {attempt: [] for attempt in attempts}
    for event in events:
        if event.attempt in found:
            found[event.attempt].append(event)
    return found


def problems(
    truth: Mapping[str, Expected],
    events: Iterable[StoredEvent],
    received: Mapping[str, Collection[str]],
) -> list[str]:
    """One line per attempt with something wrong, naming it and what is missing; empty: all is well.

    `truth`: what the vendor knows, by attempt id. `events`: the journal, oldest first. `received`: subscriber ->
    ids of the events it printed.
    """
    lines = []
    for attempt, history in by_attempt(events, truth).items():
        wrong = list(_wrong_in_journal(truth[attempt], history))
        for subscriber, ids in received.items():
            missing = [event.type for event in history if event.id not in ids]
            wrong += [f"{subscriber} did not get {', '.join(missing)}"] if missing else []
        if wrong:
            lines.append(f"{attempt}: {'; '.join(wrong)}")
    return lines


def _wrong_in_journal(truth: Expected, history: list[StoredEvent]) -> Iterable[str]:
    completed = sum(event.type == COMPLETED for event in history)
    if completed != 1:
        yield f"{completed} {COMPLETED} in the journal instead of 1"
        return
    data: dict[str, Any] = json.loads(history[-1].event)["data"]
    result = data["result"]
    if result["percentage"] not in (None, truth.percentage):
        yield f"the last event says {result['percentage']} %, the vendor {truth.percentage} %"
    if (result["grading"] == "provisional") != truth.needs_grading:
        yield f"the last event says grading {result['grading']}, the vendor the opposite"
