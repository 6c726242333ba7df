"""`transport: sql`: events of the journal into tables of a local PostgreSQL by the dispatcher, settled, and bare
psycopg that executes the same statements with the same rows, one process each, same server."""

from __future__ import annotations

import argparse
import random
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psycopg

from benchmarks.common import header, ratios, rounds, server, spread, table, verdict
from benchmarks.dispatch import publish
from benchmarks.receive import config
from bridge import services as composition
from bridge.sql.database import upsert_end
from bridge.sql.layout import ATTEMPTS, EVENTS, POSTGRESQL, Tables, ddl
from bridge.sql.postgresql import _arrays, _Column, _ColumnDumper, _insert
from bridge.sql.rows import Batch, batch_of, record_of
from tests.support.postgresql import running_postgresql
from workers.dispatch.process import Dispatcher

BATCH = 500
BARE = Tables(None, "bare")


def write_bare(connection: psycopg.Connection, batches: Sequence[Batch]) -> None:
    """The same two statements for each batch, each batch a transaction."""
    connection.adapters.register_dumper(_Column, _ColumnDumper)
    upsert = (_insert(f"{BARE.attempts} AS t", ATTEMPTS) + upsert_end()).encode()
    append = (_insert(BARE.events, EVENTS) + "ON CONFLICT (id) DO NOTHING").encode()
    for batch in batches:
        connection.execute(upsert, _arrays(batch.attempts))
        connection.execute(append, _arrays(batch.events))
        connection.commit()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--events", type=int, default=5000, help="in each round")
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    header("dispatch to SQL tables in PostgreSQL (fsync on)", "psycopg", "redis")
    with server() as address, running_postgresql(durable=True) as database:
        subscription = f"{{results: {{transport: sql, url: '{database.url}'}}}}"
        path = config(Path(tempfile.mkdtemp(prefix="bench-")), address, subscription)
        services = composition.load(config_path=path)
        dispatcher = Dispatcher(services)
        dispatcher.step_all(services.now, random.random)
        counting, connection = database.connect(), psycopg.connect(database.url, prepare_threshold=None)
        for statement in ddl(BARE, POSTGRESQL):
            counting.execute(statement.encode())
        events: list[bytes] = []
        first, used = 10_000_000, 0.0

        def count() -> int:
            row = counting.execute("SELECT count(*) FROM attempts_events").fetchone()
            return row[0] if row else 0

        def ours() -> float:
            nonlocal first, events, used
            events = publish(services, first, given.events)
            first += given.events
            wanted = (count() if first > 10_000_000 + given.events else 0) + given.events
            began, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
            while dispatcher.step_all(services.now, random.random) == 0:
                pass
            rate = given.events / (time.perf_counter() - started)
            ended = resource.getrusage(resource.RUSAGE_SELF)
            used += ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime
            if count() != wanted:
                raise SystemExit(f"{count()} of {wanted} events are in the table")
            return rate

        def bare() -> float:
            records = [record_of(event, "eu") for event in events]
            batches = [batch_of(records[at : at + BATCH]) for at in range(0, len(records), BATCH)]
            started = time.perf_counter()
            write_bare(connection, batches)
            return len(records) / (time.perf_counter() - started)

        mine, theirs = rounds(given.rounds, ours, bare)
        connection.close()
        counting.close()
        for lane in dispatcher.lanes:
            lane.transport.close()
    table(
        ["events/s, median (all rounds)", ""],
        [
            ["dispatch: journal to both tables, settled", spread(mine)],
            ["bare psycopg, the same statements and rows", spread(theirs)],
            ["CPU of dispatch for each event, us", f"{used / given.events / given.rounds * 1e6:.0f}"],
        ],
    )
    verdict("dispatch / bare", ratios(mine, theirs), 0.5)
    verdict("events/s", sorted(mine)[len(mine) // 2], 5000, unit="/s")


if __name__ == "__main__":
    main()
