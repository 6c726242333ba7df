"""How values are shown: times, durations, numbers, bytes, JSON. Pure."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from markupsafe import Markup, escape

from bridge.web.ui.filter_text import quoted

__all__ = ["FILTERS", "bytes_text", "counted", "number_text", "seconds_text", "time_element"]

_UNITS = ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s"))


def time_element(moment: str | None, *, nothing: str = "never") -> Markup:
    """A time of the API (ISO 8601, UTC) as an element. Scripts show it in the zone of the viewer, and how long ago."""
    if not moment:
        return Markup('<span class="none">{}</span>').format(nothing)
    text = str(moment).replace("T", " ").partition(".")[0].removesuffix("Z")
    return Markup('<time datetime="{}" title="{} UTC">{} UTC</time>').format(moment, text, text)


def seconds_text(seconds: float | None) -> str:
    """`3 d 4 h`, `250 ms`; "" for None."""
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.3g} s"
    parts, rest = [], int(seconds)
    for size, unit in _UNITS:
        number, rest = divmod(rest, size)
        if number:
            parts.append(f"{number} {unit}")
    return " ".join(parts[:2])


def number_text(number: float | None) -> str:
    """`1,234`; `?` for None, which the API returns if it cannot tell."""
    return "?" if number is None else f"{number:,}"


def counted(number: int | None, noun: str) -> str:
    """`1 event`, `1,234 events`, `? events` for None."""
    return f"{number_text(number)} {noun}{'' if number == 1 else 's'}"


def bytes_text(size: float) -> str:
    """`1.2 MB`, with units of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError("the last unit takes all")


def json_text(value: Any) -> str:
    """JSON for people, every character as it is."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def percent_text(share: float | None) -> str:
    """0.125 as `12.5 %`."""
    return "" if share is None else f"{share * 100:.3g} %"


def _url(path: str, query: Mapping[str, Any] | None = None) -> str:
    """An address with these parameters; those that are None or "" are left out."""
    given = {name: value for name, value in (query or {}).items() if value not in (None, "")}
    return f"{path}?{urlencode(given)}" if given else path


def _part(value: object) -> str:
    """One part of a path."""
    return quote(str(value), safe="")


def _words(text: str) -> str:
    """`receiver_error` as `receiver error`."""
    return text.replace("_", " ")


def _code(value: object) -> Markup:
    """An id, never truncated; a click copies it."""
    return Markup('<code class="id" data-copy="{}">{}</code>').format(value, value)


FILTERS: Mapping[str, Callable[..., Any]] = {
    "time": time_element,
    "seconds": seconds_text,
    "number": number_text,
    "bytes": bytes_text,
    "counted": counted,
    "json": json_text,
    "percent": percent_text,
    "url": _url,
    "part": _part,
    "words": _words,
    "id": _code,
    "quoted": lambda value: quoted(str(value)),
    "shell": lambda value: shlex.quote(str(value)),
    "attr_json": lambda value: escape(json.dumps(value)),
}
