"""Events of invented attempts in the journal, for what lists and follows them."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import UUID, uuid5

from bridge.journal import WEBHOOK, Entry, Submission
from bridge.services import Services

EVENT = json.loads(Path(__file__).parents[1].joinpath("data/attempt-completed.json").read_text(encoding="utf-8"))
SPACE = UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")


def submission(
    number: int, *, source: str = "eu", origin: str = WEBHOOK, kind: str = "attempt.completed"
) -> Submission:
    """The event of an attempt; even numbers have passed, and the number is the percentage."""
    ident = str(uuid5(SPACE, f"{source}#{number}#{kind}"))
    document = json.loads(json.dumps(EVENT)) | {"id": ident, "type": kind, "bridgeorigin": origin}
    document["data"]["attempt"]["id"] = f"link:{number}"
    document["data"]["result"] |= {"passed": number % 2 == 0, "percentage": float(number)}
    document["data"]["candidate"] |= {"name": f"Sam Number {number}", "email": f"sam{number}@example.test"}
    return Submission(
        source=source,
        attempt_id=f"{kind}:{number}",
        subject=f"link:{number}",
        digest=b"123456",
        order=1,
        origin=origin,
        build=lambda revision, previous: (kind, ident, json.dumps(document).encode()),
    )


def publish(services: Services, *submissions: Submission) -> None:
    """Publish them as one batch."""
    services.journal.publish(Entry(submissions=submissions), now=services.now())
