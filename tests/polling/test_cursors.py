"""Cursors, the history of rounds, and the lease, on a fake and on a real server."""

from __future__ import annotations

import pytest
import redis

from bridge.errors import StateUnavailable
from bridge.polling.cursors import HISTORY, Cursors, RoundReport, StreamPosition
from bridge.state.lease import Lease

NAME, STREAM = "eu-little", "results"


def _report(number: int) -> RoundReport:
    return RoundReport(
        stream=STREAM,
        from_cursor=f"{number}",
        to_cursor=f"{number + 1}",
        records=2,
        outcomes={"published": 1, "duplicate": 1},
        calls=1,
        started=1000.5 + number,
        seconds=0.25,
    )


def test_a_stream_that_was_never_polled_has_no_place(state: redis.Redis) -> None:
    cursors = Cursors(state)
    assert cursors.load(NAME, STREAM) is None
    assert cursors.position(NAME, STREAM) == StreamPosition()


def test_a_saved_cursor_is_read_back_with_its_moments(state: redis.Redis) -> None:
    cursors = Cursors(state)
    cursors.begin(NAME, STREAM, 1000.123456)
    cursors.save(NAME, STREAM, "opaque ü", 1002.5, began=1000.123456)

    assert cursors.load(NAME, STREAM) == "opaque ü"
    assert cursors.position(NAME, STREAM) == StreamPosition(
        cursor="opaque ü", began=1000.123456, saved=1002.5, started=1000.123456
    )


def test_a_cursor_inside_a_round_keeps_the_end_of_the_last_one_until_the_round_ends(state: redis.Redis) -> None:
    cursors = Cursors(state)
    cursors.save(NAME, STREAM, "10", 1.0)
    cursors.save(NAME, STREAM, "7", 2.0, began=1.5, midway=True)
    assert cursors.load(NAME, STREAM) == "7"
    assert cursors.position(NAME, STREAM).cursor == "10"

    cursors.save(NAME, STREAM, "12", 3.0, began=1.5)
    assert cursors.position(NAME, STREAM) == StreamPosition(cursor="12", began=1.5, saved=3.0)


def test_a_fault_keeps_the_cursor_inside_a_round_and_a_restart_forgets_it_only(state: redis.Redis) -> None:
    cursors = Cursors(state)
    cursors.save(NAME, STREAM, "10", 1.0)
    cursors.save(NAME, STREAM, "7", 2.0, midway=True)
    cursors.fail(NAME, STREAM, restart=False)
    position = cursors.position(NAME, STREAM)
    assert (position.resume, position.cursor, position.faults, position.restarts) == ("7", "10", 1, 0)
    cursors.fail(NAME, STREAM, restart=True)
    position = cursors.position(NAME, STREAM)
    assert (position.resume, position.cursor, position.faults, position.restarts) == (None, "10", 0, 1)
    assert cursors.load(NAME, STREAM) == "10"


def test_a_page_ends_the_faults_and_a_finished_round_the_restarts(state: redis.Redis) -> None:
    cursors = Cursors(state)
    cursors.fail(NAME, STREAM, restart=True)
    cursors.fail(NAME, STREAM, restart=False)
    cursors.save(NAME, STREAM, "7", 2.0, midway=True)
    assert (cursors.position(NAME, STREAM).faults, cursors.position(NAME, STREAM).restarts) == (0, 1)
    cursors.save(NAME, STREAM, "10", 3.0)
    assert cursors.position(NAME, STREAM).restarts == 0


def test_history_keeps_the_newest_rounds(state: redis.Redis) -> None:
    cursors = Cursors(state)
    for number in range(HISTORY + 5):
        cursors.record_round(NAME, _report(number))

    history = cursors.history(NAME)

    assert len(history) == HISTORY
    assert history[0] == _report(HISTORY + 4)


def test_a_round_that_is_recorded_again_after_a_lost_reply_is_stored_once(state: redis.Redis) -> None:
    cursors = Cursors(state)
    cursors.record_round(NAME, _report(1))
    cursors.record_round(NAME, _report(1))
    assert cursors.history(NAME) == [_report(1)]


def test_a_lease_belongs_to_one_holder_until_it_is_given_back(state: redis.Redis) -> None:
    mine, other = (Lease(state, "poll:x", token, seconds=60) for token in ("mine", "other"))
    assert mine.hold()
    assert mine.hold()
    assert not other.hold()
    other.release()
    assert not other.hold()
    mine.release()
    assert other.hold()


def test_a_lease_ends_by_itself_and_its_late_holder_does_not_take_it_back(state: redis.Redis) -> None:
    mine, other = Lease(state, "poll:x", "mine", seconds=0.05), Lease(state, "poll:x", "other", seconds=60)
    assert mine.hold()
    while not other.hold():
        pass
    assert not mine.hold()
    mine.release()
    assert state.get("ab:lease:poll:x") == b"other"


@pytest.mark.parametrize("call", ["load", "history"])
def test_trouble_of_the_state_is_reported_as_such(call: str) -> None:
    nowhere = redis.Redis.from_url("redis://127.0.0.1:1/0", socket_connect_timeout=0.2)
    with pytest.raises(StateUnavailable, match="doctor"):
        getattr(Cursors(nowhere), call)(*([NAME, STREAM] if call == "load" else [NAME]))
