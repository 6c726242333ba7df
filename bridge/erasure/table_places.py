"""What the tables of sql subscriptions hold about a person: every row of the person's attempts, and notices.

It comes last, so that no delivery that the earlier steps have ended writes a row again. Rows may be older than the
journal: they are found by the value that was given and by what the journal revealed. Nothing is learned from them,
because only the journal was searched for others who have the same value.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from bridge.erasure.places import Batch, Context, Hit, reference
from bridge.errors import BridgeError, ConfigError, Retryable
from bridge.sql.database import NO_TABLES, Database
from bridge.sql.opening import database_of

__all__ = ["TablePlace"]

#: Events in one read: each may have some hundred kB.
_MOST = 500


class TablePlace:
    """See `Place`. Positions are `<subscription>|<event id>`. Raises `Retryable` while a database cannot be used."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._subscriptions = {each.name: each for each in context.databases}

    def read(self, at: str, limit: int) -> Batch:
        """See `Place`."""
        first, _, after = at.partition("|")
        names = [name for name in sorted(self._subscriptions) if name >= first]
        if not names:
            return Batch((), None, 0)
        name, limit = names[0], min(limit, _MOST)
        rows = self._events(name, after if name == first else "", limit)
        hits = []
        for event, attempt, raw in rows:
            if self._context.matcher.traces_of(attempt or "", raw) is not None:
                key, what = ("attempt", attempt) if attempt else ("event", event)
                hits.append(Hit("tables", reference(name, what), key, (name, what)))
        if len(rows) == limit:
            return Batch(hits, f"{name}|{rows[-1][0]}", len(rows))
        return Batch(hits, f"{names[1]}|" if len(names) > 1 else None, len(rows))

    def erase(self, hits: Sequence[Hit]) -> None:
        """See `Place`."""
        for name in {hit.item[0] for hit in hits}:
            ours = [(hit.key, hit.item[1]) for hit in hits if hit.item[0] == name]
            attempts = sorted({what for key, what in ours if key == "attempt"})
            events = sorted({what for key, what in ours if key == "event"})
            with self._database(name) as database:
                database.delete(self._context.source, attempts, events)

    def _events(self, name: str, after: str, limit: int) -> Sequence[tuple[str, str | None, bytes]]:
        with self._database(name) as database:
            try:
                return database.events(self._context.source, after, limit)
            except ConfigError as error:
                if error.reason == NO_TABLES:
                    return ()
                raise

    @contextmanager
    def _database(self, name: str) -> Iterator[Database]:
        """Its database. An erasure is not done until the rows are gone: it waits until somebody has fixed the fault."""
        database = None
        try:
            database = database_of(replace(self._subscriptions[name], create=False))
            yield database
        except BridgeError as error:
            raise Retryable(f"subscription {name}: {error}", reason=error.reason) from error
        finally:
            if database is not None:
                database.close()
