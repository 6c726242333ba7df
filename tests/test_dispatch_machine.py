"""Any order of publishing, failing, dying, receipts, replays and waiting: nothing is lost, nothing stays behind."""

from __future__ import annotations

from typing import Any

import fakeredis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bridge import keys
from bridge.config import Receipts, RetryPolicy, Subscription
from bridge.deliveries import Deliveries
from bridge.errors import DeliveryFailed
from tests.dispatch_kit import Receiver, at, even, lane, publish
from workers.lane import CRASH_POINTS, Lane
from workers.schedule import Limits
from workers.transports.contract import Outcome, Outgoing

FAILURES = {
    "refuse": DeliveryFailed("receiver answered 500", reason="receiver_error"),
    "never": DeliveryFailed("no", reason="refused", permanent=True),
    "down": DeliveryFailed("broker down", reason="broker_unavailable", charged=False),
    "gone": DeliveryFailed("receiver answered 410", reason="gone", charged=False),
}
NAME = "crm"


class Killed(BaseException):
    """The end of a process."""


class Dispatching(RuleBasedStateMachine):
    """Two processes over one journal; each may be killed at any point and is then replaced by a new one."""

    @initialize(receipts=st.booleans())
    def begin(self, receipts: bool) -> None:
        self.state = fakeredis.FakeRedis(version=(7, 0))
        self.deliveries = Deliveries(self.state)
        self.subscription = Subscription(
            name=NAME,
            transport="celery",
            retry=RetryPolicy(schedule=(5.0, 50.0)),
            receipts=Receipts(required=receipts, within=60.0),
        )
        self.moment, self.published, self.lives = 1000.0, 0, 0
        self.ids: set[str] = set()
        self.effects: list[str] = []
        self.mood: list[str] = []
        self.crash_at = ""
        self.processes: list[Lane] = []
        self.alive: set[str] = set()
        for _ in range(2):
            self.processes.append(self.new_process())

    def new_process(self) -> Lane:
        self.lives += 1
        name = f"life-{self.lives}"
        self.alive.add(name)
        one = lane(
            self.state,
            Receiver(self.answer, batch=4),
            subscription=self.subscription,
            consumer=name,
            limits=Limits(open_after=5, poison_after=1000),
            crash=self.crash,
        )
        one.name = name  # type: ignore[attr-defined]
        return one

    def answer(self, sent: Outgoing) -> Outcome:
        mood = self.mood.pop() if self.mood else "take"
        if mood == "lost":
            # Taken, and the answer did not arrive.
            self.effects.append(sent.id)
            return FAILURES["down"]
        if mood != "take":
            return FAILURES[mood]
        self.effects.append(sent.id)
        if self.subscription.receipts.required:
            self.deliveries.receipt(NAME, sent.id)
        return None

    def crash(self, point: str) -> None:
        if point == self.crash_at:
            self.crash_at = ""
            raise Killed

    @rule(number=st.integers(1, 6))
    def news(self, number: int) -> None:
        self.ids.update(publish(self.state, *range(self.published, self.published + number)))
        self.published += number

    @rule(moods=st.lists(st.sampled_from([*FAILURES, "lost", "take"]), max_size=8))
    def the_receiver_will(self, moods: list[str]) -> None:
        self.mood = moods

    @rule(point=st.sampled_from(CRASH_POINTS))
    def the_next_process_dies_at(self, point: str) -> None:
        self.crash_at = point

    @rule(which=st.integers(0, 1))
    def work(self, which: int) -> None:
        try:
            self.processes[which].step(at(self.moment), even)
            self.processes[which].adopt(self.alive.__contains__)
        except Killed:
            self.alive.discard(self.processes[which].name)  # type: ignore[attr-defined]
            self.processes[which] = self.new_process()

    @rule(seconds=st.sampled_from([1.0, 10.0, 100.0, 1000.0]))
    def time_passes(self, seconds: float) -> None:
        self.moment += seconds

    @rule()
    def an_operator_replays_and_resumes(self) -> None:
        self.deliveries.resume(NAME)
        self.deliveries.replay_all(NAME, now=self.moment)

    @invariant()
    def every_event_is_somewhere(self) -> None:
        unread: Any = self.state.xinfo_groups(keys.journal(0)) if self.state.exists(keys.journal(0)) else []
        last = unread[0]["last-delivered-id"] if unread else b"0-0"
        ahead = {fields[b"id"].decode() for _, fields in self.state.xrange(keys.journal(0), min=b"(" + last)}
        held = set()
        if unread:
            rows: Any = self.state.xpending_range(keys.journal(0), keys.group(NAME), min="-", max="+", count=9999)
            for row in rows:
                ((_, fields),) = self.state.xrange(keys.journal(0), row["message_id"], row["message_id"])
                held.add(fields[b"id"].decode())
        waiting = {one.id for one in self.deliveries.under_way(NAME, limit=9999)}
        dead = {one.delivery.id for one in self.deliveries.dead_letters(NAME, limit=None)}
        assert self.ids == ahead | held | waiting | dead | set(self.effects)
        scheduled = {name.decode() for name in self.state.zrange(keys.retry(NAME), 0, -1)}  # type: ignore[union-attr]
        assert scheduled == {name.decode() for name in self.state.hkeys(keys.deliveries(NAME))}  # type: ignore[union-attr]

    def teardown(self) -> None:
        """After quiet time everything has had its effect and nothing stays behind."""
        if not hasattr(self, "state"):
            return
        self.mood, self.crash_at = [], ""
        for _ in range(60):
            self.deliveries.resume(NAME)
            self.deliveries.replay_all(NAME, now=self.moment)
            for which in range(2):
                self.work(which)
            self.moment += 200.0
        found = self.deliveries.state(NAME, now=self.moment)
        assert (found.pending, found.retrying, found.dead_letters) == (0, 0, 0)
        assert set(self.effects) == self.ids
        assert self.state.hlen(keys.claims(NAME)) == 0
        self.state.close()


Dispatching.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
test_nothing_is_lost_whatever_happens = Dispatching.TestCase
