"""Alarms of subscriptions: only transitions are announced, each once; acknowledged groups are mute."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from bridge.config.model import RetryPolicy, Subscription
from bridge.delivery.group_store import FailureGroups
from bridge.delivery.groups import ACKNOWLEDGED, OPEN, FailureGroup
from bridge.delivery.status import SubscriptionState, read_state
from bridge.journal.reading import Reader
from bridge.monitoring.subscription_alarms import CIRCUIT, Facts, SubscriptionAlarm, next_alarm
from bridge.services import Services
from bridge.state import keys
from schemas.notices import SUBSCRIPTION_DISABLED, SUBSCRIPTION_FAILING, SUBSCRIPTION_RECOVERED
from tests.support.dispatch import Receiver, lane, publish, refuse, run_until_idle
from tests.support.watches_api import build
from workers.polling.subscription_watchdog import check_subscriptions

NAME, NOW = "crm", 1_800_000_000.0
DAY = 86_400.0
NEVER = Subscription(name=NAME, transport="http", retry=RetryPolicy(schedule=()))


@pytest.fixture
def quiet(state: redis.Redis) -> SubscriptionState:
    return read_state(state, NAME, partitions=1, now=NOW)


def group(name: str = "abc", **members: Any) -> FailureGroup:
    plain: dict[str, Any] = {"fingerprint": name, "reason": "receiver_refused", "status": 400, "message": "no"}
    plain |= {"state": OPEN, "since": NOW, "failing": 0, "dead": 2, "failures": 2, "first": NOW, "last": NOW}
    return FailureGroup(**plain | {"example": "e", "acknowledged": 0, "reopened": 0} | members)


def after(old: SubscriptionAlarm | None, state: SubscriptionState, *groups: FailureGroup, at: float = NOW) -> Any:
    return next_alarm(old, Facts(name=NAME, now=at, state=state, groups=groups))


def published(alarm: SubscriptionAlarm) -> SubscriptionAlarm:
    return replace(alarm, published=True)


def test_nothing_is_announced_about_a_subscription_without_a_problem(quiet: SubscriptionState) -> None:
    assert after(None, quiet) is None
    assert after(None, quiet, group(dead=0, failing=5)) is None
    assert after(None, quiet, group(state=ACKNOWLEDGED)) is None


def test_a_receiver_counts_as_failing_after_five_minutes(quiet: SubscriptionState) -> None:
    open_circuit = replace(quiet, circuit="open", failing_since=NOW, last_error="receiver answered 502")
    assert after(None, open_circuit, at=NOW + 299.0) is None
    alarm = after(None, open_circuit, at=NOW + 300.0)
    assert (alarm.kind, alarm.causes, alarm.since, alarm.value) == (
        SUBSCRIPTION_FAILING,
        (CIRCUIT,),
        NOW,
        "receiver answered 502",
    )


def test_what_lasts_is_not_repeated_and_a_new_cause_is_announced(quiet: SubscriptionState) -> None:
    first = after(None, quiet, group())
    assert after(first, quiet) == first, "what is not published is published first"
    lasting = published(first)
    assert after(lasting, quiet, group(dead=900), at=NOW + 30 * DAY) == lasting
    second = after(lasting, quiet, group(), group("def"), at=NOW + 60.0)
    assert (second.kind, second.number, second.causes) == (SUBSCRIPTION_FAILING, 2, ("abc", "def"))
    fewer = after(published(second), quiet, group("def"), at=NOW + 120.0)
    assert (fewer.published, fewer.number, fewer.causes) == (True, 2, ("def",))
    assert after(fewer, quiet, group(), group("def"), at=NOW + 180.0).number == 3


def test_it_has_recovered_when_the_last_cause_is_gone_or_acknowledged(quiet: SubscriptionState) -> None:
    failing = published(after(None, quiet, group()))
    over = after(failing, quiet, group(state=ACKNOWLEDGED), at=NOW + 3600.0)
    assert (over.kind, over.number, over.value) == (SUBSCRIPTION_RECOVERED, 2, "over after 1h")
    assert after(published(over), quiet, at=NOW + 7200.0) == published(over)


def test_a_problem_that_comes_and_goes_is_one_problem(quiet: SubscriptionState) -> None:
    over = published(after(published(after(None, quiet, group())), quiet, at=NOW + 60.0))
    assert after(over, quiet, group(), at=NOW + 60.0 + 899.0) == over
    assert after(over, quiet, group(), at=NOW + 60.0 + 900.0).kind == SUBSCRIPTION_FAILING


def test_a_disabled_subscription_is_announced_once_and_a_paused_one_not_at_all(quiet: SubscriptionState) -> None:
    disabled = replace(quiet, circuit="disabled", circuit_reason="no answer for 5 days")
    alarm = after(published(after(None, quiet, group())), disabled, group())
    assert (alarm.kind, alarm.value) == (SUBSCRIPTION_DISABLED, "no answer for 5 days")
    lasting = published(alarm)
    assert after(lasting, disabled, group(), at=NOW + DAY) == lasting
    assert after(lasting, quiet, at=NOW + DAY).kind == SUBSCRIPTION_RECOVERED
    assert after(lasting, quiet, group(), at=NOW + DAY).kind == SUBSCRIPTION_FAILING
    assert after(None, replace(quiet, circuit="paused"), group()) is None


# --- with a state


@pytest.fixture
def services(state: redis.Redis, tmp_path: Path) -> Services:
    services = build(state, tmp_path)
    config = replace(services.config, subscriptions={NAME: NEVER})
    return replace(services, config=config, now=lambda: NOW)


def announced(services: Services) -> list[dict[str, Any]]:
    events = Reader(services.state).events(newest_first=False)
    return [json.loads(stored.event) for stored in events if stored.type.startswith("subscription.")]


def test_each_transition_is_one_event_however_often_it_is_assessed(services: Services) -> None:
    publish(services.state, 1, 2)
    run_until_idle(lane(services.state, Receiver(refuse), subscription=NEVER), NOW)
    assert check_subscriptions(services) == 1
    assert check_subscriptions(services) == 0
    (failing,) = announced(services)
    assert (failing["type"], failing["source"], failing["subject"], failing["bridgevendor"]) == (
        SUBSCRIPTION_FAILING,
        "/acme/subscriptions/crm",
        "crm",
        "bridge",
    )
    assert failing["data"]["subscription"]["value"] == "2 dead letters, most of them: receiver answered 500"
    groups = FailureGroups(services.deliveries)
    groups.discard(NAME, groups.of(NAME)[0].fingerprint, now=NOW)
    assert check_subscriptions(services) == 1
    assert [event["type"] for event in announced(services)] == [SUBSCRIPTION_FAILING, SUBSCRIPTION_RECOVERED]


def test_what_a_killed_process_did_not_publish_the_next_one_does(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(services.state, 1)
    run_until_idle(lane(services.state, Receiver(refuse), subscription=NEVER), NOW)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("bridge.journal.publishing.Journal.publish", killed)
        with pytest.raises(KeyboardInterrupt):
            check_subscriptions(services)
    assert announced(services) == []
    assert check_subscriptions(services) == 1
    assert len(announced(services)) == 1


def test_a_disabled_subscription_is_announced_with_its_reason(services: Services) -> None:
    services.state.hset(keys.subscription_state(NAME), mapping={"disabled": "no answer for 5 days"})
    assert check_subscriptions(services) == 1
    (event,) = announced(services)
    assert event["type"] == SUBSCRIPTION_DISABLED
    assert event["data"]["subscription"]["value"] == "no answer for 5 days"
