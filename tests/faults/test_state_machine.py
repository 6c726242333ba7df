"""Journal and dispatch under a random scheduler: replies get lost, processes die or fall asleep between any two of
their side effects, receivers refuse or hang, receipts stay away, operators replay, retention trims. Lanes that send in
batches and lanes with a window share the examples.

Then the same machine against code that is broken on purpose: a machine that lets a mutant pass proves nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
import redis
from hypothesis import HealthCheck, Phase, Verbosity, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bridge.config.model import BridgeConfig, Receipts, RetryPolicy, Subscription
from bridge.config.model import Retention as RetentionConfig
from bridge.delivery.store import Deliveries
from bridge.errors import DeliveryFailed, StateUnavailable
from bridge.journal import POLL, WEBHOOK, Entry, Journal, StoredEvent, Submission
from bridge.journal.reading import Reader
from bridge.journal.retention import Retention
from bridge.state import keys, scripts
from schemas.event import event_id
from tests.support.dispatch import HELD, Receiver, WindowReceiver, at, even, lane, replay_all, scheduled
from workers.dispatch.lane import CRASH_POINTS, Lane
from workers.dispatch.reading import Batch, DeliveryReader
from workers.dispatch.schedule import Limits
from workers.dispatch.window import Slot, Window
from workers.dispatch.window_lane import WINDOW_CRASH_POINTS, WindowLane
from workers.transports.contract import Outcome, Outgoing, Try

#: A failure is made small before it is reported.
pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[2]
SOURCE, NAME = "eu", "crm"
LIMITS = Limits(lease=180.0, open_after=5, poison_after=10_000)
#: Later than any entry of a stream, whose ids the server takes from its own clock.
NEVER = 9e9
TRIM_ALL = BridgeConfig(
    name="acme",
    public_url="https://bridge.example.test",
    remember_attempts=NEVER,
    retention=RetentionConfig(events=1.0, requests=NEVER, dead_letters=NEVER),
)

FAILURES = {
    "refuse": DeliveryFailed("receiver answered 500", reason="receiver_error"),
    "never": DeliveryFailed("no", reason="refused", permanent=True),
    "down": DeliveryFailed("broker down", reason="broker_unavailable", charged=False),
    "gone": DeliveryFailed("receiver answered 410", reason="gone", charged=False),
}
#: `lost`: taken, and the answer did not arrive. `silent`: taken, and no receipt comes. `dropped`: handed over, and a
#: worker that dies loses it. `hang`: no answer yet, where a window waits for it.
MOODS = [*FAILURES, "lost", "silent", "dropped", "hang", "hang", "take"]
FATES = ("lives", "dies", "sleeps")
#: What brings a process to a point that it does not pass on every way.
LEADS_TO = {"judged": ["refuse"], "parked": ["down"], "recalled": ["gone"]}
#: Lanes by whether they have a window, and the points of either.
POINTS = {False: CRASH_POINTS, True: WINDOW_CRASH_POINTS}
ALL_POINTS = tuple(dict.fromkeys((*CRASH_POINTS, *WINDOW_CRASH_POINTS)))

attempts = st.integers(0, 4)
versions = st.integers(0, 3)
points = st.sampled_from(ALL_POINTS)


@pytest.fixture(autouse=True)
def _real_server(empty_state: Callable[[], redis.Redis], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Bridge, "connect", staticmethod(empty_state), raising=False)


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


class Process:
    """A dispatch process with one lane; `name` is its consumer in the group."""

    def __init__(self, bridge: Bridge, name: str) -> None:
        self.name = name
        #: Revision of each attempt that it sent last.
        self.sent: dict[str, int] = {}
        answer = partial(bridge.answer, self)
        self.receiver = WindowReceiver(answer, concurrency=2) if bridge.window else Receiver(answer, batch=4)
        self.lane: Lane = lane(
            bridge.state,
            self.receiver,
            subscription=bridge.subscription,
            consumer=name,
            limits=LIMITS,
            crash=lambda point: bridge.reached(point, self),
        )


class Bridge(RuleBasedStateMachine):
    """A journal and two dispatch processes. `acked`: what a vendor was told is stored. `effects`: what the receiver
    was handed, event id by times. `trimmed`: events that retention has removed. `unsent`: those of them
    that were never sent, because the subscription was disabled. `excused`: events that may be sent twice, or out
    of order: a try failed, or a process that had them died or fell asleep."""

    #: Gives an empty state server.
    connect: ClassVar[Callable[[], redis.Redis]]
    #: Over all examples: what really happened.
    happened: ClassVar[Counter[str]] = Counter()
    #: Where processes die and fall asleep, once each at the beginning of every example; if not anywhere by chance.
    only_at: ClassVar[str] = ""

    state: redis.Redis

    @initialize(receipts=st.booleans(), window=st.booleans())
    def begin(self, receipts: bool, window: bool) -> None:
        kinds = [kind for kind, points in POINTS.items() if self.only_at in ("", *points)]
        self.window = window if len(kinds) == 2 else kinds[0]
        self.state = self.connect()
        self.journal, self.deliveries = Journal(self.state), Deliveries(self.state)
        self.subscription = Subscription(
            name=NAME,
            transport="http" if self.window else "celery",
            retry=RetryPolicy(schedule=(5.0, 50.0), jitter=0.2),
            receipts=Receipts(required=not self.window and (receipts or self.only_at == "expected"), within=60.0),
        )
        self.acked: set[tuple[str, int]] = set()
        self.effects: Counter[str] = Counter()
        self.trimmed: list[StoredEvent] = []
        self.unsent: set[str] = set()
        self.excused: set[str] = set()
        self.moods: list[str] = []
        self.crash_at, self.sleep_at = "", ""
        self.moment, self.lives = 1_800_000_000.0, 0
        self.alive: set[str] = set()
        self.processes = [self.new_process(), self.new_process()]
        self.happened["examples"] += 1
        self.happened["with a window"] += self.window
        for version, fate in enumerate(FATES[1:] if self.only_at else ()):
            # Enough for some to wait while others are sent.
            self.publish([(attempt, version) for attempt in range(4 if self.window else 1)], WEBHOOK, "arrives")
            self.dispatch(0, 4 if self.window else 1, [*LEADS_TO.get(self.only_at, [])], fate, self.only_at)
            self.deliveries.resume(NAME)

    # --- the world outside

    def new_process(self) -> Process:
        self.lives += 1
        name = f"life-{self.lives}"
        self.alive.add(name)
        return Process(self, name)

    def answer(self, process: Process, sent: Outgoing) -> Outcome:
        mood = self.moods.pop() if self.moods else "take"
        if mood == "hang" and self.window:
            self.happened["hangs"] += 1
            return HELD
        revision = json.loads(sent.body)["data"]["attempt"]["revision"]
        assert sent.id in self.excused or process.sent.get(sent.attempt, 0) < revision, "out of order"
        process.sent[sent.attempt] = revision
        assert sent.id in self.excused or not self.effects[sent.id], "sent twice"
        if mood not in ("take", "hang"):
            self.excuse({event.id for event in self.events() if event.attempt == sent.attempt})
        if mood in FAILURES:
            return FAILURES[mood]
        if mood == "dropped" and self.subscription.receipts.required:
            return None
        self.effects[sent.id] += 1
        if mood == "lost":
            return FAILURES["down"]
        if self.subscription.receipts.required and mood != "silent":
            self.deliveries.record_receipt(NAME, sent.id, now=self.moment)
        return None

    def excuse(self, ids: set[str]) -> None:
        self.excused |= ids

    def reached(self, point: str, process: Process) -> None:
        if point == self.crash_at:
            self.crash_at = ""
            self.happened[f"killed: {point}"] += 1
            self.excuse(self.held_by(process))
            raise Killed
        if point == self.sleep_at and process.name in self.alive:
            self.sleep_at = ""
            self.happened[f"slept: {point}"] += 1
            self.excuse(self.held_by(process))
            self.alive.discard(process.name)
            # The other one takes it for dead, takes over, and goes on with its work.
            other = 1 - self.processes.index(process)
            self.work(other)
            self.work(other)
            self.alive.add(process.name)

    def work(self, which: int) -> float:
        """One step of a process, and a look for the dead; if it dies, a new one is started in its place."""
        process = self.processes[which]
        if not self.moods:
            self.answer_what_hangs()
        try:
            wait = process.lane.step(at(self.moment), even)
            process.lane.adopt(self.alive.__contains__)
        except Killed:
            self.alive.discard(process.name)
            self.processes[which] = self.new_process()
            return 0.0
        return wait

    def answer_what_hangs(self) -> None:
        for process in self.processes:
            if isinstance(process.receiver, WindowReceiver):
                process.receiver.release(self.moment)

    def held_by(self, process: Process) -> set[str]:
        """The events that a process has read or claimed and not settled."""
        names = {event.entry_id: event.id for event in Reader(self.state).events()}
        pending: Any = self.state.xpending_range(
            keys.journal(0), keys.group(NAME), min="-", max="+", count=9999, consumername=process.name
        )
        claimed: Any = self.state.hkeys(keys.claims(NAME))
        held = {names.get(row["message_id"].decode(), "") for row in pending}
        return held | {name.decode() for name in claimed}

    def events(self) -> Iterator[StoredEvent]:
        """Everything ever published, oldest first."""
        yield from self.trimmed
        yield from Reader(self.state).events(newest_first=False)

    # --- what may happen

    @rule(
        normalised=st.lists(st.tuples(attempts, versions), min_size=1, max_size=4),
        origin=st.sampled_from([WEBHOOK, POLL]),
        reply=st.sampled_from(["arrives", "arrives", "lost", "lost and repeated"]),
    )
    def publish(self, normalised: Sequence[tuple[int, int]], origin: str, reply: str) -> None:
        entry = Entry(submissions=tuple(submission(attempt, version, origin) for attempt, version in normalised))
        if reply != "arrives":
            self.journal.publish(entry, now=self.moment)
            self.happened["replies lost"] += 1
        if reply != "lost":
            self.journal.publish(entry, now=self.moment)
            self.acked |= {(f"link:{attempt}", version) for attempt, version in normalised}

    @rule(attempt=attempts, version=versions)
    def publish_while_the_append_fails(self, attempt: int, version: int) -> None:
        stream = keys.journal(0)
        self.state.rename(stream, "aside") if self.state.exists(stream) else None
        self.state.set(stream, "of the wrong type")
        try:
            self.journal.publish(Entry(submissions=(submission(attempt, version, POLL),)), now=self.moment)
            self.acked.add((f"link:{attempt}", version))
        except StateUnavailable:
            self.happened["appends failed"] += 1
        self.state.delete(stream)
        self.state.rename("aside", stream) if self.state.exists("aside") else None

    @rule(
        which=st.integers(0, 1),
        steps=st.integers(1, 3),
        moods=st.lists(st.sampled_from(MOODS), max_size=8),
        fate=st.sampled_from(FATES),
        point=points,
    )
    def dispatch(self, which: int, steps: int, moods: list[str], fate: str, point: str) -> None:
        self.moods = moods
        self.crash_at = (self.only_at or point) if fate == "dies" else ""
        self.sleep_at = (self.only_at or point) if fate == "sleeps" else ""
        for _ in range(steps):
            self.work(which)

    @rule(which=st.integers(0, 1))
    def dispatch_loses_the_reply_of_its_read(self, which: int) -> None:
        # The entries are pending for it and it never saw them.
        self.crash_at = self.sleep_at = ""
        self.work(which)
        process = self.processes[which]
        self.state.xreadgroup(keys.group(NAME), process.name, {keys.journal(0): ">"}, count=2)
        process.lane.recover()

    @rule(seconds=st.sampled_from([1.0, 10.0, 100.0, 1000.0]))
    def time_passes(self, seconds: float) -> None:
        if seconds > LIMITS.lease / 2:
            # Every try ends, and is settled, long before its claim does.
            self.moods, self.crash_at, self.sleep_at = [], "", ""
            self.work(0)
            self.work(1)
        self.moment += seconds

    @rule()
    def an_operator_resumes_and_replays(self) -> None:
        self.deliveries.resume(NAME)
        self.deliveries.retry_now(NAME, now=self.moment)
        # What is sent now is given up at once; otherwise few runs would have anything to replay.
        self.crash_at = self.sleep_at = ""
        self.moods = ["never"] * 8
        self.work(0)
        self.happened["replayed"] += replay_all(self.deliveries, NAME, now=self.moment)

    @precondition(lambda self: self.state.exists(keys.journal(0)))
    @rule()
    def retention_runs(self) -> None:
        before, unsettled = list(Reader(self.state).events(newest_first=False)), self.unsettled()
        report = Retention(self.state).run(TRIM_ALL, now=NEVER, subscriptions=[NAME])
        left = {event.entry_id for event in Reader(self.state).events()}
        gone = [event for event in before if event.entry_id not in left]
        # Only a disabled subscription loses events, and each of them is counted.
        unsent = unsettled & {event.id for event in gone}
        assert report.unsent.get(NAME, 0) == len(unsent)
        self.unsent |= unsent
        self.trimmed += gone
        self.happened["trimmed"] += len(before) - len(left)

    # --- what must hold

    @invariant()
    def promises_are_kept(self) -> None:
        events = list(self.events())
        self.every_attempt_is_completed_once_and_every_id_is_unique(events)
        self.what_was_acknowledged_is_in_the_journal_or_older_than_what_is(events)
        self.every_event_is_somewhere(events)

    def every_attempt_is_completed_once_and_every_id_is_unique(self, events: Sequence[StoredEvent]) -> None:
        ids: set[str] = set()
        revisions: Counter[str] = Counter()
        for event in events:
            revisions[event.attempt] += 1
            assert (event.type == "attempt.completed") == (revisions[event.attempt] == 1), event
            assert json.loads(event.event)["data"]["attempt"]["revision"] == revisions[event.attempt]
            assert event.id not in ids
            ids.add(event.id)

    def what_was_acknowledged_is_in_the_journal_or_older_than_what_is(self, events: Sequence[StoredEvent]) -> None:
        newest: dict[str, int] = {}
        for event in events:
            score = json.loads(event.event)["data"]["result"]["score"]
            newest[event.attempt] = max(score, newest.get(event.attempt, -1))
        for attempt, version in self.acked:
            assert newest.get(attempt, -1) >= version, (attempt, version)

    def every_event_is_somewhere(self, events: Sequence[StoredEvent]) -> None:
        waiting = {retry.id for retry in scheduled(self.state, NAME)}
        dead = {letter.delivery.id for letter in self.deliveries.dead_letters(NAME, limit=None)}
        ended = set(self.effects) | self.unsent
        assert {event.id for event in events} == self.unsettled() | waiting | dead | ended
        due: Any = self.state.zrange(keys.retry(NAME), 0, -1)
        assert set(due) == set(self.state.hkeys(keys.deliveries(NAME)))

    def unsettled(self) -> set[str]:
        """Events that the group has not read, or read and not acknowledged."""
        journal: Any = self.state.xrange(keys.journal(0))
        names = {entry: fields[b"id"].decode() for entry, fields in journal}
        groups: Any = self.state.xinfo_groups(keys.journal(0)) if names else []
        if not groups:
            return set(names.values())
        ahead: Any = self.state.xrange(keys.journal(0), min=b"(" + groups[0]["last-delivered-id"])
        held: Any = self.state.xpending_range(keys.journal(0), keys.group(NAME), min="-", max="+", count=9999)
        return {names[entry] for entry, _ in ahead} | {
            # What retention has deleted is held no longer, though the server lists it.
            names[row["message_id"]]
            for row in held
            if row["message_id"] in names
        }

    def under_way(self) -> list[str]:
        """What keeps the bridge from being quiet."""
        result = self.deliveries.state(NAME, now=self.moment)
        waits = {"pending": result.pending, "retrying": result.retrying, "dead letters": result.dead_letters}
        return [name for name, number in {**waits, "unsettled": len(self.unsettled())}.items() if number]

    def teardown(self) -> None:
        """After quiet time everything published has had its effect and nothing stays behind."""
        if not hasattr(self, "state"):
            return
        self.moods, self.crash_at, self.sleep_at = [], "", ""
        for _ in range(60):
            self.deliveries.resume(NAME)
            replay_all(self.deliveries, NAME, now=self.moment)
            self.work(0)
            self.work(1)
            self.moment += 200.0
            if not self.under_way():
                break
        assert self.under_way() == []
        published = {event.id for event in self.events()}
        assert published == set(self.effects) | self.unsent
        assert self.state.hlen(keys.claims(NAME)) == 0
        self.happened["events"] += len(published)
        self.happened["effects"] += self.effects.total()


QUICK = settings(
    max_examples=36,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
#: Only whether a mutant is found matters, not the smallest way to it.
HUNT = settings(QUICK, phases=(Phase.generate,), verbosity=Verbosity.quiet, print_blob=False)


def run(machine: type[Bridge], how: settings, record: Callable[[str, object], None]) -> Counter[str]:
    """What happened in the run; it is in the report as well."""
    machine.happened.clear()
    run_state_machine_as_test(machine, settings=how)
    record("faults", json.dumps(machine.happened))
    return machine.happened


def test_nothing_is_lost_or_doubled_whatever_happens_when(record_property: Callable[[str, object], None]) -> None:
    happened = run(Bridge, QUICK, record_property)
    # A run in which a fault never fired proves nothing about it.
    for fault in ("replies lost", "appends failed", "replayed", "trimmed", "hangs"):
        assert happened[fault] > 0, fault


@pytest.mark.parametrize("point", ALL_POINTS)
def test_nothing_is_lost_or_doubled_when_processes_die_and_fall_asleep_at(
    point: str, record_property: Callable[[str, object], None]
) -> None:
    class Focused(Bridge):
        only_at = point

    happened = run(Focused, settings(QUICK, max_examples=5), record_property)
    assert happened[f"killed: {point}"] >= happened["examples"] > 0
    assert happened[f"slept: {point}"] >= happened["examples"]


Patch = pytest.MonkeyPatch


def mutate_script(patch: Patch, name: str, old: str, new: str) -> None:
    """Change a script for all that register it from now on."""
    original = scripts.read
    (script,) = [path for folder in ("bridge", "workers") for path in (ROOT / folder).rglob(f"{name}.lua")]
    assert old in original(script), "the mutant no longer fits the script"

    def read(path: Path) -> str:
        text = original(path)
        return text.replace(old, new) if path.stem == name else text

    patch.setattr(scripts, "read", read)


def remembers_before_it_appends(patch: Patch) -> None:
    mutate_script(
        patch,
        "publish_once",
        "      id, packed = append()\n      call(",
        "      call('HSET', bucket, field, char(1, 0, 0, 0, 1) .. order .. pack_id('1-1') .. digest)\n"
        "      id, packed = append()\n      call(",
    )


def forgets_what_it_published(patch: Patch) -> None:
    mutate_script(patch, "publish_once", "local value = call('HGET', bucket, field)", "local value = false")


def drops_later_results(patch: Patch) -> None:
    mutate_script(patch, "publish_once", "      outcome = 'revise'\n", "      outcome = 'duplicate'\n")


def ignores_the_expected_revision(patch: Patch) -> None:
    mutate_script(patch, "publish_once", "elseif expected == revision then", "elseif true then")


def acknowledges_before_it_sends(patch: Patch) -> None:
    original = Lane._send

    def send(self: Lane, items: Any, now: float) -> list[Try]:
        for item, _ in items:
            if item.entry:
                self._client.xack(self._journal, self._group, item.entry)
        self._crash("read")
        return original(self, items, now)

    patch.setattr(Lane, "_send", send)


def acknowledges_a_failure_without_scheduling_it(patch: Patch) -> None:
    mutate_script(patch, "settle", "    schedule(id, ARGV[first], ARGV[first + 1])\n    fail(", "    fail(")


def reads_on_before_it_drains_its_own(patch: Patch) -> None:
    patch.setattr(DeliveryReader, "_pending", lambda self, now, limit, held: Batch())


def leaves_the_entries_of_the_dead(patch: Patch) -> None:
    patch.setattr(Lane, "adopt", lambda self, alive: 0)


def gives_up_without_a_dead_letter(patch: Patch) -> None:
    mutate_script(
        patch, "outcomes", "local entry = redis.call('XADD', dead, '*', unpack(fields))", "local entry = '0-1'"
    )


def takes_a_retry_out_before_it_is_sent(patch: Patch) -> None:
    mutate_script(patch, "claim_due", "redis.call('ZADD', retry, claim, id)", "redis.call('ZREM', retry, id)")


def expects_a_receipt_only_after_the_send(patch: Patch) -> None:
    patch.setattr(Lane, "_expect_receipts", lambda self, items, now: self._crash("expected"))
    # Where it shows; elsewhere hundreds of examples pass.
    patch.setattr(Bridge, "only_at", "expected")


def acknowledges_what_the_window_starts(patch: Patch) -> None:
    original = WindowLane._start

    def start(self: WindowLane, now: Any, limit: int) -> Any:
        held = self._window.entries()
        if held:
            self._client.xack(self._journal, self._group, *held)
        return original(self, now, limit)

    patch.setattr(WindowLane, "_start", start)


def reads_again_what_it_holds(patch: Patch) -> None:
    patch.setattr(Window, "entries", lambda self: set())


def sends_the_events_of_an_attempt_beside_each_other(patch: Patch) -> None:
    patch.setattr(Slot, "attempt", property(id))


def replays_without_scheduling(patch: Patch) -> None:
    line = "redis.call('ZADD', retry, string.format('%.6f', now - (items - placed) / 100000), id)"
    mutate_script(patch, "replay_batch", line, "")


def trims_what_a_group_still_needs(patch: Patch) -> None:
    mutate_script(patch, "trim_limit", "if less(need, floor) then floor, held = need, 1 end", "")


#: Mutant -> a seed that finds it within a few examples; after a change of the machine any seed may take longer.
MUTANTS: dict[Callable[[Patch], None], int] = {
    remembers_before_it_appends: 2,
    forgets_what_it_published: 2,
    drops_later_results: 2,
    ignores_the_expected_revision: 2,
    acknowledges_before_it_sends: 14,
    acknowledges_a_failure_without_scheduling_it: 12,
    reads_on_before_it_drains_its_own: 11,
    leaves_the_entries_of_the_dead: 11,
    gives_up_without_a_dead_letter: 3,
    takes_a_retry_out_before_it_is_sent: 3,
    expects_a_receipt_only_after_the_send: 3,
    acknowledges_what_the_window_starts: 2,
    reads_again_what_it_holds: 3,
    sends_the_events_of_an_attempt_beside_each_other: 6,
    replays_without_scheduling: 3,
    trims_what_a_group_still_needs: 2,
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_code_that_is_broken_on_purpose_is_caught(mutant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    mutant(monkeypatch)
    machine = seed(MUTANTS[mutant])(type("Broken", (Bridge,), {}))
    assert any(fails(machine, examples) for examples in (6, 400))


def fails(machine: type[Bridge], examples: int) -> bool:
    """Whether so many examples show a fault."""
    try:
        run_state_machine_as_test(machine, settings=settings(HUNT, max_examples=examples))
    except (AssertionError, BaseExceptionGroup):
        return True
    return False
