"""What the tests of dispatch share: journal entries, a transport that does as it is told, a lane."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import redis

from bridge.config.model import Subscription
from bridge.errors import DeliveryFailed
from bridge.state import keys
from schemas.event import event_id
from workers.dispatch.lane import Lane
from workers.dispatch.schedule import Limits
from workers.transports.contract import Outcome, Outgoing

SOURCE = "eu-classmarker"
Verdict = Callable[[Outgoing], Outcome]


def event(
    number: int, *, kind: str = "attempt.completed", source: str = SOURCE, passed: bool | None = True
) -> dict[str, Any]:
    """An event as far as dispatch looks at it."""
    path = f"/acme/sources/{source}"
    return {
        "specversion": "1.0",
        "id": event_id(path, f"a{number}", kind, 1),
        "source": path,
        "type": kind,
        "subject": f"a{number}",
        "data": {
            "attempt": {"id": f"a{number}", "revision": 1, "status": "completed"},
            "candidate": {"id": "c", "external_id": "E", "email": "sam@example.test", "name": "Zoë Reyes"},
            "result": {"score": 21.0, "passed": passed},
            "links": {"report": "https://example.test/r", "certificate": None, "request": None},
        },
    }


def publish(state: redis.Redis, *numbers: int, partition: int = 0, **members: Any) -> list[str]:
    """Append events to the journal; their ids."""
    ids = []
    for number in numbers:
        made = event(number, **members)
        fields = {"id": made["id"], "type": made["type"], "source": members.get("source", SOURCE)}
        text = json.dumps(made, ensure_ascii=False, separators=(",", ":"))
        state.xadd(keys.journal(partition), {**fields, "attempt": f"a{number}", "event": text})
        ids.append(made["id"])
    return ids


class Receiver:
    """A transport that notes what it gets. `answer` decides each outcome: None, or a failure."""

    def __init__(self, answer: Verdict | None = None, *, batch: int = 8) -> None:
        self.batch = batch
        self.answer: Verdict = answer or (lambda sent: None)
        self.got: list[Outgoing] = []
        self.batches: list[int] = []

    def send(self, events: Sequence[Outgoing], *, now: float) -> list[Outcome]:
        self.batches.append(len(events))
        self.got += events
        return [self.answer(one) for one in events]

    def close(self) -> None:
        self.got.clear()

    @property
    def ids(self) -> list[str]:
        return [one.id for one in self.got]


def refuse(_: Outgoing) -> Outcome:
    return DeliveryFailed("receiver answered 500", reason="receiver_error")


def lane(
    state: redis.Redis,
    transport: Any,
    *,
    subscription: Subscription | None = None,
    consumer: str = "one",
    limits: Limits | None = None,
    crash: Callable[[str], None] = lambda point: None,
) -> Lane:
    return Lane(
        subscription or Subscription(name="crm", transport="http"),
        0,
        transport=transport,
        state=state,
        reader=state,
        consumer=consumer,
        limits=limits or Limits(),
        crash=crash,
    )


def at(moment: float) -> Callable[[], float]:
    return lambda: moment


def even() -> float:
    """A draw that leaves every time where the schedule puts it."""
    return 0.5


def run_dry(one: Lane, moment: float, *, steps: int = 100) -> int:
    """Step until nothing is left to do at `moment`; the number of steps."""
    for count in range(1, steps + 1):
        if one.step(at(moment), even) > 0:
            return count
    raise AssertionError(f"still busy after {steps} steps")
