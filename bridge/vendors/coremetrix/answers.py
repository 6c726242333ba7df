"""What the report API answers: its three forms to records, and the little that the client must know of an attempt.

Makes no calls. A row that cannot be read becomes a record all the same: whoever normalises it says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from bridge.errors import Unreadable
from bridge.sdk.vendor import Record
from bridge.vendors.coremetrix.adapter import ATTEMPTS
from bridge.vendors.coremetrix.schema import Moment, Person, Uuid

__all__ = ["attempt_id", "is_round", "moments", "newest", "person", "quiz_id", "read_attempts"]

#: The profile of a person in a credit context, and what the browser tells: not even kept in a dead letter.
_DROPPED = frozenset({"user", "clientInfo"})
#: As many, or a multiple: perhaps the size of a page that nobody told us of.
_ROUND_SIZE = 50
_T = TypeVar("_T")


def read_attempts(answer: Any, asked: str | None = None) -> list[Record]:
    """Every attempt of a window `{results: [{customId, attempts}]}`, of a person `{customId, attempts}`, or a bare one.

    Each gets its `customId` beside it; `asked`: whose attempts were asked for, where the answer does not repeat it.
    Raises `Unreadable` for an answer of no known form.
    """
    if not isinstance(answer, dict) or not answer.keys() & {"results", "attempts", "id"}:
        raise Unreadable("answer has none of results, attempts, id", reason="bad_answer")
    people = answer["results"] or [] if "results" in answer else [answer]
    if not isinstance(people, list):
        raise Unreadable("results: must be a list", reason="bad_answer")
    return [record for one in people for record in _of_person(one, asked)]


def person(record: Record) -> str | None:
    """`customId`, None where it is missing or no text."""
    return _read(Person.convert, record.body.get("customId"))


def attempt_id(record: Record) -> str | None:
    """`id`, likewise."""
    return _read(Uuid.convert, record.body.get("id"))


def quiz_id(record: Record) -> str | None:
    """`quizId`, likewise."""
    return _read(Uuid.convert, record.body.get("quizId"))


def moments(record: Record) -> list[int]:
    """UNIX seconds of load, start and end, as far as they are there. Not of `landing`: it may be months older."""
    timings = record.body.get("timings")
    given = timings if isinstance(timings, dict) else {}
    read = (_read(Moment.convert, given.get(name)) for name in ("load", "start", "end", "complete"))
    return [int(moment.timestamp()) for moment in read if moment is not None]


def newest(records: Sequence[Record]) -> list[Record]:
    """The newest attempt at each quiz."""
    found: dict[str | None, Record] = {}
    for record in sorted(records, key=lambda one: max(moments(one), default=0)):
        found[quiz_id(record)] = record
    return list(found.values())


def is_round(records: Sequence[Record]) -> bool:
    """Whether there are suspiciously exactly so many attempts or people: pages are not documented, but usual."""
    sizes = (len(records), len({person(one) for one in records}))
    return any(size and size % _ROUND_SIZE == 0 for size in sizes)


def _of_person(listed: Any, asked: str | None) -> list[Record]:
    if not isinstance(listed, dict) or "attempts" not in listed:
        return [_record(listed, asked)]
    attempts = listed["attempts"] or []
    whose = listed.get("customId", asked)
    return [_record(one, whose) for one in (attempts if isinstance(attempts, list) else [attempts])]


def _record(attempt: Any, whose: Any) -> Record:
    body: Mapping[str, Any] = attempt if isinstance(attempt, dict) else {}
    return Record(ATTEMPTS, {name: value for name, value in body.items() if name not in _DROPPED} | {"customId": whose})


def _read(convert: Callable[[Any], _T | None], value: Any) -> _T | None:
    try:
        return None if value is None else convert(value)
    except ValueError:
        return None
