"""One watched attempt under a random order of webhooks, registrations, rechecks, polls, cancellations and time; also
while the vendor is answering. Then the same machine against code that is broken on purpose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, ClassVar

import pytest
import redis
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from bridge.ingest.pipeline import ingest
from bridge.ingest.read_start import read_start
from bridge.sdk.vendor import NormalisedAttempt, Record, Watch
from tests.support.mutants import change_script
from tests.support.pointing import NAME, World
from tests.support.polling import DAY, START, journal_events
from workers.polling.overdue import announce_overdue
from workers.polling.recheck import recheck

pytestmark = pytest.mark.long

KEY, HOUR = "a:ann-1", 3600.0
#: What is announced is what may be lost.
ACTIONS = ("announce", "announce", "announce", "finish", "change", "register", "postpone", "cancel")
steps = st.lists(st.sampled_from(ACTIONS), max_size=2)


class Urges(RuleBasedStateMachine):
    """The vendor shows a change `lag` seconds after it happened, and sends a webhook when it happens.

    `owed`: when a webhook came that no recheck has followed yet. `promise`: due time and deadline that were registered
    last, until they are met, cancelled or announced. `connect` gives an empty state server.
    """

    connect: ClassVar[Callable[[], redis.Redis]]

    @initialize(
        lag=st.sampled_from([0.0, 2.0, 40.0]), reread=st.booleans(), is_known=st.sampled_from([True, True, False])
    )
    def begin(self, lag: float, reread: bool, is_known: bool) -> None:
        self.world = World(type(self).connect())
        self.lag, self.score = lag, int(is_known)
        self.changes = [(0.0, self.score)]
        self.owed: float | None = None
        self.is_to_publish = False
        self.promise: tuple[float, float] | None = None
        self.notices = 0
        plain = self.world.vendor.normalise

        def normalise(record: Record, now: float, options: Mapping[str, Any]) -> NormalisedAttempt:
            watch = Watch(reference={"sitting": "ann-1"}, due_in=HOUR, give_up_at=START + 90 * DAY, reread=True)
            return replace(plain(record, now, options), watch=watch if reread else None)

        self.world.use(
            replace(self.world.vendor, normalise=normalise, recheck=self.answer, recheck_schedule=(HOUR, DAY))
        )
        self.during: list[str] = []
        self.read_page([])

    # The vendor ------------------------------------------------------------------------------------------------------

    def shown(self) -> list[Record]:
        score = next(score for moment, score in reversed(self.changes) if moment + self.lag <= self.world.moment)
        body = {"id": "ann-1", "finished": START - 10, "score": score, "graded": True}
        return [Record("results", body)] if score else []

    def answer(self, _client: Any, _reference: Mapping[str, str]) -> Sequence[Record]:
        """The answer is made when the question comes; what happens until it arrives is not in it."""
        answer, self.owed = self.shown(), None
        return self.arrived(answer)

    def arrived(self, answer: list[Record]) -> list[Record]:
        while self.during:
            self.world.moment += 1
            self.act(self.during.pop())
        if answer:
            self.promise = None
        return answer

    @property
    def published(self) -> float:
        """The last published score; 0 before the first."""
        events = journal_events(self.world.client)
        return next((event["data"]["result"]["score"] for event in reversed(events) if "result" in event["data"]), 0.0)

    # What happens ----------------------------------------------------------------------------------------------------

    @rule(action=st.sampled_from(ACTIONS))
    def act(self, action: str) -> None:
        world = self.world
        if action in ("change", "finish"):
            self.score += 1
            self.changes.append((world.moment, self.score))
            self.is_to_publish = False
        if action in ("announce", "finish"):
            world.webhook(sitting="ann-1")
            self.owed = world.moment
            # An earlier change that shows first would be taken for the announced one.
            self.is_to_publish = bool(self.score) and self.published in (self.score - 1, self.score)
        if action in ("register", "postpone"):
            due, deadline = (0.0, 2 * HOUR) if action == "register" else (DAY, 3 * DAY)
            world.expect({"sitting": "ann-1"}, KEY, due=due, deadline=deadline)
            self.promise = world.moment + due, world.moment + deadline
            self.is_to_publish = self.is_to_publish and action == "register"
            if self.owed is not None and action == "register":
                self.owed = world.moment
        if action == "cancel":
            world.services.expectations.cancel(NAME, [KEY])
            self.owed = self.promise = None
            self.is_to_publish = False

    @rule(seconds=st.sampled_from([-30.0, 1.0, 5.0, 60.0, HOUR, DAY]))
    def time_passes(self, seconds: float) -> None:
        self.world.moment += seconds

    @rule(during=steps)
    def recheck(self, during: list[str]) -> None:
        self.during = [*during]
        recheck(self.world.services, NAME)
        self.during = []

    @rule(during=steps)
    def poll(self, during: list[str]) -> None:
        self.read_page(during)

    def read_page(self, during: list[str]) -> None:
        services, owed = self.world.services, self.owed
        as_of = read_start(services.ingest_context(NAME))
        self.during = [*during]
        answer = self.arrived(self.shown())
        report = ingest(services.ingest_context(NAME), answer, now=self.world.moment, as_of=as_of)
        if report.published_ids and self.owed == owed:
            # What was announced before the page was read has come.
            self.owed = None

    @rule()
    def announce_what_is_overdue(self) -> None:
        announce_overdue(self.world.services)

    # What holds ------------------------------------------------------------------------------------------------------

    @invariant()
    def notices_have_the_registered_deadline(self) -> None:
        results = [event for event in journal_events(self.world.client) if event["type"] == "attempt.overdue"]
        for notice in results[self.notices :]:
            if notice["data"]["watch"]["kind"] == "expectation":
                assert self.promise is not None
                assert moment_of(notice["data"]["watch"]["deadline"]) == pytest.approx(self.promise[1], abs=0.002)
                assert self.world.moment >= self.promise[1]
                self.promise = None
        self.notices = len(results)

    @invariant()
    def the_expectation_and_its_watch_have_the_registered_times(self) -> None:
        expected = self.world.services.expectations.get(NAME, KEY)
        is_open = expected is not None and expected.state == "open"
        assert is_open == (self.promise is not None)
        if expected is None or self.promise is None:
            return
        assert (expected.due, expected.deadline) == self.promise
        watch = self.world.services.watches.get(NAME, KEY)
        if watch is not None and watch.kind == "expectation":
            assert watch.give_up_at == expected.deadline
            if watch.announced is None and self.owed is None:
                assert watch.due >= expected.due

    @invariant()
    def what_was_announced_is_due_until_it_was_rechecked(self) -> None:
        if self.owed is not None:
            watch = self.world.services.watches.get(NAME, KEY)
            assert watch is not None
            assert watch.due <= self.owed

    def teardown(self) -> None:
        if not hasattr(self, "during"):
            return
        if self.is_to_publish:
            self.world.run(300)
            assert self.published == self.score
            self.notices_have_the_registered_deadline()
        if self.promise is not None:
            self.world.moment = max(self.world.moment, self.promise[1])
            self.world.run(120)
            self.notices_have_the_registered_deadline()
            assert self.promise is None


def moment_of(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.fixture(autouse=True)
def _server(empty_state: Callable[[], redis.Redis], monkeypatch: pytest.MonkeyPatch) -> None:
    # A real one: the scripts of a fake one take three quarters of the time.
    monkeypatch.setattr(Urges, "connect", staticmethod(empty_state), raising=False)


QUICK = settings(
    max_examples=settings.default.max_examples,
    stateful_step_count=15,
    suppress_health_check=list(HealthCheck),
    deadline=None,
)
HUNT = settings(QUICK, phases=(Phase.generate,), print_blob=False, derandomize=True)


def test_times_and_urges_survive_any_order() -> None:
    run_state_machine_as_test(Urges, settings=QUICK)


#: Mutant -> a seed that finds it within a few examples, and how the code is broken.
MUTANTS: dict[str, tuple[int, Callable[[pytest.MonkeyPatch], None]]] = {
    "versions are not compared": (
        1,
        lambda patch: patch.setattr(
            "workers.polling.recheck.read_start", lambda context: replace(read_start(context), version=10**9)
        ),
    ),
    "a webhook does not raise the version": (
        1,
        lambda patch: change_script(
            patch,
            "urge_watches",
            'watch.rechecks, watch.announced, watch.version = "0", last, next_version()',
            "watch.version = watch.version or '0'; watch.rechecks, watch.announced = '0', last",
        ),
    ),
    "publishing closes what was announced": (
        3,
        lambda patch: change_script(patch, "settle_watches", 'watch.announced == "" or ARGV[i + 1] == "1"', "true"),
    ),
    "an expectation that is met takes the announcement with it": (
        2,
        lambda patch: change_script(patch, "meet_expectations", 'watch.announced ~= "" and not', "false and not"),
    ),
    "a record ends the announcement": (
        2,
        lambda patch: change_script(
            patch,
            "open_watches",
            'elseif watch.kind == kind or watch.announced ~= "" then',
            "elseif watch.kind == kind then",
        ),
    ),
    "the watch keeps an earlier recheck": (
        3,
        lambda patch: change_script(
            patch,
            "register_expectations",
            "  watch.version = next_version()",
            "  watch.version = next_version(); if old_due and tonumber(old_due) < tonumber(due) then due = old_due end",
        ),
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_machine_notices(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    number, breaks = MUTANTS[mutant]
    breaks(monkeypatch)
    with pytest.raises(Exception):  # noqa: B017, PT011 - any failure of the machine
        hunt(seed(number)(type("Broken", (Urges,), {})))


def hunt(machine: type[Urges]) -> None:
    """A few examples, and many if these find nothing. What they hold depends on how many there may be."""
    for examples in (8, settings.default.max_examples * 4):
        run_state_machine_as_test(machine, settings=settings(HUNT, max_examples=examples))
