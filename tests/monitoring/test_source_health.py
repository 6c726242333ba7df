"""What is wrong with a source, from its facts: polls that fail, calls that are gone, credentials that are refused."""

from __future__ import annotations

import math
import random
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from typing import Any, cast

import pytest
import redis

from bridge.errors import BudgetExhausted
from bridge.monitoring.source_health import SourceFacts, SourceProblem, StreamFacts, assess, with_quota_state
from bridge.monitoring.traffic_baseline import observe
from bridge.polling.cursors import RoundReport, StreamPosition
from bridge.quota.budgets import OVERDUE, POINTER, POLL, Budgets, Pause
from bridge.quota.windows import Window
from bridge.state import keys
from schemas.notices import ALARM_TYPES, BUDGET_EXHAUSTED, CREDENTIALS_REJECTED, POLL_FAILING, WEBHOOKS_SILENT
from tests.support.watching import DAY, HOUR, MINUTE, MONDAY, WINDOW, budget

NOW = MONDAY + 10 * HOUR
ERROR = "source eu: GET /v1/results: HTTP 502"
REFUSED = Pause(math.inf, "source eu: the vendor answered 403 to GET /v1/results")
ON_PURPOSE = Pause(math.inf, "paused by an operator")
TRAFFIC = replace(observe(None, now=NOW, counts={}, rounds=()), watched_since=NOW - DAY)


def failed(*minutes_ago: float, stream: str = "results", error: str | None = ERROR) -> list[RoundReport]:
    return [
        RoundReport(stream=stream, from_cursor="", to_cursor="", started=NOW - minutes * MINUTE, error=error)
        for minutes in minutes_ago
    ]


def stream(saved_ago: float | None, *rounds: RoundReport, every: float = 300.0, name: str = "results") -> StreamFacts:
    position = StreamPosition(saved=None if saved_ago is None else NOW - saved_ago * MINUTE)
    return StreamFacts.of(name, every, position, rounds)


def facts(**changes: Any) -> SourceFacts:
    known: dict[str, Any] = {
        "name": "eu",
        "now": NOW,
        "paused": False,
        "webhooks": True,
        "traffic": TRAFFIC,
        "hourly": {},
        "streams": (stream(1),),
        "budget": budget(),
        "raised": {},
    }
    return SourceFacts(**{**known, **changes})


def test_a_working_source_has_no_problem() -> None:
    assert assess(facts()) == dict.fromkeys(ALARM_TYPES)


def test_a_paused_source_is_not_assessed() -> None:
    assert assess(facts(paused=True, budget=budget(pause=ON_PURPOSE), streams=(stream(5000),))) == {}


@pytest.mark.parametrize(
    ("polled", "fails"),
    [
        (stream(26, *failed(1, 6, 11, 16, 21)), True),
        (stream(21, *failed(1, 6, 11, 16)), False),
        # Rounds that read a page before they broke off did get through.
        (stream(0.5, *failed(1, 6, 11, 16, 21, 26, 31, 36)), False),
        # Five in ten seconds are one stumble of the vendor.
        (stream(1, *failed(0.1, 0.2, 0.3, 0.4, 0.5), every=2.0), False),
        (stream(29), False),
        (stream(31), True),
        (stream(29, every=60.0), True),
        # A slow rhythm has time.
        (stream(300, every=HOUR), False),
        (stream(361, every=HOUR), True),
        (stream(26, *failed(1, 6, 11, 16, 21, stream="other")), False),
        (stream(26, *failed(1, 6, 11, 16, 21, error=None)), False),
        (stream(None, *failed(1, 6, 11, 16, 21)), True),
    ],
)
def test_a_stream_fails_after_five_rounds_or_six_intervals(polled: StreamFacts, fails: bool) -> None:
    assert (assess(facts(streams=(stream(1, name="fine"), polled)))[POLL_FAILING] is not None) is fails


def test_a_failing_stream_is_named_with_its_last_error() -> None:
    problem = assess(facts(streams=(stream(26, *failed(1, 6, 11, 16, 21)),)))[POLL_FAILING]
    assert problem is not None
    assert problem.value == f"results: nothing read for 26m; failed rounds: 5; {ERROR}"
    assert problem.since == NOW - 26 * MINUTE


def test_an_outage_of_ours_is_not_a_failure_of_the_vendor() -> None:
    """The bridge was stopped for a day and has been up for five minutes: its first round is still to come."""
    up = replace(TRAFFIC, watched_since=NOW - 5 * MINUTE)
    old = stream(1440, *failed(1436, 1437, 1438, 1439, 1439.5))
    assert assess(facts(traffic=up, streams=(old,)))[POLL_FAILING] is None


def dry_for(seconds: float) -> dict[str, Any]:
    return {"traffic": replace(TRAFFIC, no_calls_since=NOW - seconds, no_calls_at=NOW), "budget": budget(left=0)}


def test_a_budget_is_exhausted_after_the_length_of_its_window_and_polling_is_not_blamed() -> None:
    long_silent = (stream(500),)
    short = assess(facts(**dry_for(HOUR - 1), streams=long_silent))
    assert short[BUDGET_EXHAUSTED] is None
    assert POLL_FAILING not in short
    problem = assess(facts(**dry_for(HOUR), streams=long_silent))[BUDGET_EXHAUSTED]
    assert problem is not None
    assert problem.value == "30 of 30 calls per 1h used (no spender), for 1h"


@pytest.mark.parametrize(("per", "after"), [(60.0, 600.0), (900.0, 900.0), (DAY, HOUR)])
def test_the_time_until_a_budget_counts_as_exhausted_has_limits(per: float, after: float) -> None:
    spent = replace(budget(left=0), window=Window(30, per))
    for seconds, raised in ((after - 1, False), (after, True)):
        result = assess(facts(traffic=dry_for(seconds)["traffic"], budget=spent))[BUDGET_EXHAUSTED]
        assert (result is not None) is raised


def test_a_vendor_that_asks_us_to_wait_is_distinguished_from_our_quota() -> None:
    waiting = {**dry_for(HOUR), "budget": budget(pause=Pause(NOW + HOUR, "HTTP 429"))}
    problem = assess(facts(**waiting))[BUDGET_EXHAUSTED]
    assert problem is not None
    assert "asks us to wait" in problem.fact


def test_single_calls_do_not_end_an_exhausted_quota() -> None:
    traffic = with_quota_state(TRAFFIC, budget(left=0), polled=True, now=NOW)
    assert traffic.no_calls_since == NOW
    for minutes, left in ((1, 30), (2, 0), (3, 30), (6, 30)):
        traffic = with_quota_state(traffic, budget(left=left), polled=True, now=NOW + minutes * MINUTE)
    assert traffic.no_calls_since == NOW
    assert with_quota_state(traffic, budget(), polled=True, now=NOW + 7 * MINUTE).no_calls_since is None


@pytest.mark.long
@pytest.mark.parametrize("polled", [True, False])
@pytest.mark.parametrize("says", [None, 4, 12, 40], ids=lambda says: f"vendor says {says}")
def test_no_calls_are_left_exactly_when_the_budget_would_refuse_one(
    state: redis.Redis, polled: bool, says: int | None
) -> None:
    budgets, draw, answers = Budgets(state), random.Random(says or 0), Counter[bool]()
    if says is not None:
        budgets.record_vendor_limit("eu", says, NOW + HOUR, NOW, limit=max(says, 20))
    for number in range(60):
        with suppress(BudgetExhausted):
            budgets.take("eu", WINDOW, NOW, spender=draw.choice((OVERDUE, POINTER, POLL)), polled=polled)
        status = budgets.status("eu", WINDOW, NOW)
        dry = with_quota_state(TRAFFIC, status, polled=polled, now=NOW).no_calls_since is not None
        twin = f"twin-{polled}-{number}"
        try:
            budgets.take(twin_of(state, twin), WINDOW, NOW, spender=POLL if polled else OVERDUE, polled=polled)
            refused = False
        except BudgetExhausted:
            refused = True
        assert dry is refused, status
        answers[dry] += 1
    assert set(answers) == {True, False}


def twin_of(state: redis.Redis, name: str) -> str:
    """A source in exactly the state of `eu`, so that trying takes nothing from it."""
    for key in (keys.budget, keys.vendor_limit):
        stored = cast("bytes | None", state.dump(key("eu")))
        if stored is not None:
            state.restore(key(name), 0, stored, replace=True)
    return name


def test_rejected_credentials_are_reported_at_once_and_explain_the_rest() -> None:
    result = assess(facts(budget=budget(left=0, pause=REFUSED), streams=(stream(5000),), traffic=TRAFFIC))
    assert set(result) == {CREDENTIALS_REJECTED, WEBHOOKS_SILENT}
    problem = result[CREDENTIALS_REJECTED]
    assert problem is not None
    assert "403" in problem.value
    assert "attempt-bridge sources resume eu" in problem.remedy
    assert with_quota_state(TRAFFIC, budget(pause=REFUSED), polled=True, now=NOW).no_calls_since is None


def test_disabled_webhooks_are_not_silent() -> None:
    assert assess(facts(webhooks=False, raised={WEBHOOKS_SILENT: NOW - HOUR}))[WEBHOOKS_SILENT] is None


def test_only_a_webhook_ends_the_silence_of_webhooks() -> None:
    raised = {WEBHOOKS_SILENT: NOW - HOUR}
    assert WEBHOOKS_SILENT not in assess(facts(raised=raised))
    before = replace(TRAFFIC, last_webhook_at=NOW - 2 * HOUR)
    assert WEBHOOKS_SILENT not in assess(facts(raised=raised, traffic=before))
    assert assess(facts(raised=raised, traffic=replace(TRAFFIC, last_webhook_at=NOW)))[WEBHOOKS_SILENT] is None


def test_a_part_that_is_unread_for_three_rounds_and_ten_minutes_is_a_problem_by_its_name() -> None:
    def problem(*minutes: float, **changes: Any) -> SourceProblem | None:
        rounds = [
            RoundReport(
                stream="links",
                from_cursor="",
                to_cursor="",
                started=NOW - at * MINUTE,
                unread={"schedule k1": "HTTP 500"},
            )
            for at in minutes
        ]
        rounds += failed(max(minutes) + 1)
        position = StreamPosition(saved=NOW - MINUTE)
        return assess(facts(streams=(StreamFacts.of("links", 300.0, position, rounds),), **changes))[POLL_FAILING]

    assert problem(1, 6) is None
    assert problem(1, 2, 3) is None
    result = problem(1, 6, 11)
    assert result is not None
    assert result.since == NOW - 11 * MINUTE
    assert "schedule k1" in result.value
    assert "HTTP 500" in result.value


def test_moments_from_before_the_clock_was_set_back_neither_hide_nor_end_a_problem() -> None:
    restarted = replace(TRAFFIC, watched_since=NOW - HOUR)
    saved_later = stream(-120, *failed(-60, *range(1, 50, 5)))
    polling = assess(facts(traffic=restarted, streams=(saved_later,)))[POLL_FAILING]
    assert polling is not None
    assert polling.since == restarted.watched_since
    assert "failed rounds: 10" in polling.value


@pytest.mark.parametrize(
    ("raised", "webhook", "ended"),
    [
        (NOW + 2 * HOUR, NOW - MINUTE, True),
        (NOW + 2 * HOUR, NOW - 2 * HOUR, False),
        (NOW + 2 * HOUR, NOW + 3 * HOUR, False),
        (NOW - 10 * MINUTE, NOW + 3 * HOUR, False),
    ],
)
def test_a_webhook_after_the_clock_was_set_back_ends_the_silence(raised: float, webhook: float, ended: bool) -> None:
    traffic = replace(TRAFFIC, watched_since=NOW - HOUR, last_webhook_at=webhook)
    problems = assess(facts(traffic=traffic, raised={WEBHOOKS_SILENT: raised}))
    assert (WEBHOOKS_SILENT in problems) == ended
