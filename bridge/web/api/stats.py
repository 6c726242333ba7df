"""`/api/v1/stats`: what happened in a period, of each source and subscription."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import current_app
from marshmallow import EXCLUDE, Schema, fields, validate

from bridge.errors import clip
from bridge.monitoring.counted_steps import CountedSteps
from bridge.monitoring.stats import DELIVERY_FIGURES, PERIODS, SOURCE_FIGURES, Figures, read_stats
from bridge.text import did_you_mean
from bridge.web.api.bodies import ApiBlueprint
from bridge.web.api.common import VIEWER, needs, refuse, services_here
from bridge.web.api.description import described
from bridge.web.api.filters import iso
from bridge.web.api.members import sound

__all__ = ["blueprint"]

blueprint = ApiBlueprint("stats", __name__, url_prefix="/api/v1/stats", description="What happened, in numbers.")


class _Asked(Schema):
    period = fields.String(
        load_default="24h",
        validate=validate.OneOf(tuple(PERIODS)),
        metadata={"description": "1h in minutes, 24h and 7d in hours, 30d in days."},
    )
    step = fields.String(
        validate=validate.OneOf(("5m",)),
        metadata={"description": "`5m`: steps of five minutes for 1h and 24h; 7d and 30d keep theirs."},
    )
    sources = fields.String(
        validate=sound,
        metadata={"description": "Only these sources, separated by commas, `*`: all; no subscriptions."},
    )
    subscriptions = fields.String(
        validate=sound,
        metadata={"description": "Only these subscriptions, separated by commas, `*`: all; no sources."},
    )
    figures = fields.String(validate=sound, metadata={"description": "Only these figures, separated by commas."})
    series = fields.Boolean(load_default=True, metadata={"description": "False: only the totals."})


class _Numbers(fields.List[int]):
    """A list that already has whole numbers: checking each would take most of a call."""

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> list[Any] | None:
        numbers: list[Any] = value
        return numbers


def _lag(whose: str) -> fields.Float:
    text = (
        f"Seconds from the recording of an event within which 95 % of the deliveries {whose} ended in the period; "
        "null: there was none. Replays do not count."
    )
    return fields.Float(required=True, allow_none=True, metadata={"description": text})


class _Named(Schema):
    class Meta:
        unknown = EXCLUDE

    name = fields.String(required=True, metadata={"description": "Name of the source or subscription."})
    totals = fields.Dict(
        keys=fields.String(),
        values=fields.Integer(),
        required=True,
        metadata={"description": "Figure -> its sum over the period."},
    )
    series = fields.Dict(
        keys=fields.String(),
        values=_Numbers(fields.Integer()),
        required=True,
        metadata={"description": "Figure -> a number for each step, oldest first; empty if not wanted."},
    )


class SourceStats(_Named):
    """Figures of a source."""


class SubscriptionStats(_Named):
    """Figures of a subscription."""

    lag_p95 = _lag("of the subscription")


class StatsAnswer(Schema):
    """The figures of a period."""

    class Meta:
        unknown = EXCLUDE

    period = fields.String(required=True, metadata={"description": "As requested."})
    step_seconds = fields.Integer(required=True, metadata={"description": "Length of a step, seconds."})
    starts = fields.List(
        fields.String(), required=True, metadata={"description": "When each step begins, oldest first."}
    )
    sources = fields.List(
        fields.Nested(SourceStats),
        required=True,
        metadata={"description": f"Figures: {', '.join(SOURCE_FIGURES)}."},
    )
    lag_p95 = _lag("of all subscriptions of this answer")
    subscriptions = fields.List(
        fields.Nested(SubscriptionStats),
        required=True,
        metadata={"description": f"Figures: {', '.join(DELIVERY_FIGURES)}."},
    )


@blueprint.route("", methods=["GET"])
@needs(VIEWER)
@described(blueprint, "showStats")
@blueprint.arguments(_Asked, location="query")
@blueprint.response(200, StatsAnswer, description="The figures")
def show_stats(query: Mapping[str, Any]) -> dict[str, Any]:
    """Show what happened in a period

    Counted as it happens, so that no call reads the journal to count. The last step is the current one. `rescued` is
    what polls found at a source with webhooks; `late_webhooks` came after that.
    """
    services = services_here()
    config = services.config
    sources, subscriptions = _names(query, "sources"), _names(query, "subscriptions")
    only = sources is not None or subscriptions is not None
    stats = read_stats(
        services.state,
        query["period"],
        until=services.now(),
        partitions=config.bridge.partitions,
        with_webhooks=frozenset(name for name, source in config.sources.items() if source.webhook.enabled),
        sources=(sources or ()) if only else config.sources,
        subscriptions=(subscriptions or ()) if only else config.subscriptions,
        only=only,
        fine="step" in query,
        known=current_app.extensions.setdefault("bridge.counted_steps", CountedSteps()),
    )
    chosen = _figures(query)
    return {
        "period": query["period"],
        "step_seconds": stats.step_seconds,
        "starts": [iso(start) for start in stats.starts],
        "sources": [_named(figures, chosen, query["series"]) for figures in stats.sources],
        "lag_p95": stats.lag_p95,
        "subscriptions": [
            {**_named(figures, chosen, query["series"]), "lag_p95": figures.lag_p95} for figures in stats.subscriptions
        ],
    }


def _names(query: Mapping[str, Any], member: str) -> tuple[str, ...] | None:
    """The names in a member of the query, those that are configured; None: it was not given."""
    if member not in query:
        return None
    config = services_here().config
    known = config.sources if member == "sources" else config.subscriptions
    if query[member] == "*":
        return tuple(known)
    return tuple(name for name in dict.fromkeys(query[member].split(",")) if name in known)


def _figures(query: Mapping[str, Any]) -> frozenset[str] | None:
    if "figures" not in query:
        return None
    chosen, known = frozenset(query["figures"].split(",")), (*SOURCE_FIGURES, *DELIVERY_FIGURES)
    if unknown := sorted(chosen - set(known)):
        problem = f'unknown figure: "{clip(unknown[0], 40)}". {did_you_mean(unknown[0], known)}'
        refuse(422, problem, errors={"figures": [problem]})
    return chosen


def _named(figures: Figures, chosen: frozenset[str] | None, with_series: bool) -> dict[str, Any]:
    series = {name: numbers for name, numbers in figures.series.items() if chosen is None or name in chosen}
    return {
        "name": figures.name,
        "totals": {name: sum(numbers) for name, numbers in series.items()},
        "series": series if with_series else {},
    }
