"""An invented event of each type, to try templates with. Pure."""

from __future__ import annotations

import json
from typing import Any

from schemas.event import ATTEMPT_TYPES, VOIDED, minimal
from schemas.notices import (
    ALARM_TYPES,
    CONSENT_WITHDRAWN,
    NOTICE_TYPES,
    OVERDUE,
    SUBSCRIPTION_TYPES,
    TEST,
)
from schemas.projection import only

__all__ = ["TYPES", "sample"]

#: Every type that a template may be for.
TYPES = (*ATTEMPT_TYPES, *NOTICE_TYPES, TEST)
_TIME = "2026-11-20T14:52:41.000Z"
_PROBLEM = {"since": _TIME, "fact": "no page could be read", "value": "6 rounds failed", "remedy": "see the log"}
_RESULT: dict[str, Any] = {
    "score": 21.0,
    "max_score": 25.0,
    "percentage": 84.0,
    "pass_mark_percentage": 70.0,
    "passed": True,
    "grade": "B",
    "grading": "final",
}
_DATA: dict[str, Any] = {
    "attempt": {
        "id": "a-1",
        "revision": 1,
        "status": "completed",
        "started_at": _TIME,
        "completed_at": _TIME,
        "duration_seconds": 1260,
    },
    "candidate": {"id": "c-1", "external_id": "E-1", "email": "sam@example.test", "name": "Sam Sample"},
    "assessment": {"id": "t-1", "name": "Safety", "group": {"kind": "group", "id": "g-1", "name": "Autumn"}},
    "result": {**_RESULT, "previous": {**_RESULT, "passed": False}},
    "sections": [
        {
            "id": "s-1",
            "name": "Fire",
            "score": 10.0,
            "max_score": 12.0,
            "percentage": 83.3,
            "passed": True,
            "sections": [],
        }
    ],
    "flags": ["over_time"],
    "vendor": {"name": "classmarker", "source": "eu-exams", "status": "finished", "ids": {"test": "1"}},
    "links": {"report": "https://vendor.example/report/1", "certificate": "https://vendor.example/certificate/1"},
    "extensions": {"expectation": "E-1 Safety"},
}
_WATCH = {
    "key": "E-1",
    "kind": "expectation",
    "reference": {"id": "E-1"},
    "label": "E-1 Safety",
    "opened_at": _TIME,
    "due": _TIME,
    "deadline": _TIME,
    "looks": 7,
}


def sample(kind: str, projection: str | tuple[str, ...] = "full") -> bytes:
    """The JSON of an event of a type, in the projection of a subscription."""
    subscription = kind in SUBSCRIPTION_TYPES or kind == TEST
    event = {
        "specversion": "1.0",
        "id": "3f0c7b1e-6d5f-5a54-9d39-2a4e3d1f7c10",
        "source": "/acme/subscriptions/gradebook" if subscription else "/acme/sources/eu-exams",
        "type": kind,
        "subject": "a-1",
        "time": _TIME,
        "recordedtime": _TIME,
        "bridgevendor": "bridge" if subscription else "classmarker",
        "bridgeorigin": "bridge",
        "data": _data(kind),
    }
    if projection != "full":
        event = minimal(event) if isinstance(projection, str) else only(event, projection)
    return json.dumps(event).encode()


def _data(kind: str) -> dict[str, Any]:
    if kind in ALARM_TYPES:
        return {"alarm": {"state": "raised", **_PROBLEM}}
    if kind in SUBSCRIPTION_TYPES:
        return {"subscription": {"name": "gradebook", **_PROBLEM}}
    if kind == OVERDUE:
        return {"watch": _WATCH}
    if kind == CONSENT_WITHDRAWN:
        return {"consent": {"subject": {"id": "c-1"}, "withdrawn_at": _TIME, "attempts_voided": 2}}
    if kind == TEST:
        return {"test": {"subscription": "gradebook", "text": "A test."}}
    status = "voided" if kind == VOIDED else "completed"
    return {**_DATA, "attempt": {**_DATA["attempt"], "status": status}}
