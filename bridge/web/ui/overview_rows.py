"""What the overview shows, from the rows of the API: cards, figures, failure groups, first steps. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from markupsafe import Markup

from bridge.web.ui.charts import sparkline
from bridge.web.ui.source_rows import Shares, shares_of
from bridge.web.ui.source_states import SourceState, SourceWord, budget_is_short, state_of
from bridge.web.ui.subscription_states import SubscriptionState, subscription_state

__all__ = [
    "CARDS",
    "GROUPS",
    "Card",
    "Figures",
    "Step",
    "cards_of_sources",
    "cards_of_subscriptions",
    "figures_of",
    "first_steps",
    "troubled_sources",
    "troubled_subscriptions",
]

_Row = Mapping[str, Any]
#: Cards of each kind, failure groups, and budgets on the page.
CARDS, GROUPS, _BUDGETS = 24, 8, 8


class Card(NamedTuple):
    """One source or subscription. `totals`, `lag_p95`: of the period; a source has no lag."""

    row: _Row
    state: SourceState | SubscriptionState
    totals: Mapping[str, int]
    spark: Markup
    lag_p95: float | None


class Figures(NamedTuple):
    """Numbers of the whole bridge. Moments are ISO 8601."""

    shares: Shares
    #: Seconds within which 95 % of all deliveries of the period ended; None without any.
    lag_p95: float | None
    #: Events that wait for subscriptions; None: the server cannot tell for one of them.
    waiting: int | None
    waiting_since: str | None
    dead_letters: int
    expected: int
    overdue: int
    #: Rows of sources whose budget is near its end, the first ones.
    short: Sequence[_Row]
    #: The newest reconciliation of any source, and whose it is.
    compared: _Row | None
    compared_source: str
    silent: Sequence[str]


class Step(NamedTuple):
    """What to do first, with the command. `path`: a page about it, below `/ui/`, "" for none."""

    text: str
    command: str
    path: str = ""


def troubled_sources(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The sources that are shown: those in trouble first, the others in the order of the configuration."""
    return sorted(rows, key=lambda row: (not _misses(row), state_of(row).rank))[:CARDS]


def troubled_subscriptions(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The subscriptions that are shown: those in trouble first, then those with the longest backlog."""
    return sorted(rows, key=lambda row: (subscription_state(row).rank, -row["dead_letters"], -(row["waiting"] or 0)))[
        :CARDS
    ]


def cards_of_sources(rows: Sequence[_Row], stats: _Row) -> list[Card]:
    """The cards of these sources."""
    return [
        _card(row, state_of(row), stats, "sources", ("published_by_webhook", "published_by_poll"), "published")
        for row in rows
    ]


def cards_of_subscriptions(rows: Sequence[_Row], stats: _Row) -> list[Card]:
    """The cards of these subscriptions."""
    return [
        _card(row, subscription_state(row), stats, "subscriptions", ("delivered", "handed_over"), "delivered")
        for row in rows
    ]


def figures_of(sources: Sequence[_Row], subscriptions: Sequence[_Row], stats: _Row) -> Figures:
    """The sums over all of them. `stats`: the statistics of all sources and subscriptions."""
    totals: dict[str, int] = {}
    for row in stats["sources"]:
        for name, number in row["totals"].items():
            totals[name] = totals.get(name, 0) + number
    waiting = [row["waiting"] for row in subscriptions]
    compared = [(row["last_reconciliation"], row["name"]) for row in sources if row["last_reconciliation"] is not None]
    newest, name = max(compared, key=lambda item: item[0]["made"], default=(None, ""))
    return Figures(
        shares=shares_of(totals),
        lag_p95=stats["lag_p95"],
        waiting=None if None in waiting else sum(waiting),
        waiting_since=min((row["waiting_since"] for row in subscriptions if row["waiting_since"]), default=None),
        dead_letters=sum(row["dead_letters"] for row in subscriptions),
        expected=sum(row["expected"] for row in sources),
        overdue=sum(row["overdue"] for row in sources),
        short=[row for row in sources if budget_is_short(row)][:_BUDGETS],
        compared=newest,
        compared_source=name,
        silent=[row["name"] for row in sources if state_of(row).word == SourceWord.SILENT],
    )


def first_steps(sources: Sequence[_Row], subscriptions: Sequence[_Row], *, nothing: bool) -> list[Step]:
    """What to do on a bridge that has nothing yet. `nothing`: whether no event was ever published."""
    check = "attempt-bridge config check && attempt-bridge config reload"
    steps = []
    if not sources:
        steps.append(Step("Add the vendor account as a source to bridge.yaml, then check and load the file.", check))
    if not subscriptions:
        steps.append(Step("Add the receiver of the events as a subscription, then check and load the file.", check))
    if sources and nothing:
        name, has_webhook = sources[0]["name"], sources[0]["webhook"]
        test = f"attempt-bridge sources test {name}"
        steps.append(Step("Test the account: log in and read a page.", test, f"sources/{name}"))
        if has_webhook:
            show = f"attempt-bridge sources show {name}"
            steps.append(Step("Give the vendor the webhook address.", show, f"sources/{name}"))
    if sources and subscriptions and nothing:
        name = subscriptions[0]["name"]
        steps += [
            Step(
                "Send the receiver a test event.", f"attempt-bridge subscriptions test {name}", f"subscriptions/{name}"
            ),
            Step("Watch attempts arrive.", "attempt-bridge events tail --topics events,deliveries", "live"),
        ]
    return steps


def _misses(row: _Row) -> bool:
    last = row["last_reconciliation"]
    return bool(last and last["still_missing"]) or bool(row["overdue"])


def _card(
    row: _Row,
    state: SourceState | SubscriptionState,
    stats: _Row,
    kind: str,
    figures: Sequence[str],
    label: str,
) -> Card:
    own = next((each for each in stats[kind] if each["name"] == row["name"]), None)
    numbers: list[int] = []
    if own is not None:
        numbers = [sum(step) for step in zip(*(own["series"][name] for name in figures), strict=True)]
    spark = sparkline(numbers, label, stats["step_seconds"])
    totals, lag = ({}, None) if own is None else (own["totals"], own.get("lag_p95"))
    return Card(row, state, totals, spark, lag)
