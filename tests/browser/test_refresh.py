"""Pages that read themselves again, in a real browser with a clock of the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from playwright.sync_api import Browser, Page, Route, expect

from bridge.services import Services
from tests.support.browser import enter, opened
from tests.support.http_bridge import served
from tests.support.published import publish, submission
from tests.support.watches_api import TOKENS, access_of, build


@pytest.fixture
def services(state: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    monkeypatch.setattr("bridge.web.live._BLOCK_SECONDS", 0.05)
    made = build(state, tmp_path, access=access_of(TOKENS))
    publish(made, *(submission(number) for number in range(1, 40)))
    return made


@pytest.fixture
def page(browser: Browser, services: Services) -> Iterator[Page]:
    provoked = ("net::ERR", "status of 503", "htmx", "Response Status Error")
    with served(services) as url, opened(browser, url, allow=provoked) as page:
        enter(page, TOKENS["operator"])
        page.clock.install()
        page.evaluate("localStorage.setItem('bridge-refresh', '5')")
        yield page


class Refreshes:
    """Counts the requests of the page for itself and, once told so, answers them itself."""

    def __init__(self, page: Page) -> None:
        self.count = 0
        self.answer: Callable[[Route], Any] | None = None
        self._page = page
        page.route("**/ui/**", self._see)

    def _see(self, route: Route) -> None:
        if "hx-request" not in route.request.headers:
            route.continue_()
            return
        self.count += 1
        (self.answer or Route.continue_)(route)

    def during(self, seconds: int) -> int:
        """How many there were in these seconds of the page's clock."""
        before = self.count
        for _ in range(seconds):
            self._page.clock.run_for(1000)
            self._page.evaluate("0")
        return self.count - before


def test_a_refresh_keeps_row_focus_and_scroll_and_waits_while_something_is_typed_or_selected(
    page: Page, services: Services
) -> None:
    page.goto("/ui/events")
    refreshes, mark = Refreshes(page), page.locator(".stale")
    for _ in range(20):
        page.keyboard.press("j")
    row = page.locator("tr.current")
    ident, place = row.get_attribute("data-row"), page.evaluate("window.scrollY")
    assert place > 0
    publish(services, submission(50))
    refreshes.during(6)
    expect(page.locator("tbody tr").first).to_contain_text("link:50")
    assert (row.get_attribute("data-row"), page.evaluate("window.scrollY")) == (ident, place)
    assert page.evaluate("document.activeElement.closest('[data-row]').dataset.row") == ident
    page.keyboard.press("/")
    page.keyboard.type("passed:true")
    page.get_by_role("heading", level=1).click()
    assert refreshes.during(17) == 0
    expect(mark).to_contain_text("paused while something is selected, typed or open")
    page.locator("[data-search]").fill("")
    page.locator("[data-search]").blur()
    refreshes.during(6)
    expect(mark).to_be_hidden()
    # In one step of the page: a refresh may replace the row between finding it and selecting its text.
    page.evaluate("getSelection().selectAllChildren(document.querySelector('tbody tr a'))")
    assert refreshes.during(6) == 0


def test_a_live_page_is_read_again_after_an_event_and_what_was_closed_stays_closed(
    page: Page, services: Services
) -> None:
    page.evaluate("localStorage.setItem('bridge-refresh', 'live')")
    page.goto("/ui/events")
    page.locator("tbody tr").first.get_by_role("link").first.click()
    refreshes, block = Refreshes(page), page.locator("details.json").first
    expect(block).to_have_attribute("open", "")
    block.locator("summary").click()
    assert refreshes.during(5) == 0
    publish(services, submission(60))
    with page.expect_request(lambda request: "hx-request" in request.headers):
        refreshes.during(2)
    expect(block).not_to_have_attribute("open", "")
    assert page.evaluate("document.activeElement.tagName") == "SUMMARY"


def test_one_request_is_under_way_at_most_and_failures_are_marked_until_it_answers_again(page: Page) -> None:
    page.goto("/ui/events")
    refreshes, mark, held = Refreshes(page), page.locator(".stale"), list[Route]()
    refreshes.answer = held.append
    refreshes.during(16)
    page.keyboard.press(".")
    assert len(held) == 1
    refreshes.answer = lambda route: route.abort()
    held[0].fulfill(status=503, body="no state server")
    expect(mark).to_contain_text("The bridge answers with 503: this page is")
    refreshes.during(6)
    expect(mark).to_contain_text("The bridge does not answer: this page is")
    assert refreshes.during(20) <= 2
    refreshes.answer = None
    page.keyboard.press(".")
    expect(mark).to_be_hidden()
