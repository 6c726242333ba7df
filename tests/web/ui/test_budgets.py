"""No page grows with the installation: its bytes and its calls of the API, with many sources and subscriptions."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import redis
from flask import request, request_started

from benchmarks import api, ui
from bridge import registry
from bridge.config import loader
from bridge.services import Services
from bridge.settings import Settings
from tests.support.clients import clients_over
from tests.support.dashboard import Dashboard
from tests.support.site import walk

MOST_BYTES, MOST_CALLS = 150_000, 8


@pytest.fixture
def services(state: redis.Redis, tmp_path: Path) -> Services:
    """200 subscriptions, 21 of which fail, 50 sources, and more of everything than a page shows."""
    path = tmp_path / "bridge.yaml"
    path.write_text(ui.configuration("redis://127.0.0.1:1", str(tmp_path)))
    made = Services(
        settings=Settings(),
        config=loader.read(path, vendors=registry.vendors(), environment={}),
        vendors=registry.vendors(),
        state_url="redis://127.0.0.1:1",
        broker_url="x",
        clients=clients_over(state),
    )
    ui.crowd(made, 600, 60)
    return made


def test_every_page_is_small_and_makes_few_calls_with_200_subscriptions_and_50_sources(services: Services) -> None:
    dashboard = Dashboard(services, api.TOKEN)
    calls: Counter[str] = Counter()

    def count(_: object) -> None:
        if request.path.startswith("/api/"):
            calls[request.path] += 1

    over_budget: list[str] = []
    with request_started.connected_to(count, dashboard.client.application):
        for _, address, text in walk(dashboard.visit, each=2):
            size, number = len(text.encode()), calls.total() - 1  # one of them reads the session
            if size > MOST_BYTES or number > MOST_CALLS:
                over_budget.append(f"{address}: {size} bytes, {number} calls: {dict(calls)}")
            calls.clear()
    assert "\n".join(over_budget) == ""
