"""The contract suites: every vendor folder that the registry finds, in every variant its `contract.py` declares.

A `Bench` is the vendor's simulator with the few verbs the suites need; see docs/adding-a-vendor.md, "Contract".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import pytest
from werkzeug.test import Client as WsgiClient

from bridge import vendors as vendors_package
from bridge.errors import Unreadable
from bridge.registry import vendors
from bridge.strict_json import parse
from bridge.vendor import Ignored, Normalised, Record, Vendor, material_digest

#: The moment at which every contract test begins.
NOW = 1_795_000_000


class Bench(Protocol):
    """What a vendor's `contract.py` offers for one variant."""

    options: Mapping[str, Any]
    credentials: Mapping[str, tuple[str, ...]]
    secret: str
    wsgi: Any

    def finish(self, stream: str, at: int, *, started: int | None = None, graded: bool = True) -> str: ...
    def retake(self, attempt_id: str, at: int) -> str: ...
    def grade(self, attempt_id: str) -> None: ...
    def reopen(self, attempt_id: str, at: int) -> None: ...
    def webhook(self, attempt_id: str) -> tuple[bytes, Mapping[str, str]]: ...
    def sign(self, raw: bytes, secret: str) -> Mapping[str, str]: ...


@dataclass(slots=True)
class Clock:
    now: float = NOW

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The least a vendor folder may know of a source (`bridge.vendor.SourceFacts`)."""

    name: str
    base_url: str
    credentials: Mapping[str, tuple[str, ...]]
    options: Mapping[str, Any]


class DirectCalls:
    """`VendorCalls` straight into a WSGI app: real requests and answers, no socket."""

    def __init__(self, wsgi: Any, now: Callable[[], float]) -> None:
        self.client = WsgiClient(wsgi)
        self.now = now
        self.before_call: Callable[[], None] = lambda: None

    def request(
        self,
        method: str,
        url: str,
        *,
        params: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        free: bool = False,
    ) -> tuple[int, Mapping[str, str], bytes]:
        self.before_call()
        answer = self.client.open(url, method=method, query_string=list(params), headers=headers, data=body)
        return answer.status_code, {name.lower(): value for name, value in answer.headers.items()}, answer.data


@dataclass
class Stage:
    """A vendor, its bench, and a client connected to it."""

    vendor: Vendor
    bench: Bench
    clock: Clock
    calls: DirectCalls
    client: Any
    options: Mapping[str, Any]

    def by_webhook(self, attempt_id: str) -> Normalised:
        raw, _ = self.bench.webhook(attempt_id)
        reading = self.vendor.split(parse(raw), self.options)
        assert not isinstance(reading, Ignored)
        [record] = reading
        return self.vendor.normalise(record, self.clock.now, self.options)

    def round(self, stream: str, cursor: str | None) -> tuple[list[Normalised], str | None]:
        """One whole round: what was read, in order and with repetitions, and the cursor it ended with."""
        records, cursor = self.records(stream, cursor)
        return [self.vendor.normalise(record, self.clock.now, self.options) for record in records], cursor

    def records(self, stream: str, cursor: str | None) -> tuple[list[Record], str | None]:
        read: list[Record] = []
        seen = {cursor}
        while True:
            page = self.vendor.polls[stream].fetch(self.client, cursor)
            read += page.records
            cursor = cursor if page.cursor is None else page.cursor
            if not page.more:
                return read, cursor
            assert cursor not in seen, "the cursor stands still or goes in circles"
            seen.add(cursor)

    def start(self, stream: str, moment: float) -> str:
        return self.vendor.polls[stream].start(moment, None)


def connect(vendor: Vendor, bench: Bench, clock: Clock) -> Stage:
    defaults = {name: option.default for name, option in vendor.options.items()}
    facts = Facts(
        name="bench",
        base_url="http://vendor.test",
        credentials=bench.credentials,
        options=defaults | dict(bench.options),
    )
    calls = DirectCalls(bench.wsgi, clock)
    return Stage(vendor, bench, clock, calls, vendor.connect(facts, calls), facts.options)


def folder(vendor: Vendor) -> Path:
    return Path(vendors_package.__path__[0]) / vendor.name.replace("-", "_")


def contract_of(vendor: Vendor) -> Any:
    return import_module(f"{vendors_package.__name__}.{vendor.name.replace('-', '_')}.contract")


class CannedCalls:
    """Answers every call with the same bytes."""

    def __init__(self, body: bytes, now: float) -> None:
        self.body = body
        self.now = lambda: now

    def request(self, *_args: Any, **_options: Any) -> tuple[int, Mapping[str, str], bytes]:
        return 200, {}, self.body


def options_of(vendor: Vendor, case: Mapping[str, Any]) -> dict[str, Any]:
    return {name: option.default for name, option in vendor.options.items()} | case.get("options", {})


def read_fixture(vendor: Vendor, case: Mapping[str, Any]) -> Any:
    """What a fixture becomes: normalised records, or why there are none."""
    if "webhook" in case:
        reading = vendor.split(parse(json.dumps(case["webhook"]).encode()), options_of(vendor, case))
        if isinstance(reading, Ignored):
            return {"ignored": reading.kind, "outcome": reading.outcome}
        return [_news_or_problem(vendor, record, case) for record in reading]
    body = case["answer"] if isinstance(case["answer"], str) else json.dumps(case["answer"])
    facts = Facts(
        name="fixture",
        base_url="http://vendor.test",
        credentials=dict.fromkeys(vendor.credentials, ("invented",)),
        options=options_of(vendor, case),
    )
    client = vendor.connect(facts, CannedCalls(body.encode(), case["now"]))
    page = vendor.polls[case["poll"]].fetch(client, case["cursor"])
    records = [_news_or_problem(vendor, record, case) for record in page.records]
    return {"cursor": page.cursor, "more": page.more, "records": records}


def _news_or_problem(vendor: Vendor, record: Record, case: Mapping[str, Any]) -> dict[str, Any]:
    try:
        news = vendor.normalise(record, case["now"], options_of(vendor, case))
    except Unreadable as error:
        return {"unreadable": str(error)}
    return json.loads(json.dumps(asdict(news), default=_plain)) | {"digest": material_digest(news).hex()}


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    assert isinstance(value, datetime), f"{type(value)} in a Normalised"
    return value.isoformat()


_VARIANTS = [(vendor, variant) for vendor in vendors().values() for variant in contract_of(vendor).VARIANTS]
_STREAMS = [(vendor, variant, stream) for vendor, variant in _VARIANTS for stream in vendor.polls]
_FIXTURES = [
    (vendor, path) for vendor in vendors().values() for path in sorted((folder(vendor) / "fixtures").glob("*.in.json"))
]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`vendor`: each vendor; with `fixture_path`: each of their fixtures.

    `stage`: each variant of each vendor; with `stream`: each of their streams.
    """
    names = metafunc.fixturenames
    if "stream" in names:
        cases = [
            pytest.param((vendor, variant), stream, id=f"{vendor.name}-{variant}-{stream}")
            for vendor, variant, stream in _STREAMS
        ]
        metafunc.parametrize(("stage", "stream"), cases, indirect=["stage"])
    elif "stage" in names:
        cases = [pytest.param(case, id=f"{case[0].name}-{case[1]}") for case in _VARIANTS]
        metafunc.parametrize("stage", cases, indirect=True)
    elif "fixture_path" in names:
        cases = [
            pytest.param(vendor, path, id=f"{vendor.name}-{path.name.removesuffix('.in.json')}")
            for vendor, path in _FIXTURES
        ]
        metafunc.parametrize(("vendor", "fixture_path"), cases)
    elif "vendor" in names:
        metafunc.parametrize("vendor", list(vendors().values()), ids=list(vendors()))


@pytest.fixture
def stage(request: pytest.FixtureRequest) -> Stage:
    vendor, variant = request.param
    clock = Clock()
    return connect(vendor, contract_of(vendor).VARIANTS[variant](clock), clock)


@pytest.fixture
def read() -> Callable[[Vendor, Mapping[str, Any]], Any]:
    return read_fixture


@pytest.fixture
def vendor_folder(vendor: Vendor) -> Path:
    return folder(vendor)
