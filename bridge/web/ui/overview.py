"""The overview: whether results are lost, where, and what to press."""

from __future__ import annotations

from typing import Any

from flask import Response

from bridge.web.ui.blueprint import PageBlueprint
from bridge.web.ui.calls import read
from bridge.web.ui.overview_rows import (
    CARDS,
    GROUPS,
    cards_of_sources,
    cards_of_subscriptions,
    figures_of,
    first_steps,
    troubled_sources,
    troubled_subscriptions,
)
from bridge.web.ui.pages import render_page
from bridge.web.ui.periods import chosen_period, period_choices
from bridge.web.ui.truth import truth

__all__ = ["blueprint"]

blueprint = PageBlueprint("overview", __name__)

#: More rows than these are not read.
_ROWS = 1000
#: Open failure groups that are read, the largest first.
_GROUPS = 200
_OF_SOURCES = "published_by_webhook,published_by_poll,published_by_backfill,rescued"
_OF_CARDS = "published_by_webhook,published_by_poll,rescued,delivered,handed_over,dead"


@blueprint.get("/")
def show() -> Response:
    """The page."""
    period = chosen_period()
    sources = read("sources", limit=_ROWS)["sources"]
    subscriptions = read("subscriptions", limit=_ROWS)["subscriptions"]
    groups = read("failure-groups", state="open", order="count", limit=_GROUPS)
    everything = {"sources": "*", "subscriptions": "*"}
    totals = read("stats", period=period, step="5m", figures=_OF_SOURCES, series="false", **everything)
    shown_sources, shown_subscriptions = troubled_sources(sources), troubled_subscriptions(subscriptions)
    stats = _stats_of_cards(period, shown_sources, shown_subscriptions)
    figures = figures_of(sources, subscriptions, totals)
    return render_page(
        "overview.html",
        title="Overview",
        truth=truth(read("health", about="bridge"), sources, subscriptions, groups["failure_groups"]),
        steps=first_steps(sources, subscriptions, nothing=_nothing_was_published(figures.shares.published)),
        periods=period_choices(),
        figures=figures,
        groups=groups["failure_groups"][:GROUPS],
        sources=cards_of_sources(shown_sources, stats),
        subscriptions=cards_of_subscriptions(shown_subscriptions, stats),
        all_sources=len(sources),
        all_subscriptions=len(subscriptions),
        most=CARDS,
    )


def _stats_of_cards(period: str, sources: list[dict[str, Any]], subscriptions: list[dict[str, Any]]) -> Any:
    names = {"sources": sources, "subscriptions": subscriptions}
    wanted = {member: ",".join(row["name"] for row in rows) for member, rows in names.items() if rows}
    if not wanted:
        return {"step_seconds": 300, "starts": [], "sources": [], "subscriptions": []}
    return read("stats", period=period, step="5m", figures=_OF_CARDS, **wanted)


def _nothing_was_published(published: int) -> bool:
    return not published and not read("events", limit=1)["events"]
