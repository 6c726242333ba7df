"""The pages of subscriptions."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from bridge import clock
from bridge.delivery.subscription_test import Report, SubscriptionTests
from bridge.net.standard_webhooks import SigningSecret
from bridge.services import Services
from bridge.state import keys
from tests.support.dashboard import Dashboard
from tests.support.deliveries_ui import BOOK, CRM, HOSTILE, dead, hostile, send, with_subscriptions
from tests.support.dispatch import Receiver, publish

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="


@pytest.fixture
def services(state: redis.Redis, tmp_path: Path) -> Services:
    return with_subscriptions(state, tmp_path)


def test_the_list_has_what_waits_fails_and_was_given_up(
    operator: Dashboard, viewer: Dashboard, services: Services
) -> None:
    dead(services, 1, 2)
    publish(services.state, 3)
    send(services)
    send(services, BOOK, Receiver(hostile))
    for reader in (operator, viewer):
        page = reader.get("subscriptions")
        assert '<a href="/ui/dead-letters?subscription=crm">2</a>' in page
        assert "33.3 %" in page
        assert "<script>alert" not in page


def test_without_subscriptions_the_list_says_what_to_do(operator: Dashboard, services: Services) -> None:
    empty = Dashboard(replace(services, config=replace(services.config, subscriptions={})))
    assert "bridge.yaml has no subscriptions" in empty.get("subscriptions")


def test_one_is_shown_with_masked_secrets_and_their_end_its_groups_and_a_chart(services: Services) -> None:
    crm = replace(CRM, secrets=(SigningSecret(SECRET, expires=1_900_000_000.0), SigningSecret(SECRET)))
    services = replace(services, config=replace(services.config, subscriptions={"crm": crm, "book": BOOK}))
    dead(services, 1)
    (letter,) = services.deliveries.dead_letters("crm")
    for reader in (Dashboard(services), Dashboard(services, "view-token")):
        page = reader.get("subscriptions/crm")
        assert SECRET not in page
        assert '<time datetime="2030-03-17T17:46:40' in page
        assert f'href="/ui/failure-groups/crm/{letter.group}">1 receiver error</a>' in page
        assert "data-chart=" in page
        assert "https://crm.example.test/hook" in page
    assert "/ui/do/" not in page
    assert "/test" not in page


def test_it_is_paused_and_resumed(operator: Dashboard, services: Services) -> None:
    publish(services.state, 1)
    page = operator.press("subscriptions/crm", "pause-subscription")
    assert '<span class="badge warn">paused</span>' in page
    assert "Its events are deleted unsent from" in page
    page = operator.press("subscriptions/crm", "resume-subscription")
    assert "crm is active; due at once: 0 retries" in page
    assert [entry.action for _, _, entry in services.audit.newest_first()][:2] == [
        "resumeSubscription",
        "pauseSubscription",
    ]


def test_a_test_shows_request_answer_and_duration_as_text(operator: Dashboard, services: Services) -> None:
    tests = SubscriptionTests(services.state, services.blocking_client)
    request = {
        "to": "https://crm.example.test/hook",
        "headers": {"webhook-id": HOSTILE},
        "body": '{"type": "bridge.test"}',
    }

    def serve() -> None:
        while (asked := tests.take(1.0)) is None:
            continue
        report = Report(
            reason="receiver_error",
            problem=HOSTILE,
            at=clock.now(),
            seconds=0.125,
            request=request,
            status=500,
            answer=HOSTILE,
        )
        tests.report(asked, report)

    assert "no dispatch process runs" in pressed(operator)
    services.state.set(keys.heartbeat("dispatch"), "1")
    thread = threading.Thread(target=serve)
    thread.start()
    page = pressed(operator)
    thread.join()
    for piece in ("125 ms", "bridge.test", "<dd>500</dd>", "webhook-id", "https://crm.example.test/hook"):
        assert piece in page, piece
    for piece in ("<script>alert", "<img src=x", '" autofocus'):
        assert piece not in page, piece


def test_a_removed_one_is_forgotten_after_a_dry_run(operator: Dashboard, viewer: Dashboard, services: Services) -> None:
    dead(services, 1, 2)
    without = Dashboard(replace(services, config=replace(services.config, subscriptions={"book": BOOK})))
    page = without.get("subscriptions/crm")
    assert "deliveries that wait for a retry or a receipt, 2 dead letters." in page
    assert "attempt-bridge subscriptions forget crm --yes" in page
    assert len(list(services.deliveries.dead_letters("crm"))) == 2
    assert "crm is forgotten" in without.press("subscriptions/crm", "forget-subscription")
    assert list(services.deliveries.dead_letters("crm")) == []


def pressed(reader: Dashboard) -> str:
    """The answer to the form that tests `crm`."""
    csrf = reader.form(reader.get("subscriptions/crm"), "pause-subscription")["csrf"]
    answer = reader.client.post("/ui/subscriptions/crm/test", data={"csrf": csrf})
    assert answer.status_code == 200, answer.text
    return answer.text
