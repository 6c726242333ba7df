"""Opens the database of a subscription."""

from __future__ import annotations

import importlib
from typing import cast

from bridge.config.addresses import without_password
from bridge.config.model import Subscription
from bridge.config.sql_target import sqlite_path
from bridge.errors import ConfigError
from bridge.sql.database import Database, Limits
from bridge.sql.layout import POSTGRESQL, SQLITE, Tables
from bridge.sql.sqlite import SQLiteFile

__all__ = ["database_of", "dialect_of", "place_of", "tables_of"]

_LIMITS = Limits()


def database_of(subscription: Subscription, limits: Limits = _LIMITS) -> Database:
    """The database of a subscription; it connects on first use. Raises `ConfigError` if its driver is not installed."""
    url, tables = subscription.url or "", tables_of(subscription)
    path = sqlite_path(url)
    if path is not None:
        return SQLiteFile(path, tables, create=subscription.create, limits=limits)
    try:
        # An optional dependency.
        module = importlib.import_module("bridge.sql.postgresql")
    except ImportError as error:
        where = f"subscriptions.{subscription.name}.url"
        raise ConfigError(
            f"{where}: psycopg, which PostgreSQL needs, is not installed. Remedy: pip install 'psycopg[binary]>=3.3,<4'"
        ) from error
    return cast("Database", module.PostgreSQL(url, tables, create=subscription.create, limits=limits))


def tables_of(subscription: Subscription) -> Tables:
    """The names of its tables."""
    return Tables(subscription.schema, subscription.table)


def dialect_of(subscription: Subscription) -> str:
    """The kind of its database."""
    return POSTGRESQL if sqlite_path(subscription.url or "") is None else SQLITE


def place_of(subscription: Subscription) -> str:
    """Where it writes, for people, without the password."""
    tables = tables_of(subscription)
    return f"tables {tables.attempts} and {tables.events} of {without_password(subscription.url or '')}"
