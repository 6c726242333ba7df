"""Reads a filter against the fields of a resource."""

from __future__ import annotations

from bridge.query.fields import PERIOD, Fields
from bridge.query.kinds import Contains
from bridge.query.query import Query, Term
from bridge.query.ranges import parse_moment
from bridge.query.scanning import QueryError, RawTerm, scan
from bridge.text import did_you_mean

__all__ = ["parse"]


def parse(text: str, fields: Fields, now: float) -> Query:
    """The query that a text means. `now`: UNIX seconds, for relative times. Raises `QueryError`.

    Terms on costly fields, and free text, come last.
    """
    terms, period = [], dict[str, float]()
    for raw in scan(text):
        if raw.field is not None and raw.field in PERIOD and fields.period:
            if raw.field in period:
                raise QueryError.at(raw.position, f"a second {raw.field}", remedy="Keep one of them")
            period[raw.field] = _moment(raw.field, raw, now)
            if period.get("since", 0.0) > period.get("until", float("inf")):
                raise QueryError.at(raw.position, "since is after until", remedy="Swap the two")
        else:
            terms.append(_term(raw, fields, now))
    terms.sort(key=lambda term: term.field is None or term.field.costly)
    return Query(tuple(terms), period.get("since"), period.get("until"), fields.search)


def _term(raw: RawTerm, fields: Fields, now: float) -> Term:
    if raw.field is None:
        word = raw.words[0]
        if fields.search is None:
            remedy = f"Write field:value; fields: {', '.join(fields.names)}"
            raise QueryError.at(word.position, "no field is named", word.text, remedy=remedy)
        return Term(None, raw.excluded, (Contains(word.text),))
    field = fields.by_name.get(raw.field)
    if field is None:
        remedy = did_you_mean(raw.field, fields.names)
        if fields.search is not None:
            remedy += ("" if remedy.endswith("?") else ".") + " To search for this text, put it in quotes"
        raise QueryError.at(raw.position + raw.excluded, "unknown field", raw.field, remedy=remedy)
    return Term(field, raw.excluded, tuple(field.kind.read(raw.field, word, now) for word in raw.words))


def _moment(name: str, raw: RawTerm, now: float) -> float:
    """The moment of `since` or `until`, UNIX seconds."""
    word = raw.words[0]
    if raw.excluded or len(raw.words) > 1:
        raise QueryError.at(raw.position, f"{name} takes one time", remedy=f"Write {name}:2h")
    try:
        return parse_moment(word.text, now) / 1000
    except ValueError as error:
        raise QueryError.of(word.position, name, error) from None
