"""Group commit: entries that wait together are published together, and no entry fails because of another."""

from __future__ import annotations

from collections.abc import Sequence

import gevent
import pytest
import redis
from gevent.event import Event

from bridge.errors import StateUnavailable
from bridge.journal import Entry, EntryResult, RequestRecord
from bridge.web.group_commit import MAX_BATCH, GroupCommit, PartitionedCommit
from tests.support.journal import make_submission


def entry(name: str) -> Entry:
    return Entry(request=RequestRecord(id=name, source="eu", received_at=0.0, headers={}, body=b""))


class Journal:
    """Answers with the entry's own id once `open` is set; `poisoned` entries fail every call that holds them."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.open = Event()
        self.open.set()
        self.poisoned: dict[str, Exception] = {}

    def publish_batch(self, entries: Sequence[Entry], *, now: float) -> list[EntryResult]:
        names = [entry.request.id for entry in entries if entry.request is not None]
        self.batches.append(names)
        self.open.wait()
        for name in names:
            if name in self.poisoned:
                raise self.poisoned[name]
        return [EntryResult(f"done {name}", ()) for name in names]


@pytest.fixture
def journal() -> Journal:
    return Journal()


def outcomes(commit: GroupCommit, names: Sequence[str]) -> list[gevent.Greenlet]:
    """A greenlet per entry, each run up to where it waits."""

    def publish(name: str) -> str:
        try:
            return commit.publish(entry(name), now=0.0).outcome
        except (StateUnavailable, ValueError) as error:
            return f"{type(error).__name__} {error}"

    greenlets = [gevent.spawn(publish, name) for name in names]
    gevent.sleep(0)
    return greenlets


def values(greenlets: list[gevent.Greenlet]) -> list[str]:
    gevent.joinall(greenlets, timeout=10, raise_error=True)
    return [greenlet.value for greenlet in greenlets]


def unanswered(text: str) -> StateUnavailable:
    error = StateUnavailable(text)
    error.__cause__ = redis.TimeoutError("Timeout reading from socket")
    return error


def answered(text: str) -> StateUnavailable:
    error = StateUnavailable(text)
    error.__cause__ = redis.ResponseError("user_script:1: it")
    return error


def test_a_lone_request_is_published_at_once(journal: Journal) -> None:
    commit = GroupCommit(journal)
    assert commit.publish(entry("a"), now=0.0).outcome == "done a"
    assert commit.publish(entry("b"), now=0.0).outcome == "done b"
    assert journal.batches == [["a"], ["b"]]


def test_entries_that_arrive_during_a_call_share_the_next_one(journal: Journal) -> None:
    journal.open.clear()
    sizes: list[float] = []
    greenlets = outcomes(GroupCommit(journal, observe=sizes.append), "abcdef")
    journal.open.set()
    assert values(greenlets) == [f"done {name}" for name in "abcdef"]
    assert journal.batches == [["a"], list("bcdef")]
    assert sizes == [1, 5]


def test_a_batch_has_a_maximum_size(journal: Journal) -> None:
    journal.open.clear()
    names = [str(number) for number in range(2 * MAX_BATCH + 2)]
    greenlets = outcomes(GroupCommit(journal), names)
    journal.open.set()
    assert values(greenlets) == [f"done {name}" for name in names]
    assert [len(batch) for batch in journal.batches] == [1, MAX_BATCH, MAX_BATCH, 1]


@pytest.mark.parametrize("error", [ValueError("poison"), answered("poison")], ids=["a fault", "a refusal"])
def test_a_poisoned_entry_fails_alone(journal: Journal, error: Exception) -> None:
    journal.open.clear()
    journal.poisoned = {"c": error}
    greenlets = outcomes(GroupCommit(journal), "abcd")
    journal.open.set()
    assert values(greenlets) == ["done a", "done b", f"{type(error).__name__} poison", "done d"]
    assert journal.batches == [["a"], ["b", "c", "d"], ["b"], ["c"], ["d"]]


def test_when_the_server_does_not_answer_all_waiting_requests_fail_at_once(journal: Journal) -> None:
    journal.open.clear()
    journal.poisoned = {"a": unanswered("gone")}
    commit = GroupCommit(journal)
    greenlets = outcomes(commit, "abcd")
    journal.open.set()
    assert values(greenlets) == ["StateUnavailable gone"] * 4
    assert journal.batches == [["a"]]
    assert commit.publish(entry("e"), now=0.0).outcome == "done e"


def test_when_the_server_goes_during_the_single_calls_the_rest_fails_too(journal: Journal) -> None:
    journal.open.clear()
    journal.poisoned = {"b": ValueError("poison"), "c": unanswered("gone")}
    greenlets = outcomes(GroupCommit(journal), "abcd")
    journal.open.set()
    assert values(greenlets) == ["done a", "ValueError poison", *["StateUnavailable gone"] * 2]


def test_a_killed_leader_leaves_nobody_waiting(journal: Journal) -> None:
    journal.open.clear()
    commit = GroupCommit(journal)
    leader, *others = outcomes(commit, "abc")
    leader.kill()
    journal.open.set()
    assert values(others) == ["done b", "done c"]
    assert commit.publish(entry("d"), now=0.0).outcome == "done d"


def test_a_killed_waiter_leaves_nobody_waiting(journal: Journal) -> None:
    journal.open.clear()
    commit = GroupCommit(journal)
    first, waiter, *others = outcomes(commit, "abcd")
    waiter.kill()
    journal.open.set()
    assert values([first, *others]) == ["done a", "done c", "done d"]
    assert commit.publish(entry("e"), now=0.0).outcome == "done e"


def test_a_waiter_killed_just_before_it_leads_leaves_nobody_waiting(journal: Journal) -> None:
    journal.open.clear()
    commit = GroupCommit(journal)

    def lead() -> None:
        commit.publish(entry("a"), now=0.0)
        heir.throw(gevent.GreenletExit())  # at once, before the hub can wake it

    gevent.spawn(lead)
    heir, *others = outcomes(commit, "bcd")
    journal.open.set()
    assert values(others) == ["done c", "done d"]
    assert journal.batches == [["a"], ["c", "d"]]


class TwoServers:
    """A journal whose partition 1 is away: it answers nothing until `back` is set."""

    def __init__(self) -> None:
        self.back = Event()

    def places(self, entry: Entry) -> tuple[int, ...]:
        return tuple(sorted({int(each.attempt_id) for each in entry.submissions}))

    def publish_batch(self, entries: Sequence[Entry], *, now: float) -> list[EntryResult]:
        if 1 in self.places(entries[0]):
            self.back.wait()
        return [EntryResult("published", ()) for _ in entries]


def test_entries_of_a_partition_whose_server_hangs_delay_no_others() -> None:
    journal = TwoServers()
    commit = PartitionedCommit(journal)
    places = ((1,), (0, 1), (0,))
    entries = [Entry(submissions=tuple(make_submission(str(each)) for each in several)) for several in places]
    waiting = [gevent.spawn(commit.publish, entry, now=1.0) for entry in entries[:2]]
    gevent.sleep(0)
    assert gevent.spawn(commit.publish, entries[2], now=1.0).get(timeout=10).outcome == "published"
    assert not any(greenlet.ready() for greenlet in waiting)
    journal.back.set()
    assert [greenlet.get(timeout=10).outcome for greenlet in waiting] == ["published"] * 2
