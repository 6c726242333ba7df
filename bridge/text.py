"""Text from outside: durations, times of day, mistyped words, and the characters that no text may hold. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

from bridge.errors import clip

__all__ = [
    "BROKEN",
    "cleaned",
    "did_you_mean",
    "duration_text",
    "parse_duration",
    "parse_time_of_day",
    "text_problem",
    "time_of_day_text",
]

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_TIME_OF_DAY = re.compile(r"([01]\d|2[0-3]):([0-5]\d)", re.ASCII)
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}

#: What no UTF-8 can hold (a lone surrogate: `"\\ud800"` in JSON and YAML, a byte that is not UTF-8 on a command line),
#: and NUL, where other programs end a text.
BROKEN = re.compile(r"[\ud800-\udfff\x00]")
#: The other control characters, C0, DEL and C1. A line break and a tab are among them.
_CONTROLS = re.compile(r"[\x01-\x1f\x7f-\x9f]")
_LAYOUT = "\t\n\r"


def text_problem(text: str, *, longest: int | None = None, lines: bool = False) -> str | None:
    """What is wrong with a foreign text, as the end of a sentence that quotes nothing of it; None: nothing is wrong.

    `longest`: characters. `lines`: tabs and line breaks are allowed.
    """
    if longest is not None and len(text) > longest:
        return f"has {len(text)} characters; at most {longest} are allowed"
    broken = BROKEN.search(text)
    if broken is not None:
        what = "a NUL character" if broken[0] == "\0" else "a lone surrogate, which is not a character"
        return f"holds {what}, at character {broken.start() + 1}"
    for control in _CONTROLS.finditer(text):
        if not (lines and control[0] in _LAYOUT):
            return f"holds a control character (U+{ord(control[0]):04X}), at character {control.start() + 1}"
    return None


def cleaned(text: str) -> str:
    """The text with the replacement character for each `BROKEN` character: for texts stored before the check."""
    return BROKEN.sub("\N{REPLACEMENT CHARACTER}", text)


def did_you_mean(given: object, known: Iterable[str]) -> str:
    """A suggestion for a mistyped word, or the list of the known ones."""
    names = sorted(known)
    close = get_close_matches(str(given), names, n=1)
    return f'Did you mean "{close[0]}"?' if close else f"Known: {', '.join(names) or 'none'}"


def parse_duration(text: object) -> float:
    """`250ms 5s 10m 2h 7d` in seconds. Raises `ValueError`."""
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(
            f'"{clip(text, 40)}" is not a valid duration; write a number and a unit, such as 250ms, 5s, 10m, 2h or 7d'
        )
    return float(match[1]) * _UNIT_SECONDS[match[2]]


def duration_text(seconds: float) -> str:
    """Seconds as the shortest exact duration: 300.0 is `5m`."""
    for unit in ("d", "h", "m", "s"):
        if seconds >= _UNIT_SECONDS[unit] and seconds % _UNIT_SECONDS[unit] == 0:
            return f"{seconds / _UNIT_SECONDS[unit]:.0f}{unit}"
    return f"{seconds * 1000:g}ms" if seconds else "0s"


def parse_time_of_day(text: object) -> float:
    """`13:30` as seconds after midnight. Raises `ValueError`."""
    match = _TIME_OF_DAY.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        # YAML reads 13:30 without quotes as a base-60 number.
        raise ValueError(f'"{clip(text, 40)}" is not a valid time of day; write it in quotes, in UTC, such as "13:30"')
    return int(match[1]) * 3600.0 + int(match[2]) * 60.0


def time_of_day_text(seconds: float) -> str:
    """Seconds after midnight as `13:30`."""
    return f"{seconds // 3600:02.0f}:{seconds % 3600 // 60:02.0f}"
