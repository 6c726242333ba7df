"""One browser for these tests. Playwright keeps a loop in the thread: no test of others could run one beside it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.support.browser import chromium


@pytest.fixture(scope="package")
def browser(starts_processes: None) -> Iterator[Browser]:
    with chromium() as browser:
        yield browser
