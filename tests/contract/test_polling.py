"""Every vendor's polls: nothing that finished is missed, whatever happens between pages, and no round stands still."""

from __future__ import annotations


def test_a_round_of_many_small_pages_reads_everything(stage, polled):
    begin = stage.clock.now - 9_000
    finished = {stage.finish(polled, begin + 300 * number) for number in range(25)}

    rows, _ = stage.round(polled, stage.start(polled, begin))

    assert {row.attempt_id for row in rows} == finished


def test_results_of_one_second_across_a_page_border_are_all_read(stage, polled):
    # Pages hold 3 rows: whichever way they fall, a page ends inside the second with two results.
    begin = stage.clock.now - 9_000
    finished = set()
    for number in range(12):
        finished |= {stage.finish(polled, begin + 2 * number) for _ in range(1 + number % 2)}

    rows, _ = stage.round(polled, stage.start(polled, begin))

    assert {row.attempt_id for row in rows} == finished


def test_rows_that_arrive_while_paging_are_read_by_this_round_or_the_next(stage, polled):
    finished = {stage.finish(polled, stage.clock.now - 5_000 + 60 * number) for number in range(10)}

    def somebody_finishes():
        stage.clock.now += 1
        if len(finished) < 20:
            finished.add(stage.finish(polled, stage.clock.now - 1))

    stage.before_call = somebody_finishes
    first, cursor = stage.round(polled, stage.start(polled, stage.clock.now - 86_400))
    second, _ = stage.round(polled, stage.vendor.polls[polled].rewind(cursor, 60))

    assert len(finished) > 10
    assert {row.attempt_id for row in [*first, *second]} == finished


def test_an_attempt_that_starts_before_and_ends_after_a_round_is_read_by_the_next(stage, polled):
    poll = stage.vendor.polls[polled]
    started = stage.clock.now - 1_000
    stage.finish(polled, stage.clock.now - 500)
    begin = getattr(stage.bench, "begin", None)
    assert begin or not poll.low_water, "a vendor that lists by the beginning needs begin and complete in its contract"
    late = begin(polled, int(started)) if begin else None
    _, cursor = stage.round(polled, poll.start(started - 86_400, None))

    stage.clock.now += 7_200
    if late is None:
        late = stage.finish(polled, stage.clock.now - 10, started=started)
    else:
        stage.bench.complete(late, int(stage.clock.now) - 10)
    rows, _ = stage.round(polled, poll.rewind(cursor, 60))

    assert [row.status for row in rows if row.attempt_id == late][-1:] == ["completed"]


def test_a_result_with_the_time_of_the_last_one_that_shows_up_later_is_read_by_the_next_round(stage, polled):
    finished = stage.clock.now - 100
    stage.finish(polled, finished)
    _, cursor = stage.round(polled, stage.start(polled, finished - 60))

    late = stage.finish(polled, finished)
    rows, _ = stage.round(polled, stage.vendor.polls[polled].rewind(cursor, 60))

    assert late in {row.attempt_id for row in rows}


def test_a_round_without_results_does_not_move_on(stage, polled):
    poll = stage.vendor.polls[polled]
    begin = stage.start(polled, stage.clock.now - 86_400)

    rows, cursor = stage.round(polled, begin)

    assert rows == []
    assert poll.position(cursor) <= poll.position(begin)


def test_a_cursor_never_runs_ahead_of_the_newest_result(stage, polled):
    newest = stage.clock.now - 3_000
    for number in range(7):
        stage.finish(polled, newest - number)

    _, cursor = stage.round(polled, stage.start(polled, newest - 86_400))

    assert stage.vendor.polls[polled].position(cursor) <= newest


def test_reading_from_a_moment_includes_that_moment(stage, polled):
    poll = stage.vendor.polls[polled]
    moment = stage.clock.now - 5_000
    attempt_id = stage.finish(polled, moment)

    rows, _ = stage.round(polled, poll.start(moment, None))

    assert attempt_id in {row.attempt_id for row in rows}
    assert poll.position(poll.rewind(poll.start(moment, None), 600)) <= moment - 600


def test_reading_a_period_that_is_over_includes_both_its_ends(stage, polled):
    poll = stage.vendor.polls[polled]
    first, last = stage.clock.now - 9_000, stage.clock.now - 5_000
    within = {stage.finish(polled, moment, started=moment) for moment in (first, first + 1_000, last)}

    rows, _ = stage.round(polled, poll.start(first, last))

    assert within <= {row.attempt_id for row in rows}


def test_a_sweep_reads_its_whole_period_again_without_end(stage, sweep):
    poll = stage.vendor.polls[sweep]
    seconds = poll.sweep(stage.options)
    finished = {stage.finish(stage.stream, stage.clock.now - 3_600 * hours) for hours in range(1, 8)}

    for _ in range(2):
        rows, _ = stage.round(sweep, stage.start(sweep, stage.clock.now - seconds))
        assert {row.attempt_id for row in rows} == finished
