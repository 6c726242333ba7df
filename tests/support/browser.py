"""A real headless Chromium of the distribution, and pages that complain: of console errors and of the CSP."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

__all__ = ["VIOLATIONS", "chromium", "enter", "opened", "press", "sign_in"]

#: Runs before any script of a page: keeps what the policy has blocked.
VIOLATIONS = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
    window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser. Without one the test is skipped, in continuous integration it fails."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("no Chromium: apt-get install chromium")
        pytest.skip("no Chromium: apt-get install chromium")
    expect.set_options(timeout=30_000)  # a busy machine is no fault
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(browser: Browser, base_url: str, *, allow: tuple[str, ...] = (), **options: Any) -> Iterator[Page]:
    """A page of a fresh profile; afterwards nothing may be on its console and nothing blocked by the policy.

    `allow`: pieces of console lines that the test provokes. `options`: of Playwright's context.
    """
    context: BrowserContext = browser.new_context(base_url=base_url, **options)
    context.add_init_script(VIOLATIONS)
    page = context.new_page()
    lines: list[str] = []
    page.on("console", lambda message: lines.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: lines.append(str(error)))
    try:
        yield page
        violations = page.evaluate("window.violations") if options.get("java_script_enabled", True) else []
        assert violations == []
        assert [line for line in lines if not any(piece in line for piece in allow)] == []
    finally:
        context.close()


def sign_in(page: Page, token: str) -> None:
    """Sign in with a token, as a person does."""
    page.goto("/ui/")
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/ui/")


def enter(page: Page, token: str, address: str = "/ui/") -> None:
    """Open a page signed in, for tests that are not about signing in: the browser need not draw that page."""
    same_site = {"Sec-Fetch-Site": "same-origin"}
    assert page.request.post("/ui/sign-in", form={"token": token}, headers=same_site, max_redirects=0).status == 303
    page.goto(address)


def press(page: Page, label: str, action: str) -> None:
    """Open the explanation of an action, and send its form."""
    page.locator("#content summary", has_text=label).first.click()
    page.locator(f"form[action$='{action}'] button[type=submit]").click()
