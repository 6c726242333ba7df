"""What the journal, stored requests and quarantined records hold about a person."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from bridge.erasure.person import ATTEMPT, EVENT, Matcher, Trace
from bridge.erasure.places import Context, Hit, StreamPlace
from bridge.journal.reading import Reader
from bridge.state import keys, scripts

__all__ = ["Finding", "JournalPlace", "QuarantinePlace", "RequestPlace"]


class Finding(StreamPlace):
    """Learns who the person is; removes nothing."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        # What was learned may belong to others too, which is known only after the whole journal was read.
        self._given = Matcher(context.matcher.person)
        self._reader = Reader(context.client, partitions=context.partitions)

    def units(self) -> Sequence[Any]:
        """See `Units`."""
        numbers = range(self.context.partitions)
        streams = [(keys.journal(number), "journal") for number in numbers]
        streams += [(keys.dead(name, number), "dead") for name in self.context.subscriptions for number in numbers]
        return streams + [(keys.requests(number), "requests") for number in numbers]

    def entry(self, unit: Any, entry: str, fields: dict[bytes, bytes]) -> tuple[Sequence[Hit], Sequence[Trace]]:
        """See `StreamPlace`."""
        if unit[1] == "requests":
            return (), self._of_request(fields)
        if unit[1] == "journal" and fields.get(b"source", b"").decode() != self.context.source:
            return (), ()
        if unit[1] == "dead" and f'/sources/{self.context.source}"'.encode() not in fields.get(b"event", b""):
            return (), ()
        attempt = fields.get(b"attempt", b"").decode(errors="replace")
        learned = self.matcher.traces_of(attempt, fields.get(b"event", b""))
        if learned is None:
            return (), ()
        return (), [*learned, (EVENT, fields.get(b"id", b"").decode(errors="replace"))]

    def _of_request(self, fields: dict[bytes, bytes]) -> Sequence[Trace]:
        """The attempt of a webhook about only this person; it may be watched and not published yet."""
        named = fields.get(b"attempts", b"").decode(errors="replace").split("\n")
        if fields.get(b"source", b"").decode() != self.context.source or len(named) != 1 or not named[0]:
            return ()
        if not self._given.in_body(fields.get(b"body", b"")) or not self._may_be_theirs(named[0]):
            return ()
        return [(ATTEMPT, named[0])]

    def _may_be_theirs(self, attempt: str) -> bool:
        """Whether no event shows that it is somebody else's: a webhook may also name who invited the candidate."""
        memory = self._reader.attempt(self.context.source, attempt)
        if memory is None:
            return True
        event = self._reader.newest_event(self.context.source, attempt, memory)
        return event is not None and not self._given.names_another(event.event)

    def erase(self, hits: Sequence[Hit]) -> None:
        """See `Place`."""


class JournalPlace(StreamPlace):
    """The events of the person, and their place in every consumer group: what was not delivered never will be."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._script = scripts.register(context.client, __file__, "erase_events")

    def units(self) -> Sequence[Any]:
        """See `Units`."""
        return [(keys.journal(number), number) for number in range(self.context.partitions)]

    def entry(self, unit: Any, entry: str, fields: dict[bytes, bytes]) -> tuple[Sequence[Hit], Sequence[Trace]]:
        """See `StreamPlace`."""
        source, event = fields.get(b"source", b"").decode(errors="replace"), fields.get(b"event", b"")
        hit = Hit("events", f"{unit[1]}:{entry}", unit[0], entry)
        # Alarms, of sources and of subscriptions, quote errors.
        if not fields.get(b"type", b"").startswith(b"attempt.") and self.matcher.in_body(event):
            return (hit,), ()
        if source != self.context.source:
            return (), ()
        attempt = fields.get(b"attempt", b"").decode(errors="replace")
        learned = self.matcher.traces_of(attempt, event)
        if learned is None:
            return (), self.matcher.shared_with(event)
        return (hit,), [*learned, (EVENT, fields.get(b"id", b"").decode(errors="replace"))]

    def erase(self, hits: Sequence[Hit]) -> None:
        """See `Place`."""
        groups = [keys.group(name) for name in self.context.subscriptions]
        for key, chosen in groupby(hits, key=lambda hit: hit.key):
            self._script(keys=[key], args=[len(groups), *groups, *(hit.item for hit in chosen)])


class RequestPlace(StreamPlace):
    """Webhooks as they were received, and refused ones."""

    most = 100

    def units(self) -> Sequence[Any]:
        """See `Units`."""
        streams = [(keys.requests(number), number) for number in range(self.context.partitions)]
        return [*streams, (keys.rejected(0), "rejected")]

    def entry(self, unit: Any, entry: str, fields: dict[bytes, bytes]) -> tuple[Sequence[Hit], Sequence[Trace]]:
        """See `StreamPlace`."""
        if fields.get(b"source", b"").decode() != self.context.source:
            return (), ()
        named = set(fields.get(b"attempts", b"").decode(errors="replace").split("\n"))
        is_about = bool(named & self.matcher.attempts) or any(map(self.matcher.in_body, _texts(fields)))
        return ((Hit("requests", f"{unit[1]}:{entry}", unit[0], entry),) if is_about else ()), ()

    def erase(self, hits: Sequence[Hit]) -> None:
        """See `Place`."""
        for key, chosen in groupby(hits, key=lambda hit: hit.key):
            self.client.xdel(key, *(hit.item for hit in chosen))


class QuarantinePlace(RequestPlace):
    """Records and requests that could not be read. Their digests stay, so that a poll does not store one again."""

    def units(self) -> Sequence[Any]:
        """See `Units`."""
        return [(keys.quarantine(0), 0)]

    def entry(self, unit: Any, entry: str, fields: dict[bytes, bytes]) -> tuple[Sequence[Hit], Sequence[Trace]]:
        """See `StreamPlace`."""
        hits, traces = super().entry(unit, entry, fields)
        return [Hit("quarantine", hit.reference, hit.key, hit.item) for hit in hits], traces


def _texts(fields: dict[bytes, bytes]) -> list[bytes]:
    return [fields.get(name, b"") for name in (b"body", b"headers", b"reason")]
