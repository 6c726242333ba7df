"""Whatever stands in a member of a vendor's answer or webhook, it ends as an outcome, never as an exception of Python.

Every member of every fixture is replaced by values of a list, and removed. Members with one name in one place,
such as the same member of two rows, are tried once per vendor and path.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from copy import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.clock import to_datetime
from bridge.config.model import BridgeConfig
from bridge.errors import BridgeError, Unreadable, VendorUnavailable, clip
from bridge.ingest.event_builder import build_event
from bridge.polling.vendor_memory import LocalMemory
from bridge.registry import vendors
from bridge.sdk.strict_json import parse
from bridge.sdk.vendor import PUBLISHABLE_STATUSES, Consent, Ignored, Pointer, Resume, Vendor, material_digest
from tests.support.contract.capabilities import complaint, section_of
from tests.support.contract.checked import checked_vendor, fail
from tests.support.contract.reading import case_problem
from tests.support.contract.stage import folder, options_of, polls_of
from tests.support.contract.wire import Facts

BRIDGE = BridgeConfig(name="acme", public_url="https://bridge.example.test")
#: JSON texts, because some of them no Python value spells.
AWKWARD = [
    "true", "false", "0", "-1", "1", "1.5", "-0.0", "1e300", "1e-300", "NaN", "Infinity",
    "999999999999999999", "-999999999999999999", "9" * 40, "4102444799", "253402300800",
    '""', '" "', '"x"', '"-1"', '"0"', '"1e5"', '"NaN"', '"inf"', '"\u0663"', '"\u00b2"', '"\\u0000"', '"\\ud800"',
    '"a\\nb"', '"' + "a" * 5000 + '"', '"9999-12-31T23:59:59Z"', '"0001-01-01T00:00:00+14:00"', '"2026-99-99T00:00Z"',
    '"2026-11-01"', '"99:99:99"', "[[]]", "[{}]", "[null]", '["x"]', '{"a": 1}', '{"id": []}', '[1, "a"]',
    "[" * 40 + "]" * 40, "[" * 700 + "]" * 700,
]  # fmt: skip
#: In every member; of the others every fifth, so that each kind of member meets each of them somewhere.
BRACKETS = ["null", "[]", "{}"]
MARK = "<the odd value>"
SPELT = json.dumps(MARK).encode()
GONE = object()


class Told:
    """A vendor's API that gives the same answers in this order, then is away."""

    def __init__(self, answers: list[tuple[int, bytes]], now: float) -> None:
        self._answers = iter(answers)
        self._now = now
        self.memory = LocalMemory()

    def request(self, *_: Any, **__: Any) -> tuple[int, Mapping[str, str], bytes]:
        status, body = next(self._answers, (0, b""))
        if not status:
            raise VendorUnavailable("no answer is left")
        return status, {}, body

    def now(self) -> float:
        return self._now


def paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if path:
        yield path
    for name, member in (
        value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ())
    ):
        yield from paths(member, (*path, name))


def replaced(document: Any, path: tuple[str | int, ...], value: Any) -> Any:
    """A document that differs from another one in this place, and shares all that is elsewhere."""
    whole = inner = copy(document)
    for name in path[:-1]:
        inner[name] = inner = copy(inner[name])
    if value is GONE:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return whole


def documents(vendor: Vendor) -> Iterator[tuple[str, dict[str, Any]]]:
    """The name of each fixture, and what it holds; test_folders.py reports those that cannot be read."""
    for file in sorted((folder(vendor) / "fixtures").glob("*.in.json")):
        try:
            case = json.loads(file.read_text())
        except ValueError:
            continue
        if case_problem(vendor, case) is None:
            yield file.name, case


def cases(vendor: Vendor) -> Iterator[tuple[str, dict[str, Any], str, tuple[str | int, ...]]]:
    """Name, fixture, the member of the fixture that is foreign, and a path in it; each kind of path once."""
    done = set()
    for name, case in documents(vendor):
        foreign = next(name for name in ("webhook", "answer", "answers") if name in case)
        where = foreign if foreign == "webhook" else case.get("poll", "recheck")
        for path in paths(case[foreign]):
            kind = (where, tuple("*" if isinstance(part, int) else part for part in path))
            if kind not in done:
                done.add(kind)
                yield name, case, foreign, path


CASES = {vendor.name: list(cases(vendor)) for vendor in vendors().values()}
#: Every name that a webhook of any vendor has.
WORDS = sorted(
    {"event"}
    | {
        part
        for cases in CASES.values()
        for _, _, foreign, path in cases
        if foreign == "webhook"
        for part in path
        if isinstance(part, str)
    }
)


def marked(foreign: str, document: Any) -> list[tuple[int, bytes]]:
    """Status and body of each answer, or of the webhook, with the mark in it."""
    results = []
    for answer in document if foreign == "answers" else [document]:
        shaped = isinstance(answer, dict) and answer.keys() == {"status", "body"} and isinstance(answer["status"], int)
        status, body = (answer["status"], answer["body"]) if shaped else (200, answer)
        results.append((status, (body if isinstance(body, str) else json.dumps(body)).encode()))
    return results


#: What was read of one fixture, as text, and what became of it: most of the rows of a page are as they were.
Judged = dict[str, str]


def run(
    vendor: Vendor, case: Mapping[str, Any], foreign: str, bodies: list[tuple[int, bytes]], judged: Judged
) -> set[str]:
    """What became of it: `refused` by an error of ours, `ignored`, `pointed` to, `consent`, `news`, `no news`."""
    options = options_of(vendor, case.get("options", {}))
    now = case.get("now", 1_763_000_000.0)
    try:
        if foreign == "webhook":
            reading = vendor.split(parse(bodies[0][1]), options)
            items = [] if isinstance(reading, Ignored) else list(reading)
        else:
            facts = Facts(name="fixture", credentials=dict.fromkeys(vendor.credentials, ("invented",)), options=options)
            client = vendor.connect(facts, Told(bodies, now))
            if "recheck" in case:
                items = list(vendor.recheck(client, case["recheck"]))
            else:
                items = list(polls_of(vendor, options)[case["poll"]].fetch(client, case["cursor"]).records)
    except BridgeError:
        return {"refused"}
    outcomes = set()
    for item in items:
        text = repr(item)
        if text not in judged:
            judged[text] = judge(vendor, item, now, options)
        outcomes.add(judged[text])
    return outcomes


def run_at(where: str, vendor: Vendor, *rest: Any) -> set[str]:
    """What became of it; whatever fails, the line also says where: fixture, member and value."""
    try:
        return run(vendor, *rest)
    except pytest.fail.Exception as error:
        pytest.fail(f"{error.msg}: {where}", pytrace=False)
    except Exception as error:  # noqa: BLE001 - whatever it is, the line says where
        fact = f"what the folder makes of it cannot be published: {type(error).__name__}: {clip(error, 160)}"
        pytest.fail(f"{complaint(vendor, fact, 'adapter.py', 'QUIRKS.md')}: {where}")


def spelled(path: tuple[str | int, ...]) -> str:
    """Such as `data[0].rev`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def judge(vendor: Vendor, item: Any, now: float, options: Mapping[str, Any]) -> str:
    if isinstance(item, Pointer | Consent):
        told = item.reference if isinstance(item, Pointer) else item.subject
        "".join((item.key, *told, *told.values())).encode()
        return type(item).__name__
    if isinstance(item, Resume):
        "".join((*item.reference, *item.reference.values())).encode()
        return "Resume"
    # What quarantine keeps is what a later version reads again.
    kept = json.dumps({"kind": item.kind, "record": item.body}, default=str, ensure_ascii=False).encode()
    assert parse(kept)["kind"] == item.kind
    try:
        attempt = vendor.normalise(item, now, options)
    except Unreadable:
        return "quarantined"
    # As publish_once.lua packs it.
    if not 0 <= attempt.order < 2**40:
        fact = f"`normalise` gives the order {attempt.order}; it must be at least 0 and below 2**40. Raise `Unreadable`"
        fail(vendor, fact, "adapter.py", "QUIRKS.md")
    "".join((attempt.attempt_id, attempt.sitting or "", *attempt.aliases, *attempt.consent)).encode()
    if attempt.watch is not None:
        "".join((*attempt.watch.reference, *attempt.watch.reference.values())).encode()
        if not math.isfinite(attempt.watch.due_in + attempt.watch.give_up_at):
            fail(vendor, "due_in and give_up_at of the watch must be finite", "adapter.py", "QUIRKS.md")
    material_digest(attempt)
    event = build_event(BRIDGE, "s", vendor.name, attempt, 1, None, origin="poll", recorded=to_datetime(now))
    json.loads(event.to_json())
    return "news" if attempt.status in PUBLISHABLE_STATUSES else "no news"


def whole(vendor: Vendor) -> Vendor:
    """A vendor with fixtures, so that an exception in it is one line."""
    if not CASES[vendor.name]:
        pytest.skip(f"{vendor.name}: no fixtures ({section_of('fixtures')})")
    return checked_vendor(vendor)


@pytest.mark.long
def test_no_value_in_any_member_ends_in_an_exception_of_python(vendor: Vendor) -> None:
    tried, outcomes, vendor = 0, set(), whole(vendor)
    judged: dict[str, Judged] = defaultdict(dict)
    for number, (file, case, foreign, path) in enumerate(CASES[vendor.name]):
        with_mark = marked(foreign, replaced(case[foreign], path, MARK))
        chosen = [text for place, text in enumerate(AWKWARD) if (place + number) % 5 == 0]
        texts = [
            [(status, body.replace(SPELT, text.encode())) for status, body in with_mark]
            for text in (*BRACKETS, *chosen)
        ]
        for place, bodies in enumerate([*texts, marked(foreign, replaced(case[foreign], path, GONE))]):
            tried += 1
            where = f"fixtures/{file}: {spelled(path)} is {clip([*BRACKETS, *chosen, 'absent'][place], 60)}"
            outcomes |= run_at(where, vendor, case, foreign, bodies, judged[file])
    assert tried > 100
    # Had nothing been read, or all of it, nothing would be proved.
    assert {"news", "refused", "quarantined"} <= outcomes


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=settings.default.max_examples * 2 // 10)
@given(data=st.data())
def test_no_json_in_a_member_ends_in_an_exception_of_python(vendor: Vendor, data: st.DataObject) -> None:
    vendor = whole(vendor)
    _, case, foreign, path = data.draw(st.sampled_from(CASES[vendor.name]))
    run(vendor, case, foreign, marked(foreign, replaced(case[foreign], path, data.draw(_JSON))), {})


@pytest.mark.needs("split")
@settings(max_examples=settings.default.max_examples * 2 // 10)
@given(body=_JSON | st.dictionaries(st.sampled_from(WORDS), _JSON, max_size=8))
def test_no_webhook_ends_in_an_exception_of_python(vendor: Vendor, body: Any) -> None:
    run(checked_vendor(vendor), {}, "webhook", marked("webhook", body), {})
