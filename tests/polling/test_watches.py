"""Watches on a fake and on a real server: opened once, seen when due, closed in one round trip or none."""

from __future__ import annotations

import pytest
import redis

from bridge.polling.expectations import Expectations
from bridge.polling.recheck_schedule import Found, Next, after_recheck
from bridge.polling.watches import OpenWatch, Watches
from bridge.sdk.vendor import Pointer, Watch
from bridge.state import keys

pytestmark = pytest.mark.cluster_too

NAME = "eu-little"
SCHEDULE = (60.0, 600.0)


def _watch(due_in: float = 30.0, give_up_at: float = 9000.0, **reference: str) -> Watch:
    return Watch(reference=reference or {"stream": "link", "note": "a|b|ü"}, due_in=due_in, give_up_at=give_up_at)


def _recheck(watches: Watches, watch: OpenWatch, now: float) -> Next:
    """A recheck that finds nothing."""
    following = after_recheck(
        watch, watch, pointer_schedule=(5.0, 30.0), recheck_schedule=SCHEDULE, answer=Found.NOTHING, now=now
    )
    watches.replace(NAME, watch, following.watch)
    return following


def test_an_open_watch_is_due_at_its_time_with_everything_it_was_opened_with(state: redis.Redis) -> None:
    watches = Watches(state)
    watches.open(NAME, "a:1", _watch(), now=1000.0)

    assert watches.due(NAME, 1029.9, 10) == ()
    (watch,) = watches.due(NAME, 1030.0, 10)
    assert watch.key == "a:1"
    assert watch.reference == {"stream": "link", "note": "a|b|ü"}
    assert (watch.due, watch.give_up_at, watch.opened_at, watch.rechecks) == (1030.0, 9000.0, 1000.0, 0)
    assert watches.due("us-little", 9999.0, 10) == ()


def test_opening_again_replaces_the_reference_and_keeps_the_schedule(state: redis.Redis) -> None:
    watches = Watches(state)
    watches.open(NAME, "a:1", _watch(), now=1000.0)
    (watch,) = watches.due(NAME, 1030.0, 10)
    _recheck(watches, watch, 1030.0)

    watches.open(NAME, "a:1", _watch(due_in=1.0, give_up_at=9500.0, stream="group"), now=1040.0)

    (watch,) = watches.list(NAME)
    assert (watch.due, watch.rechecks, watch.opened_at) == (1090.0, 1, 1000.0)
    assert (watch.reference, watch.give_up_at) == ({"stream": "group"}, 9500.0)


def test_rechecks_follow_the_schedule_whose_last_entry_repeats(state: redis.Redis) -> None:
    watches = Watches(state)
    watches.open(NAME, "a:1", _watch(), now=1000.0)
    dues = []
    for _ in range(3):
        (watch,) = watches.list(NAME)
        _recheck(watches, watch, watch.due)
        dues.append(watches.list(NAME)[0].due - watch.due)
    assert dues == [60.0, 600.0, 600.0]


def test_a_recheck_that_is_counted_again_after_a_lost_reply_counts_once(state: redis.Redis) -> None:
    watches = Watches(state)
    watches.open(NAME, "a:1", _watch(), now=1000.0)
    (watch,) = watches.list(NAME)
    _recheck(watches, watch, 1030.0)
    _recheck(watches, watch, 1030.0)
    assert (watches.list(NAME)[0].rechecks, watches.list(NAME)[0].due) == (1, 1090.0)


def test_the_last_recheck_is_at_the_deadline_and_then_the_watch_is_removed(state: redis.Redis) -> None:
    watches = Watches(state)
    watches.open(NAME, "a:1", _watch(give_up_at=1050.0), now=1000.0)
    (watch,) = watches.list(NAME)
    assert not _recheck(watches, watch, 1030.0).overdue
    (watch,) = watches.due(NAME, 1050.0, 1)
    assert watch.due == 1050.0
    assert _recheck(watches, watch, 1050.0) == Next(None, overdue=True)
    assert watches.list(NAME) == ()


def test_a_watch_past_its_deadline_is_not_opened(state: redis.Redis) -> None:
    watches = Watches(state)
    watches.open_many(NAME, {"a:1": _watch(give_up_at=1000.0), "a:2": _watch(give_up_at=1000.1)}, now=1000.0)
    assert [watch.key for watch in watches.list(NAME)] == ["a:2"]


def test_a_watch_that_was_closed_meanwhile_stays_closed(state: redis.Redis) -> None:
    watches = Watches(state)
    watches.open(NAME, "a:1", _watch(), now=1000.0)
    (watch,) = watches.list(NAME)
    watches.close(NAME, "a:1", now=1030.0)
    assert watches.get(NAME, "a:1") is None
    assert not watches.replace(NAME, watch, watch)
    assert watches.list(NAME) == ()
    assert state.keys("*:watch*") == []


def test_the_most_overdue_watches_come_first_up_to_the_limit(state: redis.Redis) -> None:
    watches = Watches(state)
    watches.open_many(NAME, {f"a:{number}": _watch(due_in=100.0 - number) for number in range(5)}, now=1000.0)
    assert [watch.key for watch in watches.due(NAME, 2000.0, 2)] == ["a:4", "a:3"]
    assert watches.due_count(NAME, 2000.0) == 5
    assert watches.due_count(NAME, 1097.0) == 2


class _Counting(Watches):
    """Counts the scripts that really go to the server."""

    def __init__(self, client: redis.Redis) -> None:
        super().__init__(client)
        self.trips = 0
        settle = self._settle

        def counted(**options: object) -> object:
            self.trips += 1
            return settle(**options)  # type: ignore[arg-type]

        self._settle = counted  # type: ignore[assignment]


def test_closing_costs_no_round_trip_while_the_source_is_known_to_have_no_watch(state: redis.Redis) -> None:
    watches = _Counting(state)
    for moment in (1000.0, 1000.1, 1000.2):
        watches.close(NAME, "a:1", now=moment)
    assert watches.trips == 1
    watches.close(NAME, "a:1", now=1000.25)
    assert watches.trips == 2


def test_closing_goes_to_the_server_as_soon_as_this_process_opened_a_watch(state: redis.Redis) -> None:
    watches = _Counting(state)
    watches.close(NAME, "a:1", now=1000.0)
    watches.open(NAME, "a:1", _watch(), now=1000.1)
    watches.close_many(NAME, ["a:1", "a:2"], now=1000.2)
    assert watches.list(NAME) == ()


@pytest.mark.parametrize("ids", [[], ()])
def test_closing_nothing_makes_no_call(ids: list[str]) -> None:
    Watches(redis.Redis.from_url("redis://127.0.0.1:1/0")).close_many(NAME, ids, now=1000.0)


def test_pointers_come_soon_beside_a_backlog_and_rereads_come_last(state: redis.Redis) -> None:
    watches = Watches(state)
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


@pytest.mark.long
def test_a_new_pointer_waits_behind_no_backlog_and_the_backlog_is_rechecked_all_the_same(
    state: redis.Redis,
) -> None:
    watches = Watches(state)

    def announce(moment: float, *names: str) -> None:
        watches.add_pointers(NAME, [Pointer(key=f"?p:{name}", reference={}) for name in names], now=moment)

    announce(1000.0, *(f"{number:04}" for number in range(2000)))
    announce(1500.0, "new")
    assert [watch.key for watch in watches.due(NAME, 1500.0, 4)] == ["?p:0000", "?p:new", "?p:0001", "?p:1999"]
    assert [watch.key for watch in watches.due(NAME, 1499.0, 2)] == ["?p:0000", "?p:1999"]
    assert len({watch.key for watch in watches.due(NAME, 1500.0, 2001)}) == 2001


def test_a_watch_is_always_in_exactly_one_queue(state: redis.Redis) -> None:
    watches = Watches(state)
    pointer = Pointer(key="a:1", reference={"person": "7"})
    reread = Watch(reference={}, due_in=60.0, give_up_at=9000.0, reread=True)

    def where() -> tuple[str, float, list[str]]:
        (watch,) = watches.list(NAME)
        queues = [name for name in ("due", "pointers", "rereads") if state.zcard(f"ab:{{{NAME}}}:watch:{name}")]
        return watch.kind, watch.due, queues

    watches.open(NAME, "a:1", _watch(), now=1000.0)
    watches.open(NAME, "a:1", reread, now=1002.0)
    assert where() == ("reread", 1062.0, ["rereads"])
    watches.add_pointers(NAME, [pointer], now=1003.0)
    assert where() == ("pointer", 1003.0, ["pointers"])
    # Announced: the schedule and the urgency of pointers, whatever the kind.
    assert watches.open_many(NAME, {"a:1": reread}, now=1004.0) == {"a:1"}
    assert where() == ("reread", 1003.0, ["pointers"])
    watches.open(NAME, "a:1", _watch(), now=1005.0)
    assert where() == ("attempt", 1003.0, ["due"])
    watches.open_many(NAME, {"a:1": _watch()}, now=1006.0, published={"a:1"})
    assert where() == ("ungraded", 1003.0, ["pointers"])
    watches.settle(NAME, {}, now=1007.0, answered={"a:1": 1067.0})
    assert where() == ("ungraded", 1067.0, ["rereads"])
    watches.close_many(NAME, ["a:1"], now=1008.0)
    assert watches.due_count(NAME, 9999.0) == 0


def test_what_was_urged_or_is_not_answered_stays_open(state: redis.Redis) -> None:
    watches = Watches(state)
    before = watches.version(NAME)
    watches.add_pointers(NAME, [Pointer(key="a:1", reference={})], now=1000.0)
    watches.settle(NAME, {"a:1": True}, now=1001.0, as_of=before)
    assert [watch.key for watch in watches.list(NAME)] == ["a:1"]
    after = watches.version(NAME)
    watches.settle(NAME, {"a:1": False}, now=1001.0, as_of=after)
    assert [watch.key for watch in watches.list(NAME)] == ["a:1"]
    watches.settle(NAME, {"a:1": True}, now=1001.0, as_of=after)
    assert watches.list(NAME) == ()


def test_watches_and_expectations_of_the_previous_version_are_read_and_urged(state: redis.Redis) -> None:
    before = {
        "attempt": '2|900.5|attempt|{"reference":{"note":"a|b"},"give_up_at":9000.0}',
        "pointer": '3|901.0|pointer|{"reference":{},"give_up_at":2001.0}',
        "expected": '1|902.0|expectation|{"reference":{"x":"y"},"give_up_at":2000.0}',
    }
    state.hset(keys.watch(NAME), mapping=before)  # type: ignore[arg-type]
    state.zadd(keys.watch_due(NAME), {"attempt": 950.0, "expected": 951.0})
    state.zadd(keys.watch_due(NAME, "pointers"), {"pointer": 952.0})
    # Registered again by a version that left the watch its old times.
    promise = (
        '{"deadline":8000.0,"due":1500.0,"label":"HR-7","reference":{"x":"y"},"registered_at":903.0,"state":"open"}'
    )
    state.hset(keys.expected(NAME), "expected", promise)
    watches = Watches(state)

    attempt, expected, pointer = watches.list(NAME)
    assert (attempt.kind, attempt.reference, attempt.rechecks) == ("attempt", {"note": "a|b"}, 2)
    assert (attempt.opened_at, attempt.give_up_at, attempt.announced) == (900.5, 9000.0, None)
    assert (expected.give_up_at, expected.expected_due, expected.expected_deadline) == (8000.0, 1500.0, 8000.0)
    assert (pointer.announced, pointer.rechecks) == (2001.0, 3)

    pointers = [Pointer(key=key, reference={"new": "1"}, give_up_after=500.0) for key in before]
    watches.add_pointers(NAME, pointers, now=951.0)
    urged = {watch.key: watch for watch in watches.list(NAME)}
    assert [(key, watch.due, watch.rechecks, watch.announced) for key, watch in sorted(urged.items())] == [
        ("attempt", 950.0, 0, 1451.0),
        ("expected", 951.0, 0, 1451.0),
        ("pointer", 951.0, 0, 1451.0),
    ]
    assert urged["attempt"].reference == {"note": "a|b"}
    assert (urged["pointer"].reference, urged["pointer"].give_up_at) == ({"new": "1"}, 1451.0)


@pytest.mark.parametrize(
    "value",
    ["", "x", "1|2|attempt", '1|2|attempt|["reference"]', "0|nan|attempt|0||inf|{", b"\xff|1|attempt|0||2|{}"],
)
def test_a_stored_value_that_nobody_can_read_hides_no_other_watch(state: redis.Redis, value: str | bytes) -> None:
    watches = Watches(state)
    watches.open(NAME, "a:1", _watch(due_in=0.0), now=1000.0)
    state.hset(keys.watch(NAME), "a:0", value)
    state.zadd(keys.watch_due(NAME), {"a:0": 1.0, "gone": 2.0})
    assert "a:1" in [watch.key for watch in watches.list(NAME)]
    for _ in range(2):
        watches.due(NAME, 1000.0, 2)
    assert "a:1" in [watch.key for watch in watches.due(NAME, 1000.0, 2)]


@pytest.mark.long
def test_thousands_of_keys_go_through_every_script(state: redis.Redis) -> None:
    watches = Watches(state)
    expectations = Expectations(state, watches)
    names = [f"a:{number}" for number in range(9000)]
    pointers = [Pointer(key=key, reference={}) for key in names]
    watches.open_many(NAME, dict.fromkeys(names, _watch()), now=1000.0)
    watches.add_pointers(NAME, pointers, now=1000.0)
    expected = expectations.expect(NAME, pointers, label=None, due=1000.0, deadline=2000.0, now=1000.0)
    assert len(watches.list(NAME)) == len(expectations.matching(NAME, names, now=1000.0)) == 9000
    expectations.mark_met(NAME, expected)
    watches.settle(NAME, dict.fromkeys(names[:4000], True), now=1000.0, answered=dict.fromkeys(names[4000:], 1100.0))
    assert watches.due_count(NAME, 1000.0) == 0
    assert all(expectations.cancel(NAME, names[4000:]))
    assert watches.list(NAME) == expectations.list(NAME) == ()
