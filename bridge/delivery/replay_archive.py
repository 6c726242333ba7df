"""The archive of a replay job: an sql subscription's table of events, for events that have left the journal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from bridge import clock
from bridge.config.model import Subscription
from bridge.delivery.replay_jobs import Part
from bridge.errors import BridgeError
from bridge.journal.entries import StoredEvent
from bridge.journal.event_index import EventIndex
from bridge.sql.database import ArchivedEvent, Database
from bridge.sql.opening import database_of
from bridge.state.partitions import attempt_field, partition_of_field
from schemas.event import format_time

__all__ = ["Archive", "ArchiveUnavailable", "Archived", "archive_problem"]

#: What `data` of an event about an attempt has, whatever the vendor.
_MEMBERS = {"attempt", "candidate", "assessment", "result"}
#: Stands in for the second half of a journal id: the journal itself never counts that far within a millisecond.
_SEQUENCE = "999999999"
#: Seconds that an event may be recorded before it is appended to the journal.
_SLACK = 86_400.0


class ArchiveUnavailable(BridgeError):
    """The database of an archive cannot be used now. `cause`: the error that explains why."""

    default_reason = "archive_unavailable"

    def __init__(self, name: str, cause: BridgeError) -> None:
        super().__init__(f"subscription {name}: {cause}", reason=cause.reason)


@dataclass(frozen=True, slots=True)
class Archived:
    """One row of the archive."""

    #: Its position: `<time>|<event id>`.
    position: str
    #: Whether it belongs to the part that was read, and whether the journal still has the event.
    is_ours: bool
    in_journal: bool = False
    #: None if the row is not the whole event, as under another `data`, or damaged.
    event: StoredEvent | None = None


def archive_problem(name: str, subscriptions: Mapping[str, Subscription]) -> str | None:
    """Why a subscription of bridge.yaml cannot be an archive; None: it can."""
    subscription = subscriptions[name]
    if subscription.transport != "sql":
        known = ", ".join(sorted(each for each, other in subscriptions.items() if other.transport == "sql")) or "none"
        return f"subscription {name} has no tables. Remedy: name one with transport: sql: {known}"
    if subscription.data != "full":
        return (
            f"subscription {name} does not store whole events: its data is not full. Remedy: archive into another table"
        )
    return None


class Archive:
    """Reads an archive. `index` and `now` (UNIX seconds) find what the journal has. Not thread-safe.

    Every method raises `ArchiveUnavailable`.
    """

    def __init__(self, subscription: Subscription, index: EventIndex, now: float, *, partitions: int) -> None:
        """`partitions`: the number of parts among which the job divides the rows."""
        self._subscription, self._index, self._now, self._partitions = subscription, index, now, partitions
        self._database: Database | None = None

    def period(self, since: float | None, until: float | None) -> tuple[str, str] | None:
        """The times of the first and the last event in [since, until] (UNIX seconds); None without any."""
        try:
            return self._open().period(_text(since), _text(until))
        except BridgeError as error:
            raise ArchiveUnavailable(self._subscription.name, error) from error

    def rows(self, part: Part, after: str, limit: int) -> list[Archived]:
        """The next rows after a position, oldest first, those of other partitions too. Raises `StateUnavailable`."""
        first, _, ident = after.partition("|")
        try:
            rows = self._open().recorded(first or part.first, part.last, ident, limit)
        except BridgeError as error:
            raise ArchiveUnavailable(self._subscription.name, error) from error
        # By digest, not as the journal spreads them: each row belongs to one part, even while partitions change.
        places = [partition_of_field(attempt_field(row.source, row.subject), self._partitions) for row in rows]
        ours = {row.id for row, place in zip(rows, places, strict=True) if place == part.partition}
        kept = self._in_journal([row for row in rows if row.id in ours])
        return [
            Archived(f"{row.recorded_at}|{row.id}", row.id in ours, row.id in kept, _event(row, part.partition))
            for row in rows
        ]

    def close(self) -> None:
        """Close the connection."""
        if self._database is not None:
            self._database.close()

    def _open(self) -> Database:
        if self._database is None:
            self._database = database_of(replace(self._subscription, create=False))
        return self._database

    def _in_journal(self, rows: Sequence[ArchivedEvent]) -> set[str]:
        """The ids of those that the journal still has. What is older than its oldest entry is not looked up."""
        partitions = range(self._index.partitions)
        oldest = min((at for at in map(self._index.oldest_at, partitions) if at is not None), default=None)
        new = [row for row in rows if oldest is not None and _moment(row.recorded_at) >= oldest - _SLACK]
        if not new:
            return set()
        since = int(min(_moment(row.recorded_at) for row in new) // 86_400)
        events = self._index.find_exactly([row.id for row in new], partitions, self._now, since_day=since)
        return {event.id for event in events}


def _event(row: ArchivedEvent, partition: int) -> StoredEvent | None:
    try:
        document = json.loads(row.event)
        is_whole = document["id"] == row.id and (row.attempt_id is None or document["data"].keys() >= _MEMBERS)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    if not is_whole:
        return None
    return StoredEvent(
        entry_id=f"{int(_moment(row.recorded_at) * 1000)}-{_SEQUENCE}",
        partition=partition,
        id=row.id,
        type=row.type,
        source=row.source,
        attempt=row.subject,
        event=row.event,
    )


def _moment(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


def _text(moment: float | None) -> str:
    return "" if moment is None else format_time(clock.to_datetime(moment))
