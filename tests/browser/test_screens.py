"""Pictures of every page into docs/screens/, over a running demo; `scripts/screens` runs this on demand."""

from __future__ import annotations

import os

import pytest

from tests.support import screens


@pytest.mark.skipif("SCREENS" not in os.environ, reason="takes minutes and rewrites docs/screens: SCREENS=1 runs it")
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("starts_processes")
def test_every_page_has_small_pictures_in_light_dark_and_on_a_phone() -> None:
    pages = screens.main()

    there = {path.stem: path.stat().st_size for path in screens.TARGET.glob("*.webp")}
    assert len(pages) > 30
    assert {f"{name}-{variant}" for name in pages for variant in screens.VARIANTS} == set(there)
    assert max(there.values()) < 150_000
