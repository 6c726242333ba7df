"""Submissions to the journal that are easy to tell apart, and what became of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bridge.journal import WEBHOOK, Entry, Journal, Submission
from schemas.event import event_id

DAY = 86_400
NOW = 20_000 * DAY + 3600.0


def make_submission(
    attempt: str = "link:1",
    score: int = 1,
    *,
    order: int = 1,
    origin: str = WEBHOOK,
    source: str = "eu",
    announced: bool = False,
) -> Submission:
    def build(revision: int, previous: Mapping[str, Any] | None) -> tuple[str, str, bytes]:
        kind = "attempt.completed" if revision == 1 else "attempt.revised"
        event = {"data": {"attempt": {"id": attempt, "revision": revision}, "result": {"score": score}}}
        event["data"]["result"]["previous"] = None if previous is None else previous["result"]["score"]
        return kind, f"{source}#{attempt}#{kind}#{revision}", json.dumps(event).encode()

    return Submission(
        source=source,
        attempt_id=attempt,
        digest=f"d{score:05d}".encode(),
        order=order,
        origin=origin,
        announced=announced,
        build=build,
    )


def outcomes(journal: Journal, *submissions: Submission, now: float = NOW) -> list[str]:
    return [result.outcome for result in journal.publish(Entry(submissions=submissions), now=now).results]


def entry(number: int, version: int = 0, *, padding: int = 0) -> Entry:
    """One attempt alone; each version has another digest and comes after the one before. `padding`: bytes."""
    name = f"link:{number}"

    def build(revision: int, previous: object) -> tuple[str, str, bytes]:
        kind = "attempt.completed" if revision == 1 else "attempt.revised"
        return (
            kind,
            event_id("eu", name, kind, revision),
            b'{"data":{"result":{"score":%d}}}' % version + b" " * padding,
        )

    digest = version.to_bytes(6, "big")
    offered = Submission(source="eu", attempt_id=name, digest=digest, order=version, origin=WEBHOOK, build=build)
    return Entry(submissions=(offered,))
