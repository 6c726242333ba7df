"""Every vendor's polls: nothing that finished is missed, whatever happens between pages, and no round stands still."""

from __future__ import annotations


def test_a_round_of_many_small_pages_reads_everything(stage, stream):
    begin = int(stage.clock.now) - 9_000
    finished = {stage.bench.finish(stream, begin + 300 * number) for number in range(25)}

    rows, _ = stage.round(stream, stage.start(stream, begin))

    assert {row.attempt_id for row in rows} == finished


def test_results_of_one_second_across_a_page_border_are_all_read(stage, stream):
    # Pages hold 3 rows: whichever way they fall, a page ends inside the second with two results.
    begin = int(stage.clock.now) - 9_000
    finished = set()
    for number in range(12):
        finished |= {stage.bench.finish(stream, begin + 2 * number) for _ in range(1 + number % 2)}

    rows, _ = stage.round(stream, stage.start(stream, begin))

    assert {row.attempt_id for row in rows} == finished


def test_rows_that_arrive_while_paging_are_read_by_this_round_or_the_next(stage, stream):
    finished = {stage.bench.finish(stream, int(stage.clock.now) - 5_000 + 60 * number) for number in range(10)}

    def somebody_finishes():
        stage.clock.now += 1
        if len(finished) < 20:
            finished.add(stage.bench.finish(stream, int(stage.clock.now) - 1))

    stage.calls.before_call = somebody_finishes
    first, cursor = stage.round(stream, stage.start(stream, stage.clock.now - 86_400))
    second, _ = stage.round(stream, stage.vendor.polls[stream].rewind(cursor, 60))

    assert len(finished) > 10
    assert {row.attempt_id for row in [*first, *second]} == finished


def test_an_attempt_that_starts_before_and_ends_after_a_round_is_read_by_the_next(stage, stream):
    poll = stage.vendor.polls[stream]
    started = int(stage.clock.now) - 1_000
    stage.bench.finish(stream, int(stage.clock.now) - 500)
    _, cursor = stage.round(stream, poll.start(started - 86_400))

    stage.clock.now += 7_200
    late = stage.bench.finish(stream, int(stage.clock.now) - 10, started=started)
    rows, _ = stage.round(stream, poll.rewind(cursor, 60))

    assert late in {row.attempt_id for row in rows}


def test_a_result_with_the_time_of_the_last_one_that_shows_up_later_is_read_by_the_next_round(stage, stream):
    finished = int(stage.clock.now) - 100
    stage.bench.finish(stream, finished)
    _, cursor = stage.round(stream, stage.start(stream, finished - 60))

    late = stage.bench.finish(stream, finished)
    rows, _ = stage.round(stream, stage.vendor.polls[stream].rewind(cursor, 60))

    assert late in {row.attempt_id for row in rows}


def test_a_round_without_results_keeps_the_cursor(stage, stream):
    begin = stage.start(stream, stage.clock.now - 86_400)

    assert stage.round(stream, begin) == ([], begin)


def test_a_cursor_never_runs_ahead_of_the_newest_result(stage, stream):
    newest = int(stage.clock.now) - 3_000
    for number in range(7):
        stage.bench.finish(stream, newest - number)

    _, cursor = stage.round(stream, stage.start(stream, newest - 86_400))

    assert stage.vendor.polls[stream].position(cursor) <= newest


def test_reading_from_a_moment_includes_that_moment(stage, stream):
    poll = stage.vendor.polls[stream]
    moment = int(stage.clock.now) - 5_000
    attempt_id = stage.bench.finish(stream, moment)

    rows, _ = stage.round(stream, poll.start(moment))

    assert [row.attempt_id for row in rows] == [attempt_id]
    assert poll.position(poll.rewind(poll.start(moment), 600)) <= moment - 600
