"""A small vendor for tests of polling: real declarations, an API in memory with paging, lag, quota and faults."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import redis
import requests

from bridge.clock import to_datetime
from bridge.config.model import BridgeConfig, Config, PollConfig, Source, WebhookConfig
from bridge.quota.budgets import Window
from bridge.sdk.vendor import (
    FactSheet,
    NormalisedAttempt,
    Page,
    Poll,
    Quota,
    Record,
    SourceFacts,
    Vendor,
    VendorCalls,
    Watch,
)
from bridge.services import Services
from bridge.settings import Settings
from schemas.event import Assessment, Candidate, Result
from tests.support.clients import clients_over
from tests.support.contract.wire import session_over
from tests.support.partitions import entries

DAY = 86_400.0
START = 1_800_000_000.0


@dataclass
class Sitting:
    """What the vendor knows; it shows up in the list `lag` seconds after its finish."""

    id: str
    finished: float
    score: int = 10
    graded: bool = True
    lag: float = 0.0


@dataclass
class Api:
    """Lists sittings by finish, oldest first, `page_size` a page, from the cursor's second on (or after it)."""

    clock: Callable[[], float]
    page_size: int = 3
    inclusive: bool = True
    streams: dict[str, list[Sitting]] = field(default_factory=lambda: {"results": []})
    #: Called before every answer with the number of the call; may raise.
    before: Callable[[int], None] = lambda number: None
    calls: list[str] = field(default_factory=list)

    def add(self, *sittings: Sitting, stream: str = "results") -> None:
        self.streams[stream] += sittings

    def find(self, sitting_id: str) -> Sitting:
        return next(row for rows in self.streams.values() for row in rows if row.id == sitting_id)

    def page(self, stream: str, cursor: str) -> Page:
        self.calls.append(f"{stream} {cursor}")
        self.before(len(self.calls))
        after, skip = _split(cursor)
        rows = sorted(
            (stream for stream in self.streams[stream] if stream.finished + stream.lag <= self.clock()),
            key=lambda item: (item.finished, item.id),
        )
        rows = [row for row in rows if row.finished > after or (self.inclusive and row.finished == after)]
        shown, rest = rows[skip : skip + self.page_size], rows[skip + self.page_size :]
        if not shown:
            return Page(records=(), cursor=None, more=False)
        last = shown[-1].finished
        same = sum(1 for row in rows[: skip + len(shown)] if row.finished == last) if self.inclusive else 0
        cursor = f"{last:.0f}" if not rest or not same else f"{last:.0f}+{same}"
        return Page(records=tuple(_record(sitting) for sitting in shown), cursor=cursor, more=bool(rest))

    def sitting(self, sitting_id: str) -> Sequence[Record]:
        self.calls.append(f"one {sitting_id}")
        self.before(len(self.calls))
        return (_record(self.find(sitting_id)),)


class Client:
    """The vendor's client: each call is one over HTTP, inside the budget; what it says comes from `Api`."""

    def __init__(self, api: Api, calls: VendorCalls) -> None:
        self.api = api
        self.calls = calls

    def page(self, stream: str, cursor: str) -> Page:
        self.calls.request("GET", f"https://api.example.test/{stream}")
        return self.api.page(stream, cursor)

    def sitting(self, reference: Mapping[str, str]) -> Sequence[Record]:
        self.calls.request("GET", "https://api.example.test/one")
        return self.api.sitting(reference["sitting"])


SHEET = FactSheet(
    signs="",
    identity="",
    webhook_means="",
    look_back="",
    quota="",
    documented=(),
    observed=(),
    assumed=(),
    ask=(),
)


def make_vendor(api: Api, *, recheck: bool = True, normalise: Callable[..., NormalisedAttempt] | None = None) -> Vendor:
    """The declaration; cursors are `<UNIX seconds>` or, inside a second, `<UNIX seconds>+<rows read of it>`."""

    def poll(stream: str) -> Poll:
        return Poll(
            fetch=lambda client, cursor: client.page(stream, cursor),
            rewind=lambda cursor, seconds: f"{_split(cursor)[0] - seconds:.0f}",
            start=lambda moment, _until: f"{moment:.0f}",
            position=lambda cursor: _split(cursor)[0],
        )

    return Vendor(
        name="little",
        title="Little",
        base_url="https://api.example.test",
        quota=Quota(calls=1000, per_seconds=3600),
        credentials={},
        sheet=SHEET,
        split=lambda body, _options: [Record("results", body)],
        normalise=normalise or _normalise,
        connect=lambda source, calls: Client(api, calls),
        polls={stream: poll(stream) for stream in api.streams},
        recheck=(lambda client, reference: client.sitting(reference)) if recheck else None,
        recheck_schedule=(60.0, 600.0),
    )


def _empty_answers() -> requests.Session:
    return session_over(lambda *_: (200, {}, b""))


def make_services(
    client: redis.Redis,
    vendor: Vendor,
    clock: Callable[[], float],
    *,
    poll: PollConfig | None = None,
    budget: tuple[int, float] = (1000, 3600.0),
    vendor_session: Callable[[], requests.Session] = _empty_answers,
) -> Services:
    """Services with one source; `vendor_session` is for vendors whose client makes HTTP calls."""
    source = Source(
        name="eu-little",
        vendor=vendor.name,
        base_url=vendor.base_url,
        credentials={},
        webhook=WebhookConfig(),
        poll=poll or PollConfig(every=300, overlap=100, look_back=DAY),
        budget=Window(*budget),
        options={},
    )
    config = Config(
        path=Path("bridge.yaml"),
        bridge=BridgeConfig(name="acme", public_url="http://bridge.example.test"),
        sources={source.name: source},
        subscriptions={},
    )
    return Services(
        settings=Settings(),
        config=config,
        vendors={vendor.name: vendor},
        state_url="redis://unused.invalid/0",
        broker_url="redis://unused.invalid/1",
        clients=clients_over(client, vendor_session),
        now=clock,
    )


def with_source(services: Services, **changes: Any) -> Services:
    """The same services with a changed source."""
    (source,) = services.config.sources.values()
    config = replace(services.config, sources={source.name: replace(source, **changes)})
    return replace(services, config=config)


def journal(client: redis.Redis) -> list[tuple[str, str]]:
    """(type, attempt id) of everything published, in order."""
    return [(fields[b"type"].decode(), fields[b"attempt"].decode()) for _, fields in entries(client)]


def journal_events(client: redis.Redis) -> list[dict[str, Any]]:
    return [json.loads(fields[b"event"]) for _, fields in entries(client)]


def _split(cursor: str) -> tuple[float, int]:
    moment, _, skip = cursor.partition("+")
    return float(moment), int(skip or 0)


def _record(sitting: Sitting) -> Record:
    return Record(
        "results",
        {"id": sitting.id, "finished": sitting.finished, "score": sitting.score, "graded": sitting.graded},
    )


def _normalise(record: Record, now: float, _options: Mapping[str, Any]) -> NormalisedAttempt:
    row = record.body
    graded = row["graded"]
    return NormalisedAttempt(
        attempt_id=f"a:{row['id']}",
        status="completed",
        candidate=Candidate(id="c"),
        assessment=Assessment(id="t"),
        result=Result(score=Decimal(row["score"]), max_score=Decimal(20), grading="final" if graded else "provisional"),
        completed_at=to_datetime(row["finished"]),
        order=int(row["finished"]) * 2 + int(graded),
        watch=None
        if graded
        else Watch(reference={"sitting": row["id"]}, due_in=60.0, give_up_at=row["finished"] + 90 * DAY),
    )


__all__ = [
    "DAY",
    "START",
    "Api",
    "Client",
    "Sitting",
    "SourceFacts",
    "journal",
    "journal_events",
    "make_services",
    "make_vendor",
    "with_source",
]
