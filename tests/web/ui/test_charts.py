"""Pictures of numbers: made of numbers alone, short where nothing happens, and said in words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from bridge.web.ui.charts import chart_of, described, gauge, sparkline


def levels(svg: str) -> list[int]:
    """The heights of a sparkline, read as a browser reads its path."""
    (path,) = re.findall(r'<path d="([^"]*)"', svg)
    assert re.fullmatch(r"M0 \d+(h\d+|l[\d -]+)*", path)
    place, drawn = int(path[3:].partition("h")[0].partition("l")[0]), list[int]()
    drawn.append(place)
    for kind, text in re.findall(r"([hl])([^hl]*)", path):
        if kind == "h":
            drawn += [place] * int(text)
            continue
        numbers = [int(digits) for digits in re.findall(r"-?\d+", text)]
        for width, rise in zip(numbers[::2], numbers[1::2], strict=True):
            assert width == 1
            place += rise
            drawn.append(place)
    return [23 - level for level in drawn]


@given(st.lists(st.integers(0, 10**9), min_size=2, max_size=300))
def test_the_line_follows_the_numbers(numbers: Sequence[int]) -> None:
    heights = levels(sparkline(numbers, "x", 300))
    assert len(heights) == len(numbers)
    assert [level > 0 for level in heights] == [number > 0 for number in numbers]
    assert all(0 <= level <= 22 for level in heights)
    pairs = sorted(zip(numbers, heights, strict=True))
    assert [level for _, level in pairs] == sorted(level for _, level in pairs)


def test_a_quiet_day_is_short_and_a_busy_one_not_long() -> None:
    assert '<path d="M0 23h287"/>' in sparkline([0] * 288, "x", 300)
    assert len(sparkline([number * 7919 % 23 for number in range(288)], "x", 300)) < 2_000
    assert 'd="M0 23h1"' in sparkline([], "x", 300)


def test_foreign_names_stay_text_in_pictures() -> None:
    assert "<b>" not in sparkline([1], '"><b>', 60) + gauge({"<b>": 1}, 2, "<b>")


def test_a_series_is_said_in_words() -> None:
    assert described([0, 5, 1200], 300) == "1,205 in all, at most 1,200 in 5 m"
    assert described([0, 0], 300) == "none"


def test_a_gauge_that_is_overdrawn_stays_within_its_bar() -> None:
    widths = re.findall(r'class="piece-\d" x="([\d.]+)" width="([\d.]+)"', gauge({"poll": 30, "test": 10}, 30, "x"))
    assert widths == [("0.0", "150.0"), ("150.0", "50.0")]


def test_a_chart_has_the_steps_with_something_newest_first() -> None:
    stats = {"starts": ["2026-11-01T00:00:00.000Z", "2026-11-01T00:05:00.000Z"], "step_seconds": 300}
    row = {"series": {"delivered": [0, 3], "dead": [0, 1]}}
    chart = chart_of("Deliveries", stats, row, {"delivered": "delivered", "dead": "given up"})
    assert chart.rows == [("2026-11-01T00:05:00Z", (3, 1))]
    assert chart.data["start"] == 1_793_491_200
    assert chart.data["series"][1] == {"label": "given up", "numbers": [0, 1]}
    assert chart_of("Deliveries", stats, None, {"dead": "given up"}).total == [0, 0]
