"""The pages of the bridge itself: System, Audit, Settings."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from bridge.audit import Change
from bridge.services import Services
from bridge.state import keys
from bridge.state.running import RunningProcesses
from bridge.web.ui.audit_rows import compared
from tests.support.dashboard import Dashboard
from tests.support.servers import Server
from tests.support.watches_api import TOKENS, access_of, build

HOSTILE = '"><script>alert(1)</script>'


def record(services: Services, change: Change, action: str = "pauseSource", number: int = 1) -> None:
    services.audit.record(
        change, actor="ann", role="operator", action=action, now=services.now(), call_id=f"{action}-{number}"
    )


# System ---------------------------------------------------------------------------------------------------------------


def test_the_system_page_has_the_worst_finding_first_with_its_remedy_and_the_state_server_in_numbers(
    server: Server, state: redis.Redis, tmp_path: Path
) -> None:
    services = replace(build(state, tmp_path, access=access_of(TOKENS)), state_url=server.url)
    services.state.set(keys.heartbeat("web"), f"{services.now():.3f}")
    RunningProcesses(state).report("web:host:4711", "0123456789ab", services.now() - 60, services.now())
    services.budgets.pause("eu")
    page = Dashboard(services).get("system")
    badges = re.findall(r'<tr data-row="[^"]* \d+">\s*<td data-label="State"><span class="badge (\w+)">', page)
    assert badges[0] in ("bad", "warn")
    assert badges == sorted(badges, key=["bad", "warn", "good"].index)
    assert "attempt-bridge sources resume eu" in page
    assert page.count('<span class="badge bad">no heartbeat</span>') == 3
    assert '<code data-copy="attempt-bridge dispatch">' in page
    assert "web:host:4711" in page
    assert "another one" in page
    assert "noeviction: writes are refused, nothing is lost" in page
    assert re.search(r"<dt>Memory</dt><dd>[\d.]+ MB", page)
    assert "attempt-bridge config reload" in page
    assert server.url.rpartition(":")[2].partition("/")[0] in page


def test_without_a_state_server_that_answers_the_page_says_so(
    viewer: Dashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise redis.ConnectionError

    monkeypatch.setattr("redis.Redis.info", away)
    page = viewer.get("system")
    assert "Webhooks are answered with 503 until it is back" in page
    assert 'class="badge bad">failure' in page


# Audit ----------------------------------------------------------------------------------------------------------------


def test_an_empty_audit_shows_the_login_alone(operator: Dashboard) -> None:
    page = operator.get("audit")
    assert page.count("<tr data-row=") == 1
    assert "openSession" in page
    assert "No change matches." in operator.get("audit?filter=action:addReplay")


def test_before_and_after_are_side_by_side_and_differences_are_marked(operator: Dashboard, services: Services) -> None:
    record(services, Change("source eu", {"paused": False, "reason": "none"}, {"paused": True, "reason": "none"}))
    page = operator.get("audit?filter=action:pauseSource")
    before, after = (
        page.partition(f'<td data-label="{name}">')[2].partition("</td>")[0] for name in ("Before", "After")
    )
    assert "<li>paused: <mark>false</mark></li>" in before
    assert "<li>paused: <mark>true</mark></li>" in after
    assert "<li>reason: none</li>" in before
    assert 'href="/ui/audit?filter=target%3A%22source+eu%22"' in page
    assert "attempt-bridge audit list --filter action:pauseSource" in page


def test_the_audit_is_filtered_by_a_click_and_leads_to_the_next_page(operator: Dashboard, services: Services) -> None:
    for number in range(60):
        record(services, Change("source eu"), number=number)
    page = operator.get("audit")
    assert page.count("<tr data-row=") == 50
    following = page.partition('rel="next" href="')[2].partition('"')[0].replace("&amp;", "&")
    assert operator.client.get(following).text.count("<tr data-row=") == 11
    assert 'href="/ui/audit?filter=action%3AopenSession"' in page
    assert 'href="/ui/audit?filter=actor%3Aoperator"' in page
    assert operator.get("audit?filter=target:%22source+eu%22+actor:ann").count("<tr data-row=") == 50


def test_names_and_values_in_the_audit_stay_text(operator: Dashboard, services: Services) -> None:
    record(services, Change(HOSTILE, {HOSTILE: HOSTILE}, {HOSTILE: [HOSTILE]}), action=HOSTILE)
    page = operator.get("audit")
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_a_viewer_reads_the_audit(viewer: Dashboard) -> None:
    assert "openSession" in viewer.get("audit")


def test_members_are_compared_in_their_order_also_where_one_side_lacks_them() -> None:
    members = compared({"a": 1, "b": "x"}, {"b": "y", "c": None})
    assert members == [("a", "1", None), ("b", "x", "y"), ("c", None, "null")]
    assert [member.is_changed for member in members] == [False, True, False]
    assert compared(None, None) == []


# Settings -------------------------------------------------------------------------------------------------------------


def test_viewers_read_the_configuration_without_a_secret(viewer: Dashboard) -> None:
    page = viewer.get("settings").partition("<main")[2].partition("</main>")[0]
    for fact in (
        "https://bridge.example.test",
        "api_key, api_secret, webhook_secret",
        "viewer (viewer)",
        "events 30 d",
    ):
        assert fact in page
    assert "There is no subscription" in page
    assert "<form" not in page


def test_every_subscription_has_its_place(state: redis.Redis, tmp_path: Path) -> None:
    signing, wanted = f"secrets: [whsec_{'Y2FuYXJ5' * 4}]", "filter: {when: {flags: [a]}}"
    shop = f"{{transport: http, url: 'https://crm.example.test/p', {signing}, {wanted}}}"
    lrs = "{transport: kombu, queue: statements, format: xapi, home_page: 'https://id.example.test'}"
    more = f"subscriptions: {{shop: {shop}, queue: {{transport: kombu, queue: attempts}}, lrs: {lrs}}}\n"
    page = Dashboard(build(state, tmp_path, access=more + access_of(TOKENS))).get("settings")
    assert "Y2FuYXJ5" not in page
    for fact in ("https://crm.example.test/****", "flags: a", "64 requests", "<dd>attempts</dd>", "<dd>xapi</dd>"):
        assert fact in page, fact


def test_of_many_sources_and_subscriptions_one_is_shown_whole(state: redis.Redis, tmp_path: Path) -> None:
    queues = ", ".join(f"s{number}: {{transport: kombu, queue: q{number}}}" for number in range(30))
    page = Dashboard(build(state, tmp_path, access=f"subscriptions: {{{queues}}}\n{access_of(TOKENS)}"))
    assert "<dd>q7</dd>" not in page.get("settings")
    assert 'href="/ui/settings?subscription=s7"' in page.get("settings")
    chosen = page.get("settings?subscription=s7")
    assert "<dd>q7</dd>" in chosen
    assert "<dd>q8</dd>" not in chosen


@pytest.mark.parametrize("path", ["system", "audit", "settings"])
def test_no_page_of_the_bridge_has_a_button_for_viewers(viewer: Dashboard, path: str) -> None:
    assert "action-form" not in viewer.get(path)
