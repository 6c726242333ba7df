"""Backfills over a small vendor with a virtual clock: nothing missed, nothing twice, live traffic first."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import pytest
import redis

from bridge.config.model import PollConfig
from bridge.errors import (
    BridgeError,
    ConfigError,
    StateUnavailable,
    Unreadable,
    VendorFault,
    VendorRefused,
    VendorThrottled,
    VendorUnavailable,
)
from bridge.journal import POLL, WEBHOOK, Entry, RequestRecord
from bridge.monitoring.backfill_rows import share
from bridge.polling.backfill_jobs import (
    MAX_KEPT,
    Backfill,
    Backfills,
    backfill_id,
    period_problem,
    seconds_remaining,
    share_read,
)
from bridge.sdk.records import Pointer
from bridge.sdk.vendor import Page, whole_streams
from bridge.state import keys
from bridge.state.lease import Lease
from tests.support.polling import DAY, START, Api, Sitting, journal, journal_events, make_services, make_vendor
from workers.polling.backfill import AlreadyRunning, BackfillCallbacks, preview, run, to_reprocess
from workers.polling.listing import Interrupted
from workers.polling.poll import poll_once

NAME = "eu-little"
FIRST, LAST = START - 10 * DAY, START - 5 * DAY


class Killed(BaseException):
    """The process is gone: nothing may catch it."""


@dataclass
class World:
    """A clock that sleeping moves on, a vendor's API, the bridge's services, and what was shown."""

    client: redis.Redis
    moment: float = START
    shown: list[tuple[float, str | None, float | None]] = field(default_factory=list)
    stop: bool = False
    while_asleep: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.api = Api(clock=lambda: self.moment)
        self.services = self.build()

    def build(self, **options: Any) -> Any:
        return make_services(self.client, make_vendor(self.api), lambda: self.moment, **options)

    def sit(self, count: int, *, start: float = FIRST, step: float = 3600.0) -> list[str]:
        known = sum(len(rows) for rows in self.api.streams.values())
        self.api.add(*(Sitting(f"{known + number:03}", start + step * number) for number in range(count)))
        return [f"a:{known + number:03}" for number in range(count)]

    def job(self, **changes: Any) -> Backfill:
        job = Backfill(
            id=backfill_id(NAME, self.moment),
            source=NAME,
            first=FIRST,
            last=LAST,
            streams=["results"],
            created=self.moment,
        )
        return replace(job, **changes)

    def sleep(self, seconds: float) -> None:
        self.moment += seconds
        self.while_asleep()

    @property
    def callbacks(self) -> BackfillCallbacks:
        def show(job: Backfill, why: str | None, until: float | None) -> None:
            self.shown.append((share(self.services, job), why, until))

        return BackfillCallbacks(sleep=self.sleep, show=show, stopping=lambda: self.stop)

    def run(self, job: Backfill) -> Backfill:
        run(self.services, job, self.callbacks)
        return job

    @property
    def store(self) -> Backfills:
        return Backfills(self.client)

    @property
    def published(self) -> list[str]:
        return [attempt for kind, attempt in journal(self.client) if kind == "attempt.completed"]

    @property
    def waits(self) -> list[str]:
        return list(dict.fromkeys(why for _, why, _ in self.shown if why))


@pytest.fixture
def world(state: redis.Redis) -> World:
    return World(state)


def test_a_period_is_read_page_by_page_and_published_with_its_origin(world: World) -> None:
    expected = world.sit(8)

    job = world.run(world.job())

    assert (job.state, job.pages, job.records, job.calls) == ("done", 3, 8, 3)
    assert job.outcomes == {"published": 8}
    assert world.published == expected
    assert {event["bridgeorigin"] for event in journal_events(world.client)} == {"backfill"}
    assert world.store.get(job.id) == job
    assert world.services.budgets.status(NAME, world.services.config.sources[NAME].budget, START).spenders == {
        "backfill": 3
    }


def test_reading_begins_at_the_period_and_ends_with_the_page_that_passes_its_end(world: World) -> None:
    world.sit(3, start=FIRST - 3)
    inside = world.sit(1, start=FIRST)
    # Beyond the end: the rest of that page is read, never the next one.
    world.sit(20, start=LAST - 60.0, step=30.0)

    job = world.run(world.job())

    assert job.state == "done"
    assert inside[0] in world.published
    finishes = [world.api.find(name.removeprefix("a:")).finished for name in world.published]
    assert (min(finishes), max(finishes)) == (FIRST, LAST)
    assert job.outcomes["outside_period"] <= 3


def test_a_page_that_ends_inside_the_last_second_is_not_the_last_one(world: World) -> None:
    world.sit(5, start=LAST, step=0.0)

    world.run(world.job())

    assert len(world.published) == 5


def test_what_live_traffic_has_published_is_a_duplicate_and_the_cursor_of_the_poll_does_not_move(world: World) -> None:
    world.sit(4, start=START - 1000, step=10.0)
    poll_once(world.services, NAME)
    before = world.services.cursors.position(NAME, "results")

    job = world.run(world.job(first=START - 2000, last=START))

    assert job.outcomes == {"duplicate": 4}
    assert world.services.cursors.position(NAME, "results") == before


def test_killed_between_publishing_and_keeping_the_position_it_reads_that_page_again_and_loses_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = world.sit(9)
    job = world.job()
    save, saves = Backfills.save, []

    def dying(store: Backfills, saved_job: Backfill, now: float) -> None:
        saves.append(saved_job.pages)
        if saved_job.pages == 2:
            raise Killed
        save(store, saved_job, now)

    monkeypatch.setattr(Backfills, "save", dying)
    with pytest.raises(Killed):
        world.run(job)
    monkeypatch.undo()
    assert len(world.published) == 6

    kept = world.store.get(job.id)
    assert kept is not None
    assert (kept.state, kept.pages, kept.records) == ("stopped", 1, 3)
    world.run(kept)

    assert kept.state == "done"
    assert world.published == expected
    assert kept.outcomes == {"published": 6, "duplicate": 3}


@pytest.mark.parametrize("call", [1, 2, 3])
def test_killed_inside_any_call_it_resumes_where_it_stood(world: World, call: int) -> None:
    expected = world.sit(9)
    job = world.job()

    def before(number: int) -> None:
        if number == call:
            raise Killed

    world.api.before = before
    with pytest.raises(Killed):
        world.run(job)
    kept = world.store.get(job.id)
    assert kept is not None
    world.run(kept)

    assert world.published == expected
    assert kept.pages == 3
    assert len(world.api.calls) == 4


def test_the_same_source_is_never_backfilled_twice_at_the_same_time(world: World) -> None:
    world.sit(6)
    job = world.job()
    other = world.job(id=f"{NAME}/other")

    def before(number: int) -> None:
        if number == 1:
            with pytest.raises(AlreadyRunning, match=job.id):
                world.run(other)
            assert world.store.running(NAME) == job.id

    world.api.before = before
    world.run(job)

    assert job.state == "done"
    assert world.store.get(other.id) is None
    assert world.store.running(NAME) is None


def test_whoever_loses_its_backfill_to_another_process_leaves_the_record_alone(world: World) -> None:
    world.sit(6)
    job = world.job()

    def before(number: int) -> None:
        if number == 1:
            world.client.set(keys.lease(f"backfill:{NAME}"), f"{job.id}:another")

    world.api.before = before
    with pytest.raises(AlreadyRunning, match="took"):
        world.run(job)

    kept = world.store.get(job.id)
    assert kept is not None
    assert (kept.state, kept.pages) == ("running", 1)


@pytest.mark.parametrize(("action", "ended"), [("stop", "stopped"), ("cancel", "cancelled")])
def test_an_operators_request_ends_it_after_the_page_at_hand(world: World, action: str, ended: str) -> None:
    world.sit(9)
    job = world.job()
    world.api.before = lambda number: world.store.request(job.id, action)

    world.run(job)

    assert (job.state, job.pages, len(world.published)) == (ended, 1, 3)
    assert world.store.requested(job.id) is None
    assert world.store.get(job.id) == job


def test_an_earlier_request_does_not_stop_a_resumed_backfill(world: World) -> None:
    expected = world.sit(6)
    job = world.job()
    world.store.request(job.id, "stop")

    world.run(job)

    assert world.published == expected


def test_a_stopping_process_stops_between_pages(world: World) -> None:
    world.sit(9)

    def before(number: int) -> None:
        world.stop = number == 2

    world.api.before = before
    job = world.run(world.job())

    assert (job.state, job.pages) == ("stopped", 2)


@pytest.mark.long
def test_a_spent_budget_makes_it_wait_and_report_why_until_calls_are_free(world: World) -> None:
    world.services = world.build(budget=(4, 3600.0))
    expected = world.sit(15)

    job = world.run(world.job())

    assert job.state == "done"
    assert world.published == expected
    assert world.moment >= START + 3600
    (why,) = world.waits
    assert NAME in why
    ends = {until for _, reason, until in world.shown if reason}
    assert min(end for end in ends if end) > START + 3599


def test_a_temporary_refusal_makes_it_wait_and_pauses_the_source(world: World) -> None:
    expected = world.sit(3)

    def before(number: int) -> None:
        if number == 1:
            raise VendorThrottled("HTTP 429", retry_at=START + 120)

    world.api.before = before
    job = world.run(world.job())

    assert (job.state, world.moment) == ("done", START + 120)
    assert world.published == expected


@pytest.mark.long
def test_a_vendor_that_does_not_answer_is_retried_less_and_less_often_and_then_given_up(world: World) -> None:
    world.sit(3)

    def silent(number: int) -> None:
        raise VendorUnavailable("HTTP 502")

    world.api.before = silent
    job = world.run(world.job())

    assert (job.state, job.error) == ("failed", "HTTP 502")
    assert len(world.api.calls) == 5
    assert world.moment == START + 10 + 30 + 120 + 600

    world.api.before = lambda number: None
    world.run(job)
    assert (job.state, job.error, len(world.published)) == ("done", None, 3)


def test_refused_credentials_fail_it_at_once_and_stop_the_source(world: World) -> None:
    world.sit(3)

    def refused(number: int) -> None:
        raise VendorRefused("HTTP 401; check the key")

    world.api.before = refused
    job = world.run(world.job())

    assert job.state == "failed"
    assert job.error is not None
    assert "401" in job.error
    assert world.services.budgets.paused(NAME, world.moment) is not None


def test_a_cursor_that_the_vendor_does_not_take_any_more_costs_the_stream_a_new_beginning(world: World) -> None:
    expected = world.sit(9)

    def before(number: int) -> None:
        if number == 2:
            raise VendorFault("this cursor has run out", reason="bad_cursor")

    world.api.before = before
    job = world.run(world.job())
    assert (job.state, job.cursors) == ("failed", {})

    world.run(job)

    assert job.state == "done"
    assert world.published == expected


@pytest.mark.parametrize("fault", [VendorFault("HTTP 404"), Unreadable("no JSON")], ids=type)
def test_a_page_that_cannot_be_read_for_a_minute_costs_no_new_beginning(world: World, fault: BridgeError) -> None:
    expected = world.sit(9)

    def before(number: int) -> None:
        if number in (2, 3):
            raise fault

    world.api.before = before
    job = world.run(world.job())
    assert (job.state, job.calls) == ("done", 5)
    assert world.moment - START == pytest.approx(70.0, abs=3.0)
    assert world.published == expected


def test_a_page_that_stays_unreadable_is_where_the_backfill_resumes_and_if_it_fails_again_it_begins_again(
    world: World,
) -> None:
    expected = world.sit(9)
    unreadable: set[str] = set()

    def before(_number: int) -> None:
        cursor = world.api.calls[-1]
        if cursor in unreadable:
            raise VendorFault("HTTP 404")

    world.api.before = before
    preview(world.services, world.job(), world.callbacks)
    first, second, _ = world.api.calls
    unreadable.add(second)
    world.api.calls.clear()
    job = world.run(world.job())
    assert (job.state, world.api.calls) == ("failed", [first, second, second, second])
    world.api.calls.clear()
    world.run(job)
    assert (job.state, job.cursors, world.api.calls) == ("failed", {}, [second])
    unreadable.clear()
    world.run(job)
    assert (job.state, world.api.calls[1]) == ("done", first)
    assert world.published == expected


def test_a_backfill_that_is_resumed_after_an_unreadable_page_reads_no_page_twice(world: World) -> None:
    expected = world.sit(9)

    def before(number: int) -> None:
        if 2 <= number <= 4:
            raise VendorFault("HTTP 404")

    world.api.before = before
    job = world.run(world.job())
    assert (job.state, job.pages) == ("failed", 1)
    world.run(job)
    assert (job.state, job.pages, len(world.api.calls)) == ("done", 3, 6)
    assert world.published == expected


def test_a_first_page_that_cannot_be_read_fails_it_at_once(world: World) -> None:
    world.sit(9)

    def before(_number: int) -> None:
        raise VendorFault("HTTP 404")

    world.api.before = before
    assert world.run(world.job()).state == "failed"
    assert (world.moment, len(world.api.calls)) == (START, 1)


def test_a_vendor_that_leads_in_a_circle_fails_it_instead_of_reading_for_ever(world: World) -> None:
    vendor = make_vendor(world.api)
    circle = replace(vendor.polls["results"], fetch=lambda client, cursor: Page(records=(), cursor=cursor, more=True))
    world.services = make_services(world.client, replace(vendor, polls={"results": circle}), lambda: world.moment)

    job = world.run(world.job())

    assert job.state == "failed"
    assert job.error is not None
    assert "was read before" in job.error


def test_a_lost_state_server_is_reported_and_the_job_stays_as_it_was_last_stored(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.sit(9)
    job = world.job()

    def gone(*_: Any, **__: Any) -> None:
        raise StateUnavailable("state server: gone")

    target = "workers.polling.backfill.ingest"
    world.api.before = lambda number: monkeypatch.setattr(target, gone) if number == 2 else None
    with pytest.raises(StateUnavailable):
        world.run(job)

    kept = world.store.get(job.id)
    assert kept is not None
    assert (kept.state, kept.pages) == ("stopped", 1)


def test_at_most_so_many_pages_a_minute(world: World) -> None:
    world.sit(15)
    moments: list[float] = []
    world.api.before = lambda number: moments.append(world.moment)

    world.run(world.job(rate=4))

    assert [b - a for a, b in pairwise(moments)] == [15.0] * 4
    assert world.waits == ["limited to 4 pages a minute"]


class TestLiveTrafficFirst:
    """A worker is alive and something else is due."""

    @pytest.fixture
    def world(self, state: redis.Redis) -> World:
        world = World(state)
        world.client.set(keys.heartbeat("worker"), "1")
        world.services.cursors.begin(NAME, "results", START)
        return world

    def test_a_due_poll_finds_the_source_free_and_goes_first(self, world: World) -> None:
        world.sit(3)
        world.moment = START + 296
        polled: list[str] = []

        def poll() -> None:
            if world.moment >= START + 300 and not polled:
                assert world.api.calls == []
                polled.append(poll_once(world.services, NAME).outcome)

        world.while_asleep = poll
        job = world.run(world.job())

        assert polled == ["done"]
        assert job.state == "done"
        assert any("go first" in why for why in world.waits)

    def test_a_due_recheck_goes_first(self, world: World) -> None:
        world.sit(1)
        pointer = Pointer(key="a:x", reference={"sitting": "x"})
        world.services.watches.add_pointers(NAME, [pointer], now=START)
        moments: list[float] = []

        def check_leases() -> None:
            assert world.api.calls == []
            if world.moment >= START + 3:
                moments.append(world.moment)
                world.services.watches.close(NAME, "a:x", now=world.moment)

        world.while_asleep = check_leases
        world.run(world.job())

        assert moments == [START + 3]

    def test_it_does_not_wait_forever_for_work_that_is_never_done(self, world: World) -> None:
        expected = world.sit(6)
        world.services.watches.add_pointers(NAME, [Pointer(key="a:x", reference={"sitting": "x"})], now=START)

        job = world.run(world.job())

        assert world.published == expected
        assert job.pages == 2
        assert world.moment <= START + 200

    def test_without_a_worker_it_does_not_wait(self, world: World) -> None:
        world.sit(1)
        world.client.delete(keys.heartbeat("worker"))
        world.moment = START + 1000

        world.run(world.job())

        assert world.shown[0][1] is None
        assert world.moment == START + 1000

    @pytest.mark.parametrize("poll", [PollConfig(enabled=False)])
    def test_a_source_that_is_not_polled_has_no_poll_to_wait_for(self, world: World, poll: PollConfig) -> None:
        world.sit(1)
        world.services = world.build(poll=poll)
        world.moment = START + 1000

        world.run(world.job())

        assert world.moment == START + 1000

    def test_the_lease_is_free_between_two_pages(self, world: World) -> None:
        world.sit(9)
        taken: list[bool] = []

        def show(job: Backfill, why: str | None, until: float | None) -> None:
            lease = Lease(world.client, f"poll:{NAME}", "somebody", seconds=40.0)
            taken.append(lease.hold())
            lease.release()

        run(world.services, world.job(), replace(world.callbacks, show=show))

        assert taken == [True] * 3

    def test_it_waits_while_another_process_reads(self, world: World) -> None:
        world.sit(3)
        lease = Lease(world.client, f"poll:{NAME}", "somebody", seconds=40.0)
        assert lease.hold()
        world.while_asleep = lambda: lease.release() if world.moment > START + 4 else None

        job = world.run(world.job())

        assert job.state == "done"
        assert world.waits == [f"another process is reading from {NAME}"]


def test_several_streams_are_read_one_after_the_other_and_resumed_in_the_right_one(world: World) -> None:
    world.api.streams = {"links": [], "groups": []}
    world.services = world.build()
    world.api.add(*(Sitting(f"l{n}", FIRST + n) for n in range(4)), stream="links")
    world.api.add(*(Sitting(f"g{n}", FIRST + n) for n in range(4)), stream="groups")
    world.api.before = lambda number: setattr(world, "stop", number == 3)

    job = world.run(world.job(streams=["links", "groups"]))
    assert (job.state, job.finished, list(job.cursors)) == ("stopped", ["links"], ["groups"])
    world.stop = False
    world.run(job)

    assert job.finished == ["links", "groups"]
    assert len(world.published) == 8
    assert len(world.api.calls) == 4


def test_sweeps_are_left_out_where_other_streams_list_everything(world: World) -> None:
    vendor = make_vendor(world.api)
    (poll,) = vendor.polls.values()
    sweep = replace(poll, sweep=lambda options: 14 * DAY)

    assert whole_streams({"results": poll, "again": sweep}) == ["results"]
    assert whole_streams({"again": sweep}) == ["again"]


# Dry run ----------------------------------------------------------------------------------------------------------


def test_a_dry_run_counts_what_would_happen_and_writes_nothing(world: World) -> None:
    world.sit(7)
    poll = world.job(last=FIRST + 1.5 * 3600.0)
    world.run(poll)
    world.api.find("001").score = 19
    world.api.find("001").finished += 1
    world.api.add(Sitting("bad", FIRST + 3.5 * 3600.0, score="many"))  # type: ignore[arg-type]
    before = {key: world.client.dump(key) for key in world.client.scan_iter() if b"budget" not in key}
    job = world.job(id=f"{NAME}/dry")

    def normalise(record: Any, now: float, options: Any) -> Any:
        if record.body["score"] == "many":
            raise Unreadable("score is no number")
        return make_vendor(world.api).normalise(record, now, options)

    world.services = make_services(world.client, make_vendor(world.api, normalise=normalise), lambda: world.moment)
    preview(world.services, job, world.callbacks)

    assert job.outcomes == {"duplicate": 1, "revised": 1, "published": 5, "quarantined": 1}
    assert job.records == 8
    assert {key: world.client.dump(key) for key in world.client.scan_iter() if b"budget" not in key} == before

    world.run(world.job(id=f"{NAME}/real"))
    real = world.store.get(f"{NAME}/real")
    assert real is not None
    assert real.outcomes == job.outcomes


def test_a_dry_run_counts_a_row_once_however_often_pages_repeat_it(world: World) -> None:
    # Pages of this vendor begin with the rows of the second in which the last one ended.
    vendor = make_vendor(world.api)
    rows = (Sitting("1", FIRST), Sitting("2", FIRST + 1))
    world.api.add(*rows)
    first = world.api.page("results", f"{FIRST:.0f}")
    pages = {"0": replace(first, cursor="1", more=True), "1": replace(first, cursor="2", more=False)}
    poll = replace(
        vendor.polls["results"], fetch=lambda client, cursor: pages[cursor], start=lambda *_: "0", position=float
    )
    world.services = make_services(world.client, replace(vendor, polls={"results": poll}), lambda: world.moment)
    job = world.job()

    preview(world.services, job, world.callbacks)

    assert job.outcomes == {"published": 2, "duplicate": 2}


def test_a_dry_run_stops_on_request(world: World) -> None:
    world.sit(9)
    world.api.before = lambda number: setattr(world, "stop", True)
    job = world.job()

    with pytest.raises(Interrupted):
        preview(world.services, job, world.callbacks)

    assert job.pages == 1


# Reading stored ones again ----------------------------------------------------------------------------------------


def quarantine(world: World, sitting: Sitting, at: float, origin: str = POLL, request_id: str | None = None) -> None:
    row = {"id": sitting.id, "finished": int(sitting.finished), "score": sitting.score, "graded": sitting.graded}
    body = row if origin == WEBHOOK else {"kind": "results", "record": row}
    world.services.quarantine.add(
        source=NAME, origin=origin, reason="old", body=json.dumps(body).encode(), now=at, request_id=request_id
    )


def test_reprocess_failed_reads_the_quarantine_of_the_period_first(world: World) -> None:
    quarantine(world, Sitting("in", FIRST), FIRST + 10)
    quarantine(world, Sitting("hook", FIRST), LAST, origin=WEBHOOK, request_id="r1")
    quarantine(world, Sitting("early", FIRST), FIRST - 1)
    quarantine(world, Sitting("late", FIRST), LAST + 1)
    world.sit(1)
    job = world.job(reprocess="failed")
    assert to_reprocess(world.services, job) == (2, 0)

    world.run(job)

    assert sorted(world.published) == ["a:000", "a:hook", "a:in"]
    assert [record.received_at for record in world.services.quarantine.list()] == [LAST + 1, FIRST - 1]
    assert job.outcomes == {"published": 3}

    world.run(job)
    assert job.outcomes == {"published": 3}


def test_what_is_still_unreadable_stays_in_quarantine(world: World) -> None:
    world.services.quarantine.add(source=NAME, origin=POLL, reason="old", body=b"no json", now=FIRST)

    job = world.run(world.job(reprocess="failed"))

    assert job.outcomes == {"quarantined": 1}
    assert world.services.quarantine.size() == 1


def keep_request(world: World, request_id: str, outcome: str, sitting: str) -> None:
    body = f'{{"id": "{sitting}", "finished": {FIRST:.0f}, "score": 3, "graded": true}}'.encode()
    record = RequestRecord(id=request_id, source=NAME, received_at=world.moment, headers={}, body=body, outcome=outcome)
    world.services.journal.publish(Entry(request=record), now=world.moment)


def test_reprocess_all_reads_stored_requests_too_but_never_refused_ones(state: redis.Redis) -> None:
    world = World(state, moment=time.time())
    keep_request(world, "r1", "ignored", "one")
    keep_request(world, "r2", "duplicate", "two")
    world.services.requests.reject(
        request_id="r3", source=NAME, received_at=world.moment, reason="forged", headers={}, body=b"{}"
    )
    world.moment = time.time() + 1
    job = world.job(reprocess="all", first=world.moment - DAY, last=world.moment, created=world.moment)
    assert to_reprocess(world.services, job) == (0, 2)

    world.run(job)

    assert sorted(world.published) == ["a:one", "a:two"]
    assert job.outcomes == {"published": 2}


def test_none_reads_nothing_stored(world: World) -> None:
    quarantine(world, Sitting("in", FIRST), FIRST + 10)

    job = world.run(world.job())

    assert world.published == []
    assert to_reprocess(world.services, job) == (0, 0)


# What is kept, and figures ----------------------------------------------------------------------------------------


def test_the_oldest_that_are_over_are_forgotten_and_those_that_may_go_on_never(world: World) -> None:
    for number in range(MAX_KEPT + 3):
        world.store.save(world.job(id=f"{NAME}/{number:03}", created=float(number), state="done"), START)
    world.store.save(world.job(id=f"{NAME}/stopped", created=-1.0, state="stopped"), START)

    world.store.trim()

    left = [job.id for job in world.store.list()]
    assert len(left) == MAX_KEPT + 1
    assert left[0] == f"{NAME}/{MAX_KEPT + 2:03}"
    assert left[-1] == f"{NAME}/stopped"
    assert world.store.list("us-little") == []


@pytest.mark.parametrize(
    ("first", "last", "limit", "problem"),
    [
        (FIRST, LAST, None, None),
        (FIRST, LAST, 10 * DAY, None),
        (FIRST, LAST, 10 * DAY - 3601, "lists nothing before 2027-01-05T09:00:01Z"),
        (LAST, LAST, None, "Give a later end"),
        (LAST, FIRST, None, "Give a later end"),
        (START, START + 1, None, "in the future"),
    ],
)
def test_a_period_that_cannot_be_read_is_refused_in_one_line(
    first: float, last: float, limit: float | None, problem: str | None
) -> None:
    result = period_problem(first, last, START, limit)
    if problem is None:
        assert result is None
    else:
        assert result is not None
        assert problem in result
        assert "\n" not in result


@pytest.mark.parametrize(
    ("finished", "cursors", "share_of_it"),
    [
        ([], {}, 0.0),
        ([], {"a": "25"}, 0.125),
        (["a"], {"b": "50"}, 0.75),
        (["a"], {"b": "-5"}, 0.5),
        (["a"], {"b": "500"}, 1.0),
        (["a", "b"], {}, 1.0),
    ],
)
def test_the_share_that_is_read_counts_every_stream_alike(
    finished: list[str], cursors: dict[str, str], share_of_it: float
) -> None:
    job = Backfill(id="x", source=NAME, first=0.0, last=100.0, streams=["a", "b"], finished=finished, cursors=cursors)
    assert share_read(job, lambda stream, cursor: float(cursor)) == share_of_it


def test_the_remaining_time_comes_from_the_speed_since_the_resume() -> None:
    assert seconds_remaining(0.0, 0.25, 60.0) == 180.0
    assert seconds_remaining(0.5, 0.75, 60.0) == 60.0
    assert seconds_remaining(0.5, 0.5, 60.0) is None
    assert seconds_remaining(0.5, 1.0, 60.0) == 0.0


def test_two_backfills_that_start_in_the_same_second_keep_an_id_and_a_record_each(world: World) -> None:
    world.sit(2)
    first, second, third = (world.run(world.job()) for _ in range(3))

    assert [second.id, third.id] == [f"{first.id}-2", f"{first.id}-3"]
    assert {job.id: job.outcomes for job in world.store.list()} == {
        first.id: {"published": 2},
        second.id: {"duplicate": 2},
        third.id: {"duplicate": 2},
    }


def test_what_finished_outside_the_period_is_left_alone_and_counted_the_same_in_a_dry_run(world: World) -> None:
    world.api.page_size = 50
    early, inside, late = (world.sit(3, start=moment, step=10.0) for moment in (FIRST - 1000.0, FIRST, LAST + 1.0))
    # The list begins before the period, as lists by start or by arrival do.
    poll = world.services.vendors["little"].polls["results"]
    begins_early = replace(poll, start=lambda moment, until: poll.start(moment - DAY, until))
    vendor = replace(world.services.vendors["little"], polls={"results": begins_early})
    world.services = replace(world.services, vendors={"little": vendor})

    planned = world.job()
    preview(world.services, planned, world.callbacks)
    job = world.run(world.job())

    assert world.published == inside
    assert job.outcomes == {"published": 3, "outside_period": len(early) + len(late)} == planned.outcomes


@pytest.mark.parametrize("read", [run, preview])
def test_a_source_that_is_paused_in_the_configuration_is_not_read(world: World, read: Callable[..., None]) -> None:
    world.sit(2)
    source = replace(world.services.config.sources[NAME], paused=True)
    config = replace(world.services.config, sources={NAME: source})
    world.services = replace(world.services, config=config)

    with pytest.raises(ConfigError, match=r"paused: true: the source makes no calls\. Remedy: "):
        read(world.services, world.job(), world.callbacks)
    assert (world.api.calls, world.store.list()) == ([], [])
