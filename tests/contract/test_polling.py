"""Every vendor's polls: nothing that finished is missed, whatever happens between pages, and no round stands still."""

from __future__ import annotations

import pytest

from bridge.errors import BridgeError, Unreadable
from tests.support.contract.checked import fail


def test_a_round_of_many_small_pages_reads_everything(stage, polled):
    begin = stage.clock.now - 9_000
    finished = {stage.finish(polled, begin + 300 * number) for number in range(25)}

    rows, _ = stage.round(polled, stage.start(polled, begin))

    none_missed(stage, polled, finished, {row.attempt_id for row in rows}, "of several pages")


def test_results_of_one_second_across_a_page_border_are_all_read(stage, polled):
    # Pages hold 3 rows: whichever way they fall, a page ends inside the second with two results.
    begin = stage.clock.now - 9_000
    finished = set()
    for number in range(12):
        finished |= {stage.finish(polled, begin + 2 * number) for _ in range(1 + number % 2)}

    rows, _ = stage.round(polled, stage.start(polled, begin))

    none_missed(stage, polled, finished, {row.attempt_id for row in rows}, "where a page ends inside a second")


def test_more_results_of_one_second_than_a_page_holds_are_read_or_reported(stage, polled):
    second = stage.clock.now - 5_000
    within = {stage.finish(polled, second) for _ in range(7)}
    around = {stage.finish(polled, second + seconds) for seconds in (-600, -1, 1, 600)}

    records, _ = stage.records(polled, stage.start(polled, second - 3_600))

    read, refused = sorted_out(stage, records)
    if getattr(stage.bench, "one_page_per_second", False):
        none_missed(stage, polled, around, read, "with other seconds than a full one")
        if not refused:
            complain(stage, polled, "no record that normalise refuses reports the rows of a second that are not listed")
    else:
        none_missed(stage, polled, within | around, read, "where a second has more than a page holds")
        assert refused == []


@pytest.mark.needs("spoil")
def test_rows_that_cannot_be_read_cost_no_other_row_of_their_page(stage, polled):
    begin = stage.clock.now - 9_000
    finished = [stage.finish(polled, begin + 300 * number) for number in range(10)]
    # One inside a page, one at its end, and the newest of all.
    spoiled = {finished[number] for number in (1, 5, 9)}
    for attempt_id in spoiled:
        stage.bench.spoil(attempt_id)
    start = stage.start(polled, begin)

    try:
        records, cursor = stage.records(polled, start)
    except BridgeError as error:
        fact = f"`fetch` raises {type(error).__name__} for one row that cannot be read, and its page is lost"
        complain(stage, polled, f"{fact}. Make a Record of each row; normalise refuses it")

    read, refused = sorted_out(stage, records)
    none_missed(stage, polled, set(finished) - spoiled, read, "beside one that cannot be read")
    if len(refused) < len(spoiled):
        complain(
            stage, polled, "`fetch` drops rows that cannot be read. Make a Record of each row; normalise refuses it"
        )
    assert stage.polls[polled].position(cursor) > stage.polls[polled].position(start)


@pytest.mark.needs("visible_after", "hide", "show")
def test_a_row_that_the_api_shows_late_is_read_by_the_next_round(stage, polled):
    """However short the operator sets `poll.overlap`."""
    poll, delay = stage.polls[polled], stage.bench.visible_after
    begin = int(stage.clock.now)
    late = stage.finish(polled, begin, started=begin)
    stage.bench.hide(late)
    # More than a page behind it, or a round that reads whole pages would find it by chance.
    prompt = {stage.finish(polled, at, started=at) for at in [*range(begin + 1, begin + 13), begin + int(delay) - 2]}
    stage.clock.now += delay

    first, cursor = stage.round(polled, stage.start(polled, begin - 60))
    stage.bench.show(late)
    second, _ = stage.round(polled, poll.rewind(cursor, 0.0))

    assert {row.attempt_id for row in first} == prompt
    if late not in {row.attempt_id for row in second}:
        fact = f"a row that the API shows late is missed: `rewind` goes back less than visible_after, {delay:.0f} s"
        complain(stage, polled, fact)


def test_rows_that_arrive_while_paging_are_read_by_this_round_or_the_next(stage, polled):
    finished = {stage.finish(polled, stage.clock.now - 5_000 + 60 * number) for number in range(10)}

    def somebody_finishes():
        stage.clock.now += 1
        if len(finished) < 20:
            finished.add(stage.finish(polled, stage.clock.now - 1))

    stage.before_call = somebody_finishes
    first, cursor = stage.round(polled, stage.start(polled, stage.clock.now - 86_400))
    second, _ = stage.round(polled, stage.polls[polled].rewind(cursor, 60))

    assert len(finished) > 10
    none_missed(stage, polled, finished, {row.attempt_id for row in [*first, *second]}, "that arrive while paging")


def test_an_attempt_that_starts_before_and_ends_after_a_round_is_read_by_the_next(stage, polled):
    poll = stage.polls[polled]
    started = stage.clock.now - 1_000
    stage.finish(polled, stage.clock.now - 500)
    begin = getattr(stage.bench, "begin", None)
    if begin is None and poll.low_water:
        fact = f"{polled} is listed by the start (low_water), and the bench has no `begin` and `complete`"
        fail(stage.vendor, fact, "contract.py", "begin")
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
    rows, _ = stage.round(polled, stage.polls[polled].rewind(cursor, 60))

    assert late in {row.attempt_id for row in rows}


def test_a_round_without_results_does_not_move_on(stage, polled):
    poll = stage.polls[polled]
    begin = stage.start(polled, stage.clock.now - 86_400)

    rows, cursor = stage.round(polled, begin)

    assert rows == []
    assert poll.position(cursor) <= poll.position(begin)


def test_a_cursor_never_runs_ahead_of_the_newest_result(stage, polled):
    newest = stage.clock.now - 3_000
    for number in range(7):
        stage.finish(polled, newest - number)

    _, cursor = stage.round(polled, stage.start(polled, newest - 86_400))

    assert stage.polls[polled].position(cursor) <= newest


def test_reading_from_a_moment_includes_that_moment(stage, polled):
    poll = stage.polls[polled]
    moment = stage.clock.now - 5_000
    attempt_id = stage.finish(polled, moment)

    rows, _ = stage.round(polled, poll.start(moment, None))

    assert attempt_id in {row.attempt_id for row in rows}
    assert poll.position(poll.rewind(poll.start(moment, None), 600)) <= moment - 600


def test_reading_a_period_that_is_over_includes_both_its_ends(stage, polled):
    poll = stage.polls[polled]
    first, last = stage.clock.now - 9_000, stage.clock.now - 5_000
    within = {stage.finish(polled, moment, started=moment) for moment in (first, first + 1_000, last)}

    rows, _ = stage.round(polled, poll.start(first, last))

    assert within <= {row.attempt_id for row in rows}


def test_a_sweep_reads_its_whole_period_again_without_end(stage, sweep):
    poll = stage.polls[sweep]
    seconds = poll.sweep(stage.options)
    finished = {stage.finish(stage.stream, stage.clock.now - 3_600 * hours) for hours in range(1, 8)}

    for _ in range(2):
        rows, _ = stage.round(sweep, stage.start(sweep, stage.clock.now - seconds))
        assert {row.attempt_id for row in rows} == finished


def complain(stage, stream, fact):
    fail(stage.vendor, fact, f'polls["{stream}"]', "fetch")


def none_missed(stage, stream, finished, read, where):
    if missed := sorted(finished - read):
        complain(stage, stream, f"{len(missed)} of {len(finished)} rows are missed {where}, such as {missed[0]}")


def sorted_out(stage, records):
    """Ids of the attempts in these records, and the errors of those that cannot be read."""
    read, refused = set(), []
    for record in records:
        try:
            read.add(stage.normalise(record).attempt_id)
        except Unreadable as error:
            refused.append(str(error))
    return read, refused
