"""Oakbridge: its API lists finished results by their finish. It sends no webhooks, and nobody grades."""

from collections.abc import Mapping
from typing import Any

from bridge.sdk.compiled_schema import Flag, Percentage, Text, UnixTime, VendorSchema, loader
from bridge.sdk.json_api import JsonApi, key_in_header, rows_of
from bridge.sdk.odd_results import odd_flags
from bridge.sdk.time_cursor import TimeCursor, poll_by_time
from bridge.sdk.vendor import Credential, FactSheet, NormalisedAttempt, Page, Quota, Record, Vendor
from schemas.event import Assessment, Candidate, Result

__all__ = ["VENDOR"]


class ResultSchema(VendorSchema):
    id = Text(required=True)
    email = Text()
    quiz = Text(required=True)
    finished = UnixTime(required=True)
    percent = Percentage()
    passed = Flag()


load_result = loader(ResultSchema)


def page(api: JsonApi, cursor: str | None) -> Page:
    at = TimeCursor.read(cursor)
    number = int(at.page or 1)
    answer = api.get("results", {"since": at.since, "page": number})
    rows = rows_of(answer, "results")
    following = number + 1 if answer.get("more") else None
    return at.page_of("result", rows, ("finished", UnixTime()), following, api.now())


def normalise(record: Record, now: float, _options: Mapping[str, Any]) -> NormalisedAttempt:
    row = load_result(record.body)
    result = Result(percentage=row["percent"], passed=row["passed"], grading="final")
    return NormalisedAttempt(
        attempt_id=row["id"],
        status="completed",
        candidate=Candidate(email=row["email"]),
        assessment=Assessment(id=row["quiz"]),
        result=result,
        completed_at=row["finished"],
        flags=odd_flags(result, None, row["finished"], now),
        vendor_ids={"id": row["id"]},
    )


VENDOR = Vendor(
    name="oakbridge",
    title="Oakbridge",
    base_url="https://api.oakbridge.example",
    quota=Quota(calls=60, per_seconds=60.0),
    credentials={"token": Credential(help="Settings > API")},
    sheet=FactSheet(
        identity="the result's id",
        look_back="unlimited",
        quota="60 calls a minute",
        documented=("a result never changes",),
        ask=("How long after the finish may a result be listed?",),
    ),
    normalise=normalise,
    connect=key_in_header("x-token", "token"),
    polls={"results": poll_by_time(page, visible_after=60.0)},
)
