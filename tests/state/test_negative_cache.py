from __future__ import annotations

from bridge.state.negative_cache import KnownEmpty


def _heard(now: float = 100.0) -> KnownEmpty:
    known = KnownEmpty(0.25)
    known.heard("eu", now, empty=True)
    return known


def test_nothing_is_believed_before_somebody_asked() -> None:
    assert not KnownEmpty(0.25).believed("eu", 100.0)


def test_an_answer_is_believed_of_its_own_source_alone() -> None:
    known = _heard()
    assert known.believed("eu", 100.1)
    assert not known.believed("us", 100.1)


def test_shortly_before_the_end_one_caller_asks_and_the_others_go_on_believing() -> None:
    known = _heard()
    assert [known.believed("eu", 100.23) for _ in range(4)] == [False, True, True, True]


def test_a_question_without_an_answer_lengthens_no_belief() -> None:
    known = _heard()
    known.believed("eu", 100.23)
    assert known.believed("eu", 100.24)
    assert not known.believed("eu", 100.25)


def test_the_next_answer_counts_from_its_own_question() -> None:
    known = _heard()
    known.believed("eu", 100.23)
    known.heard("eu", 100.23, empty=True)
    assert known.believed("eu", 100.3)
    assert not known.believed("eu", 100.48)


def test_what_was_found_or_put_there_ends_the_belief_at_once() -> None:
    known = _heard()
    known.heard("eu", 100.1, empty=False)
    assert not known.believed("eu", 100.1)
    known = _heard()
    known.forget("eu")
    assert not known.believed("eu", 100.1)
