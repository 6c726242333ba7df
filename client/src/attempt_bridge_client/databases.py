"""One way to run a statement on any database: it counts changed rows, and refuses a connection in autocommit mode.

No database package is imported at the top: a connection is recognised by the package of its class.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

from attempt_bridge_client.errors import ConfigurationError

__all__ = ["Statements", "is_connection", "statements_of"]

#: Runs a statement with named parameters `:name`, and returns the number of rows that it changed.
Statements = Callable[[str, Mapping[str, Any]], int]
_REMEDY = "Remedy: begin a transaction and do the work in it, so that mark and work are kept or lost together"


def statements_of(connection: Any) -> Statements:
    """How to run statements in the open transaction of `connection`.

    Raises `ConfigurationError` for any other kind of connection, or one in autocommit mode.
    """
    if type(connection).__name__.startswith("Async"):
        raise ConfigurationError(f"{type(connection).__name__}: only synchronous connections are supported")
    for package, adapt in _ADAPTERS.items():
        if any(base.__module__.split(".")[0] == package for base in type(connection).__mro__):
            return adapt(connection)
    kinds = ", ".join(_ADAPTERS)
    raise ConfigurationError(f"{type(connection).__name__} is not a connection of {kinds}. Remedy: pass one of these")


def is_connection(value: object) -> bool:
    """Whether it is an object of one of these packages."""
    return any(base.__module__.split(".")[0] in _ADAPTERS for base in type(value).__mro__)


def _sqlite3(connection: Any) -> Statements:
    if _sqlite3_commits_by_itself(connection):
        raise _no_transaction("sqlite3")
    return lambda sql, values: int(connection.execute(sql, values).rowcount)


def _sqlite3_commits_by_itself(connection: Any) -> bool:
    """By default Python's module opens a transaction before the first INSERT."""
    if connection.in_transaction:
        return False
    autocommit = getattr(connection, "autocommit", -1)
    # -1: before Python 3.12, and the default since then.
    return connection.isolation_level is None if autocommit == -1 else bool(autocommit)


def _psycopg(connection: Any) -> Statements:
    if not hasattr(connection, "info"):
        raise ConfigurationError("psycopg: a cursor or pool, not a connection. Remedy: pass the connection")
    if connection.autocommit and connection.info.transaction_status == 0:  # IDLE
        raise _no_transaction("psycopg")
    return lambda sql, values: int(connection.execute(_with_percent(sql), values).rowcount)


def _sqlalchemy(connection: Any) -> Statements:
    from sqlalchemy import text  # noqa: PLC0415 - the connection shows that it is installed

    if not hasattr(connection, "execute"):
        raise ConfigurationError(
            "sqlalchemy: an engine or factory. Remedy: pass engine.begin, or a Connection or Session"
        )
    below = connection if hasattr(connection, "dialect") else connection.connection()
    _require_dialect(below.dialect.name)
    driver = below.connection.dbapi_connection
    sqlite = below.dialect.name == "sqlite"
    if _sqlite3_commits_by_itself(driver) if sqlite else getattr(driver, "autocommit", False):
        raise _no_transaction("sqlalchemy")
    return lambda sql, values: int(connection.execute(text(sql), dict(values)).rowcount)


def _django(connection: Any) -> Statements:
    _require_dialect(connection.vendor)
    if not connection.in_atomic_block and connection.get_autocommit():
        raise _no_transaction("django")

    def run(sql: str, values: Mapping[str, Any]) -> int:
        with connection.cursor() as cursor:
            cursor.execute(_with_percent(sql), values)
            return int(cursor.rowcount)

    return run


def _with_percent(sql: str) -> str:
    """`:name` as `%(name)s`; our statements have no other colon."""
    return "".join(
        part if place == 0 else f"%({_name(part)})s{part[len(_name(part)) :]}"
        for place, part in enumerate(sql.split(":"))
    )


def _name(part: str) -> str:
    length = next((place for place, letter in enumerate(part) if not letter.isalpha()), len(part))
    return part[:length]


def _require_dialect(name: str) -> None:
    if name not in ("postgresql", "sqlite"):
        raise ConfigurationError(f"database {name}: only PostgreSQL and SQLite are supported")


def _no_transaction(package: str) -> ConfigurationError:
    return ConfigurationError(f"{package}: the connection is in autocommit mode. {_REMEDY}")


_ADAPTERS: dict[str, Callable[[Any], Statements]] = {
    "sqlite3": _sqlite3,
    "psycopg": _psycopg,
    "sqlalchemy": _sqlalchemy,
    "django": _django,
}
