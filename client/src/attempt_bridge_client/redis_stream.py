"""Reads the bridge's journal, a set of Redis streams, with a consumer group: the loop for services without a broker."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Callable, Optional

from redis import exceptions as redis_errors

from attempt_bridge_client.errors import EventRejected
from attempt_bridge_client.events import ATTEMPT_TYPES, Event

__all__ = ["PoisonMessage", "StreamReader"]

log = logging.getLogger(__name__)
#: The server is unavailable, starting, or a replica: wait, then open everything again.
_AWAY = (
    redis_errors.ConnectionError,
    redis_errors.TimeoutError,
    redis_errors.ReadOnlyError,
    redis_errors.MasterDownError,
)
#: Prefixes of errors that creating the groups again cures: the streams were lost.
_LOST = ("NOGROUP", "UNBLOCKED")
_PAUSE_SECONDS = 1.0
_BLOCK_SECONDS = 2.0


@dataclass(frozen=True)
class PoisonMessage:
    """An entry that is given up: unreadable or delivered too often. It is acknowledged when the callback returns."""

    stream: str
    entry_id: str
    body: bytes = field(repr=False)
    """The event as JSON."""
    deliveries: int
    error: Optional[Exception]
    """What the handler last raised, or why the entry cannot be read; None if its consumers died."""


@dataclass
class StreamReader:
    """Hands events to `handler`, one after another, and acknowledges each when the handler has returned.

    An entry whose handler raises, or whose consumer died, is handled again after `retry_after` seconds by any consumer
    of the group, up to `max_deliveries` times; then `on_poison` gets it. So `handler` may see duplicates: use
    `idempotent`. `retry_after` must be longer than `batch` events take. Several readers of one group need different
    `consumer` names; keep each name across restarts, because entries that it had received come first. `notices`,
    `tests`: whether those are handled too.

    `client`: `redis.Redis`; `partitions`: as in bridge.yaml.
    """

    client: Any
    group: str
    consumer: str
    handler: Callable[[Event], Any]
    on_poison: Callable[[PoisonMessage], Any]
    partitions: int = 1
    notices: bool = False
    tests: bool = False
    max_deliveries: int = 5
    retry_after: float = 60.0
    batch: int = 10

    def run(self, stop: Optional[threading.Event] = None) -> None:
        """Read until `stop` is set, which is noticed within two seconds. Waits while the server is unavailable."""
        stop = stop or threading.Event()
        while not stop.is_set():
            try:
                self._read_until(stop)
            except _AWAY as error:
                log.warning("state server: %s. Reading continues when it answers", type(error).__name__)
                stop.wait(_PAUSE_SECONDS)
            except redis_errors.ResponseError as error:
                if not str(error).startswith(_LOST):
                    raise
                log.warning("consumer group %s: lost with its stream. It is created again", self.group)

    def _read_until(self, stop: threading.Event) -> None:
        streams = [f"ab:{{{number}}}:journal" for number in range(self.partitions)]
        for stream in streams:
            self._open(stream)
            self._read_own(stream, stop)
        new, claimed = dict.fromkeys(streams, ">"), float("-inf")
        while not stop.is_set():
            if time.monotonic() - claimed >= self.retry_after / 4:
                for stream in streams:
                    self._claim(stream, stop)
                claimed = time.monotonic()
            block = int(1000 * self._block_seconds())
            answer = self.client.xreadgroup(self.group, self.consumer, new, count=self.batch, block=block)
            for stream, entries in answer or ():
                for entry_id, fields in entries:
                    self._handle(_text(stream), _text(entry_id), fields)

    def _block_seconds(self) -> float:
        """Shorter than the client's own socket time-out."""
        timeout = self.client.connection_pool.connection_kwargs.get("socket_timeout")
        return min(_BLOCK_SECONDS, self.retry_after / 4, (timeout or _BLOCK_SECONDS * 2) / 2)

    def _open(self, stream: str) -> None:
        try:
            self.client.xgroup_create(stream, self.group, id="0", mkstream=True)
        except redis_errors.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    # Both read one entry at a time: each delivery is counted, and an entry that kills the process must not count for
    # others.

    def _read_own(self, stream: str, stop: threading.Event) -> None:
        """Handle what this consumer received and did not acknowledge."""
        position = "0"
        while not stop.is_set():
            answer = self.client.xreadgroup(self.group, self.consumer, {stream: position}, count=1)
            entries = answer[0][1] if answer else []
            if not entries:
                return
            position = _text(entries[0][0])
            self._handle(stream, position, entries[0][1], again=True)

    def _claim(self, stream: str, stop: threading.Event) -> None:
        """Take over what any consumer received long ago and did not acknowledge."""
        position, idle = "0-0", int(1000 * self.retry_after)
        while not stop.is_set():
            answer = self.client.xautoclaim(stream, self.group, self.consumer, idle, start_id=position, count=1)
            position = _text(answer[0])
            for entry_id, fields in answer[1]:
                if entry_id is not None:  # deleted meanwhile, with Redis 6.2
                    self._handle(stream, _text(entry_id), fields, again=True)
            if position == "0-0":
                return

    def _handle(self, stream: str, entry_id: str, given: Optional[Mapping[Any, Any]], *, again: bool = False) -> None:
        fields = {_text(name): value for name, value in (given or {}).items()}
        if not self._is_wanted(fields):
            self._acknowledge(stream, entry_id)
            return
        body = fields.get("event", b"")
        message = PoisonMessage(stream, entry_id, body if isinstance(body, bytes) else body.encode(), 1, None)
        if again and (deliveries := self._deliveries(stream, entry_id)) > self.max_deliveries:
            self._give_up(message, deliveries, None)
            return
        try:
            event = Event.from_json(message.body)
        except EventRejected as error:
            self._give_up(message, self._deliveries(stream, entry_id), error)
            return
        if self._call(message, event):
            self._acknowledge(stream, entry_id)

    def _is_wanted(self, fields: Mapping[str, Any]) -> bool:
        """There are no fields if the person has been erased since the entry was received."""
        return bool(fields) and (self.notices or _text(fields.get("type", "")) in ATTEMPT_TYPES)

    def _call(self, message: PoisonMessage, event: Event) -> bool:
        """Whether the entry is done with."""
        if event.bridgetest and not self.tests:
            return True
        try:
            self.handler(event)
        except Exception as error:
            log.warning("event %s: handler raised %s", event.id, type(error).__name__, exc_info=True)
            deliveries = self._deliveries(message.stream, message.entry_id)
            if deliveries >= self.max_deliveries:
                self._give_up(message, deliveries, error)
            return False
        return True

    def _give_up(self, message: PoisonMessage, deliveries: int, error: Optional[Exception]) -> None:
        given = PoisonMessage(message.stream, message.entry_id, message.body, deliveries, error)
        try:
            self.on_poison(given)
        except Exception as failure:
            log.warning("entry %s: on_poison raised %s", given.entry_id, type(failure).__name__, exc_info=True)
            return
        self._acknowledge(message.stream, message.entry_id)

    def _deliveries(self, stream: str, entry_id: str) -> int:
        rows = self.client.xpending_range(stream, self.group, min=entry_id, max=entry_id, count=1)
        return int(rows[0]["times_delivered"]) if rows else 1

    def _acknowledge(self, stream: str, entry_id: str) -> None:
        self.client.xack(stream, self.group, entry_id)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
