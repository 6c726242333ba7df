"""How pages write numbers with their nouns."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bridge.web.ui import formats

TEMPLATES = sorted((Path(formats.__file__).parent / "templates").glob("*.html"))


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 events"), (1, "1 event"), (1234, "1,234 events"), (None, "? events")]
)
def test_one_is_singular_and_an_unknown_number_is_a_question_mark(number: int | None, text: str) -> None:
    assert formats.counted(number, "event") == text


def test_no_template_puts_a_plural_behind_a_number_that_may_be_one() -> None:
    plural = re.compile(r"\| number \}\} (times|events|records|calls|attempts|sources|requests)\b")
    assert TEMPLATES
    assert [path.name for path in TEMPLATES if plural.search(path.read_text(encoding="utf-8"))] == []
