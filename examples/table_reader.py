"""Reads what `transport: sql` writes, here from an SQLite file, and prints each event of the table once.

    python table_reader.py --database data/results.db [--table results]

Waits for a file and a table that are not there yet. On PostgreSQL the same query works with psycopg.
In bridge.yaml: {transport: sql, url: "sqlite:///data/results.db", table: results}
"""

import argparse
import json
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

options = argparse.ArgumentParser()
options.add_argument("--database", type=Path, required=True)
options.add_argument("--table", default="results")
given = options.parse_args()
seen: set[str] = set()


def new_rows() -> list[tuple[str, str, str, int]]:
    if not given.database.exists():
        return []
    query = f"SELECT id, type, attempt_id, revision FROM {given.table}_events ORDER BY recorded_at"
    with closing(sqlite3.connect(f"{given.database.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        try:
            return [row for row in connection.execute(query) if row[0] not in seen]
        except sqlite3.OperationalError:  # no table yet, or it is being written
            return []


while True:
    for ident, kind, attempt, revision in new_rows():
        line = {"received": ident, "type": kind, "attempt": attempt, "revision": revision}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        seen.add(ident)
    time.sleep(0.5)
