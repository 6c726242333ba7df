"""The page Live in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis
from playwright.sync_api import Browser, Page, expect

from bridge.services import Services
from tests.support.browser import enter, opened
from tests.support.http_bridge import served
from tests.support.published import publish, submission
from tests.support.watches_api import TOKENS, access_of, build

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def services(state: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    monkeypatch.setattr("bridge.web.live._BLOCK_SECONDS", 0.05)
    return build(state, tmp_path, access=access_of(TOKENS))


@pytest.fixture
def page(browser: Browser, services: Services) -> Iterator[Page]:
    publish(services, submission(1))
    with served(services) as url, opened(browser, url, allow=("net::ERR", "status of 503")) as page:
        enter(page, TOKENS["operator"], "/ui/live?topics=events,alarms,deliveries")
        expect(page.locator(".live-state")).to_contain_text("Live")
        yield page


def hostile(number: int) -> Any:
    """An event of an attempt whose id is markup."""
    plain = submission(number)
    ident = f"{HOSTILE}:{number}"
    return replace(plain, attempt_id=ident, subject=ident)


@pytest.mark.own_partitions
def test_events_come_at_the_top_as_text_wait_while_paused_and_only_so_many_are_kept(
    page: Page, services: Services
) -> None:
    rows = page.locator("#live tbody tr")
    expect(rows).to_have_count(1)
    publish(services, hostile(2))
    expect(rows.first).to_contain_text(HOSTILE)
    expect(rows.first.get_by_role("link", name=HOSTILE)).to_have_attribute(
        "href", "/ui/attempts/eu/%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E%3A2"
    )
    page.get_by_role("button", name="Pause").click()
    publish(services, *(submission(number) for number in range(3, 520)))
    page.get_by_role("button", name="Continue (517 wait)").click()
    expect(rows.first).to_contain_text("link:519")
    expect(rows).to_have_count(500)
    assert page.locator("#live img").count() == 0
    assert page.get_by_role("log").locator("table").count() == 1


def test_a_gap_and_the_end_of_a_stream_are_said_and_it_goes_on_where_it_ended(page: Page, services: Services) -> None:
    asked: list[str] = []
    place = str(uuid4())
    sent = f'id: {place}\nevent: bridge.gap\ndata: {{"after": "1796040000000-0", "until": "1796040060000-0"}}\n\n'
    ended = f'id: {place}\nevent: bridge.dropped\ndata: {{"reason": "{HOSTILE}"}}\n\n'

    def answer(route: Any) -> None:
        asked.append(route.request.url)
        if len(asked) == 1:
            route.fulfill(content_type="text/event-stream", body=f"retry: 10\n\n{sent}{ended}")
        else:
            route.fulfill(status=503, content_type="application/problem+json", body='{"detail": "no state server"}')

    page.route("**/api/v1/events/stream*", answer)
    page.reload()
    expect(page.locator(".remark").last).to_contain_text("Events are missing here")
    expect(page.get_by_role("link", name="The list of events")).to_have_attribute(
        "href", "/ui/events?since=2026-11-30T12%3A00%3A00.000Z&until=2026-11-30T12%3A01%3A00.000Z"
    )
    expect(page.locator(".remark").first).to_contain_text(HOSTILE)
    expect(page.locator(".live-state")).to_contain_text("no state server")
    assert "since=10s" in asked[0]
    assert f"after={place}" in asked[-1]
