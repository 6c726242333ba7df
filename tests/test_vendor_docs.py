"""The overview in docs/vendors.md says what the vendor folders declare."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bridge.errors import ConfigError
from bridge.registry import vendors
from bridge.sdk.vendor import Quota
from bridge.vendor_docs import BEGIN, END, main, overview, renewed
from bridge.vendors.classmarker import VENDOR

DOCUMENT = Path(__file__).parents[1] / "docs" / "vendors.md"


def test_the_overview_in_the_document_is_that_of_the_folders() -> None:
    # Remedy: scripts/docs
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text == renewed(text, vendors())


def test_every_declared_word_is_in_the_overview() -> None:
    sheet = VENDOR.sheet
    text = overview({"classmarker": VENDOR})
    facts = (*sheet.documented, *sheet.observed, *sheet.assumed, *sheet.ask)
    for said in (sheet.signs, sheet.identity, sheet.webhook_means, sheet.quota, sheet.look_back, *facts):
        assert said in text
    assert (
        "| `groups`, `links` | 30 calls an hour for each key, both streams together; default budget 30 per 1h |" in text
    )
    assert "| three months; at most 89d are asked for |" in text


def test_what_a_vendor_lacks_is_said() -> None:
    bare = replace(
        VENDOR, polls={}, look_back_limit=None, quota=Quota(calls=3000, per_seconds=86_400, resets_at="13:30")
    )
    row = next(line for line in overview({"classmarker": bare}).splitlines() if line.startswith("| `classmarker`"))
    assert "| none: watches only |" in row
    assert "default budget 3000 per 1d from 13:30 UTC |" in row
    assert row.endswith("| three months |")


def test_only_what_stands_between_the_markers_is_written(tmp_path: Path) -> None:
    file = tmp_path / "vendors.md"
    file.write_text(f"before\n{BEGIN}\nOVERTAKEN\n{END}\nafter\n")
    main(file)
    text = file.read_text()
    assert text.startswith(f"before\n{BEGIN}\n\n| vendor |")
    assert text.endswith(f"{END}\nafter\n")
    assert "OVERTAKEN" not in text


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END} {BEGIN}"])
def test_a_document_without_markers_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="has no place"):
        renewed(text, vendors())
