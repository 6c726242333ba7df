"""Transport `sql`: writes events into tables of the operator's database, many in one transaction.

Keys make it idempotent: what was written before the process died is written again without effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from bridge import clock
from bridge.config.model import Subscription
from bridge.errors import BridgeError, ConfigError, DeliveryFailed, Rejected, Retryable
from bridge.sql.database import Database
from bridge.sql.opening import database_of, place_of
from bridge.sql.rows import Record, batch_of, record_of
from workers.transports.contract import Outcome, Outgoing, ShownRequest, Try, tries_of

__all__ = ["SqlTables"]

#: No further transaction is begun after this many seconds: other processes may take the events after `Limits.lease`.
_SECONDS = 90.0

#: Events that could be read, with their places in the batch.
_Part = Sequence[tuple[int, Record]]


@dataclass(slots=True)
class _Sending:
    """One call of `send`."""

    started: float
    outcomes: list[Outcome]
    #: Why nothing more is tried; None: it is.
    stopped: BridgeError | None = None
    #: Places of tests in the batch.
    tests: list[int] = field(default_factory=list)


class SqlTables:
    """A refused event does not hold up others: its transaction is halved until that event is on its own."""

    #: Events in one transaction.
    batch = 500

    def __init__(self, subscription: Subscription, database: Database | None = None) -> None:
        """Raises `ConfigError`."""
        self._database = database or database_of(subscription)
        self._to = place_of(subscription)
        self._product = ""

    def send(self, events: Sequence[Outgoing], *, now: float) -> list[Try]:
        """Write the events in order; a test is written and rolled back."""
        sending = _Sending(clock.monotonic(), [None] * len(events))
        self._store(_read(events, sending), sending)
        tries = tries_of(sending.outcomes, at=now, seconds=clock.monotonic() - sending.started)
        for number in sending.tests:
            if sending.outcomes[number] is None:
                tries[number] = replace(tries[number], answer=f"{self._product}: written and rolled back".encode())
        return tries

    def shown(self, event: Outgoing, *, now: float) -> ShownRequest:
        """Where the event goes."""
        return ShownRequest(self._to, {}, event.body)

    def close(self) -> None:
        self._database.close()

    def _store(self, records: _Part, sending: _Sending) -> None:
        """Write a part of the batch; tests in separate transactions."""
        parts = [[pair for pair in records if not pair[1].is_test]]
        parts += [[pair] for pair in records if pair[1].is_test]
        # The last part is the next one to be written.
        parts.reverse()
        while parts:
            part = parts.pop()
            sending.stopped = sending.stopped or _late(sending.started)
            problem = sending.stopped or self._write([record for _, record in part])
            if problem is None:
                continue
            if isinstance(problem, Retryable | ConfigError):
                sending.stopped = problem
            elif len(part) > 1:
                half = len(part) // 2
                parts += [part[half:], part[:half]]
                continue
            for number, _ in part:
                sending.outcomes[number] = _failure(problem)

    def _write(self, records: Sequence[Record]) -> BridgeError | None:
        if not records:
            return None
        try:
            self._product = self._database.check()
            self._database.write(batch_of(records), keep=not records[0].is_test)
        except BridgeError as error:
            return error
        return None


def _read(events: Sequence[Outgoing], sending: _Sending) -> _Part:
    """The rows of events; those that cannot be read have failed."""
    records = []
    for number, event in enumerate(events):
        try:
            record = record_of(event.body, event.source)
        except Rejected as error:
            sending.outcomes[number] = _failure(error)
            continue
        records.append((number, record))
        if record.is_test:
            sending.tests.append(number)
    return records


def _late(started: float) -> BridgeError | None:
    if clock.monotonic() - started < _SECONDS:
        return None
    return Retryable("database: it is slow. Remedy: check its load", reason="database_unavailable")


def _failure(error: BridgeError) -> DeliveryFailed:
    """The failure. A fault that an operator must fix uses no try: the events wait, and the subscription shows why."""
    if isinstance(error, Rejected):
        return DeliveryFailed(str(error), reason=error.reason, permanent=True, about_event=True)
    if isinstance(error, ConfigError):
        return DeliveryFailed(str(error), reason="database_misconfigured", charged=False)
    return DeliveryFailed(str(error), reason=error.reason, charged=not isinstance(error, Retryable))
