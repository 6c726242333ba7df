"""A whole replay with the keyboard alone, and a list that keeps still while rows of it are selected."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from playwright.sync_api import Browser, Page, expect

from bridge.services import Services
from tests.support.browser import enter, opened
from tests.support.deliveries_ui import dead, finish, send, with_subscriptions
from tests.support.http_bridge import served
from tests.support.watches_api import TOKENS


@pytest.fixture
def services(state: redis.Redis, tmp_path: Path) -> Services:
    return with_subscriptions(state, tmp_path)


@pytest.fixture
def page(browser: Browser, services: Services) -> Iterator[Page]:
    with served(services) as url, opened(browser, url) as page:
        enter(page, TOKENS["operator"])
        yield page


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def test_dead_letters_are_selected_previewed_and_replayed_with_the_keyboard_alone(
    page: Page, services: Services
) -> None:
    ids = dead(services, 1, 2, 3)
    press(page, "g", "x")
    expect(page.get_by_role("heading", level=1)).to_have_text("Dead letters")
    press(page, "j", "x", "j", "x", "r")
    expect(page.locator("main")).to_contain_text("2 of the dead letters that were selected would be replayed")
    press(page, "r")
    expect(page.get_by_role("spinbutton")).to_be_focused()
    page.keyboard.type("50")
    press(page, "Enter")
    expect(page.locator("#notice")).to_contain_text("replays 2")
    finish(services)
    # The page of the job reads itself again.
    press(page, ".")
    expect(page.locator("main")).to_contain_text("done")
    assert sorted(send(services).ids) == sorted(ids[1:])


def test_one_row_is_replayed_by_its_key_and_a_failure_group_too(page: Page, services: Services) -> None:
    dead(services, 1, 2)
    page.goto("/ui/dead-letters")
    press(page, "r")
    expect(page.get_by_role("heading", level=1)).to_have_text("Dead letters")
    press(page, "j", "r")
    expect(page.locator("main")).to_contain_text("1 of the dead letters that were selected would be replayed")
    press(page, "g", "f")
    expect(page.get_by_role("heading", level=1)).to_have_text("Failure groups")
    press(page, "j")
    page.locator("#content").evaluate("(content) => { content.dataset.old = 'true'; }")
    press(page, ".")
    expect(page.locator("#content[data-old]")).to_have_count(0)
    # The content was read again; the next key acts on the same row.
    expect(page.locator("tbody tr.current a").first).to_be_focused()
    press(page, "r")
    expect(page.locator("main")).to_contain_text("2 of the dead letters of the failure group")


def test_a_list_is_not_read_again_while_rows_are_selected_and_a_reload_selects_none(
    page: Page, services: Services
) -> None:
    dead(services, 1)
    page.clock.install()
    page.goto("/ui/dead-letters")
    page.get_by_label("Refresh").select_option("5")
    box = page.get_by_role("checkbox", name="Select crm/")
    box.check()
    # What is selected counts, not what has the focus.
    box.blur()
    expect(page.locator("[data-selected]")).to_have_text("1 selected")
    dead(services, 2)
    # Time passes for the page alone.
    page.clock.fast_forward(60_000)
    page.clock.run_for(1_000)
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.locator(".stale")).to_have_text("Refresh is paused while something is selected, typed or open")
    box.uncheck()
    box.blur()
    page.clock.run_for(6_000)
    expect(page.locator("tbody tr")).to_have_count(2)
    page.get_by_label("Select all of this page").check()
    page.reload()
    expect(page.locator("[data-selected]")).to_have_text("")
    expect(page.locator("[data-select]:checked")).to_have_count(0)
