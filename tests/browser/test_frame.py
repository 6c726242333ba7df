"""What every page has, in a real browser: signing in, navigation, keys, suggestions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import opened, sign_in
from tests.support.http_bridge import served
from tests.support.published import publish, submission
from tests.support.watches_api import TOKENS, access_of, build


@pytest.fixture
def page(browser: Browser, state: redis.Redis, tmp_path: Path) -> Iterator[Page]:
    services = build(state, tmp_path, access=access_of(TOKENS))
    publish(services, *(submission(number) for number in range(1, 5)))
    with served(services) as url, opened(browser, url) as page:
        sign_in(page, TOKENS["operator"])
        yield page


def test_the_keys_lead_to_a_list_its_search_suggests_fields_and_j_and_enter_open_a_row(page: Page) -> None:
    page.keyboard.press("g")
    page.keyboard.press("e")
    expect(page.get_by_role("heading", level=1)).to_have_text("Events")
    page.keyboard.press("/")
    page.keyboard.type("pas")
    expect(page.get_by_role("listbox", name="Suggestions").get_by_role("option")).to_contain_text("passed:")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.keyboard.type("tr")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    expect(page.locator("tbody tr")).to_have_count(2)
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("attempt.completed")
