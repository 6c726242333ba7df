"""`sql`: the tables of `transport: sql`."""

from __future__ import annotations

import click

from bridge.cli.common import load_services
from bridge.cli.options import known_name
from bridge.config.model import Subscription
from bridge.sql.layout import POSTGRESQL, SQLITE, Tables, ddl_text
from bridge.sql.opening import dialect_of, tables_of

__all__ = ["sql"]


@click.group()
def sql() -> None:
    """Show the tables of sql subscriptions."""


@sql.command()
@click.argument("subscription", required=False)
@click.option("--dialect", type=click.Choice([POSTGRESQL, SQLITE]), help="Database; default: the subscription's.")
def schema(subscription: str | None, dialect: str | None) -> None:
    """Print the statements that create the tables of SUBSCRIPTION, or those with the default names."""
    if subscription is None:
        tables, default = Tables(None, Subscription(name="", transport="sql").table), POSTGRESQL
    else:
        known = load_services().config.subscriptions
        ours = {name: each for name, each in known.items() if each.transport == "sql"}
        chosen = ours[known_name(subscription, ours, "sql subscription")]
        tables, default = tables_of(chosen), dialect_of(chosen)
    click.echo(ddl_text(tables, dialect or default))
