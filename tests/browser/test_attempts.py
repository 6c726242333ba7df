"""Finding an attempt by keys in a real browser; texts of others run nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from playwright.sync_api import Browser, Page, expect

from bridge.errors import DeliveryFailed
from tests.support.browser import enter, opened
from tests.support.deliveries_ui import send as deliver
from tests.support.deliveries_ui import with_subscriptions
from tests.support.dispatch import Receiver
from tests.support.http_bridge import served
from tests.support.requests_ui import HOSTILE, send
from tests.support.watches_api import TOKENS
from tests.support.web import result

IDENT = "01930000-0000-7000-8000-000000000001"


@pytest.fixture
def page(browser: Browser, state: redis.Redis, tmp_path: Path) -> Iterator[Page]:
    services = with_subscriptions(state, tmp_path)
    send(services, result(1, first=HOSTILE), IDENT, **{"x-odd": HOSTILE})
    failing = Receiver(lambda _: DeliveryFailed(HOSTILE, reason="receiver_error"), status=500, body=HOSTILE.encode())
    deliver(services, receiver=failing)
    send(services, result(2), IDENT[:-1] + "2")
    with served(services) as url, opened(browser, url) as page:
        enter(page, TOKENS["operator"])
        yield page


def test_an_attempt_is_found_by_name_and_opened_with_keys_and_hostile_texts_stay_text(page: Page) -> None:
    # A script of theirs would open a dialog, which nobody would close.
    page.on("dialog", lambda dialog: pytest.fail(f"a foreign script ran: {dialog.message}"))
    page.keyboard.press("g")
    page.keyboard.press("a")
    expect(page.locator("tbody tr")).to_have_count(2)
    page.keyboard.press("/")
    page.keyboard.type("onerror")
    page.keyboard.press("Enter")
    expect(page.locator("tbody tr")).to_have_count(1)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("link:1")
    timeline = page.locator("ol.timeline")
    expect(timeline).to_contain_text("Webhook of")
    timeline.get_by_text("Tries").click()
    expect(timeline).to_contain_text(HOSTILE)
    timeline.get_by_role("link", name="Webhook").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(IDENT)
    expect(page.get_by_role("cell", name=HOSTILE)).to_be_visible()
    expect(page.locator("pre.body")).to_contain_text("onerror=alert(1)")
