from __future__ import annotations

import pytest

from bridge.state.negative_cache import NegativeCache


def _recorded(now: float = 100.0) -> NegativeCache:
    known = NegativeCache(0.25)
    known.record("eu", now, empty=True)
    return known


def test_no_source_is_known_empty_before_it_was_asked_for() -> None:
    assert not NegativeCache(0.25).is_known_empty("eu", 100.0)


def test_an_answer_counts_for_its_own_source_only() -> None:
    known = _recorded()
    assert known.is_known_empty("eu", 100.1)
    assert not known.is_known_empty("us", 100.1)


@pytest.mark.parametrize("back", [1.0, 7200.0])
def test_after_the_clock_was_set_back_the_next_caller_asks(back: float) -> None:
    known = _recorded()
    assert not known.is_known_empty("eu", 100.0 - back)
    known.record("eu", 100.0 - back, empty=True)
    assert known.is_known_empty("eu", 100.1 - back)
    assert not known.is_known_empty("eu", 100.3 - back)


def test_shortly_before_the_end_one_caller_asks_and_the_others_get_the_cached_answer() -> None:
    known = _recorded()
    assert [known.is_known_empty("eu", 100.23) for _ in range(4)] == [False, True, True, True]


def test_a_query_without_an_answer_does_not_extend_the_lifetime() -> None:
    known = _recorded()
    known.is_known_empty("eu", 100.23)
    assert known.is_known_empty("eu", 100.24)
    assert not known.is_known_empty("eu", 100.25)


def test_the_lifetime_of_an_answer_starts_at_its_own_query() -> None:
    known = _recorded()
    known.is_known_empty("eu", 100.23)
    known.record("eu", 100.23, empty=True)
    assert known.is_known_empty("eu", 100.3)
    assert not known.is_known_empty("eu", 100.48)


def test_a_source_that_is_not_empty_is_dropped_at_once() -> None:
    known = _recorded()
    known.record("eu", 100.1, empty=False)
    assert not known.is_known_empty("eu", 100.1)
    known = _recorded()
    known.forget("eu")
    assert not known.is_known_empty("eu", 100.1)
