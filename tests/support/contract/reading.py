"""What a fixture becomes: see docs/adding-a-vendor.md, "Fixtures".

`python -m tests.support.contract.reading VENDOR FILE` prints it: read it line by line
before keeping it as `.out.json`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, fields
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from bridge.errors import BridgeError, Unreadable
from bridge.registry import vendors
from bridge.sdk.strict_json import parse
from bridge.sdk.vendor import Consent, Ignored, NormalisedAttempt, Pointer, Record, Resume, Vendor, material_digest
from tests.support.contract.stage import options_of, polls_of
from tests.support.contract.wire import Facts, calls_over, canned

__all__ = ["case_problem", "read_fixture"]

#: What a fixture is -> the members that it must have then.
_MEMBERS = {"webhook": ("now",), "poll": ("now", "cursor"), "recheck": ("now", "answers")}


def case_problem(vendor: Vendor, case: Any) -> str | None:
    """What is wrong with the document of a fixture, before it is read, or None."""
    kinds = [kind for kind in _MEMBERS if isinstance(case, dict) and kind in case]
    if len(kinds) != 1:
        return "is none of webhook, poll and recheck" if not kinds else f"is {' and '.join(kinds)} at once"
    [kind] = kinds
    if lacking := [name for name in _MEMBERS[kind] if name not in case]:
        return f"has no {', '.join(lacking)}"
    if kind == "webhook" and vendor.split is None:
        return "is a webhook, and the vendor has no `split`"
    if kind == "recheck" and vendor.recheck is None:
        return "is a recheck, and the vendor has no `recheck`"
    if kind == "poll" and case["poll"] not in vendor.polls:
        item = ". The items are in its `options`" if ":" in case["poll"] else ""
        return f'is a page of "{case["poll"]}". Streams: {", ".join(vendor.polls) or "none"}{item}'
    if kind == "poll" and "answer" not in case and "answers" not in case:
        return "has no answer"
    return None


def read_fixture(vendor: Vendor, case: Mapping[str, Any]) -> Any:
    """What stands in the fixture's `.out.json`: what was read, or why nothing was."""
    try:
        return _read_webhook(vendor, case) if "webhook" in case else _read_answers(vendor, case)
    except BridgeError as error:
        return {"unreadable" if isinstance(error, Unreadable) else type(error).__name__: str(error)}


def _read_webhook(vendor: Vendor, case: Mapping[str, Any]) -> Any:
    reading = vendor.split(parse(json.dumps(case["webhook"]).encode()), _options(vendor, case))
    if isinstance(reading, Ignored):
        return {"ignored": reading.kind, "outcome": reading.outcome}
    return [_item(vendor, item, case) for item in reading]


def _read_answers(vendor: Vendor, case: Mapping[str, Any]) -> Any:
    answers = iter([case["answer"]] if "answer" in case else case["answers"])
    facts = Facts(
        name="fixture", credentials=dict.fromkeys(vendor.credentials, ("invented",)), options=_options(vendor, case)
    )
    client = vendor.connect(facts, calls_over(canned(map(_answer, answers)), facts, lambda: case["now"]))
    if "recheck" in case:
        results: Any = [_item(vendor, item, case) for item in vendor.recheck(client, case["recheck"])]
    else:
        page = polls_of(vendor, facts.options)[case["poll"]].fetch(client, case["cursor"])
        records = [_item(vendor, record, case) for record in page.records]
        results = {"cursor": page.cursor, "more": page.more, "records": records}
    assert not (left := list(answers)), f"nobody asked for the last {len(left)} answers"
    return results


def _answer(answer: Any) -> tuple[int, bytes]:
    """A body, which is text where it is not JSON, or `{"status": ..., "body": ...}`."""
    if isinstance(answer, dict) and answer.keys() == {"status", "body"}:
        return answer["status"], _answer(answer["body"])[1]
    return 200, (answer if isinstance(answer, str) else json.dumps(answer)).encode()


def _item(vendor: Vendor, item: Record | Pointer | Consent | Resume, case: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(item, Pointer):
        return {"pointer": _told(item)}
    if isinstance(item, Consent):
        return {"consent": _told(item)}
    if isinstance(item, Resume):
        return {"resume": _told(item)}
    try:
        attempt = vendor.normalise(item, case["now"], _options(vendor, case))
    except Unreadable as error:
        return {"unreadable": str(error)}
    return _told(attempt) | {"digest": material_digest(attempt).hex()}


def _told(item: NormalisedAttempt | Pointer | Consent | Resume) -> dict[str, Any]:
    """As JSON, without the members that have their default: what stands there is what was said."""
    defaults = dict(_defaults(item))
    told = {name: value for name, value in asdict(item).items() if name not in defaults or value != defaults[name]}
    return json.loads(json.dumps(told, default=_plain))


def _defaults(item: Any) -> Iterator[tuple[str, Any]]:
    for field in fields(item):
        if field.default is not MISSING:
            yield field.name, field.default
        elif field.default_factory is not MISSING:
            yield field.name, field.default_factory()


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    assert isinstance(value, datetime), f"{type(value)} in a {NormalisedAttempt.__name__}"
    return value.isoformat()


def _options(vendor: Vendor, case: Mapping[str, Any]) -> dict[str, Any]:
    return options_of(vendor, case.get("options", {}))


if __name__ == "__main__":
    name, file = sys.argv[1:]
    document = json.loads(Path(file).read_text())
    if problem := case_problem(vendors()[name], document):
        sys.exit(f"{file}: {problem}. See docs/adding-a-vendor.md#fixtures")
    print(json.dumps(read_fixture(vendors()[name], document), indent=2, ensure_ascii=False))
