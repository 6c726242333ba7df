"""Every page in a real browser: no barrier, nothing blocked, foreign texts stay texts; and without JavaScript."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import redis
from playwright.sync_api import Browser, Page, expect

from bridge.services import Services
from bridge.state import keys
from bridge.web.ui.pages import NAVIGATION
from tests.support import erasing
from tests.support.browser import opened, press, sign_in
from tests.support.dashboard import Dashboard
from tests.support.http_bridge import served
from tests.support.published import publish, submission
from tests.support.site import page_endpoints, walk
from tests.support.waiting import until
from tests.support.watches_api import TOKENS

AXE = Path(__file__).parents[1].joinpath("data/axe-core-4.14.1/axe.min.js").read_text(encoding="utf-8")
PHONE = {"width": 390, "height": 800}
DESKTOP = {"width": 1200, "height": 800}
#: What a viewer's page may send: a search, the end of the session, a box that is closed.
VIEWERS_FORM = re.compile(r'role="search"|action="/ui/sign-out"|method="dialog"')
#: A person whose facts are markup.
HOSTILE = erasing.Named(
    user="8841337",
    first="<script>window.hacked=1</script>",
    last="\"><img src=x onerror=window.hacked=1>'",
    email="\"'><svg/onload=window.hacked=1>@example.org",
    started=1_767_261_600,
)
#: What the policy blocked, whether a foreign script ran, how many elements only a text that was not escaped makes; and
#: the text of the page. In one call: each costs the browser as much as drawing the page.
SEEN = """
() => [window.violations, window.hacked ?? null, document.querySelectorAll(
    "script:not([src]), img, iframe, svg[onload], [onerror], [onload], [onclick]").length,
    document.querySelector("#content").textContent]
"""
#: Pages to which only what is not here leads: a test that was pressed, an attempt with an odd id.
ELSEWHERE = {
    "ui_sources.show_test": f"/ui/sources/eu/tests/{erasing.job_number(HOSTILE)}",
    "ui_attempts.show_named": f"/ui/attempts/eu?attempt={HOSTILE.attempt}",
}
#: Colours, window, and which rules of axe-core are asked, None for all of them.
LOOKS: tuple[tuple[Any, Any, list[str] | None], ...] = (
    ("light", DESKTOP, None),
    ("dark", DESKTOP, ["color-contrast"]),
    ("dark", PHONE, []),
)
#: What axe-core found: rule, impact, and where. Its rules about style sheets and media, for which it would load them
#: again, are none of these.
FINDINGS = """
(rules) => axe
    .run(document, {
        preload: false,
        resultTypes: ["violations"],
        ...(rules ? {runOnly: {type: "rule", values: rules}} : {}),
    })
    .then((result) => result.violations
        .filter((found) => ["serious", "critical"].includes(found.impact))
        .flatMap((found) => found.nodes.map((node) => [
            found.id, node.html.slice(0, 200), ...node.any.map((each) => each.message)].join(" | "))))
"""


def filled(state: redis.Redis, folder: Path, *persons: erasing.Named) -> Services:
    """Every place holds something of these persons."""
    made = erasing.make_services(state, folder)
    client = erasing.make_client(made)
    for person in persons:
        erasing.fill(made, client, person)
    return made


@pytest.fixture
def services(state: redis.Redis, tmp_path: Path) -> Services:
    return filled(state, tmp_path, erasing.SAM, erasing.OTHER)


@contextmanager
def signed_in(browser: Browser, services: Services, **options: Any) -> Iterator[Page]:
    with served(services) as url, opened(browser, url, viewport=DESKTOP, reduced_motion="reduce", **options) as page:
        sign_in(page, TOKENS["operator"])
        yield page


def visit(page: Page, address: str) -> str:
    """The text of a page, of which nothing was blocked and no foreign text became an element or ran."""
    answer = page.goto(address)
    assert answer is not None
    assert (address, answer.status) == (address, 200)
    *intruders, text = page.evaluate(SEEN)
    assert (address, *intruders) == (address, [], None, 0)
    return str(text)


def problems(page: Page, looks: Sequence[tuple[Any, Any, list[str] | None]]) -> list[str]:
    """What axe-core and the width of the page say of these looks, one after the other."""
    findings: list[str] = []
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    for colours, window, rules in looks:
        page.emulate_media(color_scheme=colours)
        page.set_viewport_size(window)
        if window is PHONE:
            findings += [f"{page.url} is {width} px wide on a phone" for width in too_wide(page)]
        else:
            findings += [f"{page.url} {colours} {finding}" for finding in page.evaluate(FINDINGS, rules)]
    return findings


def too_wide(page: Page) -> list[int]:
    """The width of the page in pixels, if it does not fit on a phone. A chart follows the window a moment later."""

    def width() -> int:
        return int(page.evaluate("document.documentElement.scrollWidth"))

    with suppress(AssertionError):
        until(lambda: width() <= PHONE["width"], seconds=5.0)
    return [width()] if width() > PHONE["width"] else []


@pytest.mark.timeout(300)
def test_texts_of_others_stay_texts_and_no_page_has_a_serious_barrier_or_is_too_wide_for_a_phone(
    browser: Browser, state: redis.Redis, tmp_path: Path
) -> None:
    services = filled(state, tmp_path, HOSTILE)
    pages = [(page.endpoint, page.address) for page in walk(Dashboard(services).visit, each=2)]
    one_each = dict(reversed(pages)) | ELSEWHERE
    assert page_endpoints() - set(one_each) == set(), "pages without a link to them"
    with signed_in(browser, services) as page:
        texts = [visit(page, address) for endpoint, address in pages if one_each[endpoint] != address]
        # By the debugger, which no policy of the page stops.
        page.context.add_init_script(AXE)
        findings: list[str] = []
        # A page begins with the look that the one before ended with: the browser draws less.
        for address, looks in zip(one_each.values(), cycle((LOOKS, LOOKS[::-1])), strict=False):
            texts.append(visit(page, address))
            findings += problems(page, looks)
    assert "\n".join(findings) == ""
    for text in (HOSTILE.first, HOSTILE.last, HOSTILE.email):
        assert text in "".join(texts)


def test_every_page_that_the_navigation_names_is_there(services: Services) -> None:
    reader = Dashboard(services)
    entries = [entry for entries in NAVIGATION.values() for entry in entries]
    assert [entry.path for entry in entries if reader.client.get(entry.url).status_code != 200] == []


def test_no_page_shows_a_person_or_a_button_to_a_viewer(services: Services) -> None:
    named = [
        text
        for person in (erasing.SAM, erasing.OTHER)
        for text in (person.first, person.last, person.email, person.email.replace("@", "%40"))
    ]
    # An entry of the audit that names them was written by the test alone: no action does.
    services.state.delete(keys.audit())
    shown: list[str] = []
    for _, address, text in walk(Dashboard(services, TOKENS["viewer"]).visit, each=4):
        shown += [f"{address}: {name}" for name in named if name.lower() in text.lower()]
        forms = [form for form in re.findall(r"<form[^>]*>", text) if not VIEWERS_FORM.search(form)]
        shown += [f"{address}: {form}" for form in forms]
    assert "\n".join(shown) == ""


def test_lists_filters_pages_charts_and_buttons_work_without_javascript(browser: Browser, services: Services) -> None:
    publish(services, *(submission(number) for number in range(1, 61)))
    with signed_in(browser, services, java_script_enabled=False) as page:
        page.get_by_role("link", name="Events", exact=True).click()
        expect(page.locator("tbody tr")).to_have_count(50)
        page.get_by_role("button", name="Next events").click()
        expect(page.get_by_text("The end of the list.")).to_be_visible()
        page.get_by_label("Filter").fill("attempt:link:7")
        page.get_by_role("button", name="Search").click()
        expect(page.locator("tbody tr")).to_have_count(1)
        page.locator("tbody tr a").first.click()
        expect(page.locator("main")).to_contain_text("sam7@example.test")
        page.goto("/ui/sources/eu?period=1h")
        expect(page.locator("figure.chart svg.spark")).to_be_visible()
        expect(page.locator("figure.chart svg.spark path")).to_have_attribute("d", re.compile(r"^M0 23h\d+l1-22"))
        press(page, "Pause", "pause-source")
        expect(page.locator("#notice")).to_have_text("eu is paused")
