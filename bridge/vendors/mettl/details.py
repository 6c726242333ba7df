"""The parts of an event besides the score: the person, sections, and Mettl's own facts as extensions. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Context, Decimal
from typing import Any, TypeVar

from bridge.vendors.mettl.rows import CandidateRow, ResultRow
from bridge.vendors.mettl.schema import NO_NUMBER
from bridge.vendors.mettl.vocabulary import fold
from schemas.event import Candidate, Section

__all__ = ["candidate", "extensions", "sections", "share"]

_T = TypeVar("_T")
_PLACES = Decimal("0.0001")
#: Marks have up to 30 digits on either side of the point, and their share must not overflow.
_WIDE = Context(prec=100)
#: Labels of the registration form that are published as the candidate, not again as an extension.
_EMAIL_LABELS = frozenset({"email address", "email", "email id"})
_FIRST, _LAST, _WHOLE = "first name", "last name", frozenset({"name", "full name"})


def candidate(loaded: CandidateRow) -> Candidate:
    """The person. The name is made from the registration, which both paths have; Mettl has no ids for people."""
    form = {fold(label): _text(value) for label, value in (loaded["registration"] or {}).items()}
    parts = [form.get(_FIRST) or "", form.get(_LAST) or ""]
    whole = next((form[label] for label in sorted(_WHOLE) if form.get(label)), None)
    name = " ".join(part for part in parts if part) or whole or _text(loaded.get("name"))
    return Candidate(email=loaded["email"].strip(), name=name or None)


def sections(result: ResultRow) -> tuple[Section, ...]:
    """Sections with their skills; levels of difficulty are not parts of a test."""
    return tuple(
        _section(
            section["sectionName"],
            section,
            tuple(_section(skill["skillName"], skill) for skill in _present(section["skillMarks"])),
        )
        for section in _present(result["sectionMarks"])
    )


def share(score: Decimal | None, maximum: Decimal | None) -> Decimal | None:
    """Percentage of the maximum, 0 or more, four places; None without a positive maximum."""
    if score is None or maximum is None or maximum <= 0:
        return None
    return _WIDE.quantize(max(_WIDE.divide(score * 100, maximum), Decimal(0)), _PLACES)


def extensions(loaded: CandidateRow, options: Mapping[str, Any], *, scored: bool) -> dict[str, Any]:
    """Mettl's own facts, each only where it is known; the keys are listed in `docs/vendors.md`."""
    test = loaded["testStatus"]
    facts = {
        "registration": _registration(loaded["registration"]),
        "overall_status": _text(test["overallStatus"]),
        "detailed_status": _text(test["detailedStatus"]),
        "completion_mode": _text(test["completionMode"]),
    }
    if scored:
        facts |= _of_result(test, options)
    return {name: value for name, value in facts.items() if value not in (None, "", {}, [])}


def _of_result(test: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    result = test["result"]
    counts = {"total": "totalQuestion", "correct": "totalCorrectAnswers", "unanswered": "totalUnAnswered"}
    return {
        "percentile": _number(result["percentile"]),
        "questions": {ours: _number(result[theirs]) for ours, theirs in counts.items() if result[theirs] is not None},
        "credibility_index": _known(result["candidateCredibilityIndex"]),
        "code_plagiarism": _known(result["codePlagiarism"]),
        # In two places, depending on the path.
        "performance_category": result["performanceCategory"] or test["performanceCategory"],
        "recommendation": _recommendation(result) if options["recommendation"] else None,
        "essays": _essays(result) if options["essays"] else None,
    }


def _registration(form: Mapping[str, Any] | None) -> dict[str, str]:
    """What candidates were asked before the test, by the labels of the account; e-mail and names are left out."""
    told = {_FIRST, _LAST} | _WHOLE | _EMAIL_LABELS
    texts = {label: _text(value) for label, value in (form or {}).items() if fold(label) not in told}
    return {label: text for label, text in texts.items() if text}


def _recommendation(result: ResultRow) -> list[dict[str, str | None]]:
    labels = _present((result["analysis"] or {}).get("recommendation"))
    return [{"type": label["type"], "value": label["value"]} for label in labels]


def _essays(result: ResultRow) -> list[dict[str, Any]]:
    """Each essay once: the vendor lists it under the skill and again under the level of difficulty."""
    return [
        {
            "section": section["sectionName"],
            "skill": skill["skillName"],
            "type": question["questionType"],
            "question": question["questionText"],
            "score": _number(question["marksScored"]),
            "max_score": _number(question["maxMarks"]),
            "words": _number(question["wordCount"]),
            "response": question["candidateResponse"],
        }
        for section in _present(result["sectionMarks"])
        for skill in _present(section["skillMarks"])
        for question in _present(skill["questions"])
    ]


def _section(name: str | None, marks: Mapping[str, Any], inner: tuple[Section, ...] = ()) -> Section:
    score, maximum = marks["totalMarks"], marks["maxMarks"]
    return Section(name=name, score=score, max_score=maximum, percentage=share(score, maximum), sections=inner)


def _present(items: Iterable[_T | None] | None) -> list[_T]:
    return [item for item in items or () if item is not None]


def _number(value: Decimal | None) -> int | float | None:
    """A JSON number of at most four places: extensions are sent unchanged."""
    if value is None:
        return None
    return int(value) if value == value.to_integral_value() else round(float(value), 4)


def _known(word: str | None) -> str | None:
    """The word; None for the vendor's words for "not applicable"."""
    return None if fold(word) in NO_NUMBER else word


def _text(value: Any) -> str | None:
    """The text of a form's answer, None for lists and objects."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        return None
    return " ".join(str(value).split()) or None
