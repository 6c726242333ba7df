"""An answer of the vendor's API may be older than the webhook that came while it was on its way."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import redis

from bridge.ingest.pipeline import ingest
from bridge.ingest.read_start import read_start
from bridge.sdk.vendor import NormalisedAttempt, Record
from tests.support.pointing import NAME, World
from tests.support.polling import START, Sitting, journal_events
from workers.polling.recheck import recheck

PENDING = {"id": "ann-1", "finished": START - 10, "score": 5, "graded": False}
FINAL = {**PENDING, "score": 17, "graded": True}


@pytest.fixture
def world(state: redis.Redis) -> World:
    """Webhooks have results, and no result has an order."""
    world = World(state)
    plain, asks = world.vendor.normalise, world.vendor.recheck
    assert asks is not None

    def normalise(record: Record, now: float, options: Mapping[str, Any]) -> NormalisedAttempt:
        body = {**record.body, "finished": float(record.body["finished"])}
        return replace(plain(replace(record, body=body), now, options), order=0)

    def answer(client: Any, reference: Mapping[str, str]) -> Sequence[Any]:
        records = [*asks(client, reference)]
        during(world)
        return records

    world.use(
        replace(
            world.vendor,
            split=lambda body, _options: [Record("results", body)],
            normalise=normalise,
            recheck=answer,
        )
    )
    return world


_during: list[Callable[[], object]] = []


def during(world: World) -> None:
    while _during:
        _during.pop()()


def scores(world: World) -> list[float]:
    return [event["data"]["result"]["score"] for event in journal_events(world.client)]


def test_a_recheck_that_began_before_a_webhook_does_not_publish_over_it(world: World) -> None:
    world.webhook(**PENDING)
    world.api.add(Sitting("ann-1", START - 10, score=6, graded=False))
    world.moment += 60
    _during.append(lambda: world.webhook(**FINAL))
    assert recheck(world.services, NAME).outcomes == {"stale": 1}
    assert scores(world) == [5, 17]


def test_what_may_be_newer_than_the_webhook_is_asked_for_again(world: World) -> None:
    world.webhook(**PENDING)
    world.api.add(Sitting("ann-1", START - 10, score=17))
    world.moment += 60
    _during.append(lambda: world.webhook(**{**PENDING, "score": 6}))
    assert recheck(world.services, NAME).outcomes == {"stale": 1}
    assert [key for _, key in world.watched] == ["a:ann-1"]
    world.run(120)
    assert scores(world) == [5, 6, 17]
    assert world.watched == []


def test_a_page_keeps_the_watch_of_what_was_published_since_it_was_asked_for(world: World) -> None:
    context = world.services.ingest_context(NAME)
    early = read_start(context)
    ingest(context, [Record("results", PENDING)], now=world.moment, as_of=read_start(context))
    report = ingest(context, [Record("results", FINAL)], now=world.moment, as_of=early)
    assert +report.outcomes == {"stale": 1}
    assert [key for _, key in world.watched] == ["a:ann-1"]
    report = ingest(context, [Record("results", FINAL)], now=world.moment, as_of=read_start(context))
    assert +report.outcomes == {"revised": 1}
    assert world.watched == []


def test_two_versions_in_one_page_are_published_one_after_the_other(world: World) -> None:
    context = world.services.ingest_context(NAME)
    page = [Record("results", {**FINAL, "score": score}) for score in (1, 2, 3)]
    report = ingest(context, page, now=world.moment, as_of=read_start(context))
    assert +report.outcomes == {"published": 1, "revised": 2}
    assert scores(world) == [1, 2, 3]


def test_an_order_decides_where_there_is_one(world: World) -> None:
    unordered = world.vendor.normalise

    def normalise(record: Record, now: float, options: Mapping[str, Any]) -> NormalisedAttempt:
        return replace(unordered(record, now, options), order=int(record.body["score"]))

    world.use(replace(world.vendor, normalise=normalise))
    context = world.services.ingest_context(NAME)
    early = read_start(context)
    world.webhook(**PENDING)
    assert ingest(context, [Record("results", FINAL)], now=world.moment, as_of=early).published_ids == ["a:ann-1"]
