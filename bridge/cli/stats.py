"""`stats`: what happened in a period, of each source and subscription."""

from __future__ import annotations

from typing import Any

import click

from bridge.cli.api_client import api
from bridge.cli.options import format_option
from bridge.cli.output import print_list, print_object

__all__ = ["stats"]

_PERIODS = ("1h", "24h", "7d", "30d")
_OF_SOURCES = (
    "source",
    "requests",
    "published_by_webhook",
    "published_by_poll",
    "rescued",
    "late_webhooks",
    "revised",
    "duplicates",
    "quarantined",
    "refused",
)
_OF_SUBSCRIPTIONS = ("subscription", "delivered", "handed_over", "retried", "dead", "skipped", "lag_p95")


@click.command()
@click.option("--period", type=click.Choice(_PERIODS), default="24h", show_default=True, help="How far back.")
@format_option
def stats(period: str, output: str) -> None:
    """Show what happened in a period, in numbers. JSON has them for each minute (1h), hour (24h, 7d) or day (30d)."""
    document = api().call("GET", "stats", {"period": period})
    if output != "table":
        print_object(document, output)
        return
    print_list(_rows(document, "source"), _OF_SOURCES, output, empty="no sources in bridge.yaml")
    if document["subscriptions"]:
        click.echo()
        print_list(_rows(document, "subscription"), _OF_SUBSCRIPTIONS, output, empty="")


def _rows(document: dict[str, Any], noun: str) -> list[dict[str, Any]]:
    rows = [{noun: figures["name"], **figures["totals"], **figures} for figures in document[f"{noun}s"]]
    for row in rows:
        lag = row.get("lag_p95")
        row["lag_p95"] = None if lag is None else f"{lag:.3g} s"
    return rows
