"""The dashboard over the whole bridge: a receiver that fails and is repaired, a lost webhook, a paused source."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import yaml
from playwright.sync_api import Browser, Page, expect
from werkzeug.wrappers import Request, Response

from bridge.vendors.classmarker.simulator import Simulator
from tests.support.browser import opened, press
from tests.support.commands import Start
from tests.support.servers import serving

pytestmark = pytest.mark.timeout(300)


#: Attempts finished so long ago, seconds: younger ones are not compared yet, older ones not polled again.
_AGO = 240


class Receiver:
    """Refuses everything until it is repaired."""

    def __init__(self) -> None:
        self.works = False

    def __call__(self, environ: dict, begin: object) -> object:
        Request(environ).get_data()
        return Response(status=200 if self.works else 500)(environ, begin)


@pytest.fixture
def simulator() -> Simulator:
    return Simulator(7, time.time)


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def config(tmp_path: Path, simulator: Simulator, receiver: Receiver) -> Iterator[Path]:
    """One source that is polled every 20 s, as its quota allows for this while; one receiver that gets two tries."""
    with serving(simulator.wsgi) as vendor, serving(receiver) as target:
        source = {
            "vendor": "classmarker",
            "base_url": vendor,
            "credentials": {
                "api_key": simulator.api_key,
                "api_secret": simulator.api_secret,
                "webhook_secret": [simulator.webhook_secret],
            },
            "poll": {"every": "20s"},
        }
        crm = {
            "transport": "http",
            "url": target,
            "secrets": [f"whsec_{'QUFB' * 10}"],
            "allow_private": True,
            "retry": {"schedule": ["100ms"]},
        }
        bridge = {"name": "acme", "public_url": "http://127.0.0.1:8080", "data_dir": "data"}
        document = {"demo": True, "bridge": bridge, "sources": {"eu": source}, "subscriptions": {"crm": crm}}
        file = tmp_path / "bridge.yaml"
        file.write_text(yaml.safe_dump(document))
        yield file


def test_an_operator_sees_a_failure_replays_it_and_finds_what_a_poll_has_rescued(
    browser: Browser, start: Start, config: Path, simulator: Simulator, receiver: Receiver
) -> None:
    bridge = start("--config", str(config), "up", "--port", "0")
    url = bridge.ready()
    bridge.wait_for(lambda: "dashboard: " in bridge.err.read_text())
    link = re.search(r"dashboard: (\S+\?code=[^\s\"]+)", bridge.err.read_text())
    assert link is not None
    with opened(browser, url) as page:
        page.goto(link[1])
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
        announced = arrives(page, url, simulator)
        fails_and_is_replayed(page, announced, receiver)
        lost = is_rescued(page, simulator)
        has_a_timeline(page, announced)
        is_reconciled(page, lost)
        is_paused(page)


def arrives(page: Page, url: str, simulator: Simulator) -> str:
    """A webhook; the event shows on the page without a reload."""
    page.get_by_label("Refresh").select_option("live")
    open_page(page, "Live")
    attempt = simulator.finish(time_finished=int(time.time()) - _AGO)
    raw, headers = simulator.webhook(attempt)
    assert requests.post(f"{url}/webhooks/eu", data=raw, headers=dict(headers), timeout=10).status_code == 200
    expect(page.locator("#content")).to_contain_text(attempt)
    page.locator("#content").get_by_role("link", name=attempt).first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(attempt)
    return attempt


def fails_and_is_replayed(page: Page, attempt: str, receiver: Receiver) -> None:
    """Its failure group, by the keyboard alone."""
    refreshed(page, "/ui/failure-groups", "crm")
    keys(page, "j", "Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Failure group")
    expect(page.locator("#content")).to_contain_text("1 delivery")
    receiver.works = True
    keys(page, "r", "Enter")
    expect(page.get_by_role("button", name="Replay 1")).to_be_visible()
    keys(page, "r", "Enter")
    expect(page.locator("#content")).to_contain_text("done")
    refreshed(page, "/ui/deliveries?subscription=crm", "delivered")
    open_page(page, "Audit")
    expect(page.locator("#content")).to_contain_text("addReplay")


def is_rescued(page: Page, simulator: Simulator) -> str:
    """An attempt whose webhook never comes; the poll is asked for."""
    lost = simulator.finish(time_finished=int(time.time()) - _AGO)
    page.goto("/ui/sources/eu")
    press(page, "Poll now", "poll-source")
    refreshed(page, "/ui/events?filter=origin:poll", lost)
    page.goto("/ui/sources/eu")
    expect(page.locator("#content")).to_contain_text("1 found only by polls")
    return lost


def has_a_timeline(page: Page, attempt: str) -> None:
    """The webhook that brought it, the poll that saw it too, both deliveries."""
    page.goto(f"/ui/attempts/eu/{attempt}")
    for text in (
        r"a webhook on 20",
        r"a poll or recheck on 20",
        r"Webhook\s+of [\d,]+ bytes:\s+published",
        "Delivery to crm",
    ):
        expect(page.locator("#content")).to_contain_text(re.compile(text))


def is_reconciled(page: Page, lost: str) -> None:
    """The vendor's list against what was published: one was rescued, none is missing."""
    page.goto("/ui/reconciliations/new")
    page.get_by_role("textbox", name="Since").fill("1d")
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.get_by_role("link", name=lost)).to_be_visible()
    expect(page.locator('[data-label="Rescued"]').filter(has_text=re.compile(r"^1$"))).to_have_count(1)
    expect(page.locator('[data-label="Missing"]').filter(has_text=re.compile("[1-9]"))).to_have_count(0)


def is_paused(page: Page) -> None:
    """The button, its confirmation, what it says, and its trace."""
    page.goto("/ui/sources/eu")
    press(page, "Pause", "pause-source")
    expect(page.locator("#notice")).to_contain_text("eu")
    expect(page.get_by_role("heading", level=1)).to_contain_text("paused")
    open_page(page, "Audit")
    expect(page.locator("#content")).to_contain_text("pauseSource")


def open_page(page: Page, name: str) -> None:
    page.get_by_role("navigation", name="Pages", exact=True).get_by_role("link", name=name, exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(name)


def refreshed(page: Page, address: str, text: str) -> None:
    """Open the page, which refreshes itself as it was chosen at the beginning, until it shows the text."""
    page.goto(address)
    expect(page.locator("#content tbody")).to_contain_text(text)


def keys(page: Page, *names: str) -> None:
    for name in names:
        page.keyboard.press(name)
