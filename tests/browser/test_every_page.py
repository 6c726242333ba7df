"""Every page in a real browser: no barrier, nothing blocked, foreign texts stay texts; and without JavaScript."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from playwright.sync_api import Browser, CDPSession, Page, expect

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
#: Pages to which only what is not here leads: a test that was pressed, an attempt with an odd id.
ELSEWHERE = {
    "ui_sources.show_test": f"/ui/sources/eu/tests/{erasing.job_number(erasing.SAM)}",
    "ui_attempts.show_named": f"/ui/attempts/eu?attempt={erasing.SAM.attempt}",
}
#: What axe-core found: rule, impact, and where.
FINDINGS = """
(rules) => axe.run(document, {resultTypes: ["violations"], ...(rules ? {runOnly: {type: "rule", values: rules}} : {})})
    .then((result) => result.violations
        .filter((found) => ["serious", "critical"].includes(found.impact))
        .flatMap((found) => found.nodes.map((node) => [
            found.id, node.html.slice(0, 200), ...node.any.map((each) => each.message)].join(" | "))))
"""


@pytest.fixture
def services(state: redis.Redis, tmp_path: Path) -> Services:
    """Every place holds something."""
    made = erasing.make_services(state, tmp_path)
    client = erasing.make_client(made)
    for person in (erasing.SAM, erasing.OTHER):
        erasing.fill(made, client, person)
    return made


@contextmanager
def signed_in(browser: Browser, services: Services, **options: Any) -> Iterator[Page]:
    with served(services) as url, opened(browser, url, viewport=DESKTOP, reduced_motion="reduce", **options) as page:
        sign_in(page, TOKENS["operator"])
        yield page


def visit(page: Page, address: str) -> None:
    """Open a page; nothing of it was blocked."""
    answer = page.goto(address)
    assert answer is not None
    assert (address, answer.status) == (address, 200)
    assert (address, page.evaluate("window.violations")) == (address, [])


def barriers(page: Page, tools: CDPSession, rules: list[str] | None = None) -> list[str]:
    """Serious findings of axe-core. Its script comes by the debugger, which no policy of the page stops."""
    if not page.evaluate("'axe' in window"):
        tools.send("Runtime.evaluate", {"expression": AXE})
    found: list[str] = page.evaluate(FINDINGS, rules)
    return found


def too_wide(page: Page) -> list[int]:
    """The width of the page in pixels, if it does not fit on a phone. A chart follows the window a moment later."""

    def width() -> int:
        return int(page.evaluate("document.documentElement.scrollWidth"))

    with suppress(AssertionError):
        until(lambda: width() <= PHONE["width"], seconds=5.0)
    return [width()] if width() > PHONE["width"] else []


@pytest.mark.timeout(300)
def test_no_page_has_a_serious_barrier_in_light_or_dark_and_all_fit_on_a_phone(
    browser: Browser, services: Services
) -> None:
    pages = {page.endpoint: page.address for page in walk(Dashboard(services).visit)} | ELSEWHERE
    assert page_endpoints() - set(pages) == set(), "pages without a link to them"
    found: list[str] = []
    with signed_in(browser, services) as page:
        tools = page.context.new_cdp_session(page)
        for address in pages.values():
            visit(page, address)
            page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
            found += [f"{address} light {finding}" for finding in barriers(page, tools)]
            page.emulate_media(color_scheme="dark")
            found += [f"{address} dark {finding}" for finding in barriers(page, tools, ["color-contrast"])]
            page.emulate_media(color_scheme="light")
            page.set_viewport_size(PHONE)
            found += [f"{address} is {width} px wide on a phone" for width in too_wide(page)]
            page.set_viewport_size(DESKTOP)
    assert "\n".join(found) == ""


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


HOSTILE = erasing.Named(
    user="8841337",
    first="<script>window.hacked=1</script>",
    last="\"><img src=x onerror=window.hacked=1>'",
    email="\"'><svg/onload=window.hacked=1>@example.org",
    started=1_767_261_600,
)
#: Elements that no page of ours has: only a text that was not escaped makes them.
INTRUDERS = (
    "document.querySelectorAll('script:not([src]), img, iframe, svg[onload], [onerror], [onload], [onclick]').length"
)


@pytest.mark.timeout(300)
def test_texts_of_others_stay_texts(browser: Browser, state: redis.Redis, tmp_path: Path) -> None:
    services = erasing.make_services(state, tmp_path)
    client = erasing.make_client(services)
    erasing.fill(services, client, HOSTILE)
    pages = [page.address for page in walk(Dashboard(services).visit, each=2)]
    seen = ""
    with signed_in(browser, services) as page:
        for address in pages:
            visit(page, address)
            assert (address, page.evaluate("window.hacked"), page.evaluate(INTRUDERS)) == (address, None, 0)
            seen += page.text_content("#content") or ""
    for text in (HOSTILE.first, HOSTILE.last, HOSTILE.email):
        assert text in seen


def test_lists_filters_pages_and_buttons_work_without_javascript(browser: Browser, services: Services) -> None:
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
        page.goto("/ui/sources/eu")
        press(page, "Pause", "pause-source")
        expect(page.locator("#notice")).to_have_text("eu is paused")
