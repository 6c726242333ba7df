"""Every vendor: one attempt keeps its identity over both paths, grading and re-opening; a retake is another attempt."""

from __future__ import annotations

from bridge.vendor import NEWS, material_digest

#: Of a Normalised: what the webhook alone may have, and what depends on nothing but the path.
ONLY_BY_WEBHOOK = {"sections"}


def read_back(stage, stream, attempt_id):
    rows, _ = stage.round(stream, stage.start(stream, stage.clock.now - 86_400))
    [found] = {plain_key(row): row for row in rows if row.attempt_id == attempt_id}.values()
    return found


def plain_key(row):
    return row.attempt_id, material_digest(row)


def test_one_sitting_is_the_same_attempt_and_the_same_news_by_both_paths(stage, stream):
    attempt_id = stage.bench.finish(stream, int(stage.clock.now) - 60)

    pushed, polled = stage.by_webhook(attempt_id), read_back(stage, stream, attempt_id)

    assert pushed.attempt_id == polled.attempt_id == attempt_id
    assert material_digest(pushed) == material_digest(polled)
    for name in type(pushed).__slots__:
        if name not in ONLY_BY_WEBHOOK:
            assert getattr(pushed, name) == getattr(polled, name), name


def test_grading_is_news_about_the_same_attempt_and_counts_as_later(stage, stream):
    attempt_id = stage.bench.finish(stream, int(stage.clock.now) - 60, graded=False)
    before = stage.by_webhook(attempt_id)
    stage.bench.grade(attempt_id)
    after = read_back(stage, stream, attempt_id)

    assert before.status in NEWS
    assert before.result.grading in {"pending", "provisional"}
    assert before.result.passed is None
    assert after.result.grading == "final"
    assert after.attempt_id == before.attempt_id
    assert material_digest(after) != material_digest(before)
    assert after.order > before.order


def test_a_retake_is_another_attempt(stage, stream):
    first = stage.bench.finish(stream, int(stage.clock.now) - 7200)
    second = stage.bench.retake(first, int(stage.clock.now) - 60)

    rows, _ = stage.round(stream, stage.start(stream, stage.clock.now - 86_400))

    assert first != second
    assert {row.attempt_id for row in rows} == {first, second}


def test_a_reopened_attempt_keeps_its_identity_and_counts_as_later(stage, stream):
    attempt_id = stage.bench.finish(stream, int(stage.clock.now) - 7200)
    before = stage.by_webhook(attempt_id)
    stage.bench.reopen(attempt_id, int(stage.clock.now) - 60)
    after = read_back(stage, stream, attempt_id)

    assert after.attempt_id == before.attempt_id
    assert material_digest(after) != material_digest(before)
    assert after.order > before.order


def test_an_ungraded_attempt_is_watched_until_the_recheck_finds_it_graded(stage, stream):
    finished = int(stage.clock.now) - 60
    attempt_id = stage.bench.finish(stream, finished, graded=False)
    for other in range(5):
        stage.bench.finish(stream, finished + other)
    watch = stage.by_webhook(attempt_id).watch
    assert watch is not None
    assert watch.give_up_at > stage.clock.now
    assert all(isinstance(value, str) for value in watch.reference.values())

    def look():
        [record] = stage.vendor.recheck(stage.client, watch.reference)
        return stage.vendor.normalise(record, stage.clock.now, stage.options)

    assert look().attempt_id == attempt_id
    assert look().watch == watch
    stage.bench.grade(attempt_id)
    assert look().watch is None
    assert look().result.grading == "final"
