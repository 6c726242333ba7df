"""One browser for the tests of a file. Playwright keeps a loop in the thread: no other test could run one beside it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.support.browser import chromium


@pytest.fixture(scope="module")
def browser(starts_processes: None) -> Iterator[Browser]:
    with chromium() as found:
        yield found
