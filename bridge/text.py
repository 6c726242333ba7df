"""What foreign text may hold, wherever it comes in: a request, a file, a command line, the environment. Pure."""

from __future__ import annotations

import re

__all__ = ["BROKEN", "cleaned", "text_problem"]

#: What no UTF-8 can hold (a lone surrogate: `"\\ud800"` in JSON and YAML, a byte that is not UTF-8 on a command line),
#: and NUL, where other programs end a text.
BROKEN = re.compile(r"[\ud800-\udfff\x00]")
#: The other control characters, C0, DEL and C1. A line break and a tab are among them.
_CONTROLS = re.compile(r"[\x01-\x1f\x7f-\x9f]")
_LAYOUT = "\t\n\r"


def text_problem(text: str, *, longest: int | None = None, lines: bool = False) -> str | None:
    """What is wrong with a foreign text, as the end of a sentence about it that quotes nothing of it; None: nothing.

    `longest`: characters. `lines`: tabs and line breaks are allowed.
    """
    if longest is not None and len(text) > longest:
        return f"has {len(text)} characters; at most {longest} are allowed"
    broken = BROKEN.search(text)
    if broken is not None:
        what = "a NUL character" if broken[0] == "\0" else "a lone surrogate, which is no character"
        return f"holds {what}, at character {broken.start() + 1}"
    for control in _CONTROLS.finditer(text):
        if not (lines and control[0] in _LAYOUT):
            return f"holds a control character (U+{ord(control[0]):04X}), at character {control.start() + 1}"
    return None


def cleaned(text: str) -> str:
    """The text with the replacement character for what is `BROKEN` in it: for what was stored before it was checked."""
    return BROKEN.sub("\N{REPLACEMENT CHARACTER}", text)
