"""Where a subscription of transport `sql` writes: which database addresses and table names are accepted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from bridge.config.addresses import literal_secret_problem, unencoded_problem
from bridge.config.yaml_document import Document, KeyPath, Reference
from bridge.errors import clip

__all__ = ["SQL_SCHEMES", "absolute", "check_sql", "identifier_problem", "is_sql", "literal_problem", "sqlite_path"]

#: Address schemes: libpq's for PostgreSQL, SQLAlchemy's for SQLite.
SQL_SCHEMES = ("postgresql", "postgres", "sqlite")
_SQLITE = "sqlite:///"
#: PostgreSQL cuts names off after 63 bytes, and the names of tables and indexes have a suffix.
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,39}")
_Address = TypeVar("_Address", bound=str)


def is_sql(address: str) -> bool:
    """Whether an address names a database."""
    return address.partition(":")[0].lower() in SQL_SCHEMES


def literal_problem(address: str) -> str | None:
    """Where a database address written in the file itself holds a password, or None."""
    return None if isinstance(address, Reference) else literal_secret_problem(address)


def identifier_problem(text: str) -> str | None:
    """What is wrong with the name of a schema, or of the tables, or None."""
    if not _IDENTIFIER.fullmatch(text):
        return f'"{clip(text, 50)}" is not a valid name; use 1 to 40 of A-Z, a-z, 0-9 and _, not starting with a digit'
    if text.lower().startswith(("pg_", "sqlite_")):
        return f'"{text}" is a name of the database\'s own; use another prefix'
    return None


def sqlite_path(address: str) -> str | None:
    """The path in the address of an SQLite file; None for any other database."""
    return address.removeprefix(_SQLITE) if address.startswith(_SQLITE) else None


def absolute(address: _Address, folder: Path) -> _Address:
    """The address, with an absolute path if it is that of an SQLite file; a relative path starts at `folder`."""
    path = sqlite_path(address)
    return address if path is None else type(address)(f"{_SQLITE}{(folder / path).resolve()}")


def check_sql(data: Mapping[str, Any], path: KeyPath, document: Document) -> None:
    """Add the problems of a subscription's address, and of keys that its database does not have."""
    url = data.get("url")
    if url is None:
        return
    problem = _address_problem(url)
    if problem is not None:
        document.add((*path, "url"), problem)
    elif data.get("schema") is not None and sqlite_path(url) is not None:
        document.add((*path, "schema"), "SQLite has no schemas. Remedy: remove it")


def _address_problem(url: str) -> str | None:
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        path = sqlite_path(url)
        if not path or path == ":memory:" or "?" in path or "#" in path:
            return "is not the path of a file; write it like sqlite:///attempts.db, or sqlite:////srv/attempts.db"
        return None
    if parts.scheme not in SQL_SCHEMES:
        shown = f'"{clip(parts.scheme, 30)}://"' if parts.scheme else "an address without a scheme"
        return f"{shown} is not supported in this version; use postgresql://user@host/database or sqlite:///path"
    return unencoded_problem(url)
