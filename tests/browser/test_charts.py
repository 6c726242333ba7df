"""Charts in a real browser: drawn by scripts, in the colours of the theme, again after a refresh."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from playwright.sync_api import Browser, Page, expect

from bridge.services import Services
from tests.support.browser import enter, opened
from tests.support.http_bridge import served
from tests.support.published import publish, submission
from tests.support.waiting import until
from tests.support.watches_api import TOKENS, access_of, build

#: How many pixels of a chart have the colour of its first series.
COLOURED = """
() => {
  const canvas = document.querySelector("figure.chart canvas");
  const wanted = getComputedStyle(document.documentElement).getPropertyValue("--chart-1").trim();
  const [red, green, blue] = wanted.match(/\\w\\w/g).map((digits) => parseInt(digits, 16));
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let found = 0;
  for (let at = 0; at < data.length; at += 4) {
    if (data[at] === red && data[at + 1] === green && data[at + 2] === blue && data[at + 3] === 255) found += 1;
  }
  return found;
}
"""


@pytest.fixture
def services(state: redis.Redis, tmp_path: Path) -> Services:
    made = build(state, tmp_path, access=access_of(TOKENS))
    publish(made, *(submission(number) for number in range(1, 5)))
    return made


@pytest.fixture
def page(browser: Browser, services: Services) -> Iterator[Page]:
    with served(services) as url, opened(browser, url, color_scheme="light") as page:
        enter(page, TOKENS["operator"], "/ui/sources/eu?period=1h")
        yield page


def test_a_chart_is_drawn_in_the_colours_of_the_theme_and_again_after_a_refresh(page: Page, services: Services) -> None:
    figure = page.locator("figure.chart")
    expect(figure.locator("canvas")).to_have_count(1)
    expect(figure.locator("svg.spark")).to_be_hidden()
    until(lambda: page.evaluate(f"({COLOURED})() > 500"))
    button = page.get_by_role("button", name="Theme: auto")
    button.click()
    page.get_by_role("button", name="Theme: light").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    until(lambda: page.evaluate(f"({COLOURED})() > 500"))
    publish(services, submission(9))
    page.evaluate("document.querySelector('figure.chart canvas').id = 'old'")
    page.keyboard.press(".")
    expect(page.locator("#old")).to_have_count(0)
    expect(figure.locator("canvas")).to_have_count(1)
    until(lambda: page.evaluate(f"({COLOURED})() > 500"))
    figure.get_by_text("Numbers").click()
    expect(figure.locator("details table")).to_be_visible()
    page.set_viewport_size({"width": 390, "height": 800})
    until(lambda: page.evaluate("document.querySelector('figure.chart canvas').clientWidth <= 390"))
