"""A revision shows another figure than the event before it, also across an update of the bridge."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.config.model import BridgeConfig
from bridge.ingest.dry_run import expected_outcome
from bridge.ingest.event_builder import build_event
from bridge.sdk.records import NormalisedAttempt, former_digest, material_digest
from bridge.vendors.coremetrix import VENDOR
from schemas.event import Assessment, Candidate, Result
from tests.support.contract.engine import SOURCE, Bridge
from tests.support.contract.stage import Clock, connect, contract_of

NOW = datetime(2026, 11, 27, tzinfo=UTC)
BRIDGE = BridgeConfig(name="acme", public_url="https://bridge.example.test")
FIGURES = st.decimals(min_value=-1_000, max_value=1_000, allow_nan=False, allow_infinity=False, places=8)


def attempt(score: Decimal | None, percentage: Decimal | None = None) -> NormalisedAttempt:
    return NormalisedAttempt(
        attempt_id="a",
        status="completed",
        candidate=Candidate(),
        assessment=Assessment(id="t"),
        result=Result(score=score, percentage=percentage, grading="final"),
    )


def shown(attempt: NormalisedAttempt) -> Any:
    event = build_event(BRIDGE, "s", "v", attempt, 1, None, origin="poll", recorded=NOW)
    return json.loads(event.to_json())["data"]["result"]


@given(FIGURES, FIGURES, st.decimals(min_value="-0.0001", max_value="0.0001", places=8))
def test_the_digest_differs_exactly_if_the_event_shows_another_figure(score, percentage, change):
    first, other = attempt(score, percentage), attempt(score + change, percentage)

    same_event = shown(first) == shown(other)

    assert (material_digest(first) == material_digest(other)) == same_event


@given(st.decimals(min_value=-1_000, max_value=1_000, allow_nan=False, allow_infinity=False, places=4))
def test_the_digest_of_a_figure_of_four_decimals_is_what_it_always_was(score):
    assert material_digest(attempt(score)) == former_digest(attempt(score))


def test_a_figure_with_more_decimals_that_an_earlier_version_remembered_is_not_revised():
    first = attempt(Decimal("248.25117341335454"))

    assert material_digest(first) != former_digest(first)
    remembered = (0, former_digest(first))
    assert expected_outcome(first, remembered) == "duplicate"
    assert expected_outcome(attempt(Decimal("248.26")), remembered) == "revised"


@pytest.mark.parametrize("memory", ["of this version", "of an earlier version"])
def test_no_revision_has_the_figures_of_the_event_before_it(state, monkeypatch, memory):
    stage = connect(VENDOR, contract_of(VENDOR).VARIANTS["documented"], Clock())
    bridge = Bridge(stage, state)
    attempt_id = stage.finish("attempts", stage.clock.now - 3_600)
    scores = stage.bench.simulator.attempt(attempt_id).scores
    model = next(iter(scores))
    scores[model] = 248.25117341335454
    with monkeypatch.context() as patch:
        if memory == "of an earlier version":
            patch.setattr("bridge.ingest.submissions.material_digest", former_digest)
        bridge.poll()

    for score in (248.25117341335454, *([248.25117341335457] if memory == "of this version" else [])):
        scores[model] = score
        stage.clock.now += 600.0
        bridge.poll()
    assert bridge.published() == [("completed", attempt_id)]

    scores[model] = 248.2513
    stage.clock.now += 600.0
    bridge.poll()
    assert bridge.published() == [("completed", attempt_id), ("revised", attempt_id)]
    assert SOURCE in bridge.events()[-1]["source"]
