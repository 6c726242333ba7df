"""A delivery that has ended, in its compact form. Pure.

A record has these bytes: outcome (1), the first 8 bytes of the event id, whether that is a UUID (1), tries (1), status
(2), milliseconds of the last try (4), number of the event's type (1), the rest of the id, the source's name, the
attempt's id. All texts but the last are preceded by their length (1). The script that stores the record appends the
class of its bucket in the index by event id (1), see outcomes.lua.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from bridge.delivery.tries import LoggedTry, read_tries

__all__ = ["ANSWER_BYTES", "CANCELLED", "CONFIRMED", "DELIVERED", "Settled", "index_key", "pack", "read_settled"]

DELIVERED, CONFIRMED, CANCELLED = "delivered", "confirmed", "cancelled"
#: Their numbers are stored: only append.
_OUTCOMES = (DELIVERED, CONFIRMED, CANCELLED)
_TYPES = (
    "attempt.completed",
    "attempt.revised",
    "attempt.voided",
    "attempt.overdue",
    "consent.withdrawn",
)
#: The type follows as text.
_OTHER_TYPE = 255
#: Bytes that are kept of the answer to a delivery that succeeded at once.
ANSWER_BYTES = 128
_HEAD = struct.Struct(">B8sBBHIB")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """One delivery that has ended, but not as a dead letter."""

    #: Where it is stored: partition and stream id.
    partition: int
    entry: str
    #: `delivered`, `confirmed` by a receipt, or `cancelled` by an operator.
    outcome: str
    #: Event id.
    id: str
    #: Type of the event.
    type: str
    #: Name of its source.
    source: str
    #: Id of its attempt.
    attempt: str
    #: Number of tries, at most 255.
    count: int
    #: The tries that were kept, oldest first.
    tries: tuple[LoggedTry, ...]

    @property
    def at(self) -> float:
        """When it ended, UNIX seconds by the state server's clock."""
        return int(self.entry.partition("-")[0]) / 1000


def pack(
    outcome: str,
    *,
    event_id: str,
    event_type: str,
    source: str,
    attempt: str,
    tries: int,
    status: int | None = None,
    seconds: float = 0.0,
) -> bytes:
    """The record without the class of its bucket. `status`, `seconds`: of the last try."""
    binary = _uuid_bytes(event_id)
    rest = _short_text(event_id) if binary is None else binary[8:]
    known = event_type in _TYPES
    head = _HEAD.pack(
        _OUTCOMES.index(outcome),
        index_key(event_id),
        binary is not None,
        min(tries, 255),
        status or 0,
        min(round(max(0.0, seconds) * 1000), 2**32 - 1),
        _TYPES.index(event_type) if known else _OTHER_TYPE,
    )
    return head + (b"" if known else _short_text(event_type)) + rest + _short_text(source) + attempt.encode()


def index_key(event_id: str) -> bytes:
    """The 8 bytes by which the index finds an event: the first ones of its UUID, or of a hash of any other id."""
    binary = _uuid_bytes(event_id)
    return (hashlib.sha256(event_id.encode()).digest() if binary is None else binary)[:8]


def read_settled(partition: int, entry: bytes, fields: dict[bytes, bytes]) -> Settled | None:
    """The delivery of a stored entry; None if it cannot be read, such as one of a later version."""
    record = fields.get(b"d", b"")[:-1]
    try:
        outcome, short, is_uuid, count, status, milliseconds, kind = _HEAD.unpack_from(record)
        at = _HEAD.size
        if kind == _OTHER_TYPE:
            event_type, at = _text_at(record, at)
        else:
            event_type = _TYPES[kind]
        if is_uuid:
            event_id, at = _spelled(short + record[at : at + 8]), at + 8
        else:
            event_id, at = _text_at(record, at)
        source, at = _text_at(record, at)
        outcome_word, attempt = _OUTCOMES[outcome], record[at:].decode()
    except (struct.error, IndexError, ValueError):
        return None
    stored = entry.decode()
    ended_at = int(stored.partition("-")[0]) / 1000
    tries = read_tries(fields.get(b"l", b""))
    if not tries and outcome_word == DELIVERED:
        seconds, answer = milliseconds / 1000, fields.get(b"a", b"").decode(errors="replace")
        tries = (LoggedTry(at=ended_at - seconds, seconds=seconds, status=status or None, answer=answer),)
    return Settled(
        partition=partition,
        entry=stored,
        outcome=outcome_word,
        id=event_id,
        type=event_type,
        source=source,
        attempt=attempt,
        count=count,
        tries=tries,
    )


def _uuid_bytes(event_id: str) -> bytes | None:
    """The UUID, if its usual spelling is the id."""
    # A third of the time of `uuid.UUID`, and this is done twice for each delivery.
    if len(event_id) != 36 or not event_id.isascii():
        return None
    try:
        raw = bytes.fromhex(event_id.replace("-", ""))
    except ValueError:
        return None
    return raw if len(raw) == 16 and _spelled(raw) == event_id else None


def _spelled(uuid: bytes) -> str:
    text = uuid.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _short_text(text: str) -> bytes:
    encoded = text.encode()[:255].decode(errors="ignore").encode()
    return bytes([len(encoded)]) + encoded


def _text_at(record: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + record[at]
    return record[at + 1 : end].decode(), end
