"""Reconciliation: what it tells apart, over a small vendor with a virtual clock; and over ClassMarker's simulator."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import pytest
import redis

from bridge.config.model import PollConfig
from bridge.errors import Unreadable, VendorFault, VendorUnavailable
from bridge.ingest.context import WebhookRequest
from bridge.ingest.pipeline import ingest, receive
from bridge.journal import Memory
from bridge.journal.reading import Reader
from bridge.polling.reconciliation import (
    MAX_KEPT,
    Finding,
    Listed,
    Published,
    Reconciliation,
    Reconciliations,
    compare,
    delays,
    findings,
    settled_until,
)
from bridge.sdk.records import Consent, Pointer
from bridge.sdk.simulator import Faults
from bridge.sdk.vendor import Record, Vendor
from bridge.state.lease import Lease
from tests.support.classmarker import World as ClassMarker
from tests.support.classmarker import running, settle
from tests.support.polling import (
    DAY,
    START,
    Api,
    Sitting,
    journal,
    journal_events,
    make_services,
    make_vendor,
    with_source,
)
from workers.polling.listing import Interrupted
from workers.polling.poll import poll_once
from workers.polling.reconcile import ReconcileOptions, nightly, reconcile

NAME = "eu-little"
SINCE, UNTIL = START - 3 * DAY, START - 1000.0
NOW = float(int(time.time()))
TODAY = {"since": NOW - 2 * DAY, "until": NOW - 1000.0}


@dataclass
class World:
    """A clock that sleeping moves on, a vendor's API and the bridge's services."""

    client: redis.Redis
    moment: float = START
    while_asleep: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.api = Api(clock=lambda: self.moment)
        self.use(make_vendor(self.api))

    def use(self, vendor: Vendor, **options: Any) -> None:
        self.services = make_services(self.client, vendor, lambda: self.moment, **options)

    def sit(self, *names: str, at: float = SINCE + 100, score: int = 10) -> None:
        known = len(self.api.streams["results"])
        self.api.add(*(Sitting(name, at + 10 * (known + number), score) for number, name in enumerate(names)))

    def webhook(self, *names: str) -> None:
        for name in names:
            sitting = self.api.find(name)
            body = {
                "id": sitting.id,
                "finished": int(sitting.finished),
                "score": sitting.score,
                "graded": sitting.graded,
            }
            request = WebhookRequest(
                id=f"r-{name}",
                body=json.dumps(body).encode(),
                headers={},
                kept_headers={},
                received_at=self.moment,
            )
            receive(self.services.ingest_context(NAME), request)

    def poll(self, *names: str) -> None:
        sittings = [self.api.find(name) for name in names]
        rows = [
            Record("results", {"id": s.id, "finished": s.finished, "score": s.score, "graded": s.graded})
            for s in sittings
        ]
        ingest(self.services.ingest_context(NAME), rows, now=self.moment)

    def sleep(self, seconds: float) -> None:
        self.moment += seconds
        self.while_asleep()

    def reconcile(self, **changes: Any) -> Reconciliation:
        ask = ReconcileOptions(since=SINCE, until=UNTIL, check=lambda: None, sleep=self.sleep)
        return reconcile(self.services, NAME, replace(ask, **changes))

    @property
    def published(self) -> list[str]:
        return [attempt for kind, attempt in journal(self.client) if kind == "attempt.completed"]


@pytest.fixture
def world(state: redis.Redis) -> World:
    return World(state)


@pytest.fixture
def today(state: redis.Redis) -> World:
    """On the clock of the state server, which numbers the entries of the journal; `TODAY` is its period."""
    return World(state, moment=NOW)


def test_it_distinguishes_attempts_by_path_and_names_the_missing_ones(world: World) -> None:
    world.sit("both", "hook", "polled", "nobody")
    world.webhook("both", "hook")
    world.poll("both", "polled")

    result = world.reconcile()

    assert result.ids == {
        "webhook_only": ["a:hook"],
        "poll_only": ["a:polled"],
        "missing": ["a:nobody"],
        "expected": [],
        "outdated": [],
        "unlisted": [],
    }
    assert [result.total(name) for name in ("listed", "both", "missing")] == [4, 1, 1]
    assert (result.records, result.calls, result.fixed) == (4, 2, [])
    spent = world.services.budgets.status(NAME, world.services.config.sources[NAME].budget, world.moment)
    assert spent.spenders["reconcile"] == 2
    assert "a:nobody" not in world.published


def test_comparing_changes_nothing_so_the_next_run_has_the_same_result(world: World) -> None:
    world.sit("both", "hook", "nobody")
    world.webhook("both", "hook")
    world.poll("both")

    first, second = world.reconcile(), world.reconcile()

    assert (first.days, first.ids) == (second.days, second.ids)
    assert len(journal(world.client)) == 2


def test_days_are_utc_days_of_the_finish_and_what_lies_outside_the_period_is_not_counted(world: World) -> None:
    midnight = (SINCE // DAY + 1) * DAY
    world.api.add(
        Sitting("before", SINCE - 1),
        Sitting("first", SINCE),
        Sitting("eve", midnight - 1),
        Sitting("morning", midnight),
        Sitting("last", UNTIL),
        Sitting("after", UNTIL + 1),
    )
    world.poll("before", "after")

    result = world.reconcile()

    assert {day: counted["missing"] for day, counted in result.days.items()} == {
        "2027-01-12": 2,
        "2027-01-13": 1,
        "2027-01-15": 1,
    }
    assert result.ids["missing"] == ["a:first", "a:eve", "a:morning", "a:last"]
    assert result.ids["unlisted"] == []


def test_what_was_published_but_is_not_listed_is_named(today: World) -> None:
    today.sit("kept", "deleted", at=NOW - DAY)
    today.webhook("kept", "deleted")
    today.api.streams["results"].pop()

    result = today.reconcile(**TODAY)

    assert result.ids["unlisted"] == ["a:deleted"]
    assert result.ids["webhook_only"] == ["a:kept", "a:deleted"]
    assert result.total("listed") == 1


def test_a_later_result_than_the_published_one_is_outdated_and_an_earlier_one_is_not(world: World) -> None:
    world.sit("regraded", "older")
    world.webhook("regraded", "older")
    world.api.find("regraded").score = 19
    world.api.find("older").score = 1
    world.api.find("older").finished -= 50

    result = world.reconcile()

    assert result.ids["outdated"] == ["a:regraded"]
    assert result.ids["missing"] == []


def test_fix_publishes_exactly_what_is_missing_or_outdated(world: World) -> None:
    world.sit("both", "hook", "nobody", "regraded")
    world.webhook("both", "hook", "regraded")
    world.poll("both")
    world.api.find("regraded").score = 19

    result = world.reconcile(fix=True)

    assert sorted(result.fixed) == ["a:nobody", "a:regraded"]
    assert sorted(journal(world.client)) == [
        *(("attempt.completed", f"a:{name}") for name in ("both", "hook", "nobody", "regraded")),
        ("attempt.revised", "a:regraded"),
    ]
    origins = {event["subject"]: event["bridgeorigin"] for event in journal_events(world.client)}
    assert origins["a:nobody"] == "backfill"
    # Only they were touched: the poll has still not seen the other one.
    again = world.reconcile(fix=True)
    assert again.ids["webhook_only"] == ["a:hook"]
    assert (again.ids["missing"], again.ids["outdated"], again.fixed) == ([], [], [])


def test_what_is_published_while_it_reads_is_not_missing(world: World) -> None:
    world.sit("1", "2", "3", "4")
    world.api.before = lambda number: world.webhook("1", "4") if number == 2 else None

    result = world.reconcile()

    assert result.ids["missing"] == ["a:2", "a:3"]
    assert result.ids["webhook_only"] == ["a:1", "a:4"]


def test_a_withdrawn_consent_is_neither_missing_nor_outdated(world: World) -> None:
    vendor = make_vendor(world.api)
    world.use(replace(vendor, normalise=lambda *given: replace(vendor.normalise(*given), consent=("c1",))))
    world.sit("1")
    world.services.consents.record(NAME, Consent(key="c1", given=False, at=START, subject={}), now=START)

    result = world.reconcile(fix=True)

    assert result.total("missing") == 0
    assert result.fixed == []


def test_records_that_cannot_be_read_are_counted(world: World) -> None:
    def normalise(*_: Any) -> Any:
        raise Unreadable("score is no number")

    world.use(make_vendor(world.api, normalise=normalise))
    world.sit("1", "2")

    result = world.reconcile(fix=True)

    assert (result.unreadable, result.total("listed")) == (2, 0)
    assert world.services.quarantine.size() == 0


def test_delays_are_measured_per_path(today: World) -> None:
    today.sit("1", "2", "3", at=NOW - DAY)
    today.moment = NOW - DAY + 30
    today.webhook("1", "2")
    today.moment = NOW - DAY + 600
    today.poll("3")
    today.moment = NOW

    result = today.reconcile(**TODAY)

    assert result.delays == {
        "webhook": {"count": 2, "p50": 20.0, "p95": 30.0, "max": 30.0},
        "poll": {"count": 1, "p50": 580.0, "p95": 580.0, "max": 580.0},
    }


def test_an_observed_finish_says_nothing_about_delay(today: World) -> None:
    vendor = make_vendor(today.api)
    today.use(
        replace(vendor, normalise=lambda *given: replace(vendor.normalise(*given), completed_at_is_observed=True))
    )
    today.sit("1", at=NOW - DAY)
    today.webhook("1")

    result = today.reconcile(**TODAY)

    assert result.delays == {}
    assert result.ids["webhook_only"] == ["a:1"]


# Expectations, and vendors without a list -------------------------------------------------------------------------


def expect(world: World, *names: str, due: float = UNTIL - 10, deadline: float = START + DAY) -> None:
    pointers = [Pointer(key=f"a:{name}", reference={"sitting": name}) for name in names]
    world.services.expectations.expect(NAME, pointers, label=None, due=due, deadline=deadline, now=START - DAY)


def test_what_is_expected_and_past_its_due_time_is_named_unless_it_came(world: World) -> None:
    world.sit("came")
    world.webhook("came")
    expect(world, "came", "open")
    expect(world, "late", due=SINCE - 5 * DAY)
    expect(world, "later", due=UNTIL + 1)

    result = world.reconcile()

    assert result.ids["expected"] == ["a:late", "a:open"]
    # One that has been due for longer stands on the first day.
    assert result.days["2027-01-12"]["expected"] == 1
    assert result.total("expected") == 2


def test_an_expectation_that_was_handed_on_to_others_is_not_expected_itself(world: World) -> None:
    expect(world, "schedule")
    (schedule,) = world.services.expectations.list(NAME)
    assert world.services.expectations.set_state(NAME, schedule, "expanded")

    assert world.reconcile().ids["expected"] == []


def without_list(world: World, recheck: Callable[[Any, Any], Any] | None = None) -> None:
    vendor = make_vendor(world.api)
    world.use(replace(vendor, polls={}, recheck=recheck or vendor.recheck), poll=PollConfig(enabled=False))


def test_without_a_list_every_expectation_and_watch_is_rechecked(world: World) -> None:
    without_list(world)
    world.sit("there", "watched", "known", "unknown")
    world.webhook("known")
    expect(world, "there", "known")
    world.services.watches.add_pointers(NAME, [Pointer(key="a:watched", reference={"sitting": "watched"})], now=START)

    result = world.reconcile(until=START)

    assert sorted(world.api.calls) == ["one known", "one there", "one watched"]
    assert result.ids["missing"] == ["a:there", "a:watched"]
    assert result.ids["expected"] == []
    assert world.services.watches.list(NAME)

    fixed = world.reconcile(until=START, fix=True)
    assert sorted(fixed.fixed) == ["a:there", "a:watched"]
    assert [expectation.key for expectation in world.services.expectations.list(NAME)] == ["a:known"]


def test_what_the_api_does_not_show_stays_expected(world: World) -> None:
    without_list(world, recheck=lambda client, reference: ())
    expect(world, "nobody")

    result = world.reconcile()

    assert result.ids["expected"] == ["a:nobody"]


def test_pointers_from_a_recheck_are_followed_and_each_is_rechecked_once(world: World) -> None:
    def recheck(client: Any, reference: Any) -> Any:
        world.api.calls.append(reference["sitting"])
        if reference["sitting"] != "schedule":
            return client.sitting(reference)
        return [Pointer(key=f"a:{n}", reference={"sitting": n}) for n in ("1", "2", "1")]

    without_list(world, recheck)
    world.sit("1", "2")
    expect(world, "schedule", "2")

    result = world.reconcile()

    assert sorted(call for call in world.api.calls if " " not in call) == ["1", "2", "schedule"]
    assert result.ids["missing"] == ["a:1", "a:2"]


def test_a_recheck_that_fails_does_not_end_the_others(world: World) -> None:
    def recheck(client: Any, reference: Any) -> Any:
        if reference["sitting"] == "odd":
            raise Unreadable("no such schedule")
        return client.sitting(reference)

    without_list(world, recheck)
    world.sit("fine")
    expect(world, "odd", "fine")

    result = world.reconcile()

    assert result.unreadable == 1
    assert result.ids["missing"] == ["a:fine"]
    assert result.ids["expected"] == ["a:odd"]


def test_an_attempt_that_a_webhook_pointed_to_counts_as_announced(today: World) -> None:
    vendor = make_vendor(today.api)
    pointing = replace(
        vendor, split=lambda body, _: [Pointer(key=f"a:{body['id']}", reference={"sitting": body["id"]})]
    )
    today.use(pointing)
    today.sit("announced", "silent", at=NOW - DAY)
    today.webhook("announced")
    today.poll("announced", "silent")

    result = today.reconcile(**TODAY)

    assert result.ids["poll_only"] == ["a:silent"]
    assert result.total("both") == 1


# The engine: budget, refusals, what is kept -----------------------------------------------------------------------


def test_it_waits_for_its_budget_and_reports_why(world: World) -> None:
    world.use(make_vendor(world.api), budget=(3, 3600.0))
    world.sit(*(str(number) for number in range(10)))
    waits: list[str] = []

    result = world.reconcile(waiting=lambda why, until: waits.append(why))

    assert result.total("missing") == 10
    assert world.moment > START + 3599
    assert NAME in waits[0]


def test_a_run_that_is_interrupted_keeps_nothing(world: World) -> None:
    world.sit(*"123456")

    def check() -> None:
        if world.api.calls:
            raise Interrupted("asked to stop")

    with pytest.raises(Interrupted):
        world.reconcile(check=check)

    assert Reconciliations(world.client).last(NAME) is None


def test_the_last_results_are_stored_completely(world: World) -> None:
    world.sit("nobody")
    results = [world.reconcile() for _ in range(2)]
    store = Reconciliations(world.client)
    for _ in range(MAX_KEPT):
        store.keep(results[0])

    store.keep(results[1])

    assert len(store.list(NAME)) == MAX_KEPT
    assert store.last(NAME) == results[1]
    assert store.last("us-little") is None
    assert json.loads(json.dumps(asdict(results[1]))) == asdict(results[1])


def test_what_may_still_be_on_its_way_is_left_out(world: World) -> None:
    source = world.services.config.sources[NAME]

    assert settled_until(source, START) == START - 60 - 300
    assert settled_until(replace(source, poll=PollConfig(enabled=False)), START) == START - 60


class TestEveryNight:
    """`nightly` is called every hour, by any number of processes."""

    @pytest.fixture(autouse=True)
    def _night(self, world: World) -> None:
        world.moment = (START // DAY) * DAY + 3 * 3600

    def test_at_a_first_start_by_day_there_is_nothing_to_compare(self, world: World) -> None:
        world.moment += 10 * 3600
        assert nightly(world.services) == []

    def test_each_source_is_reconciled_once_a_night(self, world: World) -> None:
        night = (START // DAY) * DAY + 2 * 3600
        done = []
        for hour in range(-3, 26):
            world.moment = night + hour * 3600
            done += [hour for _ in nightly(world.services)]

        assert done == [0, 24]
        first = Reconciliations(world.client).list(NAME)[1]
        assert (first.since, first.until) == (night - 360 - 2 * DAY, night - 360)

    def test_a_source_that_is_paused_or_cannot_be_read_is_skipped(self, world: World) -> None:
        world.services.budgets.pause(NAME)
        assert nightly(world.services) == []
        world.services.budgets.resume(NAME)
        world.use(replace(make_vendor(world.api, recheck=False), polls={}))
        assert nightly(world.services) == []
        world.use(make_vendor(world.api))
        world.services = with_source(world.services, paused=True)
        assert nightly(world.services) == []

    def test_only_one_process_does_it(self, world: World) -> None:
        lease = Lease(world.client, "reconcile", "another", seconds=60)
        assert lease.hold()
        assert nightly(world.services) == []
        lease.release()
        assert nightly(world.services) == [NAME]
        assert lease.hold()

    def test_a_vendor_that_refuses_is_tried_again_at_the_next_call(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("workers.polling.listing._RETRY_WAITS", ())

        def silent(number: int) -> None:
            raise VendorUnavailable("HTTP 502")

        world.api.before = silent
        assert nightly(world.services) == []
        world.api.before = lambda number: None
        assert nightly(world.services) == [NAME]

    def test_a_page_that_cannot_be_read_for_a_moment_does_not_make_it_begin_again(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("workers.polling.listing._PAGE_WAITS", (0.0, 0.0))
        world.api.add(*(Sitting(f"{number}", world.moment - 4000 + number) for number in range(9)))

        def before(number: int) -> None:
            if number in (2, 3):
                raise VendorFault("HTTP 404")

        world.api.before = before
        assert nightly(world.services) == [NAME]
        assert len(world.api.calls) == 5

    def test_a_list_that_cannot_be_read_is_begun_three_times_a_night(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("workers.polling.listing._PAGE_WAITS", ())
        started = world.moment

        def before(_number: int) -> None:
            raise VendorFault("HTTP 404")

        world.api.before = before
        for hour in range(47):
            world.moment = started + hour * 3600.0
            assert nightly(world.services) == []
        assert len(world.api.calls) == 6
        world.api.before = lambda _number: None
        world.moment = started + 2 * DAY
        assert nightly(world.services) == [NAME]

    def test_a_process_that_stops_leaves_it_to_the_next_one(self, world: World) -> None:
        assert nightly(world.services, stopping=lambda: True) == []
        assert nightly(world.services) == [NAME]

    def test_it_never_goes_back_farther_than_the_vendor_lists(self, world: World) -> None:
        world.use(replace(make_vendor(world.api), look_back_limit=DAY))

        nightly(world.services)

        last = Reconciliations(world.client).last(NAME)
        assert last is not None
        assert last.since == world.moment - 360 - (DAY - 3600)


# Pure -------------------------------------------------------------------------------------------------------------


def memory(**changes: Any) -> Memory:
    plain = Memory(
        revision=1,
        order=0,
        entry_id="1-0",
        digests=(b"123456",),
        first_origin="poll",
        first_day=int(START // DAY),
        webhook_day=None,
        poll_day=int(START // DAY),
    )
    return replace(plain, **changes)


@pytest.mark.parametrize(
    ("finding", "kind"),
    [
        ({"listed": True}, "missing"),
        ({}, "expected"),
        ({"listed": True, "published": True, "by_webhook": True, "by_poll": True}, "both"),
        ({"published": True, "by_webhook": True}, "webhook_only"),
        ({"published": True, "by_poll": True}, "poll_only"),
        # Said by the bridge itself: no path, hence not a webhook's.
        ({"published": True}, "poll_only"),
    ],
)
def test_every_finding_has_one_class(finding: dict[str, bool], kind: str) -> None:
    assert Finding(id="a", moment=START, **finding).kind == kind  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("first_day", "counted"),
    [(int(SINCE // DAY) - 1, False), (int(SINCE // DAY), True), (int(START // DAY) - 1, True)],
)
def test_an_attempt_without_a_finish_counts_on_the_day_it_was_first_seen(first_day: int, counted: bool) -> None:
    row = Listed(id="a", keys=("a",), finished=None, outdated=False)
    result = findings({"a": row}, {}, {"a": memory(first_day=first_day)}, set(), {}, since=SINCE, until=START)
    assert bool(result) is counted


def test_without_any_finish_a_missing_one_counts_as_of_now() -> None:
    row = Listed(id="a", keys=("a",), finished=None, outdated=False)
    (result,) = findings({"a": row}, {}, {}, set(), {}, since=SINCE, until=UNTIL)
    assert (result.moment, result.kind) == (UNTIL, "missing")


def test_an_expectation_is_recognised_by_every_key_of_what_came() -> None:
    row = Listed(id="a", keys=("a", "?user:1"), finished=UNTIL, outdated=False)
    result = findings(
        {"a": row}, {}, {"a": memory()}, {"?user:1"}, {"?user:1": SINCE, "?user:2": SINCE}, since=SINCE, until=UNTIL
    )
    assert [(item.id, item.kind) for item in result] == [("a", "both"), ("?user:2", "expected")]


def test_days_and_ids_are_in_order_and_both_has_no_ids() -> None:
    seen = [Finding(id=name, moment=START - number * DAY, listed=True) for number, name in enumerate("cab")]
    seen.append(Finding(id="d", moment=START, listed=True, published=True, by_webhook=True, by_poll=True))

    days, ids = compare(seen)

    assert list(days) == ["2027-01-13", "2027-01-14", "2027-01-15"]
    assert days["2027-01-15"] == {
        "listed": 2,
        "both": 1,
        "webhook_only": 0,
        "poll_only": 0,
        "missing": 1,
        "expected": 0,
    }
    assert ids["missing"] == ["b", "a", "c"]
    assert "both" not in ids


def test_delays_by_nearest_rank_never_below_zero_and_only_of_the_period() -> None:
    def attempt(number: int, finished: float | None, delay: float) -> Published:
        recorded = (finished or START) + delay
        return Published(id=str(number), finished=finished, recorded=recorded, origin="webhook")

    published = [attempt(number, SINCE, float(number)) for number in range(1, 101)]
    published += [attempt(200, SINCE - 1, 9999.0), attempt(201, UNTIL + 1, 9999.0), attempt(202, None, 9999.0)]
    assert delays(published, since=SINCE, until=UNTIL) == {
        "webhook": {"count": 100, "p50": 50.0, "p95": 95.0, "max": 100.0}
    }
    assert delays([attempt(1, SINCE, -5.0)], since=SINCE, until=UNTIL)["webhook"]["max"] == 0.0
    assert delays([], since=SINCE, until=UNTIL) == {}


@pytest.mark.long
@pytest.mark.parametrize("partitions", [1, 3])
def test_memories_are_found_in_bulk_while_the_table_grows(state: redis.Redis, partitions: int) -> None:
    world = World(state)
    world.services = replace(
        world.services,
        config=replace(world.services.config, bridge=replace(world.services.config.bridge, partitions=partitions)),
    )
    names = [f"{number}" for number in range(700)]
    world.sit(*names)
    reader = Reader(state, partitions=partitions)
    assert reader.attempts(NAME, ["a:1"]) == {}
    world.poll(*names)

    result = reader.attempts(NAME, [*(f"a:{name}" for name in names), "a:1", "a:nobody"])

    assert set(result) == {f"a:{name}" for name in names}
    assert result["a:123"] == reader.attempt(NAME, "a:123")


@pytest.mark.own_partitions
def test_a_table_that_grew_between_two_reads_is_read_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{number}" for number in range(200)]
    world.sit(*names)
    world.poll(*names)
    reader, seen = Reader(world.client), Reader._sizes
    reads = iter([[(1, 0)]])
    monkeypatch.setattr(Reader, "_sizes", lambda self: next(reads, None) or seen(self))

    assert len(reader.attempts(NAME, [f"a:{name}" for name in names])) == 200


# ClassMarker, both paths, over HTTP -------------------------------------------------------------------------------


def test_the_report_names_exactly_the_lost_webhooks(state: redis.Redis) -> None:
    world = ClassMarker(state, faults=Faults(lose=0.3, duplicate=0.2, reorder=True), page_size=20, verify_on_save=False)
    simulator = world.simulator
    with running(world):
        ids = {simulator.finish_random(simulator.now() - 3000 + number) for number in range(90)}
        settle(world)
        lost = set(simulator.outbox.lost)
        assert 10 < len(lost) < 50
        ask = ReconcileOptions(
            since=world.now() - DAY, until=settled_until(world.services.config.sources[NAME], world.now()), check=_go_on
        )
        before = reconcile(world.services, NAME, ask)
        assert poll_once(world.services, NAME).outcome == "done"
        after = reconcile(world.services, NAME, replace(ask, fix=True))

    assert set(before.ids["missing"]) == lost
    assert set(before.ids["webhook_only"]) == ids - lost
    assert before.total("listed") == 90
    assert set(after.ids["poll_only"]) == lost
    assert after.total("both") == 90 - len(lost)
    assert (after.ids["missing"], after.ids["webhook_only"], after.ids["unlisted"], after.fixed) == ([], [], [], [])
    assert after.delays["webhook"]["count"] == 90 - len(lost)
    assert len(world.events) == 90


def test_fix_publishes_the_lost_ones_and_the_later_poll_finds_them_known(state: redis.Redis) -> None:
    world = ClassMarker(state, faults=Faults(lose=0.5), page_size=20, verify_on_save=False)
    simulator = world.simulator
    with running(world):
        for number in range(40):
            simulator.finish_random(simulator.now() - 3000 + number)
        settle(world)
        lost = set(simulator.outbox.lost)
        ask = ReconcileOptions(since=world.now() - DAY, until=world.now() - 360, check=_go_on, fix=True)
        result = reconcile(world.services, NAME, ask)
        poll_once(world.services, NAME)

    assert set(result.fixed) == lost
    assert sorted(event["subject"] for event in world.events) == sorted(simulator.expected())


def _go_on() -> None:
    """Nobody stops it."""
