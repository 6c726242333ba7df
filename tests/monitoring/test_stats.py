"""Counts by minute, hour and day: written by what happens, read as series, never doubled, never made by a scan."""

from __future__ import annotations

import pytest
import redis

from bridge.journal import BACKFILL, POLL, WEBHOOK, Entry, Journal, RequestRecord
from bridge.journal.quarantine import QuarantineStore
from bridge.journal.reading import Reader
from bridge.journal.requests import RequestStore
from bridge.monitoring.counted_steps import CountedSteps
from bridge.monitoring.stats import DELIVERY_FIGURES, FINE, PERIODS, SOURCE_FIGURES, Stats, read_stats
from bridge.state import counts, keys
from tests.support.journal import NOW, make_submission, outcomes
from tests.support.partitions import numbers


def stats(state: redis.Redis, period: str = "1h", *, until: float = NOW, partitions: int | None = None) -> Stats:
    return read_stats(
        state,
        period,
        until=until,
        partitions=partitions or len(numbers()),
        with_webhooks=frozenset({"eu"}),
        sources=("eu",),
        subscriptions=("gradebook",),
    )


def totals(
    state: redis.Redis, period: str = "1h", *, until: float = NOW, partitions: int | None = None
) -> dict[str, int]:
    """The figures of the source that are not 0."""
    (source,) = stats(state, period, until=until, partitions=partitions).sources
    return {figure: number for figure, number in source.totals.items() if number}


def request(number: int, outcome: str | None = None) -> RequestRecord:
    ident = f"01900000-0000-7000-8000-{number:012x}"
    return RequestRecord(id=ident, source="eu", received_at=NOW, headers={}, body=b"{}", outcome=outcome)


def test_everything_that_can_become_of_a_record_is_counted_once(state: redis.Redis) -> None:
    journal = Journal(state)
    journal.publish(Entry(submissions=(make_submission("link:1"),), request=request(1)), now=NOW)
    journal.publish(Entry(request=request(2, "watching")), now=NOW)
    journal.publish(Entry(request=request(3, "test")), now=NOW)
    journal.publish(Entry(request=request(4, "quarantined")), now=NOW)
    outcomes(journal, make_submission("link:2", origin=POLL), make_submission("link:3", origin=BACKFILL))
    outcomes(journal, make_submission("link:1", origin=POLL), make_submission("link:1", 2, order=2, origin=POLL))
    outcomes(journal, make_submission("link:1", 1, order=1, origin=POLL))
    assert totals(state) == {
        "requests": 4,
        "published_by_webhook": 1,
        "published_by_poll": 1,
        "published_by_backfill": 1,
        "rescued": 1,
        "revised": 1,
        "duplicates": 2,  # a stale one is one too
        "quarantined": 1,
        "tests": 1,
    }


def test_what_a_webhook_had_pointed_to_is_not_rescued_by_the_poll_of_it(state: redis.Redis) -> None:
    outcomes(Journal(state), make_submission(origin=POLL, announced=True))
    assert totals(state) == {"published_by_webhook": 1}
    memory = Reader(state).attempt("eu", "link:1")
    assert memory is not None
    assert (memory.first_origin, memory.webhook_day) == (POLL, None)


def test_a_webhook_after_the_poll_is_late_once(state: redis.Redis) -> None:
    journal = Journal(state)
    outcomes(journal, make_submission(origin=POLL))
    outcomes(journal, make_submission(origin=WEBHOOK))
    outcomes(journal, make_submission(origin=WEBHOOK))
    assert totals(state) == {"published_by_poll": 1, "rescued": 1, "late_webhooks": 1, "duplicates": 2}


def test_a_source_without_webhooks_has_nothing_rescued(state: redis.Redis) -> None:
    outcomes(Journal(state), make_submission(origin=POLL, source="us"))
    figures = {source.name: source.totals for source in stats(state).sources}
    assert (figures["us"]["published_by_poll"], figures["us"]["rescued"]) == (1, 0)


def test_refused_requests_and_quarantined_records_are_counted_where_they_are_stored(state: redis.Redis) -> None:
    for number in range(2):
        RequestStore(state).reject(
            request_id=f"r{number}", source="eu", received_at=NOW, reason="bad_signature", headers={}, body=b""
        )
    store = QuarantineStore(state)
    for _ in range(3):  # every poll reads it again; it is stored once
        store.add(source="eu", origin=POLL, reason="odd", body=b"{", now=NOW)
    # The request of a quarantined webhook is counted by the journal.
    store.add(source="eu", origin=WEBHOOK, reason="odd", body=b"[", now=NOW, request_id="r9")
    assert totals(state) == {"refused": 2, "quarantined": 1}


@pytest.mark.parametrize(
    ("period", "ago", "step", "place"),
    [
        ("1h", 0, 60, -1),
        ("1h", 59 * 60, 60, 0),
        ("24h", 23 * 3600, 3600, 0),
        ("7d", 167 * 3600, 3600, 0),
        ("30d", 29 * 86_400, 86_400, 0),
    ],
)
def test_a_count_is_in_its_step(state: redis.Redis, period: str, ago: float, step: int, place: int) -> None:
    outcomes(Journal(state), make_submission(), now=NOW - ago)
    result = stats(state, period)
    (source,) = result.sources
    assert result.step_seconds == step
    assert result.starts[-1] <= NOW < result.starts[-1] + step
    assert len(result.starts) == PERIODS[period].number
    assert source.series["published_by_webhook"][place] == source.totals["published_by_webhook"] == 1
    assert totals(state, period, until=NOW - ago - step) == {}


def test_minutes_hours_and_days_agree(state: redis.Redis) -> None:
    journal = Journal(state, partitions=3)
    for number in range(30):
        outcomes(journal, make_submission(f"link:{number}"), now=NOW - number)
    expected = {"published_by_webhook": 30}
    assert all(totals(state, period, partitions=3) == expected for period in PERIODS)


def test_deliveries_are_shown_by_subscription(state: redis.Redis) -> None:
    pipe = state.pipeline(transaction=False)
    numbers = {"gradebook|delivered": 5, "gradebook|failed": 2, "crm|dead": 1, "crm|unheard-of": 7}
    counts.add_counts(pipe, keys.delivery_counts, 0, NOW, numbers)
    pipe.execute()
    shown = {item.name: item.totals for item in stats(state).subscriptions}
    assert shown == {
        "crm": dict.fromkeys(DELIVERY_FIGURES, 0) | {"dead": 1},
        "gradebook": dict.fromkeys(DELIVERY_FIGURES, 0) | {"delivered": 5, "retried": 2},
    }


def test_the_lag_of_a_period_is_that_of_each_subscription_and_of_all(state: redis.Redis) -> None:
    pipe = state.pipeline(transaction=False)
    numbers = {"gradebook|lag_0.02": 100, "crm|lag_60": 50, "crm|lag_300": 50, "crm|delivered": 100}
    counts.add_counts(pipe, keys.delivery_counts, 0, NOW, numbers)
    pipe.execute()
    result = stats(state)
    assert {item.name: item.lag_p95 for item in result.subscriptions} == {
        "crm": pytest.approx(60 + 0.9 * 240),
        "gradebook": pytest.approx(0.019),
    }
    assert result.lag_p95 == pytest.approx(60 + 0.8 * 240)
    assert stats(state, until=NOW - 3600).lag_p95 is None


def test_counts_end_by_themselves(state: redis.Redis) -> None:
    outcomes(Journal(state), make_submission())
    outcomes(Journal(state), make_submission())
    pipe = state.pipeline(transaction=False)
    counts.add_counts(pipe, keys.delivery_counts, 0, NOW, {"gradebook|delivered": 1})
    pipe.execute()
    for name in (keys.counts, keys.delivery_counts):
        for step, seconds in counts.SECONDS.items():
            left = max(state.ttl(name(partition, int(NOW // seconds), step)) for partition in numbers())
            assert counts.KEPT[step] - 60 <= left <= counts.KEPT[step]


def test_figures_without_events_are_zero(state: redis.Redis) -> None:
    result = stats(state, "24h")
    assert [set(source.series) for source in result.sources] == [set(SOURCE_FIGURES)]
    assert all(numbers == [0] * 24 for source in result.sources for numbers in source.series.values())


def test_minutes_are_shown_in_steps_of_five(state: redis.Redis) -> None:
    journal = Journal(state, partitions=2)
    for number, ago in enumerate((0, 300, 300, 23 * 3600 + 55 * 60)):
        outcomes(journal, make_submission(f"link:{number}"), now=NOW - ago)

    def fine(period: str) -> Stats:
        return read_stats(
            state,
            period,
            until=NOW,
            partitions=2,
            with_webhooks=frozenset(),
            sources=("eu",),
            subscriptions=(),
            fine=True,
        )

    day, hour = fine("24h"), fine("1h")
    assert (day.step_seconds, len(day.starts), hour.step_seconds, len(hour.starts)) == (300, 288, 300, 12)
    series = day.sources[0].series["published_by_webhook"]
    assert (series[0], series[-2], series[-1], sum(series)) == (1, 2, 1, 4)
    assert hour.sources[0].totals["published_by_webhook"] == 3
    assert fine("7d").step_seconds == 3600


def test_a_finished_step_is_read_once_and_the_current_one_each_time(
    state: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, read = CountedSteps(), []
    plain = redis.client.Pipeline.hgetall
    monkeypatch.setattr(
        redis.client.Pipeline, "hgetall", lambda self, name: (read.append(name), plain(self, name))[1], raising=False
    )

    def published(until: float) -> int:
        read.clear()
        counted = known.read(state, keys.counts, FINE["24h"], until=until, partitions=len(numbers()))
        return sum(counted.get("eu|webhook|published", [0]))

    outcomes(Journal(state), make_submission("link:1"), now=NOW)
    assert (published(NOW), len(read)) == (1, 1440 * len(numbers()))
    outcomes(Journal(state), make_submission("link:2"), now=NOW + 1)
    assert published(NOW + 1) == 2
    assert len(read) <= 10 * len(numbers())
    # A day later both are in no step any more, and their place is another's.
    assert published(NOW + 86_400) == 0
