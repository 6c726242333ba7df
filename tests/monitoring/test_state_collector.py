"""What /metrics says about the state: the numbers of sources, subscriptions, journal and quarantine."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import redis
import yaml
from prometheus_client import CollectorRegistry

from bridge.config.model import PollConfig, Subscription
from bridge.journal import POLL
from bridge.monitoring.alarms import Alarms, next_alarm
from bridge.monitoring.source_health import SourceProblem
from bridge.monitoring.state_collector import StateCollector
from bridge.sdk.records import Pointer
from bridge.services import Services, clients_of
from bridge.state import keys
from schemas.notices import POLL_FAILING, WEBHOOKS_SILENT
from tests.support.dispatch import Receiver, lane, publish, refuse, run_until_idle
from tests.support.web import services_over

NOW = 1_800_000_000.0
ALERTS = Path(__file__).parents[2] / "deploy/prometheus-alerts.yaml"
CRM = Subscription(name="crm", transport="http")


@pytest.fixture
def bridge(tmp_path: Path, state: redis.Redis) -> Services:
    services = services_over(tmp_path, state)
    source = replace(services.config.sources["eu"], poll=PollConfig())
    config = replace(services.config, sources={"eu": source}, subscriptions={"crm": CRM})
    return replace(services, now=lambda: NOW, config=config)


def number(bridge: Services, name: str, **labels: str) -> float | None:
    registry = CollectorRegistry()
    registry.register(StateCollector(bridge))
    return registry.get_sample_value(name, labels)


def test_subscriptions_show_backlog_retries_and_dead_letters(bridge: Services, state: redis.Redis) -> None:
    publish(state, 1, 2, 3)
    crm_lane = lane(state, Receiver(lambda sent: refuse(sent) if sent.attempt == "a1" else None), subscription=CRM)
    run_until_idle(crm_lane, NOW)
    state.xadd(keys.dead("crm"), {"id": "x"})
    publish(state, 4)
    assert number(bridge, "bridge_retry_scheduled", subscription="crm") == 1
    assert number(bridge, "bridge_dead_letters", subscription="crm") == 1
    assert number(bridge, "bridge_deliveries_total", subscription="crm", outcome="delivered") == 2
    assert number(bridge, "bridge_deliveries_total", subscription="crm", outcome="failed") == 1
    assert number(bridge, "bridge_subscription_backlog", subscription="crm") == 1
    assert number(bridge, "bridge_subscription_stopped", subscription="crm", circuit="closed") == 0
    bridge.deliveries.pause("crm")
    assert number(bridge, "bridge_subscription_stopped", subscription="crm", circuit="paused") == 1


def test_sources_show_budget_and_last_poll(bridge: Services) -> None:
    source = bridge.config.sources["eu"]
    bridge.budgets.take("eu", source.budget, NOW, spender=POLL)
    bridge.cursors.save("eu", "links", "1767264000", NOW - 60)
    bridge.quarantine.add(source="eu", origin=POLL, reason="no test_id", body=b"{}", now=NOW)
    assert number(bridge, "bridge_budget_remaining", source="eu") == source.budget.calls - 1
    assert number(bridge, "bridge_watches_open", source="eu") == 0
    assert number(bridge, "bridge_quarantined") == 1
    assert number(bridge, "bridge_state_up") == 1
    assert number(bridge, "bridge_poll_last_success_timestamp_seconds", source="eu", stream="links") == NOW - 60


def test_sources_show_alarms_and_watches(bridge: Services) -> None:
    problem = SourceProblem(since=NOW - 60, fact="f", value="v", remedy="r")
    up = next_alarm(None, POLL_FAILING, problem, NOW)
    assert up is not None
    Alarms(bridge.state).compare_and_set("eu", None, up)
    assert number(bridge, "bridge_alarm", source="eu", type=POLL_FAILING) == 1
    assert number(bridge, "bridge_alarm", source="eu", type=WEBHOOKS_SILENT) == 0
    expect = partial(bridge.expectations.expect, "eu", label=None, deadline=NOW + 60, now=NOW)
    expect([Pointer(key="a:1", reference={"id": "1"})], due=NOW - 1)
    (late,) = expect([Pointer(key="a:2", reference={"id": "2"})], due=NOW + 1)
    assert number(bridge, "bridge_watches_open", source="eu") == 2
    assert number(bridge, "bridge_watches_due", source="eu") == 1
    assert number(bridge, "bridge_watches_overdue", source="eu") == 0
    assert bridge.expectations.set_state("eu", late, "overdue")
    assert number(bridge, "bridge_watches_overdue", source="eu") == 1


def test_a_subscription_that_was_removed_is_shown_with_what_is_left_of_it(bridge: Services, state: redis.Redis) -> None:
    assert number(bridge, "bridge_subscription_orphaned", subscription="crm") == 0
    publish(state, 1)
    run_until_idle(lane(state, Receiver(refuse), subscription=replace(CRM, name="old")), NOW)
    assert number(bridge, "bridge_subscription_orphaned", subscription="old") == 1
    assert number(bridge, "bridge_retry_scheduled", subscription="old") == 1
    assert number(bridge, "bridge_dead_letters", subscription="old") == 0


def test_the_oldest_unsettled_event_shows_its_age(bridge: Services, state: redis.Redis) -> None:
    assert number(bridge, "bridge_subscription_oldest_seconds", subscription="crm") == 0
    state.xadd(keys.journal(0), {"id": "x"}, id=f"{(NOW - 3600) * 1000:.0f}-0")
    assert number(bridge, "bridge_subscription_oldest_seconds", subscription="crm") == pytest.approx(3600)


def test_without_the_state_server_there_is_only_its_gauge(bridge: Services) -> None:
    bridge = replace(bridge, clients=clients_of("redis://127.0.0.1:1/0"))
    assert number(bridge, "bridge_state_up") == 0
    assert number(bridge, "bridge_dead_letters", subscription="crm") is None


def test_the_alert_about_a_stopped_subscription_does_not_start_anew_when_its_circuit_half_opens() -> None:
    rules = yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
    (rule,) = [rule for rule in rules if rule.get("alert") == "BridgeSubscriptionStopped"]
    assert "without (circuit)" in rule["expr"]
    assert "$labels.circuit" not in str(rule["annotations"])
