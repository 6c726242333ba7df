"""Verifies, splits and normalises ClassMarker's results. Pure; the reasons are in `QUIRKS.md`."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from bridge.errors import BadSignature, Unreadable, clip
from bridge.net.signatures import require_signature
from bridge.sdk.odd_results import odd_flags
from bridge.sdk.vendor import Ignored, NormalisedAttempt, Pointer, Record, Watch, WebhookContent
from bridge.vendors.classmarker.rows import (
    CategoryRow,
    GroupRecordRow,
    GroupResultRow,
    LinkRecordRow,
    LinkResultRow,
    ResultRow,
)
from bridge.vendors.classmarker.schema import load_group_record, load_head, load_link_record
from schemas.event import Assessment, Candidate, Group, Result, Section

__all__ = [
    "FIRST_RECHECK_SECONDS",
    "GROUPS",
    "LINKS",
    "SIGNATURE_HEADER",
    "UNLISTED",
    "expect",
    "normalise",
    "split",
    "verify",
]

SIGNATURE_HEADER = "x-classmarker-hmac-sha256"
#: Stream in a reference -> members that narrow the search.
_PLACE_MEMBERS = {"link": ("link", "test", "finished"), "group": ("finished",)}
#: Kinds of records; also the names of the poll streams.
GROUPS, LINKS = "groups", "links"
#: A record of results that the API could not list: always unreadable, so that it is quarantined and somebody sees it.
UNLISTED = "unlisted"
#: `payload_type` of a webhook -> kind of record. Others are ignored and counted.
PAYLOAD_TYPES = {
    "single_user_test_results_group": GROUPS,
    "single_user_test_results_link": LINKS,
}
#: Their `status` (polls only; webhooks have none and mean finished) -> ours.
STATUSES = {None: "completed", "f": "completed", "ip": "in_progress"}
#: A person grades, so an earlier recheck would find nothing.
FIRST_RECHECK_SECONDS = 3600.0
#: The API lists results of the last three months.
LISTED_FOR_SECONDS = 90 * 86_400


def verify(raw: bytes, headers: Mapping[str, str], secrets: tuple[str, ...], now: float) -> int:
    """The number of the secret. Raises `BadSignature` unless the header is the base64 HMAC-SHA256 of `raw`.

    No time is signed, so `now` is unused.

    The header may hold two equal copies joined by a comma; the first is checked.
    """
    given = headers.get(SIGNATURE_HEADER)
    if not given:
        raise BadSignature(f"no {SIGNATURE_HEADER} header. Is this ClassMarker's webhook?", reason="missing_signature")
    try:
        signature = base64.b64decode(given.partition(",")[0].strip(), validate=True)
    except (binascii.Error, ValueError) as error:  # ValueError: not ASCII
        raise BadSignature(f"{SIGNATURE_HEADER} is not base64", reason="malformed_signature") from error
    return require_signature(raw, signature, secrets)


def split(body: Any, _options: Mapping[str, Any]) -> WebhookContent:
    """The one result of a webhook, or `Ignored` for the sample that is sent when the webhook is saved.

    Raises `Unreadable`.
    """
    head = load_head(body)
    if head["payload_status"] == "verify":
        return Ignored("verify", outcome="test")
    if head["payload_status"] != "live":
        raise Unreadable(f'payload_status is "{clip(head["payload_status"], 40)}". Known: live, verify')
    kind = PAYLOAD_TYPES.get(head["payload_type"])
    if kind is None:
        return Ignored(clip(head["payload_type"], 60))
    return (Record(kind, body),)


def normalise(record: Record, now: float, _options: Mapping[str, Any]) -> NormalisedAttempt:
    """One result, from a webhook or a poll, normalised. Raises `Unreadable`."""
    if record.kind == GROUPS:
        return _group(load_group_record(record.body), now)
    if record.kind == LINKS:
        return _link(load_link_record(record.body), now)
    raise Unreadable(
        f"{record.kind}: {clip(record.body.get('problem', 'unknown kind of record'))}", reason="not_listed"
    )


def expect(reference: Mapping[str, str], _options: Mapping[str, Any]) -> Pointer:
    """A pointer to the expected attempt. Raises `ValueError` for a reference that identifies none."""
    stream = reference.get("stream", "")
    wanted = {"link": ("result",), "group": ("user", "test", "group")}.get(stream)
    if wanted is None:
        raise ValueError(f'stream is "{clip(stream, 40)}". Give link or group')
    missing = [name for name in wanted if not reference.get(name, "").isdecimal()]
    started = reference.get("started")
    if missing or (started and not started.isdecimal()):
        raise ValueError(f"{', '.join(missing) or 'started'}: a {stream} needs whole numbers in {', '.join(wanted)}")
    # Where to look, if the operator knows: the test behind one link is listed in a call or two.
    hints = [name for name in _PLACE_MEMBERS[stream] if reference.get(name)]
    unreadable = [name for name in hints if not reference[name].isdecimal()]
    if unreadable:
        raise ValueError(f"{', '.join(unreadable)}: not a whole number. Give ids and UNIX seconds")
    known = {name: reference[name] for name in ("stream", *wanted, *hints)}
    if stream == "link":
        return Pointer(key=f"link:{int(reference['result'])}", reference=known)
    place = ":".join(str(int(reference[name])) for name in wanted)
    if started:
        return Pointer(key=f"group:{place}:{int(started)}", reference={**known, "started": started})
    return Pointer(key=f"?group:{place}", reference=known)


def _group(loaded: GroupRecordRow, now: float) -> NormalisedAttempt:
    test, group, result = loaded["test"], loaded["group"], loaded["result"]
    user, started = result["user_id"], int(result["time_started"].timestamp())
    return _attempt(
        f"group:{user}:{test['test_id']}:{group['group_id']}:{started}",
        loaded,
        now,
        candidate=_candidate(result, id=str(user)),
        group=Group(kind="group", id=str(group["group_id"]), name=group["group_name"]),
        vendor_ids={"user_id": str(user)},
        reference={"stream": "group", "user": str(user), "started": str(started)},
        alias=f"?group:{user}:{test['test_id']}:{group['group_id']}",
    )


def _link(loaded: LinkRecordRow, now: float) -> NormalisedAttempt:
    link, result = loaded["link"], loaded["result"]
    result_id = str(result["link_result_id"])
    return _attempt(
        f"link:{result_id}",
        loaded,
        now,
        # Nobody registers for a link: the only id is what the company put into the start address.
        candidate=_candidate(result, external_id=result["cm_user_id"]),
        group=Group(kind="link", id=str(link["link_id"]), name=link["link_name"]),
        vendor_ids={"link_result_id": result_id},
        reference={"stream": "link", "result": result_id},
        extensions=_answers(result),
    )


def _attempt(
    attempt_id: str,
    loaded: GroupRecordRow | LinkRecordRow,
    now: float,
    *,
    candidate: Candidate,
    group: Group,
    vendor_ids: dict[str, str],
    reference: dict[str, str],
    extensions: Mapping[str, Any] | None = None,
    alias: str | None = None,
) -> NormalisedAttempt:
    result = loaded["result"]
    status = STATUSES.get(result["status"])
    if status is None:
        raise Unreadable(f'result.status is "{clip(result["status"], 40)}". Known: f, ip')
    finished = result["time_finished"]
    if status == "completed" and finished is None:
        raise Unreadable("result.time_finished: is missing in a finished result")
    score = _result(result, status)
    open_for_grading = status == "completed" and score.grading == "provisional"
    test_id = str(loaded["test"]["test_id"])
    place = {f"{group.kind}": group.id, "test": test_id}
    serial = {"certificate_serial": result["certificate_serial"]} if result["certificate_serial"] else {}
    return NormalisedAttempt(
        attempt_id=attempt_id,
        status=status,
        candidate=candidate,
        assessment=Assessment(id=test_id, name=loaded["test"]["test_name"], group=group),
        result=score,
        started_at=result["time_started"],
        completed_at=finished if status == "completed" else None,
        duration_seconds=result["duration"],
        sections=_sections(loaded["category_results"]) if score.grading != "not_scored" else (),
        flags=_flags(result, now),
        vendor_status=result["status"] or "f",
        vendor_ids={**vendor_ids, "test_id": test_id, f"{group.kind}_id": group.id},
        report=result["view_results_url"],
        certificate=result["certificate_url"],
        extensions={**(extensions or {}), **serial},
        order=_order(finished, now, graded=not open_for_grading),
        watch=_watch({**reference, **place}, finished) if open_for_grading and finished is not None else None,
        aliases=() if alias is None else (alias,),
    )


def _result(result: ResultRow, status: str) -> Result:
    survey = result["test_type"] == "Survey" or result["points_available"] == 0
    if status != "completed" or survey:
        return Result(grading="not_scored")
    # Without a pass mark the vendor sends `passed: true` for everybody.
    pass_mark: Decimal | None = result["percentage_passmark"] or None
    ungraded = result["requires_grading"]
    return Result(
        score=result["points_scored"],
        max_score=result["points_available"],
        percentage=result["percentage"],
        pass_mark_percentage=pass_mark,
        passed=None if ungraded or pass_mark is None else result["passed"],
        grading="provisional" if ungraded else "final",
    )


def _candidate(result: ResultRow, *, id: str | None = None, external_id: str | None = None) -> Candidate:
    name = " ".join(part for part in ((result["first"] or "").strip(), (result["last"] or "").strip()) if part)
    return Candidate(id=id, external_id=external_id, email=result["email"], name=name or None)


def _answers(result: Mapping[str, Any]) -> dict[str, Any]:
    """What the link asked before the test: access code and up to five answers by position, None if empty."""
    extensions: dict[str, Any] = {}
    code = result["access_code"] or result["access_code_used"]
    if code:
        extensions["access_code"] = code
    answers = [result[f"extra_info{n}"] or result[f"extra_info{n}_answer"] for n in ("", "2", "3", "4", "5")]
    if any(answers):
        extensions["extra_info"] = answers
    return extensions


def _sections(categories: list[CategoryRow] | None) -> tuple[Section, ...]:
    return tuple(
        Section(
            id=None if category["category_id"] is None else str(category["category_id"]),
            name=category["name"],
            score=category["points_scored"],
            max_score=category["points_available"],
            percentage=category["percentage"],
        )
        for category in categories or ()
        if category is not None
    )


def _flags(result: GroupResultRow | LinkResultRow, now: float) -> tuple[str, ...]:
    started, finished = result["time_started"], result["time_finished"]
    score, maximum = result["points_scored"], result["points_available"]
    return odd_flags(now, started=started, finished=finished, score=score, maximum=maximum)


def _order(finished: datetime | None, now: float, *, graded: bool) -> int:
    """A later finish wins; if the finish is the same, because grading does not change it, the graded result wins.

    A finish in the future counts as now, or every later version would look old.
    """
    return 0 if finished is None else int(min(finished.timestamp(), now)) * 2 + graded


def _watch(reference: dict[str, str], finished: datetime) -> Watch:
    moment = int(finished.timestamp())
    return Watch(
        reference={**reference, "finished": str(moment)},
        due_in=FIRST_RECHECK_SECONDS,
        give_up_at=moment + LISTED_FOR_SECONDS,
    )
