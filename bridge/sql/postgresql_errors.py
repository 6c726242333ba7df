"""What an error of PostgreSQL means, by its SQLSTATE (appendix A of its manual). Pure.

psycopg's own errors, such as a connection that ends, have none: only for these are texts read, to tell them apart.
"""

from __future__ import annotations

import psycopg

from bridge.errors import BridgeError
from bridge.sql.database import away, misconfigured, refused

__all__ = ["UNKNOWN", "problem_of"]

#: `reason` of an error that is in none of these tables.
UNKNOWN = "database_error"
_OPEN_TRANSACTION = "end the transaction that holds it: SELECT * FROM pg_stat_activity WHERE state LIKE 'idle in%'"
_NONE_NEEDED = "none needed; delivery resumes by itself"
_GRANT = "GRANT SELECT, INSERT, UPDATE, DELETE on its tables to the user, and with create: true CREATE on the schema"
_TABLES = "run what attempt-bridge sql schema prints, or write create: true"
_ADDRESS = "correct it in url"
#: SQLSTATE, or the class that its first two characters are -> (fact, remedy). More precise ones win.
_AWAY = {
    "08": ("the connection ended", "check that it is up, and the network"),
    "25006": ("it is read-only", "name the primary in url, such as ?target_session_attrs=read-write"),
    "25P03": ("it ended a transaction that was idle", _NONE_NEEDED),
    "40": ("it rolled back the transaction", _NONE_NEEDED),
    "40001": ("transactions collide (serialization failure)", _NONE_NEEDED),
    "40P01": ("transactions wait for each other (deadlock)", _NONE_NEEDED),
    "53": ("it lacks resources", "see its log"),
    "53100": ("its disk is full", "free disk space there"),
    "53200": ("it has no free memory", "free memory there"),
    "53300": ("it has too many connections", "close some, or raise its max_connections"),
    "55006": ("a table is in use", _OPEN_TRANSACTION),
    "55P03": ("a table or row is locked by another session", _OPEN_TRANSACTION),
    "57": ("an operator or a limit interrupted it", "see its log"),
    "57014": ("a statement took too long, or was cancelled", "check its load and its locks in pg_stat_activity"),
    "57P01": ("it shuts down", _NONE_NEEDED),
    "57P02": ("it restarts after a crash", _NONE_NEEDED),
    "57P03": ("it is starting or shutting down", _NONE_NEEDED),
    "58": ("its disk or system has an error", "see its log"),
}
_MISCONFIGURED = {
    "0A": ("it lacks a feature", "use PostgreSQL 13 or newer"),
    "28": ("it refuses the user or the password", "correct them in url, or allow the user in pg_hba.conf"),
    "3D": ("there is no such database", _ADDRESS),
    "3F": ("there is no such schema", "create it, or correct schema"),
    "42": ("the tables are not as expected", _TABLES),
    "42501": ("the user lacks a right", _GRANT),
    "42703": ("a table lacks a column", _TABLES),
    "42P01": ("a table does not exist", _TABLES),
    "42P10": ("a table has no primary key", _TABLES),
    "55": ("an object is not as expected", "see its log"),
}
#: In these classes the reason is the content of a row: data, constraints, triggers, checks of views, size of a key.
_CONTENT = ("09", "21", "22", "23", "27", "2F", "38", "39", "44", "54", "P0")
#: What the server says while a connection is made, when psycopg has no code -> the code.
_SAYINGS = {
    "password authentication failed": "28P01",
    "no password supplied": "28P01",
    "pg_hba.conf": "28000",
    "too many": "53300",
    "remaining connection slots": "53300",
    "starting up": "57P03",
    "shutting down": "57P03",
    "recovery mode": "57P03",
    "not accepting": "57P03",
}


def problem_of(error: psycopg.Error, *, connected: bool) -> BridgeError:
    """The error as one of ours. `connected`: it came after the connection was made."""
    code = error.sqlstate or ("" if connected else _said(str(error)))
    for length in (5, 2):
        key = code[:length]
        if key in _AWAY:
            return away(_with(_AWAY[key][0], code), _AWAY[key][1])
        if key in _MISCONFIGURED:
            return misconfigured(_with(_MISCONFIGURED[key][0], code), _MISCONFIGURED[key][1])
    if code[:2] in _CONTENT:
        return refused(f"SQLSTATE {code} ({type(error).__name__})")
    if code:
        text = f"database: error SQLSTATE {code} ({type(error).__name__}). Remedy: see its log"
        return BridgeError(text, reason=UNKNOWN)
    if isinstance(error, psycopg.DataError):
        return refused("a character that its text cannot hold")
    if not connected:
        return away("no connection", "check that it is up, host and port in url, and the network")
    return away("it ended the connection, or did not answer in time", "check that it is up, and the network")


def _said(text: str) -> str:
    if "does not exist" in text:
        return "3D000" if "database" in text else "28000"
    return next((code for saying, code in _SAYINGS.items() if saying in text), "")


def _with(fact: str, code: str) -> str:
    return f"{fact} (SQLSTATE {code})"
