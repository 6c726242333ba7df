"""The period of figures, kept in the address of a page."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import urlencode

from flask import request

__all__ = ["DEFAULT", "PERIODS", "PeriodChoice", "chosen_period", "period_choices"]

PERIODS, DEFAULT = ("1h", "24h", "7d", "30d"), "24h"
_WORDS = {"1h": "the last hour", "24h": "the last 24 hours", "7d": "the last 7 days", "30d": "the last 30 days"}


class PeriodChoice(NamedTuple):
    """One period to click. `words`: what it is called in a sentence."""

    name: str
    url: str
    active: bool
    words: str


def chosen_period() -> str:
    """The period of the address; a text that the API does not know counts as the default."""
    given = request.args.get("period", DEFAULT)
    return given if given in PERIODS else DEFAULT


def period_choices() -> list[PeriodChoice]:
    """All periods, each with the address of this page with it."""
    now, others = chosen_period(), {name: value for name, value in request.args.items() if name != "period"}

    def address(name: str) -> str:
        query: dict[str, Any] = others if name == DEFAULT else {**others, "period": name}
        return f"{request.path}?{urlencode(query)}" if query else request.path

    return [PeriodChoice(name, address(name), name == now, _WORDS[name]) for name in PERIODS]
