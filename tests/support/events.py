"""Events as the pipeline builds them, at random, for Hypothesis."""

from __future__ import annotations

from dataclasses import fields as dataclass_fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import strategies as st

from bridge.config.model import BridgeConfig
from bridge.ingest.event_builder import build_event
from bridge.journal import BACKFILL, BRIDGE, POLL, WEBHOOK
from bridge.sdk.vendor import GRADINGS, PUBLISHABLE_STATUSES, NormalisedAttempt
from schemas.event import Assessment, Candidate, Event, Group, Result, Section

#: In all personal data, and in nothing else, that the strategies generate.
MARK = "§"
PLAIN = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters=MARK), min_size=1, max_size=12)
PERSONAL = PLAIN.map(lambda text: MARK + text)
NAMES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True)
TIMES = st.integers(0, 130 * 365 * 86_400_000).map(
    lambda milliseconds: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
)
SCORES = st.none() | st.decimals(-(10**9), 10**9, places=4) | st.integers(0, 100).map(Decimal)
SECTIONS = st.recursive(
    st.just(()),
    lambda inner: st.lists(
        st.builds(
            Section,
            id=st.none() | PLAIN,
            name=st.none() | PLAIN,
            score=SCORES,
            max_score=SCORES,
            percentage=SCORES,
            passed=st.none() | st.booleans(),
            sections=inner,
        ),
        max_size=2,
    ).map(tuple),
    max_leaves=4,
)
RESULTS = st.builds(
    Result,
    score=SCORES,
    max_score=SCORES,
    percentage=SCORES,
    pass_mark_percentage=SCORES,
    passed=st.none() | st.booleans(),
    grade=st.none() | PLAIN,
    grading=st.sampled_from(sorted(GRADINGS)),
)
ATTEMPTS = st.builds(
    NormalisedAttempt,
    attempt_id=PLAIN,
    status=st.sampled_from(sorted(PUBLISHABLE_STATUSES)),
    candidate=st.builds(
        Candidate,
        id=st.none() | PERSONAL,
        external_id=st.none() | PERSONAL,
        email=st.none() | PERSONAL,
        name=st.none() | PERSONAL,
    ),
    assessment=st.builds(
        Assessment,
        id=PLAIN,
        name=st.none() | PLAIN,
        group=st.none() | st.builds(Group, kind=PLAIN, id=PLAIN, name=st.none() | PLAIN),
    ),
    result=RESULTS,
    started_at=st.none() | TIMES,
    completed_at=st.none() | TIMES,
    duration_seconds=st.none() | st.integers(0, 10**7),
    sections=SECTIONS,
    flags=st.lists(PLAIN, max_size=3).map(tuple),
    vendor_status=st.none() | PLAIN,
    vendor_ids=st.dictionaries(PLAIN, PLAIN, max_size=3),
    report=st.none() | PERSONAL,
    certificate=st.none() | PERSONAL,
    extensions=st.dictionaries(
        PLAIN | st.just("expectation"), st.none() | st.booleans() | st.integers() | PLAIN, max_size=3
    ),
)


@st.composite
def events(draw: st.DrawFn) -> Event:
    """An event as the pipeline builds it, about any attempt."""
    vendor, source, name = draw(NAMES), draw(NAMES), draw(NAMES)
    revision = draw(st.integers(1, 5))
    previous = None
    if revision > 1 and draw(st.booleans()):
        replaced = draw(RESULTS)
        result = {
            field.name: float(value) if isinstance(value := getattr(replaced, field.name), Decimal) else value
            for field in dataclass_fields(Result)
            if field.name != "previous"
        }
        first = draw(st.none() | st.just("2026-11-20T14:52:41.000Z"))
        previous = {"result": result, "attempt": {"completed_at": first}, "extensions": {}}
    return build_event(
        BridgeConfig(name=name, public_url="https://bridge.example.org"),
        source,
        vendor,
        draw(ATTEMPTS),
        revision,
        previous,
        origin=draw(st.sampled_from([WEBHOOK, POLL, BACKFILL, BRIDGE])),
        recorded=draw(TIMES),
        test=draw(st.booleans()),
    )
