"""Checks of the databases of sql subscriptions: connection, tables, version. Creates nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from bridge.config.model import Subscription
from bridge.errors import BridgeError, ConfigError
from bridge.monitoring.server_checks import FAILURE, OK, WARNING, Finding
from bridge.monitoring.total_time import within
from bridge.sql.database import NO_TABLES
from bridge.sql.layout import VERSION
from bridge.sql.opening import database_of, place_of

__all__ = ["database"]


def database(subscription: Subscription) -> Iterator[Finding]:
    """The finding about the database of one subscription."""
    label = f"database of subscription {subscription.name}"
    yield from within(
        lambda: [_database(subscription, label)],
        lambda problem: Finding(label, FAILURE, problem, "check what listens there, and the network", unreachable=True),
    )


def _database(subscription: Subscription, label: str) -> Finding:
    database = None
    try:
        database = database_of(replace(subscription, create=False))
        product = database.check()
    except BridgeError as error:
        fact, _, remedy = str(error).partition(". Remedy: ")
        if error.reason == NO_TABLES and subscription.create:
            return Finding(label, WARNING, fact.removeprefix("database: "), "start dispatch: it creates the tables")
        return Finding(
            label, FAILURE, fact.removeprefix("database: "), remedy, unreachable=not isinstance(error, ConfigError)
        )
    finally:
        if database is not None:
            database.close()
    return Finding(label, OK, f"{product}, {place_of(subscription)}, version {VERSION}")
