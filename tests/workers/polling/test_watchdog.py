"""The watchdog over real stores: what it reads, what it announces, also twice at once and after being killed."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from bridge.config.model import PollConfig, Subscription, WebhookConfig
from bridge.delivery.lag import oldest_unsettled_at
from bridge.errors import StateUnavailable
from bridge.journal import POLL, WEBHOOK, Entry, RequestRecord
from bridge.monitoring import alarms
from bridge.monitoring.alarms import RAISED, Alarms
from bridge.monitoring.traffic_baseline import TrafficBaselines, observe
from bridge.polling.cursors import RoundReport
from bridge.services import Services
from bridge.state import keys
from schemas.notices import ALARM_TYPES, BUDGET_EXHAUSTED, CREDENTIALS_REJECTED, POLL_FAILING, WEBHOOKS_SILENT
from tests.support.dispatch import Receiver, lane, publish, run_until_idle
from tests.support.journal import make_submission
from tests.support.polling import Api, journal, journal_events, make_services, make_vendor, with_source
from tests.support.watching import DAY, HOUR, MINUTE, MONDAY, WEEK
from workers.polling.watchdog import check_sources, warn_of_backlogs

NAME = "eu-little"


class World:
    """One source; time goes on by the minute, and with it polls, webhooks and checks."""

    def __init__(self, state: redis.Redis) -> None:
        self.now = MONDAY
        self.state = state
        self.services = make_services(
            state, make_vendor(Api(lambda: self.now)), lambda: self.now, poll=PollConfig(every=300)
        )
        self.number = 0

    def check(self, seconds: float, *, every: float = MINUTE, polled: bool = True) -> int:
        """Check after check; the number of notices published. `polled`: a round that reads a page goes before each."""
        end, made = self.now + seconds, 0
        while self.now < end:
            self.now += every
            if polled:
                self.poll()
            made += check_sources(self.services)
        return made

    def poll(self, *, count: int = 0, error: str | None = None) -> None:
        cursors = self.services.cursors
        cursors.begin(NAME, "results", self.now - 1)
        if error is None:
            cursors.save(NAME, "results", f"{self.now:.0f}", self.now)
        outcomes = {"published": count}
        cursors.record_round(
            NAME,
            RoundReport(
                stream="results",
                from_cursor="1",
                to_cursor="2",
                started=self.now - 1,
                seconds=0.5,
                outcomes=outcomes,
                error=error,
            ),
        )

    def test_message(self) -> None:
        self.number += 1
        request = RequestRecord(
            id=f"r{self.number}", source=NAME, received_at=self.now, headers={}, body=b"{}", outcome="test"
        )
        self.services.journal.publish(Entry(request=request), now=self.now)

    def webhook(self) -> None:
        self.number += 1
        submission = make_submission(f"link:{self.number}", origin=WEBHOOK, source=NAME)
        request = RequestRecord(id=f"r{self.number}", source=NAME, received_at=self.now, headers={}, body=b"{}")
        self.services.journal.publish(Entry(submissions=(submission,), request=request), now=self.now)

    def said(self) -> list[tuple[str, str]]:
        """(type, state) of every alarm on the journal."""
        events = (event for event in journal_events(self.state) if event.get("type") in ALARM_TYPES)
        return [(event["type"], event["data"]["alarm"]["state"]) for event in events]


@pytest.fixture
def world(state: redis.Redis) -> World:
    return World(state)


def test_a_source_that_works_has_no_alarm(world: World) -> None:
    assert world.check(3 * HOUR, every=5 * MINUTE) == 0
    assert world.said() == []


def test_polls_that_fail_are_announced_and_their_end_too(world: World) -> None:
    world.check(HOUR, every=5 * MINUTE)
    for _ in range(6):
        world.check(5 * MINUTE, polled=False)
        world.poll(error="source eu-little: GET /v1/results: HTTP 502")
    world.check(5 * MINUTE, polled=False)
    assert world.said() == [(POLL_FAILING, "raised")]
    (up,) = alarms.raised_alarms(world.state, NAME)
    assert "HTTP 502" in up.value
    (event,) = journal_events(world.state)
    assert (event["subject"], event["source"]) == (NAME, f"/acme/sources/{NAME}")
    assert journal(world.state) == [(POLL_FAILING, NAME)]
    world.check(5 * MINUTE)
    assert world.said() == [(POLL_FAILING, "raised"), (POLL_FAILING, "recovered")]
    assert alarms.raised_alarms(world.state, NAME) == ()


def test_refused_credentials_are_announced_at_once_and_over_with_resume(world: World) -> None:
    world.check(5 * MINUTE)
    world.services.budgets.pause_until(NAME, math.inf, "source eu-little: HTTP 403 to GET /v1/results")
    assert world.check(MINUTE, polled=False) == 1
    assert world.check(2 * HOUR, every=5 * MINUTE, polled=False) == 0
    world.services.budgets.resume(NAME)
    world.check(5 * MINUTE)
    assert world.said() == [(CREDENTIALS_REJECTED, "raised"), (CREDENTIALS_REJECTED, "recovered")]


def test_a_spent_budget_is_announced_after_its_window(world: World) -> None:
    world.services = with_source(world.services, budget=replace(world.services.config.sources[NAME].budget, calls=3))
    world.check(5 * MINUTE)
    spent = 0
    while not world.said():
        source = world.services.config.sources[NAME]
        if world.services.budgets.status(NAME, source.budget, world.now).left:
            world.services.budgets.take(NAME, source.budget, world.now, spender=POLL)
        world.check(MINUTE, polled=False)
        spent += 1
    assert world.said() == [(BUDGET_EXHAUSTED, "raised")]
    assert 55 <= spent <= 70


def test_a_pause_on_purpose_is_no_alarm_and_ends_none(world: World) -> None:
    world.check(5 * MINUTE)
    world.services.budgets.pause_until(NAME, math.inf, "HTTP 403")
    world.check(MINUTE, polled=False)
    world.services.budgets.pause(NAME)
    world.check(20 * HOUR, every=10 * MINUTE, polled=False)
    assert world.said() == [(CREDENTIALS_REJECTED, "raised")]
    assert [alarm.kind for alarm in alarms.raised_alarms(world.state, NAME)] == [CREDENTIALS_REJECTED]


@pytest.mark.long
def test_an_alarm_that_lasts_is_repeated_once_a_day(world: World) -> None:
    world.services.budgets.pause_until(NAME, math.inf, "HTTP 403")
    world.check(3 * DAY + HOUR, every=30 * MINUTE, polled=False)
    assert world.said() == [(CREDENTIALS_REJECTED, "raised")] * 4


@pytest.fixture
def watched_world(world: World) -> World:
    """A Monday at ten, after four weeks with ten webhooks an hour from eight to six, also at weekends."""
    baselines, start, total = TrafficBaselines(world.state), MONDAY, 0
    world.now = MONDAY + 4 * WEEK + 10 * HOUR
    traffic = observe(None, now=start, counts={}, rounds=())
    while start < world.now:
        total += 10 if 8 * HOUR <= (start - MONDAY) % DAY < 18 * HOUR else 0
        start += HOUR
        last = start - MINUTE
        traffic = replace(
            traffic, checked_at=last, day=int(last // DAY), webhooks=total, last_webhook_at=last, quiet_since=last
        )
        baselines.save(NAME, traffic)
    return world


def test_webhooks_that_stop_while_polls_go_on_finding_attempts_are_announced_within_the_hour(
    watched_world: World,
) -> None:
    watched_world.check(30 * MINUTE, every=5 * MINUTE)
    assert watched_world.said() == []
    for _ in range(6):
        watched_world.poll(count=2)
        watched_world.check(5 * MINUTE, polled=False)
    assert watched_world.said() == [(WEBHOOKS_SILENT, "raised")]
    (up,) = alarms.raised_alarms(watched_world.state, NAME)
    assert "polling found" in up.value
    watched_world.test_message()
    watched_world.check(MINUTE)
    assert watched_world.said() == [(WEBHOOKS_SILENT, "raised")]
    watched_world.webhook()
    watched_world.check(MINUTE)
    assert watched_world.said() == [(WEBHOOKS_SILENT, "raised"), (WEBHOOKS_SILENT, "recovered")]


def test_webhooks_that_stop_where_nothing_is_polled_are_missed_by_what_is_usual(watched_world: World) -> None:
    watched_world.services = with_source(watched_world.services, poll=PollConfig(enabled=False))
    watched_world.check(HOUR, every=5 * MINUTE, polled=False)
    assert watched_world.said() == []
    watched_world.check(2 * HOUR, every=5 * MINUTE, polled=False)
    assert watched_world.said() == [(WEBHOOKS_SILENT, "raised")]


def test_webhooks_that_are_switched_off_are_not_missed(watched_world: World) -> None:
    watched_world.services = with_source(
        watched_world.services, poll=PollConfig(enabled=False), webhook=WebhookConfig(enabled=False)
    )
    assert watched_world.check(3 * HOUR, every=5 * MINUTE, polled=False) == 0


def test_two_watchdogs_at_the_same_moment_publish_one_alarm(state: redis.Redis) -> None:
    """Every step of one falls between two of the other: the second runs inside each call of the first."""
    world = World(state)
    world.check(5 * MINUTE)
    world.services.budgets.pause_until(NAME, math.inf, "HTTP 403")
    other = make_services(state, make_vendor(Api(lambda: world.now)), lambda: world.now + 0.5)
    world.now += MINUTE
    made = interleaved(world.services, other)
    assert made == 1
    assert world.said() == [(CREDENTIALS_REJECTED, "raised")]
    world.services.budgets.resume(NAME)
    world.now += MINUTE
    interleaved(world.services, other)
    world.check(MINUTE)
    assert world.said() == [(CREDENTIALS_REJECTED, "raised"), (CREDENTIALS_REJECTED, "recovered")]


def interleaved(services: Services, other: Services) -> int:
    """`one` decides, then `other` runs whole, then `one` goes on."""
    made = 0

    class Late(Alarms):
        def compare_and_set(self, *args: Any) -> Any:
            nonlocal made
            Late.compare_and_set = Alarms.compare_and_set  # type: ignore[method-assign]
            made += check_sources(other)
            return super().compare_and_set(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workers.polling.watchdog.Alarms", Late)
        return check_sources(services) + made


@pytest.mark.parametrize("lost", [1, 2])
def test_what_a_killed_watchdog_left_unsaid_is_said_by_the_next(
    world: World, lost: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It dies between the decision and the journal (1), or between the journal and its note (2)."""
    world.services.budgets.pause_until(NAME, math.inf, "HTTP 403")
    calls = 0

    def dying(self: Alarms, *args: Any, real: Any = Alarms.compare_and_set) -> Any:
        nonlocal calls
        calls += 1
        answer = real(self, *args)
        if calls == lost:
            raise StateUnavailable("the process ended here")
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(Alarms, "compare_and_set", dying)
        with pytest.raises(StateUnavailable):
            world.check(MINUTE, polled=False)
    world.check(5 * MINUTE, polled=False)
    assert world.said() == [(CREDENTIALS_REJECTED, RAISED)]


def test_an_alarm_is_logged_once_with_its_remedy(world: World) -> None:
    world.services.budgets.pause_until(NAME, math.inf, "HTTP 403")
    with capture_logs() as logs:
        world.check(HOUR, every=5 * MINUTE, polled=False)
    (line,) = [line for line in logs if line["event"] == "alarm_raised"]
    assert (line["log_level"], line["source"], line["type"]) == ("warning", NAME, CREDENTIALS_REJECTED)
    assert "attempt-bridge sources resume" in line["remedy"]


def test_a_subscription_without_dispatch_is_named_when_it_keeps_old_events(state: redis.Redis) -> None:
    served, alone = Subscription(name="crm", transport="http"), Subscription(name="alone", transport="http")
    now = [0.0]
    services = make_services(state, make_vendor(Api(lambda: now[0])), lambda: now[0])
    config = replace(
        services.config, subscriptions={subscription.name: subscription for subscription in (served, alone)}
    )
    services = replace(services, config=config)
    assert warn_of_backlogs(services) == ()
    publish(state, 1, 2)
    first, _ = state.xrange(keys.journal(0))
    recorded = int(first[0].partition(b"-")[0]) / 1000
    run_until_idle(lane(state, Receiver(), subscription=served), recorded)
    now[0] = recorded + config.bridge.retention.events - 1
    assert warn_of_backlogs(services) == ()
    now[0] += 2
    with capture_logs() as logs:
        assert warn_of_backlogs(services) == ("alone",)
    assert [line["subscription"] for line in logs] == ["alone"]
    removed = replace(services, config=replace(config, subscriptions={"crm": served}))
    state.xgroup_create(keys.journal(0), keys.group("alone"), id="0")
    with capture_logs() as logs:
        assert warn_of_backlogs(removed) == ("alone",)
    assert logs[0]["remedy"] == "add it to bridge.yaml again, or attempt-bridge subscriptions forget alone"


def test_what_was_read_and_not_settled_counts_as_waiting(state: redis.Redis) -> None:
    publish(state, 1, 2)
    group = keys.group("crm")
    state.xgroup_create(keys.journal(0), group, id="0")
    state.xreadgroup(group, "one", {keys.journal(0): ">"})
    first, second = (int(entry[0].partition(b"-")[0]) / 1000 for entry in state.xrange(keys.journal(0)))
    assert oldest_unsettled_at(state, "crm", partitions=1) == first
    (entry, *_) = [item[0] for item in state.xrange(keys.journal(0))]
    state.xack(keys.journal(0), group, entry)
    assert oldest_unsettled_at(state, "crm", partitions=1) == second
