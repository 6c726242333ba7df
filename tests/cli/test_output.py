"""Tables on a terminal: whatever its width, ids stay whole."""

from __future__ import annotations

import sys
from typing import Any

import click
import pytest

from bridge.cli.output import print_list

ROWS = [
    {
        "recorded_at": "2026-11-20T14:52:43.518Z",
        "type": "attempt.completed",
        "source": "eu-classmarker",
        "attempt": "pair:SPRING-07:cand-20417",
        "attempts": ["link:62510937", "link:62510938", "link:62510939"],
        "reason": "a longer text that may well be folded, because nobody copies it as a whole from here",
        "id": "7c19d583-cb6b-556e-a2c8-fabca9ee09b1",
    },
    {
        "recorded_at": "-",
        "type": "-",
        "source": "us",
        "attempt": "link:1",
        "id": "0198f0c2-6b5e-7c1a-9d1e-3f5a7c9b1d20",
    },
]


@pytest.mark.parametrize("columns", [40, 80, 100, 120, 200])
def test_ids_are_never_folded(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    with click.Context(click.Command("list")):
        print_list(ROWS, tuple(ROWS[0]), "table", empty="none")
    out = capsys.readouterr().out
    whole: list[Any] = [row[name] for row in ROWS for name in ("id", "attempt", "source")]
    for text in (*whole, "link:62510937", "link:62510938", "link:62510939"):
        assert text in out
    if columns == 200:
        return
    # Other columns make room.
    assert str(ROWS[0]["reason"]) not in out
    assert min(len(line) for line in out.splitlines()) > 0
