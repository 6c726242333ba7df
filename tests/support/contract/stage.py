"""What the contract suites stand on: a vendor, its simulator as a bench, and a client connected to it.

A `Bench` is the vendor's simulator with the few verbs the suites need; see docs/adding-a-vendor.md, "Contract".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import pytest

from bridge import registry
from bridge.sdk.strict_json import parse
from bridge.sdk.vendor import (
    Consent,
    Ignored,
    NormalisedAttempt,
    Pointer,
    Poll,
    Record,
    Resume,
    Vendor,
    material_digest,
    streams,
)
from tests.support.contract.capabilities import NOW, contract_of, missing
from tests.support.contract.checked import CheckedBench, checked_vendor, fail
from tests.support.contract.wire import Facts, calls_over, wsgi

__all__ = ["NOW", "Bench", "Clock", "Stage", "connect", "contract_of", "folder", "options_of", "polls_of", "require"]

#: A schedule may lead to its candidates and these to their attempts; more would be a circle.
_HOPS = 10


class Bench(Protocol):
    """What a vendor's `contract.py` offers for one variant.

    Two verbs are optional, together: `begin(stream, started) -> attempt id`, somebody begins and is not done yet, and
    `complete(attempt_id, at)`. A vendor that lists attempts by their beginning (`Poll.low_water`) must have them.
    `one_path_only`, optional: members of `NormalisedAttempt`, such as `assessment.name`, that webhook or poll alone can
    fill. `spoil(attempt_id)`, optional: the API lists that attempt with a time that is none. `visible_after`,
    `hide(attempt_id)`, `show(attempt_id)`, optional, together: rounds go back at least so many seconds, for rows that
    appear late; the API does not list an attempt; it lists it again. `one_page_per_second`, optional: True if the API
    lists no more rows of one second than a page holds. `restricted`, `elsewhere(at) -> attempt id`, optional, together:
    options of a source that reads a part of the account; somebody finishes outside of that part. `names_only` and
    `refusal`, optional, together: a pattern of the paths of calls that only supply names, and the vendor's refusal.
    `part`, `part_ids`, `part_name`, optional, together: a pattern of the paths of calls about one part of the vendor's
    list, how the ids of its attempts begin, and what an alarm calls it.
    """

    options: Mapping[str, Any]
    credentials: Mapping[str, tuple[str, ...]]
    secret: str
    #: Members of an expectation that webhook, operator and vendor may spell differently.
    spellings: tuple[str, ...]
    wsgi: Any

    def finish(self, stream: str, at: int, *, started: int | None = None, graded: bool = True) -> str: ...
    def retake(self, attempt_id: str, at: int) -> str: ...
    def grade(self, attempt_id: str) -> None: ...
    def revise(self, attempt_id: str, at: int) -> None: ...
    def webhook(self, attempt_id: str) -> tuple[bytes, Mapping[str, str]]: ...
    def sign(self, raw: bytes, secret: str) -> Mapping[str, str]: ...
    def expectation(self, attempt_id: str) -> Mapping[str, str]: ...


@dataclass(slots=True)
class Clock:
    now: float = NOW

    def __call__(self) -> float:
        return self.now


@dataclass
class Stage:
    """A vendor, its bench, and a client connected to it.

    `finished`: id of each attempt that `finish` and `retake` made, as published -> id without the sitting's number.
    """

    vendor: Vendor
    build: Callable[[Clock], Bench]
    bench: Bench
    clock: Clock
    options: Mapping[str, Any]
    client: Any = None
    before_call: Callable[[], None] = lambda: None
    finished: dict[str, str] = field(default_factory=dict)

    @property
    def stream(self) -> str:
        """The first stream that is no sweep, or "" where there is none."""
        return next((name for name, poll in self.vendor.polls.items() if poll.sweep is None), "")

    @property
    def polls(self) -> dict[str, Poll]:
        return polls_of(self.vendor, self.options)

    def another(self) -> Stage:
        """A second, empty account of the same kind."""
        return connect(self.vendor, self.build, self.clock)

    # What candidates do -------------------------------------------------------------------------------------------

    def finish(self, stream: str, at: float, *, started: float | None = None, graded: bool = True) -> str:
        began = None if started is None else int(started)
        attempt_id = self.bench.finish(stream, int(at), started=began, graded=graded)
        self.finished[attempt_id] = attempt_id
        return attempt_id

    def retake(self, attempt_id: str, at: float) -> str:
        again = self.bench.retake(attempt_id, int(at))
        self.finished[again] = self.finished[attempt_id] if self.vendor.sittings else again
        return again

    # What the bridge reads ----------------------------------------------------------------------------------------

    def by_webhook(self, attempt_id: str) -> NormalisedAttempt:
        """The webhook about this attempt as sent now; where it only points, what a worker finds there."""
        records: list[Record] = []
        for item in self.webhook_content(attempt_id):
            if isinstance(item, Pointer):
                records += self.recheck(item.reference)
            elif isinstance(item, Record):
                records.append(item)
        return self.only(attempt_id, records)

    def webhook_content(self, attempt_id: str) -> Sequence[Record | Pointer | Consent]:
        """What `split` makes of the webhook about this attempt as sent now."""
        reading = self.vendor.split(parse(self.bench.webhook(attempt_id)[0]), self.options)
        if isinstance(reading, Ignored):
            fact = f'`split` ignores the webhook about {attempt_id}, as "{reading.kind}"'
            return fail(self.vendor, fact, "adapter.py", "split")
        return reading

    def sittings(self, stream: str, attempt_id: str) -> set[str | None]:
        """Of vendors with sittings: their own ids of the sitting that is read first."""
        if self.vendor.split is None:
            return {self.read_back(stream, attempt_id).sitting}
        content = self.webhook_content(attempt_id)
        return {(item if isinstance(item, Pointer) else self.normalise(item)).sitting for item in content}

    def first_seen(self, stream: str, attempt_id: str) -> NormalisedAttempt:
        """By webhook, or without webhooks by poll."""
        return self.read_back(stream, attempt_id) if self.vendor.split is None else self.by_webhook(attempt_id)

    def read_back(self, stream: str, attempt_id: str) -> NormalisedAttempt:
        """The same attempt in a round over the last day."""
        records, _ = self.records(stream, self.start(stream, self.clock.now - 86_400))
        return self.only(attempt_id, records)

    def recheck(self, reference: Mapping[str, str], hops: int = _HOPS) -> list[Record]:
        """What `recheck` finds, also behind the pointers that it finds, and after each `Resume` that leads further."""
        if not hops:
            fact = f"`recheck` leads on and on, in the end to {dict(reference)}"
            return fail(self.vendor, fact, "client.py", "recheck")
        if self.vendor.recheck is None:
            return fail(self.vendor, "there is a Pointer, and no `recheck` that reads it", "__init__.py", "recheck")
        results: list[Record] = []
        further: list[Resume] = []
        for item in self.vendor.recheck(self.client, reference):
            if isinstance(item, Resume):
                further.append(item)
            else:
                results += self.recheck(item.reference, hops - 1) if isinstance(item, Pointer) else [item]
        if not results and further and further[0].reference != reference:
            return self.recheck(further[0].reference, hops - 1)
        return results

    def only(self, attempt_id: str, records: Sequence[Record], by: str = "normalise") -> NormalisedAttempt:
        """The one version of an attempt among these records; there may be other attempts. `by`: what read them."""
        read = [self.normalise(record) for record in records]
        attempts = [attempt for attempt in read if attempt.attempt_id == self.finished[attempt_id]]
        versions = list({material_digest(attempt): attempt for attempt in attempts}.values())
        if not versions:
            ids = ", ".join(sorted({attempt.attempt_id for attempt in read})) or "nothing"
            file = "client.py" if by == "recheck" else "adapter.py"
            return fail(self.vendor, f"attempt {attempt_id} is not in what `{by}` read: {ids}", file, by)
        if len(versions) > 1:
            fact = f"attempt {attempt_id} was read in {len(versions)} versions with different results at once"
            return fail(self.vendor, fact, "adapter.py", "normalise")
        return versions[0]

    def normalise(self, record: Record) -> NormalisedAttempt:
        return self.vendor.normalise(record, self.clock.now, self.options)

    def round(self, stream: str, cursor: str | None) -> tuple[list[NormalisedAttempt], str | None]:
        """One whole round: what was read, in order and with repetitions, and the cursor it ended with."""
        records, cursor = self.records(stream, cursor)
        return [self.normalise(record) for record in records], cursor

    def records(self, stream: str, cursor: str | None) -> tuple[list[Record], str | None]:
        """The same before normalising. Without streams: a recheck of everything that an operator would expect."""
        if not stream:
            references = [self.bench.expectation(attempt_id) for attempt_id in self.finished]
            pointers = [self.vendor.expect(reference, self.options) for reference in references]
            return [record for pointer in pointers for record in self.recheck(pointer.reference)], None
        read: list[Record] = []
        seen = {cursor}
        while True:
            page = self.polls[stream].fetch(self.client, cursor)
            read += page.records
            cursor = cursor if page.cursor is None else page.cursor
            if not page.more:
                return read, cursor
            if cursor in seen:
                fact = f"`fetch` of {stream} promises more behind a cursor that it was given before: {cursor}"
                return fail(self.vendor, fact, "client.py", "fetch")
            seen.add(cursor)

    def start(self, stream: str, moment: float) -> str | None:
        return self.polls[stream].start(moment, None) if stream else None


def connect(vendor: Vendor, build: Callable[[Clock], Bench], clock: Clock) -> Stage:
    bench: Any = CheckedBench(vendor, build(clock))
    options = options_of(vendor, bench.options)
    stage = Stage(checked_vendor(vendor), build, bench, clock, options)
    facts = Facts(name="bench", credentials=bench.credentials, options=options)
    calls = calls_over(wsgi(bench.wsgi), facts, clock, lambda: stage.before_call())
    stage.client = stage.vendor.connect(facts, calls)
    return stage


def require(stage: Stage, *members: str) -> None:
    """Skip the test if vendor or bench lacks one of these, as the mark `needs` does. For what is known only later."""
    if reason := missing(stage.vendor, stage.bench, *members):
        pytest.skip(reason)


def options_of(vendor: Vendor, given: Mapping[str, Any]) -> dict[str, Any]:
    """Options completed by their defaults, as a source has them."""
    return {name: option.default for name, option in vendor.options.items()} | dict(given)


def polls_of(vendor: Vendor, options: Mapping[str, Any]) -> dict[str, Poll]:
    """Stream of the vendor -> how it is polled; of one for each listed item: that of the first item."""
    polls: dict[str, Poll] = {}
    expanded = streams(vendor, options)
    for name, poll in vendor.polls.items():
        items = [name] if poll.per is None else [stream for stream in expanded if stream.startswith(f"{name}:")]
        if not items:
            fail(
                vendor,
                f'`options` of the bench list no {poll.per}: {{"{poll.per}": ("some id",)}}',
                "contract.py",
                "polls",
            )
        polls[name] = expanded[items[0]]
    return polls


def module_of(vendor: Vendor) -> str:
    return registry.package(vendor.name)


def folder(vendor: Vendor) -> Path:
    return Path(import_module(module_of(vendor)).__file__).parent
