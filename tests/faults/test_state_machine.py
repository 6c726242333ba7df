"""Journal and dispatch under a random scheduler: replies get lost, processes die between any two side effects.

Then the same machine against code that is broken on purpose: a machine that lets a mutant pass proves nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import fakeredis
import pytest
import redis
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from bridge import keys
from bridge.config import RetryPolicy, Subscription
from bridge.errors import DeliveryFailed, StateUnavailable
from bridge.journal import POLL, WEBHOOK, Entry, Journal, Submission, publishing
from bridge.journal.reading import Reader
from schemas.event import event_id
from tests.dispatch_kit import Receiver
from workers import lane as lane_module
from workers.lane import CRASH_POINTS, Lane
from workers.schedule import Limits
from workers.transports.contract import Outcome, Outgoing

SOURCE, NAME = "eu", "crm"
SUBSCRIPTION = Subscription(name=NAME, transport="http", retry=RetryPolicy(schedule=(5.0,), jitter=0.2))
LIMITS = Limits(lease=30.0, open_after=10_000, poison_after=10_000)

attempts = st.integers(0, 4)
versions = st.integers(0, 3)


class Killed(BaseException):
    """Stands for `kill -9`: nothing may catch it."""


def submission(attempt: int, version: int, origin: str) -> Submission:
    name = f"link:{attempt}"

    def build(revision: int, previous: Mapping[str, Any] | None) -> tuple[str, str, bytes]:
        kind = "attempt.completed" if revision == 1 else "attempt.revised"
        body = {"attempt": {"id": name, "revision": revision}, "result": {"score": version, "previous": previous}}
        return kind, event_id(SOURCE, name, kind, revision), json.dumps({"data": body}).encode()

    digest = version.to_bytes(6, "big")
    return Submission(source=SOURCE, attempt_id=name, digest=digest, order=version, origin=origin, build=build)


class Bridge(RuleBasedStateMachine):
    """`acked`: what a vendor was told is stored. `effects`: what the receiver was handed, event id by times."""

    state: redis.Redis

    def __init__(self) -> None:
        super().__init__()
        self.state = fakeredis.FakeRedis(version=(7, 0))
        self.journal = Journal(self.state)
        self.acked: set[tuple[str, int]] = set()
        self.effects: Counter[str] = Counter()
        self.now = 1_800_000_000.0
        self.born, self.crash_at, self.answer = 0, "", "ok"
        self.receiver = Receiver(self._take, batch=3)
        self.lane = self._new_lane()

    # --- the world outside

    def _take(self, sent: Outgoing) -> Outcome:
        if self.answer == "refused":
            return DeliveryFailed("receiver answered 500", reason="receiver_error")
        if self.answer == "broker down":
            return DeliveryFailed("broker is down", reason="broker_unavailable", charged=False)
        self.effects[sent.id] += 1
        return None

    def _crash(self, point: str) -> None:
        if point == self.crash_at:
            self.crash_at = ""
            raise Killed(point)

    def _new_lane(self) -> Lane:
        self.born += 1
        return Lane(
            SUBSCRIPTION,
            0,
            transport=self.receiver,
            state=self.state,
            reader=self.state,
            consumer=f"dispatch-{self.born}",
            limits=LIMITS,
            crash=self._crash,
        )

    def _step(self) -> float:
        """One step of the dispatch process; if it dies, another one takes over."""
        try:
            return self.lane.step(lambda: self.now, lambda: 0.5)
        except Killed:
            self.lane = self._new_lane()
            self.lane.step(lambda: self.now, lambda: 0.5)
            self.lane.adopt(lambda name: False)
            return 0.0

    # --- what may happen

    @rule(
        news=st.lists(st.tuples(attempts, versions), min_size=1, max_size=4),
        origin=st.sampled_from([WEBHOOK, POLL]),
        reply=st.sampled_from(["arrives", "arrives", "lost", "lost and repeated"]),
    )
    def publish(self, news: Sequence[tuple[int, int]], origin: str, reply: str) -> None:
        entry = Entry(submissions=tuple(submission(attempt, version, origin) for attempt, version in news))
        if reply != "arrives":
            self.journal.publish(entry, now=self.now)
        if reply != "lost":
            self.journal.publish(entry, now=self.now)
            self.acked |= {(f"link:{attempt}", version) for attempt, version in news}

    @rule(attempt=attempts, version=versions)
    def publish_while_the_append_fails(self, attempt: int, version: int) -> None:
        stream = keys.journal(0)
        self.state.rename(stream, "aside") if self.state.exists(stream) else None
        self.state.set(stream, "of the wrong type")
        failed = False
        try:
            self.journal.publish(Entry(submissions=(submission(attempt, version, POLL),)), now=self.now)
        except StateUnavailable:
            failed = True
        self.state.delete(stream)
        self.state.rename("aside", stream) if self.state.exists("aside") else None
        if not failed:
            self.acked.add((f"link:{attempt}", version))

    @rule(answer=st.sampled_from(["ok", "ok", "refused", "broker down"]))
    def receiver_answers(self, answer: str) -> None:
        self.answer = answer

    @rule(point=st.sampled_from(CRASH_POINTS))
    def dispatch_will_die_at(self, point: str) -> None:
        self.crash_at = point

    @rule(steps=st.integers(1, 3))
    def dispatch(self, steps: int) -> None:
        for _ in range(steps):
            self._step()

    @rule()
    def dispatch_loses_the_reply_of_its_read(self) -> None:
        # The entries are pending for us and we never saw them.
        self._step()
        self.state.xreadgroup(keys.group(NAME), f"dispatch-{self.born}", {keys.journal(0): ">"}, count=2)
        self.lane.recover()

    @rule(seconds=st.sampled_from([1.0, 6.0, 31.0, 90.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    # --- what must hold

    @invariant()
    def every_attempt_is_completed_once_and_every_id_is_unique(self) -> None:
        events = list(Reader(self.state).events(newest_first=False))
        completed = Counter(event.attempt for event in events if event.type == "attempt.completed")
        assert all(times == 1 for times in completed.values()), completed
        assert len({event.id for event in events}) == len(events)
        revisions: dict[str, int] = {}
        for event in events:
            assert json.loads(event.event)["data"]["attempt"]["revision"] == revisions.get(event.attempt, 0) + 1
            revisions[event.attempt] = revisions.get(event.attempt, 0) + 1

    @invariant()
    def what_was_acknowledged_is_in_the_journal_or_older_than_what_is(self) -> None:
        newest: dict[str, int] = {}
        for event in Reader(self.state).events(newest_first=False):
            score = json.loads(event.event)["data"]["result"]["score"]
            newest[event.attempt] = max(score, newest.get(event.attempt, -1))
        for attempt, version in self.acked:
            assert newest.get(attempt, -1) >= version, (attempt, version)

    def teardown(self) -> None:
        """After quiet time everything published has reached the receiver or is a dead letter."""
        self.answer, self.crash_at = "ok", ""
        for _ in range(200):
            if self._step() > 0:
                self.now += 61.0
            if not self._unsettled():
                break
        assert not self._unsettled()
        published = {event.id for event in Reader(self.state).events()}
        letters = {fields[b"id"].decode() for _, fields in self.state.xrange(keys.dead(NAME))}
        assert published <= set(self.effects) | letters, published - set(self.effects) - letters

    def _unsettled(self) -> int:
        if not self.state.exists(keys.journal(0)):
            return 0
        groups = self.state.xinfo_groups(keys.journal(0))
        if not groups:
            return 1
        unread = len(self.state.xrange(keys.journal(0), min=f"({groups[0]['last-delivered-id'].decode()}"))
        return unread + groups[0]["pending"] + self.state.zcard(keys.retry(NAME))


QUICK = settings(
    max_examples=150,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
#: Only whether a mutant is found matters, not the smallest way to it.
HUNT = settings(QUICK, max_examples=400, phases=(Phase.generate,), verbosity=Verbosity.quiet, print_blob=False)


def test_nothing_is_lost_or_doubled_whatever_dies_when() -> None:
    run_state_machine_as_test(Bridge, settings=QUICK)


def mutate_publish(monkeypatch: pytest.MonkeyPatch, old: str, new: str) -> None:
    assert old in publishing._SCRIPT, "the mutant no longer fits the script"
    monkeypatch.setattr(publishing, "_SCRIPT", publishing._SCRIPT.replace(old, new))


def mutate_script(monkeypatch: pytest.MonkeyPatch, script: str, old: str, new: str) -> None:
    original = lane_module._read_script

    def read(name: str) -> str:
        text = original(name)
        if name != script:
            return text
        assert old in text, "the mutant no longer fits the script"
        return text.replace(old, new)

    monkeypatch.setattr(lane_module, "_read_script", read)


def remembers_before_it_appends(patch: pytest.MonkeyPatch) -> None:
    mutate_publish(
        patch,
        "      id = append()\n      local flags",
        "      call('HSET', bucket, field, char(1, 0, 0, 0, 1) .. order .. pack_id('1-1') .. digest)\n"
        "      id = append()\n      local flags",
    )


def forgets_what_it_published(patch: pytest.MonkeyPatch) -> None:
    mutate_publish(patch, "local value = call('HGET', bucket, field)", "local value = false")


def drops_later_results(patch: pytest.MonkeyPatch) -> None:
    mutate_publish(patch, "      outcome = 'revise'\n", "      outcome = 'duplicate'\n")


def ignores_the_expected_revision(patch: pytest.MonkeyPatch) -> None:
    mutate_publish(patch, "elseif expected == revision then", "elseif true then")


def acknowledges_before_it_sends(patch: pytest.MonkeyPatch) -> None:
    original = Lane._send

    def send(self: Lane, items: Any, now: float) -> list[Outcome]:
        for item in items:
            if item.entry:
                self._reader.xack(self._journal, self._group, item.entry)
        self._crash("read")
        return original(self, items, now)

    patch.setattr(Lane, "_send", send)


def acknowledges_a_failure_without_scheduling_it(patch: pytest.MonkeyPatch) -> None:
    mutate_script(patch, "settle", "      schedule(id, ARGV[at], ARGV[at + 1])\n", "")


def reads_on_before_it_drains_its_own(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lane, "_drain", lambda self, now, limit: [])


def leaves_the_entries_of_the_dead(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lane, "adopt", lambda self, alive: 0)


def gives_up_without_a_dead_letter(patch: pytest.MonkeyPatch) -> None:
    mutate_script(patch, "settle", "redis.call('XADD', dead, '*', unpack(ARGV, at + 1, at + size))", "local _")


def takes_a_retry_out_before_it_is_sent(patch: pytest.MonkeyPatch) -> None:
    mutate_script(patch, "claim_due", "redis.call('ZADD', retry, claim, id)", "redis.call('ZREM', retry, id)")


MUTANTS: list[Callable[[pytest.MonkeyPatch], None]] = [
    remembers_before_it_appends,
    forgets_what_it_published,
    drops_later_results,
    ignores_the_expected_revision,
    acknowledges_before_it_sends,
    acknowledges_a_failure_without_scheduling_it,
    reads_on_before_it_drains_its_own,
    leaves_the_entries_of_the_dead,
    gives_up_without_a_dead_letter,
    takes_a_retry_out_before_it_is_sent,
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_code_that_is_broken_on_purpose_is_caught(
    mutant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutant(monkeypatch)
    with pytest.raises((AssertionError, BaseExceptionGroup)):
        run_state_machine_as_test(Bridge, settings=HUNT)
