"""`/api/v1/stats`: what happened in a period, of each source and subscription."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marshmallow import EXCLUDE, Schema, fields, validate

from bridge.monitoring.stats import DELIVERY_FIGURES, PERIODS, SOURCE_FIGURES, Figures, read_stats
from bridge.web.api.bodies import ApiBlueprint
from bridge.web.api.common import VIEWER, needs, services_here
from bridge.web.api.description import described
from bridge.web.api.filters import iso

__all__ = ["blueprint"]

blueprint = ApiBlueprint("stats", __name__, url_prefix="/api/v1/stats", description="What happened, in numbers.")


class _Asked(Schema):
    period = fields.String(
        load_default="24h",
        validate=validate.OneOf(tuple(PERIODS)),
        metadata={"description": "1h in minutes, 24h and 7d in hours, 30d in days."},
    )


class _Named(Schema):
    class Meta:
        unknown = EXCLUDE

    name = fields.String(required=True, metadata={"description": "Of the source or subscription."})
    totals = fields.Dict(
        keys=fields.String(),
        values=fields.Integer(),
        required=True,
        metadata={"description": "Figure -> its sum over the period."},
    )
    series = fields.Dict(
        keys=fields.String(),
        values=fields.List(fields.Integer()),
        required=True,
        metadata={"description": "Figure -> a number for each step, oldest first."},
    )


class SourceStats(_Named):
    """Figures of a source."""


class SubscriptionStats(_Named):
    """Figures of a subscription."""


class StatsAnswer(Schema):
    """The figures of a period."""

    class Meta:
        unknown = EXCLUDE

    period = fields.String(required=True, metadata={"description": "As it was asked for."})
    step_seconds = fields.Integer(required=True, metadata={"description": "Length of a step, seconds."})
    starts = fields.List(
        fields.String(), required=True, metadata={"description": "When each step begins, oldest first."}
    )
    sources = fields.List(
        fields.Nested(SourceStats),
        required=True,
        metadata={"description": f"Figures: {', '.join(SOURCE_FIGURES)}."},
    )
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
    stats = read_stats(
        services.state,
        query["period"],
        until=services.now(),
        partitions=config.bridge.partitions,
        with_webhooks=frozenset(name for name, source in config.sources.items() if source.webhook.enabled),
        sources=tuple(config.sources),
        subscriptions=tuple(config.subscriptions),
    )
    return {
        "period": query["period"],
        "step_seconds": stats.step_seconds,
        "starts": [iso(start) for start in stats.starts],
        "sources": [_named(figures) for figures in stats.sources],
        "subscriptions": [_named(figures) for figures in stats.subscriptions],
    }


def _named(figures: Figures) -> dict[str, Any]:
    return {"name": figures.name, "totals": figures.totals, "series": dict(figures.series)}
