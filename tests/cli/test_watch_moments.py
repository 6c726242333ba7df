"""`watches add --due 2h`: times from now, beside dates and times."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import pytest
from click.testing import CliRunner

from bridge import clock
from bridge.cli.options import MomentAhead
from bridge.cli.watches import watches
from tests.support.watches_api import build

NOW = 1_764_000_000.0


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW)


@pytest.mark.parametrize(
    ("given", "ahead"), [("2h", timedelta(hours=2)), ("2H", timedelta(hours=2)), ("1.5d", timedelta(days=1.5))]
)
def test_a_duration_is_a_time_from_now(given: str, ahead: timedelta) -> None:
    moment = datetime.fromisoformat(MomentAhead().convert(given, None, None))
    assert moment == datetime.fromtimestamp(NOW, UTC) + ahead


@pytest.mark.parametrize("given", ["2026-12-01", "2026-12-01T12:00:00Z", "tomorrow", ""])
def test_other_text_is_left_to_the_schema(given: str) -> None:
    assert MomentAhead().convert(given, None, None) == given


@pytest.mark.parametrize("given", ["5x", "1.2.3h", f"{'9' * 30}d"])
def test_a_duration_that_is_none_is_one_clear_line(given: str) -> None:
    with pytest.raises(click.BadParameter, match=r"is not a valid time\. Write 2h, 7d, "):
        MomentAhead().convert(given, None, None)


def test_an_attempt_is_expected_in_two_hours(monkeypatch: pytest.MonkeyPatch, state: Any, tmp_path: Any) -> None:
    services = replace(build(state, tmp_path), now=clock.now)
    monkeypatch.setattr("bridge.cli.common.load", lambda **_: services)
    words = ["add", "--source", "eu", "--ref", "stream=link", "--ref", "result=7", "--due", "2h", "--deadline", "3d"]
    answer = CliRunner().invoke(watches, [*words, "-o", "json"])
    assert answer.exit_code == 0, answer.output
    (expected,) = services.expectations.list("eu")
    assert (expected.due, expected.deadline) == (NOW + 7200, NOW + 3 * 86_400)
