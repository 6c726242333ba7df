"""Traces of polls, rechecks and backfills: a trace for each page, its calls and what it publishes within it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import redis

from bridge.errors import VendorUnavailable
from bridge.ingest import notices
from bridge.journal import Entry
from bridge.polling.backfill_jobs import Backfill
from bridge.services import Services
from schemas.event import minimal
from schemas.notice_shapes import NoticeSchema
from schemas.shapes import EventSchema
from tests.support.polling import START, Api, Sitting, journal_events, make_services, make_vendor
from tests.support.tracing import KeepingTracer, Kept, keeping
from workers.polling.backfill import BackfillCallbacks, run
from workers.polling.poll import poll_once
from workers.polling.recheck import recheck

NAME = "eu-little"


class World:
    """A vendor whose pages have three rows, and services around it; the clock stands until it is moved."""

    def __init__(self, state: redis.Redis) -> None:
        self.moment = START
        self.api = Api(clock=lambda: self.moment)
        self.services: Services = make_services(state, make_vendor(self.api), lambda: self.moment)
        self.state = state

    def sit(self, count: int) -> None:
        self.api.add(*(Sitting(f"{number:03}", START - 1000 + 10 * number) for number in range(count)))


@pytest.fixture
def world(state: redis.Redis) -> World:
    return World(state)


@pytest.fixture
def tracer() -> Iterator[KeepingTracer]:
    with keeping() as kept:
        yield kept


def children(tracer: KeepingTracer, page: Kept) -> list[str]:
    return sorted(span.name for span in tracer.ended if span.parent == page.traceparent)


def test_each_page_of_a_poll_is_a_trace_with_its_call_and_its_events(world: World, tracer: KeepingTracer) -> None:
    world.sit(4)
    poll_once(world.services, NAME)
    first, second = tracer.named(f"poll {NAME}")
    assert (first.parent, second.parent) == ("", "")
    assert children(tracer, first) == ["GET", *["publish journal"] * 3]
    assert children(tracer, second) == ["GET", "publish journal"]
    assert first.attributes == {
        "attempt_bridge.source": NAME,
        "attempt_bridge.vendor": "little",
        "attempt_bridge.stream": "results",
        "attempt_bridge.records": 3,
    }
    call = tracer.named("GET")[0]
    assert (call.kind, call.attributes["server.address"]) == ("CLIENT", "api.example.test")
    published = [span.traceparent for span in tracer.named("publish journal")]
    assert [event["traceparent"] for event in journal_events(world.state)] == published


def test_a_page_that_cannot_be_read_has_failed_by_its_reason_and_its_call_too(
    world: World, tracer: KeepingTracer
) -> None:
    def away(number: int) -> None:
        raise VendorUnavailable("CANARY")

    world.api.before = away
    poll_once(world.services, NAME)
    assert [span.reason for span in tracer.named(f"poll {NAME}")] == ["vendor_unavailable"]


def test_a_recheck_is_a_trace_and_what_is_revised_keeps_the_trace_of_its_first_event(
    world: World, tracer: KeepingTracer
) -> None:
    world.api.add(Sitting("essay", START - 10, graded=False))
    poll_once(world.services, NAME)
    world.api.find("essay").graded = True
    world.moment += 3600
    recheck(world.services, NAME)
    (read,) = tracer.named(f"recheck {NAME}")
    assert children(tracer, read) == ["GET", "publish journal"]
    events = journal_events(world.state)
    assert [event["type"] for event in events] == ["attempt.completed", "attempt.revised"]
    published = tracer.named("publish journal")
    assert [event["traceparent"] for event in events] == [span.traceparent for span in published]
    assert [span.attributes["cloudevents.event_id"] for span in published] == [event["id"] for event in events]


def test_each_page_of_a_backfill_is_a_trace_with_its_events(world: World, tracer: KeepingTracer) -> None:
    world.sit(4)
    job = Backfill(id="b", source=NAME, first=START - 2000, last=START, streams=["results"], created=START)
    callbacks = BackfillCallbacks(sleep=lambda seconds: None, show=lambda *_: None, stopping=lambda: False)
    run(world.services, job, callbacks)
    pages = tracer.named(f"backfill {NAME}")
    assert [children(tracer, page) for page in pages] == [
        ["GET", *["publish journal"] * 3],
        ["GET", "publish journal"],
    ]


def test_the_extension_is_valid_stays_in_every_projection_and_notices_have_it(
    world: World, tracer: KeepingTracer
) -> None:
    world.sit(1)
    poll_once(world.services, NAME)
    notice = notices.alarm(
        "source.poll_failing",
        NAME,
        occasion="1",
        time=START,
        state="raised",
        since=START,
        fact="f",
        value="v",
        remedy="r",
    )
    bridge = world.services.config.bridge
    submission = notices.submission(bridge, NAME, "little", notice, now=START)
    world.services.journal.publish(Entry(submissions=(submission,)), now=START)
    attempt, alarm = journal_events(world.state)
    assert alarm["traceparent"] == tracer.named("publish journal")[1].traceparent
    assert EventSchema().load(attempt).to_json() == json.dumps(attempt, separators=(",", ":")).encode()
    assert NoticeSchema().load(alarm).traceparent == alarm["traceparent"]
    assert minimal(attempt)["traceparent"] == attempt["traceparent"]


def test_without_a_tracer_an_event_has_no_such_attribute(world: World) -> None:
    world.sit(1)
    poll_once(world.services, NAME)
    (event,) = journal_events(world.state)
    assert "traceparent" not in event
