"""Events converted to statements of xAPI 1.0.3. Pure.

Source: `xAPI-Data.md` of https://github.com/adlnet/xAPI-Spec, sections 2.3.2 (voiding), 2.4.5 (result) and
2.4.6 (context).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from schemas.envelope import event_id
from schemas.event import ATTEMPT_TYPES, COMPLETED, REVISED
from schemas.iris import Names, derived_id, duration
from schemas.notices import TEST

__all__ = ["ACCOUNT", "ACTORS", "EXTENSION", "MBOX", "statements"]

ACCOUNT, MBOX = "account", "mbox"
#: How actors are identified.
ACTORS = (ACCOUNT, MBOX)
#: Beginning of the IRIs of our own extensions.
EXTENSION = "urn:attempt-bridge:xapi:"

_VERBS = "http://adlnet.gov/expapi/verbs/"
_ASSESSMENT = "http://adlnet.gov/expapi/activities/assessment"
#: As in cmi5; the statements are not those of a cmi5 session, so they are not in its category.
_MASTERY = "https://w3id.org/xapi/cmi5/context/extensions/masteryscore"
_ATTEMPT_ID = "http://id.tincanapi.com/extension/attempt-id"
#: Vendors do not say in which language their names are.
_LANGUAGE = "und"
#: What every LRS accepts after `mailto:`.
_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"[A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+)*@{_LABEL}(\.{_LABEL})+")
_LONGEST_ADDRESS = 254


def statements(
    event: Mapping[str, Any], *, base: str, actor: str = ACCOUNT, home_page: str | None = None
) -> list[dict[str, Any]]:
    """The statements for an event about an attempt, or for a test: at most three, in the order in which they are
    stored.

    A result has the id of the event. A later revision first voids the statement of the previous one; a voided attempt
    does only that. A test is stored and voided at once. `base`: address of the bridge. `home_page`: that of accounts
    named by `external_id`. Raises `ValueError` for any other event.
    """
    source = f"{base}{event['source']}"
    if event["type"] == TEST:
        return _of_test(event, source)
    if event["type"] not in ATTEMPT_TYPES:
        raise ValueError("xAPI has no statement for this type of event")
    attempt = event["data"]["attempt"]
    made = []
    if attempt["revision"] > 1 or attempt["status"] == "voided":
        made.append(_voiding(event, _earlier(event), source))
    if attempt["status"] != "voided":
        made.append(_result_statement(event, source, actor, home_page))
        if event.get("bridgetest"):
            made.append(_voiding(event, event["id"], source))
    return made


def _earlier(event: Mapping[str, Any]) -> str:
    """The id of the statement of the revision before this one, or of the one that the first would have had."""
    earlier = max(1, event["data"]["attempt"]["revision"] - 1)
    return event_id(event["source"], event["subject"], COMPLETED if earlier == 1 else REVISED, earlier)


def _voiding(event: Mapping[str, Any], target: str, source: str) -> dict[str, Any]:
    return {
        # A statement is voided only once, so this id differs from that of the event, which may be voided itself.
        "id": derived_id(target, "voided"),
        "timestamp": event["recordedtime"],
        "actor": _bridge(source),
        "verb": _verb("voided"),
        "object": {"objectType": "StatementRef", "id": target},
        "context": {"extensions": {f"{EXTENSION}event-id": event["id"]}},
    }


def _bridge(source: str) -> dict[str, Any]:
    return {"objectType": "Agent", "account": {"homePage": source, "name": "attempt-bridge"}}


def _verb(name: str) -> dict[str, Any]:
    return {"id": f"{_VERBS}{name}", "display": {"en": name}}


def _result_statement(event: Mapping[str, Any], source: str, actor: str, home_page: str | None) -> dict[str, Any]:
    data = event["data"]
    result, assessment = data.get("result") or {}, data.get("assessment") or {}
    names = Names(source, data)
    definition: dict[str, Any] = {"type": _ASSESSMENT}
    if assessment.get("name"):
        definition["name"] = {_LANGUAGE: assessment["name"]}
    passed = result.get("passed")
    verb = "completed" if passed is None else "passed" if passed else "failed"
    return {
        "id": event["id"],
        "timestamp": event["time"],
        "actor": _actor(data, source, names, actor, home_page),
        "verb": _verb(verb),
        "object": {"objectType": "Activity", "id": names.assessment, "definition": definition},
        "result": _result(data, result),
        "context": _context(event, names, result),
    }


def _actor(data: Mapping[str, Any], source: str, names: Names, actor: str, home_page: str | None) -> dict[str, Any]:
    candidate = data.get("candidate") or {}
    person: dict[str, Any] = {"objectType": "Agent"}
    if candidate.get("name"):
        person["name"] = candidate["name"]
    email, external = candidate.get("email"), candidate.get("external_id")
    if actor == MBOX and email and len(email) <= _LONGEST_ADDRESS and _ADDRESS.fullmatch(email):
        return {**person, "mbox": f"mailto:{email}"}
    if home_page is not None and external:
        return {**person, "account": {"homePage": home_page, "name": external}}
    return {**person, "account": {"homePage": source, "name": names.person}}


def _result(data: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"completion": True}
    score = {} if result.get("grading") in ("pending", "not_scored") else _score(result)
    if score:
        made["score"] = score
    if result.get("passed") is not None:
        made["success"] = result["passed"]
    took = duration(data["attempt"].get("duration_seconds"))
    if took is not None:
        made["duration"] = took
    facts = {"sections": data.get("sections"), "grade": result.get("grade"), "grading": result.get("grading")}
    extensions = {f"{EXTENSION}{name}": value for name, value in facts.items() if value}
    return {**made, "extensions": extensions} if extensions else made


def _score(result: Mapping[str, Any]) -> dict[str, float]:
    """Raw; its range only if raw is in it, as bonus and negative marks are not. Scaled is the vendor's percentage."""
    score: dict[str, float] = {}
    percentage, raw, most = result.get("percentage"), result.get("score"), result.get("max_score")
    if percentage is not None and -100 <= percentage <= 100:
        score["scaled"] = round(percentage / 100, 6)
    if raw is not None:
        score["raw"] = raw
        if most is not None and 0 <= raw <= most and most > 0:
            score |= {"min": 0, "max": most}
    return score


def _context(event: Mapping[str, Any], names: Names, result: Mapping[str, Any]) -> dict[str, Any]:
    attempt = event["data"]["attempt"]
    extensions = {_ATTEMPT_ID: attempt["id"], f"{EXTENSION}revision": attempt["revision"]}
    mastery = result.get("pass_mark_percentage")
    if mastery is not None and 0 <= mastery <= 100:
        extensions[_MASTERY] = round(mastery / 100, 6)
    context: dict[str, Any] = {
        "registration": derived_id(event["source"], attempt["id"]),
        "platform": event["bridgevendor"],
        "extensions": extensions,
    }
    if names.group is not None:
        context["contextActivities"] = {"grouping": [{"objectType": "Activity", "id": names.group}]}
    return context


def _of_test(event: Mapping[str, Any], source: str) -> list[dict[str, Any]]:
    text = event["data"]["test"]["text"]
    statement = {
        "id": event["id"],
        "timestamp": event["time"],
        "actor": _bridge(source),
        "verb": _verb("completed"),
        "object": {
            "objectType": "Activity",
            "id": f"{source}/test",
            "definition": {"type": _ASSESSMENT, "name": {"en": text}},
        },
    }
    return [statement, _voiding(event, event["id"], source)]
