"""Reads answers of the report API: their three forms to records, and what the client must know about an attempt.

Makes no calls. An unreadable row becomes a record too: normalising it reports what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from bridge.errors import Unreadable
from bridge.sdk.vendor import Record
from bridge.vendors.coremetrix.adapter import ATTEMPTS
from bridge.vendors.coremetrix.schema import Person, Uuid, read_moment

__all__ = ["attempt_id", "looks_cut_off", "moments", "newest", "person", "quiz_id", "read_attempts"]

#: A person's credit profile and browser data: not even kept in quarantine.
_DROPPED = frozenset({"user", "clientInfo"})
#: This many rows, or a multiple, may be the size of an undocumented page.
_ROUND_SIZE = 50
_T = TypeVar("_T")


def read_attempts(answer: Any, asked: str | None = None) -> list[Record]:
    """The attempts of a window `{results: [{customId, attempts}]}`, of a person `{customId, attempts}`, or one alone.

    Each gets its `customId`; `asked`: the requested person, if the answer does not repeat it. Raises `Unreadable` for
    an answer of no known form.
    """
    if not isinstance(answer, dict) or not answer.keys() & {"results", "attempts", "id"}:
        raise Unreadable("answer has none of results, attempts, id", reason="bad_answer")
    people = answer["results"] or [] if "results" in answer else [answer]
    if not isinstance(people, list):
        raise Unreadable("results: must be a list", reason="bad_answer")
    return [record for person_row in people for record in _of_person(person_row, asked)]


def person(record: Record) -> str | None:
    """`customId`, None if it is missing or not text."""
    return _read(Person.convert, record.body.get("customId"))


def attempt_id(record: Record) -> str | None:
    """`id`, likewise."""
    return _read(Uuid.convert, record.body.get("id"))


def quiz_id(record: Record) -> str | None:
    """`quizId`, likewise."""
    return _read(Uuid.convert, record.body.get("quizId"))


def moments(record: Record) -> list[int]:
    """UNIX seconds of load, start and end, those present. Not of `landing`, which may be months earlier."""
    timings = record.body.get("timings")
    given = timings if isinstance(timings, dict) else {}
    read = (_read(read_moment, given.get(name)) for name in ("load", "start", "end", "complete"))
    return [int(moment.timestamp()) for moment in read if moment is not None]


def newest(records: Sequence[Record]) -> list[Record]:
    """The newest attempt at each quiz."""
    by_quiz: dict[str | None, Record] = {}
    for record in sorted(records, key=lambda record: max(moments(record), default=0)):
        by_quiz[quiz_id(record)] = record
    return list(by_quiz.values())


def looks_cut_off(records: Sequence[Record]) -> bool:
    """Whether the number of attempts or people suggests a full page: pages are not documented, but common."""
    sizes = (len(records), len({person(record) for record in records}))
    return any(size and size % _ROUND_SIZE == 0 for size in sizes)


def _of_person(listed: Any, asked: str | None) -> list[Record]:
    if not isinstance(listed, dict) or "attempts" not in listed:
        return [_record(listed, asked)]
    attempts = listed["attempts"] or []
    whose = listed.get("customId", asked)
    return [_record(attempt, whose) for attempt in (attempts if isinstance(attempts, list) else [attempts])]


def _record(attempt: Any, whose: Any) -> Record:
    body: Mapping[str, Any] = attempt if isinstance(attempt, dict) else {}
    return Record(ATTEMPTS, {name: value for name, value in body.items() if name not in _DROPPED} | {"customId": whose})


def _read(convert: Callable[[Any], _T | None], value: Any) -> _T | None:
    try:
        return None if value is None else convert(value)
    except ValueError:
        return None
