"""Events converted to Caliper Analytics 1.2. Pure.

Source: the specification, the context `caliper-v1p2.jsonld` and the fixtures of the branch `develop` of
https://github.com/1EdTech/caliper-spec. Caliper has no term for a result that no longer counts: a score without
`scoreGiven` replaces it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from schemas.event import ATTEMPT_TYPES, COMPLETED
from schemas.iris import Names, derived_id, duration
from schemas.notices import TEST

__all__ = ["VERSION", "caliper_events", "envelope"]

#: The context of each event, and `dataVersion` of an envelope.
VERSION = "http://purl.imsglobal.org/ctx/caliper/v1p2"


def envelope(events: Sequence[Mapping[str, Any]], *, base: str, at: str) -> dict[str, Any]:
    """The body of a request. `at`: when it is sent, RFC 3339."""
    return {"sensor": f"{base}/caliper", "sendTime": at, "dataVersion": VERSION, "data": list(events)}


def caliper_events(event: Mapping[str, Any], *, base: str) -> list[dict[str, Any]]:
    """The Caliper events for an event about an attempt, or for a test: at most two.

    `attempt.completed` is an AssessmentEvent, and a GradeEvent if there is a score; any other is a GradeEvent, without
    `scoreGiven` if nothing counts. The GradeEvent has the id of the event. `base`: address of the bridge. Raises
    `ValueError` for any other type of event.
    """
    source = f"{base}{event['source']}"
    if event["type"] == TEST:
        return [_of_test(event, source)]
    if event["type"] not in ATTEMPT_TYPES:
        raise ValueError("Caliper has no event for this type of event")
    names = Names(source, event["data"])
    made = [_submitted(event, names)] if event["type"] == COMPLETED else []
    if event["type"] != COMPLETED or _given(event["data"]) is not None:
        made.append(_graded(event, names))
    return made


def _common(event: Mapping[str, Any], kind: str, profile: str, ident: str, time: str, source: str) -> dict[str, Any]:
    made = {
        "@context": VERSION,
        "id": f"urn:uuid:{ident}",
        "type": kind,
        "profile": profile,
        "eventTime": time,
        "edApp": source,
    }
    # The only place where a Caliper event may have our own members.
    own = {"eventId": event["id"], "eventType": event["type"]} | (
        {"bridgetest": True} if event.get("bridgetest") else {}
    )
    return {**made, "extensions": own}


def _submitted(event: Mapping[str, Any], names: Names) -> dict[str, Any]:
    made = _common(
        event, "AssessmentEvent", "AssessmentProfile", derived_id(event["id"], "Submitted"), event["time"], names.source
    )
    made |= {"actor": _person(event["data"], names), "action": "Submitted", "object": _assessment(event["data"], names)}
    made["generated"] = _attempt(event["data"], names, names.candidate, names.assessment)
    return made | _group(event["data"], names)


def _graded(event: Mapping[str, Any], names: Names) -> dict[str, Any]:
    data = event["data"]
    # A later revision is graded when the bridge sees it; the attempt keeps the time of its end.
    time = event["time"] if event["type"] == COMPLETED else event["recordedtime"]
    made = _common(event, "GradeEvent", "GradingProfile", event["id"], time, names.source)
    made |= {"actor": _software(names.source), "action": "Graded"}
    made["object"] = _attempt(data, names, _person(data, names), _assessment(data, names))
    made["generated"] = _score(data, names, time)
    return made | _group(data, names)


def _software(source: str) -> dict[str, Any]:
    return {"id": source, "type": "SoftwareApplication", "name": source.rpartition("/")[2]}


def _person(data: Mapping[str, Any], names: Names) -> dict[str, Any]:
    candidate = data.get("candidate") or {}
    person: dict[str, Any] = {"id": names.candidate, "type": "Person"}
    if candidate.get("name"):
        person["name"] = candidate["name"]
    known = (("SystemId", candidate.get("external_id")), ("EmailAddress", candidate.get("email")))
    identifiers = [
        {"type": "SystemIdentifier", "identifier": value, "identifierType": kind} for kind, value in known if value
    ]
    return {**person, "otherIdentifiers": identifiers} if identifiers else person


def _assessment(data: Mapping[str, Any], names: Names) -> dict[str, Any]:
    assessment, result = data.get("assessment") or {}, data.get("result") or {}
    more = {"name": assessment.get("name"), "maxScore": result.get("max_score")}
    return {"id": names.assessment, "type": "Assessment", **_known(more)}


def _attempt(data: Mapping[str, Any], names: Names, assignee: Any, assignable: Any) -> dict[str, Any]:
    attempt = data["attempt"]
    times = {
        "startedAtTime": attempt.get("started_at"),
        "endedAtTime": attempt.get("completed_at"),
        "duration": duration(attempt.get("duration_seconds")),
    }
    return {"id": names.attempt, "type": "Attempt", "assignee": assignee, "assignable": assignable, **_known(times)}


def _score(data: Mapping[str, Any], names: Names, time: str) -> dict[str, Any]:
    result = data.get("result") or {}
    facts = {
        "revision": data["attempt"]["revision"],
        "status": data["attempt"]["status"],
        "grading": result.get("grading"),
    }
    if data["attempt"]["status"] != "voided":
        facts |= {
            "percentage": result.get("percentage"),
            "passMarkPercentage": result.get("pass_mark_percentage"),
            "passed": result.get("passed"),
            "grade": result.get("grade"),
            "sections": data.get("sections") or None,
        }
    points = {"maxScore": result.get("max_score"), "scoreGiven": _given(data)}
    made = {"id": names.score, "type": "Score", "attempt": names.attempt, "scoredBy": names.source}
    return {**made, **_known(points), "dateCreated": time, "extensions": _known(facts)}


def _given(data: Mapping[str, Any]) -> float | None:
    """The points that count; None while there are none, and for a voided attempt."""
    result = data.get("result") or {}
    if data["attempt"]["status"] == "voided" or result.get("grading") in ("pending", "not_scored"):
        return None
    return result.get("score")


def _group(data: Mapping[str, Any], names: Names) -> dict[str, Any]:
    if names.group is None:
        return {}
    group = data["assessment"]["group"]
    return {"group": {"id": names.group, "type": "Organization", **_known({"name": group.get("name")})}}


def _known(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _of_test(event: Mapping[str, Any], source: str) -> dict[str, Any]:
    made = _common(event, "Event", "GeneralProfile", event["id"], event["time"], source)
    test = {"id": f"{source}/test", "type": "DigitalResource", "name": event["data"]["test"]["text"]}
    return {**made, "actor": _software(source), "action": "Used", "object": test}
