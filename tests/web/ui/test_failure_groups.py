"""The pages of failure groups."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from bridge.services import Services
from tests.support.dashboard import Dashboard
from tests.support.deliveries_ui import BOOK, HOSTILE, dead, hostile, send, with_subscriptions
from tests.support.dispatch import Receiver, publish


@pytest.fixture
def services(state: redis.Redis, tmp_path: Path) -> Services:
    return with_subscriptions(state, tmp_path)


def group_of(services: Services) -> str:
    return f"crm/{next(iter(services.deliveries.dead_letters('crm'))).group}"


def test_the_largest_group_is_first_and_leads_to_its_replay(
    operator: Dashboard, viewer: Dashboard, services: Services
) -> None:
    assert "attempt-bridge subscriptions test NAME" in operator.get("failure-groups")
    dead(services, 1, 2)
    publish(services.state, 3)
    send(services, receiver=Receiver(hostile))
    page = operator.get("failure-groups")
    group = group_of(services)
    assert page.index(f'data-row="{group}"') > 0
    numbers = [line.strip() for line in page.splitlines() if 'data-label="Deliveries"' in line]
    assert numbers == [f'<td data-label="Deliveries" class="number">{number}</td>' for number in (2, 1)]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert HOSTILE[:20] not in page
    assert 'href="/ui/replays/new?what=dead_letters&amp;group=crm%2F' in page
    assert "data-replay" not in viewer.get("failure-groups")
    assert operator.get("failure-groups?state=fixed").count("data-row") == 0


def test_a_group_shows_its_deliveries_and_is_acknowledged_reopened_and_discarded(
    operator: Dashboard, services: Services
) -> None:
    ids = dead(services, 1, 2)
    path = f"failure-groups/{group_of(services)}"
    page = operator.get(path)
    assert "Replay all 2" in page
    assert all(letter.id in page for letter in services.deliveries.dead_letters("crm"))
    assert f'href="/ui/deliveries/crm/{ids[1]}"' in page
    assert "attempt-bridge failure-groups acknowledge crm/" in page
    assert '<span class="badge warn">acknowledged</span>' in operator.press(path, "acknowledge-failure-group")
    assert '<span class="badge bad">open</span>' in operator.press(path, "reopen-failure-group")
    assert "2 dead letters discarded" in operator.press(path, "discard-failure-group")
    assert list(services.deliveries.dead_letters("crm")) == []
    assert [entry.action for _, _, entry in services.audit.newest_first()][:3] == [
        "discardFailureGroup",
        "reopenFailureGroup",
        "acknowledgeFailureGroup",
    ]
    assert "Replay all" not in operator.get(path)


def test_a_group_of_deliveries_that_are_tried_again_has_them_and_nothing_to_replay(
    operator: Dashboard, viewer: Dashboard, services: Services
) -> None:
    (ident,) = publish(services.state, 1)
    send(services, BOOK, Receiver(hostile))
    page = operator.get("failure-groups")
    assert "data-replay" not in page
    (row,) = operator.client.get("/api/v1/failure-groups").json["failure_groups"]
    for reader in (operator, viewer):
        page = reader.get(f"failure-groups/{row['id']}")
        assert f'href="/ui/deliveries/book/{ident}"' in page
        assert "data-replay" not in page
    assert "/ui/do/" not in page
