"""Every vendor: one attempt keeps its identity over both paths, grading and revision; a retake is another attempt."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import pytest

from bridge.sdk.vendor import PUBLISHABLE_STATUSES, material_digest
from tests.support.contract.checked import fail


@pytest.mark.needs("split")
def test_one_sitting_is_the_same_attempt_and_the_same_news_by_both_paths(stage, stream):
    attempt_id = stage.finish(stream, stage.clock.now - 60)

    pushed, polled = stage.by_webhook(attempt_id), stage.read_back(stream, attempt_id)

    assert pushed.status == "completed"
    assert pushed.attempt_id == polled.attempt_id == attempt_id
    assert material_digest(pushed) == material_digest(polled)
    left_out = getattr(stage.bench, "one_path_only", frozenset())
    by_webhook, by_poll = (members(attempt) for attempt in (pushed, polled))
    for path in left_out:
        assert any(is_in(known, path) for known in (*by_webhook, *by_poll)), f"one_path_only: {path} is no member"
    by_webhook, by_poll = (
        {known: value for known, value in told.items() if not any(is_in(known, path) for path in left_out)}
        for told in (by_webhook, by_poll)
    )
    assert by_webhook == by_poll


@pytest.mark.needs("grade")
def test_grading_is_news_about_the_same_attempt_and_counts_as_later(stage, stream):
    attempt_id = stage.finish(stream, stage.clock.now - 60, graded=False)
    before = stage.first_seen(stream, attempt_id)
    stage.bench.grade(attempt_id)
    after = stage.read_back(stream, attempt_id)

    assert before.status in PUBLISHABLE_STATUSES
    assert before.result.grading in {"pending", "provisional"}
    assert before.result.passed is None
    assert after.result.grading == "final"
    assert is_later_news(after, before)


@pytest.mark.needs("retake")
def test_a_retake_is_another_attempt(stage, stream):
    first = stage.finish(stream, stage.clock.now - 7200)
    before = stage.first_seen(stream, first)
    if not stage.vendor.sittings:
        second = stage.retake(first, stage.clock.now - 60)
        rows, _ = stage.round(stream, stage.start(stream, stage.clock.now - 86_400))
        assert {row.attempt_id for row in rows} == {first, second}
        assert second != first
        return
    # One id for both: the vendor's own id of the sitting tells them apart.
    [sitting] = stage.sittings(stream, first)
    second = stage.retake(first, stage.clock.now - 60)
    [another] = stage.sittings(stream, second)
    assert stage.first_seen(stream, second).attempt_id == before.attempt_id == first
    assert None not in (sitting, another)
    assert sitting != another
    assert second == f"{first}:2"


@pytest.mark.needs("revise")
def test_a_revised_attempt_keeps_its_identity_and_counts_as_later(stage, stream):
    attempt_id = stage.finish(stream, stage.clock.now - 7200)
    before = stage.first_seen(stream, attempt_id)
    stage.bench.revise(attempt_id, int(stage.clock.now) - 60)
    after = stage.read_back(stream, attempt_id)

    assert is_later_news(after, before)


@pytest.mark.needs("grade", "recheck")
def test_an_ungraded_attempt_is_watched_until_the_recheck_finds_it_graded(stage, stream):
    finished = stage.clock.now - 60
    attempt_id = stage.finish(stream, finished, graded=False)
    for other in range(5):
        stage.finish(stream, finished + other)
    watch = stage.first_seen(stream, attempt_id).watch
    if watch is None:
        fail(stage.vendor, "`normalise` gives an ungraded attempt no watch", "adapter.py", "grade")
    assert not watch.reread
    assert watch.give_up_at > stage.clock.now
    assert all(isinstance(value, str) for value in watch.reference.values())

    def recheck():
        return stage.only(attempt_id, stage.recheck(watch.reference), by="recheck")

    assert recheck().watch == watch
    stage.bench.grade(attempt_id)
    assert recheck().result.grading == "final"
    assert recheck().watch is None or recheck().watch.reread


@pytest.mark.needs("grade", "polls")
def test_what_is_watched_can_be_rechecked(stage):
    if not stage.stream:
        pytest.skip("every stream reads a period again")
    attempt_id = stage.finish(stage.stream, stage.clock.now - 60, graded=False)

    watch = stage.read_back(stage.stream, attempt_id).watch

    assert watch is None or stage.vendor.recheck is not None, (
        "a watch has no effect without `recheck` in __init__.py (see docs/adding-a-vendor.md#recheck)"
    )


@pytest.mark.needs("expect")
def test_what_an_operator_expects_is_found_under_the_key_of_the_expectation(stage, stream):
    attempt_id = stage.finish(stream, stage.clock.now - 60)
    reference = stage.bench.expectation(attempt_id)
    pointer = stage.vendor.expect(reference, stage.options)

    result = stage.only(attempt_id, stage.recheck(pointer.reference), by="recheck")

    unexplained = sorted(set(reference) - set(stage.vendor.reference_help))
    assert unexplained == [], "`reference_help` explains no such member (see docs/adding-a-vendor.md#expectations)"
    assert pointer.key in {result.attempt_id, *result.aliases}
    assert all(alias.startswith("?") for alias in result.aliases)
    assert all(isinstance(value, str) for value in pointer.reference.values())


@pytest.mark.needs("expect")
def test_looking_for_what_is_not_there_yet_finds_nothing(stage, stream):
    attempt_id = stage.finish(stream, stage.clock.now - 60)
    reference = stage.vendor.expect(stage.bench.expectation(attempt_id), stage.options).reference

    if not stage.recheck(reference):
        fail(stage.vendor, f"`recheck` of an expectation finds nothing of {attempt_id}", "client.py", "recheck")
    assert stage.another().recheck(reference) == []


def members(value: Any, path: str = "") -> dict[str, Any]:
    """Path, such as `assessment.name`, -> value of every member of an attempt, those of its objects one by one."""
    if not is_dataclass(value):
        return {path: value}
    parts = (members(getattr(value, field.name), f"{path}.{field.name}".lstrip(".")) for field in fields(value))
    return {name: member for part in parts for name, member in part.items()}


def is_in(known: str, path: str) -> bool:
    """Whether a member is the one at `path` or inside of it."""
    return known == path or known.startswith(f"{path}.")


def is_later_news(after, before):
    """The same attempt, another result, and never an earlier version by the vendor's own ordering, if it has one."""
    assert after.attempt_id == before.attempt_id
    assert material_digest(after) != material_digest(before)
    return after.order > before.order or after.order == before.order == 0
