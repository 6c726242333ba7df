"""Watches on a fake and on a real server: opened once, seen when due, closed in one round trip or none."""

from __future__ import annotations

import pytest
import redis

from bridge.polling.watches import Watches
from bridge.sdk.vendor import Pointer, Watch

NAME = "eu-little"
SCHEDULE = (60.0, 600.0)


def _watch(due_in: float = 30.0, give_up_at: float = 9000.0, **reference: str) -> Watch:
    return Watch(reference=reference or {"stream": "link", "note": "a|b|ü"}, due_in=due_in, give_up_at=give_up_at)


def test_an_open_watch_is_due_at_its_time_with_everything_it_was_opened_with(any_state: redis.Redis) -> None:
    watches = Watches(any_state)
    watches.open(NAME, "a:1", _watch(), now=1000.0)

    assert watches.due(NAME, 1029.9, 10) == ()
    (watch,) = watches.due(NAME, 1030.0, 10)
    assert watch.key == "a:1"
    assert watch.reference == {"stream": "link", "note": "a|b|ü"}
    assert (watch.due, watch.give_up_at, watch.opened_at, watch.rechecks) == (1030.0, 9000.0, 1000.0, 0)
    assert watches.due("us-little", 9999.0, 10) == ()


def test_opening_again_replaces_the_reference_and_keeps_the_schedule(any_state: redis.Redis) -> None:
    watches = Watches(any_state)
    watches.open(NAME, "a:1", _watch(), now=1000.0)
    (watch,) = watches.due(NAME, 1030.0, 10)
    assert watches.record_recheck(NAME, watch, SCHEDULE, 1030.0) == "later"

    watches.open(NAME, "a:1", _watch(due_in=1.0, give_up_at=9500.0, stream="group"), now=1040.0)

    (watch,) = watches.list(NAME)
    assert (watch.due, watch.rechecks, watch.opened_at) == (1090.0, 1, 1000.0)
    assert (watch.reference, watch.give_up_at) == ({"stream": "group"}, 9500.0)


def test_rechecks_follow_the_schedule_whose_last_entry_repeats(any_state: redis.Redis) -> None:
    watches = Watches(any_state)
    watches.open(NAME, "a:1", _watch(), now=1000.0)
    dues = []
    for _ in range(3):
        (watch,) = watches.list(NAME)
        watches.record_recheck(NAME, watch, SCHEDULE, watch.due)
        dues.append(watches.list(NAME)[0].due - watch.due)
    assert dues == [60.0, 600.0, 600.0]


def test_a_recheck_that_is_counted_again_after_a_lost_reply_counts_once(any_state: redis.Redis) -> None:
    watches = Watches(any_state)
    watches.open(NAME, "a:1", _watch(), now=1000.0)
    (watch,) = watches.list(NAME)
    watches.record_recheck(NAME, watch, SCHEDULE, 1030.0)
    watches.record_recheck(NAME, watch, SCHEDULE, 1030.0)
    assert (watches.list(NAME)[0].rechecks, watches.list(NAME)[0].due) == (1, 1090.0)


def test_the_last_recheck_is_at_the_deadline_and_then_the_watch_is_removed(any_state: redis.Redis) -> None:
    watches = Watches(any_state)
    watches.open(NAME, "a:1", _watch(give_up_at=1050.0), now=1000.0)
    (watch,) = watches.list(NAME)
    assert watches.record_recheck(NAME, watch, SCHEDULE, 1030.0) == "later"
    (watch,) = watches.due(NAME, 1050.0, 1)
    assert watch.due == 1050.0
    assert watches.record_recheck(NAME, watch, SCHEDULE, 1050.0) == "given_up"
    assert watches.list(NAME) == ()


def test_a_watch_past_its_deadline_is_not_opened(any_state: redis.Redis) -> None:
    watches = Watches(any_state)
    watches.open_many(NAME, {"a:1": _watch(give_up_at=1000.0), "a:2": _watch(give_up_at=1000.1)}, now=1000.0)
    assert [watch.key for watch in watches.list(NAME)] == ["a:2"]


def test_a_watch_that_was_closed_meanwhile_stays_closed(any_state: redis.Redis) -> None:
    watches = Watches(any_state)
    watches.open(NAME, "a:1", _watch(), now=1000.0)
    (watch,) = watches.list(NAME)
    watches.close(NAME, "a:1", now=1030.0)
    assert watches.record_recheck(NAME, watch, SCHEDULE, 1030.0) == "closed"
    assert watches.list(NAME) == ()
    assert any_state.keys("ab:watch:*") == []


def test_the_most_overdue_watches_come_first_up_to_the_limit(any_state: redis.Redis) -> None:
    watches = Watches(any_state)
    watches.open_many(NAME, {f"a:{number}": _watch(due_in=100.0 - number) for number in range(5)}, now=1000.0)
    assert [watch.key for watch in watches.due(NAME, 2000.0, 2)] == ["a:4", "a:3"]
    assert watches.due_count(NAME, 2000.0) == 5
    assert watches.due_count(NAME, 1097.0) == 2


class _Counting(Watches):
    """Counts the scripts that really go to the server."""

    def __init__(self, client: redis.Redis) -> None:
        super().__init__(client)
        self.trips = 0
        close = self._close

        def counted(**options: object) -> object:
            self.trips += 1
            return close(**options)  # type: ignore[arg-type]

        self._close = counted  # type: ignore[assignment]


def test_closing_costs_no_round_trip_while_the_source_is_known_to_have_no_watch(fake_state: redis.Redis) -> None:
    watches = _Counting(fake_state)
    for moment in (1000.0, 1000.1, 1000.2):
        watches.close(NAME, "a:1", now=moment)
    assert watches.trips == 1
    watches.close(NAME, "a:1", now=1000.25)
    assert watches.trips == 2


def test_closing_goes_to_the_server_as_soon_as_this_process_opened_a_watch(fake_state: redis.Redis) -> None:
    watches = _Counting(fake_state)
    watches.close(NAME, "a:1", now=1000.0)
    watches.open(NAME, "a:1", _watch(), now=1000.1)
    watches.close_many(NAME, ["a:1", "a:2"], now=1000.2)
    assert watches.list(NAME) == ()


@pytest.mark.parametrize("ids", [[], ()])
def test_closing_nothing_makes_no_call(ids: list[str]) -> None:
    Watches(redis.Redis.from_url("redis://127.0.0.1:1/0")).close_many(NAME, ids, now=1000.0)


def test_pointers_come_soon_beside_a_backlog_and_rereads_come_last(any_state: redis.Redis) -> None:
    watches = Watches(any_state)
    reread = Watch(reference={}, due_in=0.0, give_up_at=9000.0, reread=True)
    watches.open_many(NAME, {f"a:{number}": _watch(due_in=0.0) for number in range(6)}, now=1000.0)
    watches.open_many(NAME, {f"r:{number}": reread for number in range(2)}, now=900.0)
    pointers = [Pointer(key=f"?p:{number}", reference={"person": str(number)}) for number in range(3)]
    watches.add_pointers(NAME, pointers, now=1001.0)

    def due(limit: int) -> list[str]:
        return [watch.key for watch in watches.due(NAME, 2000.0, limit)]

    assert due(4) == ["a:0", "a:1", "?p:0", "?p:1"]
    assert due(8) == ["a:0", "a:1", "a:2", "a:3", "a:4", "?p:0", "?p:1", "?p:2"]
    assert due(20) == [*(f"a:{n}" for n in range(6)), "?p:0", "?p:1", "?p:2", "r:0", "r:1"]
    assert watches.sources_due(["us-little", NAME], 2000.0) == [NAME]


def test_a_watch_is_always_in_exactly_one_queue(any_state: redis.Redis) -> None:
    watches = Watches(any_state)
    pointer = Pointer(key="a:1", reference={"person": "7"})
    watches.add_pointers(NAME, [pointer], now=1000.0)
    watches.open(NAME, "a:1", _watch(), now=1001.0)
    watches.open(NAME, "a:1", Watch(reference={}, due_in=60.0, give_up_at=9000.0, reread=True), now=1002.0)
    (watch,) = watches.list(NAME)
    assert (watch.kind, watch.due, watch.opened_at) == ("reread", 1062.0, 1000.0)

    watches.add_pointers(NAME, [pointer], now=1003.0)
    (watch,) = watches.list(NAME)
    assert (watch.kind, watch.due) == ("pointer", 1003.0)
    watches.close_many(NAME, ["a:1"], now=1004.0, kind="reread")
    assert watches.due_count(NAME, 9999.0) == 1
    watches.close_many(NAME, ["a:1"], now=1004.0)
    assert watches.due_count(NAME, 9999.0) == 0
