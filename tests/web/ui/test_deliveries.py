"""The pages of deliveries."""

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


def test_the_list_has_every_state_and_boxes_for_the_dead_ones_alone(
    operator: Dashboard, viewer: Dashboard, services: Services
) -> None:
    assert "attempt-bridge subscriptions list" in operator.get("deliveries")
    (given_up,) = dead(services, 1)
    (taken,) = publish(services.state, 2)
    send(services)
    (waiting,) = publish(services.state, 3)
    page = operator.get("deliveries?subscription=crm")
    assert page.count("data-select ") == 1
    assert f'href="/ui/deliveries/crm/{taken}"' in page
    assert waiting not in page
    assert 'href="/ui/deliveries?subscription=crm&amp;filter=state%3Adead"' in page
    page = operator.get("deliveries?filter=state:waiting+subscription:crm")
    assert [ident in page for ident in (given_up, taken, waiting)] == [False, False, True]
    assert f'href="/ui/events/{waiting}"' in page
    assert "data-select" not in viewer.get("deliveries")


def test_a_delivery_is_shown_with_its_tries_tried_now_and_cancelled(
    operator: Dashboard, viewer: Dashboard, services: Services
) -> None:
    (ident,) = publish(services.state, 1)
    send(services, BOOK, Receiver(hostile, status=500, body=HOSTILE.encode()))
    path = f"deliveries/book/{ident}"
    for reader in (operator, viewer):
        page = reader.get(path)
        for piece in ("<script>alert", "<img src=x", '" autofocus'):
            assert piece not in page
        assert '<span class="badge warn">retrying</span>' in page
        assert "250 ms" in page
    assert "/ui/do/" not in page
    assert "&lt;img src=x" in operator.get(path)
    page = operator.press(path, "retry-delivery")
    assert f"book/{ident} is due now" in page
    assert f"attempt-bridge deliveries cancel book/{ident}" in page
    page = operator.press(path, "cancel-delivery")
    assert '<span class="badge off">cancelled</span>' in page
    assert f'href="/ui/replays/new?what=events&amp;by=ids&amp;ids={ident}&amp;subscriptions=book"' in page
    assert [entry.action for _, _, entry in services.audit.newest_first()][:2] == ["cancelDelivery", "retryDelivery"]


def test_a_dead_one_leads_to_its_dead_letter_and_to_its_replay(operator: Dashboard, services: Services) -> None:
    (ident,) = dead(services, 1)
    (letter,) = services.deliveries.dead_letters("crm")
    page = operator.get(f"deliveries/crm/{ident}")
    assert f'href="/ui/dead-letters/crm/{letter.id.replace(":", "%3A")}"' in page
    assert "data-replay" in page
    assert "/ui/do/" not in page
    assert "unknown delivery" in operator.get("deliveries/crm/none", status=404)
