"""Writes the sample events of the pytest plugin, `src/attempt_bridge_client/samples.json`, from the vendors' fixtures.

    python client/generate_samples.py

`samples()` is the text; a test compares it with the file. All persons are invented. Needs the bridge itself.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

HERE = Path(__file__).parent
TARGET = HERE / "src/attempt_bridge_client/samples.json"
FIXTURES = HERE.parent / "bridge/vendors"
sys.path.insert(0, str(HERE.parent))  # for a bridge that is not installed

from bridge.config.model import BridgeConfig  # noqa: E402 - after the path
from bridge.ingest.event_builder import build_event  # noqa: E402
from bridge.sdk.records import NormalisedAttempt  # noqa: E402
from schemas.event import Assessment, Candidate, Group, Result, Section, format_time  # noqa: E402
from schemas.notices import NOTICE_TYPES, TEST, NoticeEvent  # noqa: E402

BRIDGE = BridgeConfig(name="bridge", public_url="https://bridge.example.org")
#: What each vendor's samples are made of: the first attempt of a fixture.
CHOSEN = {
    "cirrus": "cirrus/fixtures/recheck_shape_b_of_one_schedule.out.json",
    "classmarker": "classmarker/fixtures/webhook_link_strings.out.json",
    "coremetrix": "coremetrix/fixtures/poll_batch.out.json",
    "mettl": "mettl/fixtures/poll_completed_ir_qr.out.json",
    "thought-industries": "thought_industries/fixtures/poll_attempts_wrapped.out.json",
}
WRITTEN = datetime(2026, 11, 20, 14, 53, tzinfo=UTC)
AT = format_time(WRITTEN)
ALARM = {
    "state": "raised",
    "since": AT,
    "fact": "polling fails",
    "value": "links: nothing read for 31m; failed rounds: 6",
    "remedy": "attempt-bridge sources show eu lists the last rounds with their errors",
}
TROUBLE = {
    "name": "gradebook",
    "since": AT,
    "fact": "deliveries were given up",
    "value": "3 dead letters, most of them: receiver answered 422",
    "remedy": "attempt-bridge failure-groups list --subscription gradebook",
}
NOTICES: dict[str, dict[str, Any]] = {
    "attempt.overdue": {
        "watch": {
            "key": "?8c1f",
            "kind": "expectation",
            "reference": {"access_key": "k-77"},
            "label": "E-20417",
            "opened_at": AT,
            "due": AT,
            "deadline": AT,
            "looks": 9,
        }
    },
    "consent.withdrawn": {"consent": {"subject": {"person": "p-001"}, "withdrawn_at": AT, "attempts_voided": 2}},
    TEST: {"test": {"subscription": "gradebook", "text": "A test by an operator: nothing has happened."}},
}


def samples() -> str:
    """The text of `samples.json`."""
    attempts = {vendor: _of_vendor(vendor, _attempt(path)) for vendor, path in CHOSEN.items()}
    notices = {kind: _notice(kind) for kind in (*NOTICE_TYPES, TEST)}
    return json.dumps({"attempts": attempts, "notices": notices}, indent=1, ensure_ascii=False) + "\n"


def _of_vendor(vendor: str, attempt: NormalisedAttempt) -> dict[str, Any]:
    """By status: as it is completed, as it is revised afterwards, and as it is voided at last."""
    result = attempt.result
    better = replace(
        result, **{name: value + 1 for name in ("score", "percentage") if (value := getattr(result, name))}
    )
    completed = _event(vendor, attempt, 1, None)
    revised = _event(vendor, replace(attempt, result=better), 2, completed["data"])
    voided = _event(vendor, replace(attempt, status="voided", result=better), 3, revised["data"])
    return {"completed": completed, "revised": revised, "voided": voided}


def _event(vendor: str, attempt: NormalisedAttempt, revision: int, previous: Any) -> Any:
    recorded = WRITTEN + timedelta(minutes=revision)
    event = build_event(BRIDGE, f"eu-{vendor}", vendor, attempt, revision, previous, origin="poll", recorded=recorded)
    return json.loads(event.to_json())


def _notice(kind: str) -> Any:
    about = "gradebook" if kind.startswith(("subscription.", "bridge.")) else "eu-classmarker"
    place = "subscriptions" if about == "gradebook" else "sources"
    data = NOTICES.get(kind) or ({"subscription": TROUBLE} if kind.startswith("subscription.") else {"alarm": ALARM})
    event = NoticeEvent(
        id=str(uuid5(UUID(int=0), kind)),
        source=f"/bridge/{place}/{about}",
        type=kind,
        subject=about,
        time=WRITTEN,
        dataschema="https://bridge.example.org/schemas/notice/1.0.json",
        recordedtime=WRITTEN,
        partitionkey=f"{about}/{about}",
        bridgevendor="bridge" if about == "gradebook" else "classmarker",
        bridgeorigin="bridge",
        bridgetest=kind == TEST,
        data=data,
    )
    return json.loads(event.to_json())


def _attempt(path: str) -> NormalisedAttempt:
    document = json.loads((FIXTURES / path).read_text())
    told = (document["records"] if isinstance(document, dict) else document)[0]
    group = told["assessment"]["group"]
    return NormalisedAttempt(
        attempt_id=told["attempt_id"],
        status=told["status"],
        candidate=Candidate(**told["candidate"]),
        assessment=Assessment(**told["assessment"] | {"group": Group(**group) if group else None}),
        result=Result(**_numbers(told["result"])),
        started_at=_moment(told.get("started_at")),
        completed_at=_moment(told.get("completed_at")),
        duration_seconds=told.get("duration_seconds"),
        sections=_sections(told.get("sections", [])),
        vendor_status=told.get("vendor_status"),
        vendor_ids=told["vendor_ids"],
        extensions=told.get("extensions", {}),
    )


def _sections(told: list[dict[str, Any]]) -> tuple[Section, ...]:
    return tuple(Section(**_numbers(each) | {"sections": _sections(each["sections"])}) for each in told)


def _numbers(told: dict[str, Any]) -> dict[str, Any]:
    figures = ("score", "max_score", "percentage", "pass_mark_percentage")
    return {name: Decimal(value) if name in figures and value else value for name, value in told.items()}


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


if __name__ == "__main__":
    TARGET.write_text(samples())
