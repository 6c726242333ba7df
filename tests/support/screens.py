"""Pictures of every page into docs/screens/, over the demo: light, dark, phone."""

from __future__ import annotations

import base64
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import requests
from playwright.sync_api import Browser, Page

from tests.support.browser import chromium
from tests.support.commands import Started
from tests.support.site import Found, walk

TARGET = Path(__file__).parents[2] / "docs/screens"
#: Name of the variant -> options of the browser's context.
VARIANTS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1200, "height": 800}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1200, "height": 800}},
    "phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 800}},
}
#: The demo's faults, and how long its candidates take tests before the pictures.
FAULTS = ("--lose", "15%", "--duplicate", "15%", "--delay", "5s", "--reorder", "--fail-subscriber", "35%")
SECONDS = 60.0


def main() -> set[str]:
    """Run the demo, do what an operator does, and take the pictures; the names of the pages."""
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        demo = Started(directory, "demo", "--port", "0", *FAULTS, "--data-dir", str(directory / "data"))
        try:
            url = demo.ready()
            time.sleep(SECONDS / 2)
            operate(url)
            time.sleep(SECONDS / 2)
            pages = list(walk(lambda address: requests.get(f"{url}{address}", timeout=30), is_live=True))
            with chromium() as browser:
                for variant, options in VARIANTS.items():
                    take(browser, url, pages, variant, options)
        finally:
            demo.process.terminate()
            demo.process.wait()
    return {name_of(page.endpoint) for page in pages}


def operate(url: str) -> None:
    """What fills the pages that candidates alone leave empty."""
    call = requests.Session()
    call.headers["X-CSRF-Token"] = call.get(f"{url}/api/v1/session", timeout=30).json()["csrf"] or ""

    def post(path: str, **body: Any) -> None:
        answer = call.post(f"{url}/api/v1/{path}", json=body, timeout=30)
        if answer.status_code >= 400:
            sys.stderr.write(f"{path}: HTTP {answer.status_code} {answer.text}\n")

    rows = call.get(f"{url}/api/v1/sources", timeout=30).json()["sources"]
    source = next(row["name"] for row in rows if row["vendor"] == "classmarker")
    for number in ("7001", "7002"):
        post("watches", source=source, reference={"stream": "link", "result": number}, label=f"order-{number}")
    post("reconciliations", source=source)
    post("backfills", source=source, first="1h", last="1m")
    post(f"sources/{source}/test")
    group = call.get(f"{url}/api/v1/failure-groups", timeout=30).json()["failure_groups"][0]
    post("replays", what="events", subscriptions=["gradebook"], filter="passed:true")
    post(f"failure-groups/{group['id']}/acknowledge")


def take(browser: Browser, url: str, pages: list[Found], variant: str, options: dict[str, Any]) -> None:
    """A picture of each page."""
    TARGET.mkdir(parents=True, exist_ok=True)
    for old in TARGET.glob(f"*-{variant}.webp"):
        old.unlink()
    context = browser.new_context(base_url=url, reduced_motion="reduce", **options)
    page = context.new_page()
    for visited in pages:
        page.goto(visited.address)
        (TARGET / f"{name_of(visited.endpoint)}-{variant}.webp").write_bytes(picture(page))
    context.close()


def name_of(endpoint: str) -> str:
    """`ui_events.show_one` as `events-one`."""
    return re.sub(r"[._]+", "-", endpoint.removeprefix("ui_").replace(".show", ""))


def picture(page: Page) -> bytes:
    """What is seen, as WebP, which Playwright itself does not write."""
    tools = page.context.new_cdp_session(page)
    answer = tools.send("Page.captureScreenshot", {"format": "webp", "quality": 45})
    tools.detach()
    return base64.b64decode(answer["data"])
