"""The overview: what is wrong comes first, everything leads on, and an empty bridge says what to do."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from bridge.delivery.store import Deliveries
from bridge.services import Services
from bridge.state import counts, keys
from bridge.web.ui.overview_rows import first_steps
from tests.support.dashboard import Dashboard
from tests.support.deliveries_ui import CRM, dead, with_subscriptions
from tests.support.published import publish, submission


@pytest.fixture
def services(state: redis.Redis, tmp_path: Path) -> Services:
    return with_subscriptions(state, tmp_path)


def cards(page: str) -> list[str]:
    """The names on the cards, in their order."""
    return re.findall(r'<li class="card" data-row="([^"]*)"', page)


def test_trouble_comes_first_and_leads_to_where_it_is(operator: Dashboard, services: Services) -> None:
    services.budgets.pause("us")
    dead(services, 1, 2)
    page = operator.get("")
    assert re.search(r'<a class="warn" href="/ui/dead-letters">2 dead letters</a>', page)
    assert re.search(r'<a class="warn" href="/ui/sources">source paused: us</a>', page)
    assert cards(page) == ["us", "eu", "crm", "book"]
    assert re.search(r'<a href="/ui/failure-groups/crm/[0-9a-f]+">2</a>', page)
    assert "/ui/dead-letters?filter=subscription%3Acrm" in page


def test_the_period_is_in_the_address_and_the_figures_are_of_it(operator: Dashboard, services: Services) -> None:
    now = services.now()
    pipe = services.state.pipeline(transaction=False)
    counts.add_counts(pipe, keys.counts, 0, now, {"eu|webhook|published": 3, "eu|poll|published": 1})
    counts.add_counts(pipe, keys.counts, 0, now - 3 * 86_400, {"eu|poll|published": 8})
    counts.add_counts(pipe, keys.delivery_counts, 0, now, {"crm|delivered": 7, "crm|lag_0.2": 7})
    pipe.execute()
    page = operator.get("")
    assert "<dt>Webhook share</dt><dd>75 %</dd>" in page
    assert "published: 4 in all, at most 4 in 5 m" in page
    assert "delivered: 7 in all" in page
    assert "<dt>Lag p95</dt><dd>195 ms</dd>" in page
    assert "7 delivered, 95 % within 195 ms" in page
    assert 'class="number">195 ms</td>' in operator.get("subscriptions")
    assert "<dt>Lag p95</dt><dd>195 ms</dd>" in operator.get("subscriptions/crm")
    week = operator.get("?period=7d")
    assert "<dt>Webhook share</dt><dd>25 %</dd>" in week
    assert "4 published, 1 rescued" in page
    assert "12 published, 9 rescued" in week
    assert '<a href="/ui/?period=7d" aria-current="true"' in week


def test_a_bridge_that_has_published_nothing_says_what_to_do_first(operator: Dashboard, services: Services) -> None:
    page = operator.get("")
    assert "What to do first" in page
    assert "attempt-bridge sources test eu" in page
    assert "attempt-bridge subscriptions test crm" in page
    publish(services, submission(1))
    assert "What to do first" not in operator.get("")


def test_what_to_do_first_depends_on_what_is_there() -> None:
    def commands(sources: list[dict[str, Any]], subscriptions: list[dict[str, Any]], *, nothing: bool) -> list[str]:
        return [step.text.split()[0] for step in first_steps(sources, subscriptions, nothing=nothing)]

    configured: list[dict[str, Any]] = [{"name": "x", "webhook": True}]
    assert commands([], [], nothing=True) == ["Add", "Add"]
    assert commands(configured, [], nothing=True) == ["Add", "Test", "Give"]
    assert commands(configured, configured, nothing=True) == ["Test", "Give", "Send", "Watch"]
    assert commands(configured, configured, nothing=False) == []
    assert commands([{"name": "x", "webhook": False}], configured, nothing=True) == ["Test", "Send", "Watch"]


def test_viewers_read_it_too(viewer: Dashboard, services: Services) -> None:
    dead(services, 1)
    page = viewer.get("")
    assert "1 dead letter" in page
    assert "/ui/do/" not in page
    assert "sam@" not in page


@pytest.mark.usefixtures("server")
def test_it_asks_the_state_server_as_often_for_many_subscriptions_and_sources_as_for_few(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def counted(owner: type, name: str) -> None:
        plain = getattr(owner, name)

        def call(*arguments: Any, **options: Any) -> Any:
            asked.append(name)
            return plain(*arguments, **options)

        monkeypatch.setattr(owner, name, call)

    counted(redis.Redis, "execute_command")
    counted(redis.client.Pipeline, "execute")

    def trips(number: int) -> int:
        many = replace(
            services.config,
            subscriptions={f"s{at}": replace(CRM, name=f"s{at}") for at in range(number)},
            sources={f"v{at}": replace(services.config.sources["eu"], name=f"v{at}") for at in range(number)},
        )
        operator = Dashboard(replace(services, config=many))
        operator.get("?period=30d")
        asked.clear()
        operator.get("?period=30d")
        return len(asked)

    assert trips(30) == trips(2)


def test_the_states_of_several_subscriptions_are_those_of_each(state: redis.Redis) -> None:
    store = Deliveries(state, partitions=2)
    for partition, name in enumerate(("crm", "book")):
        state.hset(keys.subscription_state(name, partition), "delivered", partition + 3)
        state.zadd(keys.retry(name, partition), {"x": 5.0})
        state.xadd(keys.journal(partition), {"event": "{}"})
    state.xgroup_create(keys.journal(1), keys.group("book"), id="0")
    state.xreadgroup(keys.group("book"), "one", {keys.journal(1): ">"})
    states = store.states(["crm", "book", "new"], now=1000.0)
    assert [
        (subscription.delivered, subscription.retrying, subscription.pending, subscription.lag)
        for subscription in states.values()
    ] == [
        (3, 1, 0, 2),
        (4, 1, 1, 1),
        (0, 0, 0, 2),
    ]
