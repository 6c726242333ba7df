"""Copies events that the journal is about to delete into the deliveries that wait for a retry or a receipt."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, cast

import redis

from bridge.state import keys, scripts

__all__ = ["WaitingEvents", "order"]

_ENTRY = re.compile(r"\d{1,20}-\d{1,20}")
_PAGE = 200
#: How often a delivery that changes meanwhile is read again. After that, its event stays in the journal for a round.
_ROUNDS = 5


class WaitingEvents:
    """`keep` raises the errors of redis-py."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self._keep = scripts.register(client, __file__, "keep_event")

    def keep(self, subscription: str, partition: int, before: str) -> str:
        """Make every delivery of a subscription independent of journal entries older than `before`.

        Returns `before`, or the entry of an older event that must stay in the journal: it is being sent.
        """
        waiting = self._waiting(subscription, partition, before)
        while page := list(islice(waiting, _PAGE)):
            for _ in range(_ROUNDS):
                page = self._copy(page, subscription, partition)
                if not page:
                    break
            before = min((before, *(entry for _, entry, _ in page)), key=order)
        return before

    def _waiting(self, subscription: str, partition: int, before: str) -> Iterator[tuple[bytes, str, bytes]]:
        """(event id, journal entry, record) of the deliveries that need an entry older than `before`."""
        name = keys.deliveries(subscription, partition)
        for event_id, record in self.client.hscan_iter(name, count=_PAGE):
            entry = _needed_entry(record)
            if entry is not None and order(entry) < order(before):
                yield event_id, entry, record

    def _copy(
        self, page: list[tuple[bytes, str, bytes]], subscription: str, partition: int
    ) -> list[tuple[bytes, str, bytes]]:
        """Copy the events of a page; returns those to try again, with their current record."""
        pipe = self.client.pipeline(transaction=False)
        for _, entry, _ in page:
            pipe.xrange(keys.journal(partition), entry, entry)
        again = []
        names = [keys.deliveries(subscription, partition), keys.claims(subscription, partition)]
        for (event_id, entry, record), item in zip(page, pipe.execute(), strict=True):
            if not item:
                continue  # somebody else deleted the event: dispatch gives the delivery up and reports it
            new = {**json.loads(record), "event": item[0][1][b"event"].decode(errors="replace")}
            text = json.dumps(new, ensure_ascii=False, separators=(",", ":"))
            if self._keep(keys=names, args=[event_id, record, text]) != 1:
                now = cast("bytes | None", self.client.hget(names[0], event_id.decode()))
                if now is not None and _needed_entry(now) == entry:
                    again.append((event_id, entry, now))
        return again


def order(entry: str) -> tuple[int, int]:
    """The order of stream ids."""
    milliseconds, _, sequence = entry.partition("-")
    return int(milliseconds), int(sequence or 0)


def _needed_entry(record: bytes) -> str | None:
    """The journal entry that holds the event of a delivery; None if the record has the event, or cannot be read."""
    try:
        members: Any = json.loads(record)
        entry = members["entry"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if members.get("event") is not None or not isinstance(entry, str) or not _ENTRY.fullmatch(entry):
        return None
    return entry
