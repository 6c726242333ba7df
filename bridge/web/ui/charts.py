"""Small pictures of numbers as SVG, made on the server, and the numbers for the charts that scripts draw. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from bridge.web.ui.formats import number_text, seconds_text

__all__ = ["Chart", "chart_of", "described", "gauge", "sparkline"]

#: Height of a picture; a level is a whole number up to it, so that its path stays short.
_HEIGHT = 24
#: Room above and below the line, so that its width is not cut.
_EDGE = 1
_GAUGE_WIDTH = 200


@dataclass(frozen=True, slots=True)
class Chart:
    """Series over the same steps. `start`: UNIX seconds of the first one; `step`: seconds.

    `series`: label -> numbers. The first ones are drawn first.
    """

    label: str
    start: int
    step: int
    series: Mapping[str, Sequence[int]]

    @property
    def data(self) -> dict[str, Any]:
        """What charts.js reads."""
        series = [{"label": label, "numbers": list(numbers)} for label, numbers in self.series.items()]
        return {"start": self.start, "step": self.step, "series": series}

    @property
    def total(self) -> list[int]:
        """The sum of all series, step by step."""
        return [sum(numbers) for numbers in zip(*self.series.values(), strict=True)]

    @property
    def spark(self) -> Markup:
        """The total as a small picture, for browsers without scripts."""
        return sparkline(self.total, self.label, self.step)

    @property
    def rows(self) -> list[tuple[str, tuple[int, ...]]]:
        """(when the step begins, ISO 8601, its numbers), newest first; steps without anything are left out."""
        steps = zip(*self.series.values(), strict=True)
        rows = [(self.start + place * self.step, numbers) for place, numbers in enumerate(steps) if any(numbers)]
        return [(_iso(moment), numbers) for moment, numbers in reversed(rows)]


def chart_of(label: str, stats: Mapping[str, Any], row: Mapping[str, Any] | None, figures: Mapping[str, str]) -> Chart:
    """The chart of figures of one row of the stats. `figures`: figure -> its label. `row`: None: nothing happened."""
    starts: Sequence[str] = stats["starts"]
    start = int(datetime.fromisoformat(starts[0]).timestamp()) if starts else 0
    nothing = [0] * len(starts)
    series = {text: nothing if row is None else row["series"].get(name, nothing) for name, text in figures.items()}
    return Chart(label, start, stats["step_seconds"], series)


def described(numbers: Sequence[int], step_seconds: int) -> str:
    """A series in words: `12 in all, at most 3 in 5 m`."""
    if not any(numbers):
        return "none"
    return f"{number_text(sum(numbers))} in all, at most {number_text(max(numbers))} in {seconds_text(step_seconds)}"


def sparkline(numbers: Sequence[int], label: str, step_seconds: int) -> Markup:
    """A line of numbers, with its meaning in words. An empty series is a flat line."""
    words = f"{label}: {described(numbers, step_seconds)}"
    return Markup(
        '<svg class="spark" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<title>{}</title><path d="{}"/></svg>'
    ).format(max(len(numbers) - 1, 1), _HEIGHT, words, words, _path(_levels(numbers)))


def gauge(parts: Mapping[str, int], total: int, label: str) -> Markup:
    """A bar of `total` with a piece for each part, in the order given; the words name them all."""
    scale = _GAUGE_WIDTH / max(total, sum(parts.values()), 1)
    pieces, place = [], 0.0
    for index, number in enumerate(parts.values()):
        width = number * scale
        pieces.append(
            Markup('<rect class="piece-{}" x="{:.1f}" width="{:.1f}" height="10"/>').format(index, place, width)
        )
        place += width
    used = ", ".join(f"{name} {number_text(number)}" for name, number in parts.items() if number) or "nothing used"
    words = f"{label}: {used}, of {number_text(total)}"
    return Markup(
        '<svg class="gauge" viewBox="0 0 {} 10" preserveAspectRatio="none" role="img" aria-label="{}"><title>{}</title>'
        '<rect class="room" width="{}" height="10"/>{}</svg>'
    ).format(_GAUGE_WIDTH, words, words, _GAUGE_WIDTH, Markup("").join(pieces))


def _iso(moment: int) -> str:
    return f"{datetime.fromtimestamp(moment, tz=UTC):%Y-%m-%dT%H:%M:%SZ}"


def _levels(numbers: Sequence[int]) -> list[int]:
    """The height of each number: 0 at the bottom. Anything but 0 is visible."""
    most, room = max([*numbers, 0]), _HEIGHT - 2 * _EDGE
    return [0 if number <= 0 else max(1, round(number / most * room)) for number in numbers] or [0]


def _path(levels: Sequence[int]) -> str:
    """The path through these levels. Steps of the same level are one piece, so that a quiet day is short."""
    pieces, flat, slopes = [f"M0 {_HEIGHT - _EDGE - levels[0]}"], 0, list[str]()

    def flush() -> None:
        nonlocal flat
        if slopes:
            pieces.append("l" + " ".join(slopes).replace(" -", "-"))
            slopes.clear()
        if flat:
            pieces.append(f"h{flat}")
            flat = 0

    for before, level in pairwise(levels):
        if level == before:
            if slopes:
                flush()
            flat += 1
        else:
            if flat:
                flush()
            slopes.append(f"1 {before - level}")
    flush()
    return "".join(pieces) if len(levels) > 1 else f"{pieces[0]}h1"
