"""A delivery under way, and a dead letter, as they are stored. Pure; `store.py` reads and writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bridge.delivery.tries import LoggedTry, read_tries
from bridge.state.stored_json import read_record, to_members

__all__ = ["DeadLetter", "Delivery", "dead_letter", "event_problem"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event that will be retried for one subscription, or whose receipt is awaited. Times are UNIX seconds."""

    #: Event id.
    id: str
    #: Type of the event.
    type: str
    #: Name of its source.
    source: str
    #: Id of its attempt.
    attempt: str
    #: Its journal entry.
    entry: str
    #: Tries made.
    tries: int = 0
    #: Time of the first try; 0 before it.
    first_at: float = 0.0
    #: Time of the last try; 0 before the first.
    last_at: float = 0.0
    #: Error of the first failed try.
    first_error: str = ""
    #: Error of the last failed try.
    error: str = ""
    #: Reason of the last failed try, a fixed word.
    reason: str = ""
    #: Whether the last try succeeded and its receipt is awaited.
    awaiting_receipt: bool = False
    #: Number of replays.
    replays: int = 0
    #: Id of the replay job that sends it again; empty: none.
    replay: str = ""
    #: JSON of the event, where the journal may no longer have it (after a replay).
    event: str | None = None
    #: Members of a later version.
    later: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def to_json(self) -> str:
        """The record as it is stored."""
        return json.dumps(to_members(self), ensure_ascii=False, separators=(",", ":"))

    @staticmethod
    def from_json(text: bytes | str) -> Delivery:
        """The delivery of a stored record. Raises `UnreadableRecord`, a `ValueError`."""
        return read_record(Delivery, text)

    @classmethod
    def for_display(cls, text: bytes | str, event_id: str) -> Delivery:
        """The delivery of a stored record; one that is not valid is shown with its id and the problem."""
        try:
            return cls.from_json(text)
        except ValueError:
            error = "the record of this delivery cannot be read"
            return cls(id=event_id, type="", source="", attempt="", entry="", error=error, reason="unreadable")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A delivery that was given up."""

    #: Names it for a replay: `<partition>:<stream id>`.
    id: str
    #: The delivery after its last try.
    delivery: Delivery
    #: Why it was given up.
    reason: str
    #: When it was given up, UNIX seconds.
    dead_at: float
    #: JSON of the event; empty if the journal no longer had it.
    event: bytes
    #: Fingerprint of its failure group; empty for one of an earlier version.
    group: str = ""
    #: The tries that were kept, oldest first.
    tries: tuple[LoggedTry, ...] = ()

    @property
    def replay_problem(self) -> str | None:
        """Why it cannot be sent again; None: it can."""
        return event_problem(self.event)


def event_problem(event: bytes) -> str | None:
    """Why a stored event cannot be sent; None: it can."""
    if not event:
        return "the event is gone. Remedy: backfill the attempt"
    try:
        event.decode()
    except UnicodeDecodeError:
        return "the event is not UTF-8. Remedy: backfill the attempt"
    return None


def dead_letter(partition: int, entry_id: str, fields: dict[bytes, bytes]) -> DeadLetter:
    """The dead letter of a stream entry, whatever it holds."""
    return DeadLetter(
        id=f"{partition}:{entry_id}",
        delivery=Delivery.for_display(fields.get(b"delivery", b""), fields.get(b"id", b"").decode(errors="replace")),
        reason=fields.get(b"reason", b"").decode(errors="replace"),
        dead_at=float(fields.get(b"at", 0)),
        event=fields.get(b"event", b""),
        group=fields.get(b"group", b"").decode(errors="replace"),
        tries=read_tries(fields.get(b"tries", b"")),
    )
