"""The journal over a real server."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest
import redis

from bridge.config.model import BridgeConfig
from bridge.config.model import Retention as RetentionConfig
from bridge.errors import StateUnavailable
from bridge.journal import BACKFILL, POLL, WEBHOOK, Entry, Journal, RequestRecord, entries
from bridge.journal.quarantine import QuarantineStore
from bridge.journal.reading import Reader, bucket_number
from bridge.journal.requests import RequestStore
from bridge.journal.retention import Retention
from bridge.state import keys
from bridge.state.partitions import attempt_field
from tests.support.journal import DAY, NOW, make_submission, outcomes
from tests.support.partitions import numbers

pytestmark = pytest.mark.cluster_too


def request(number: int, outcome: str | None = None) -> RequestRecord:
    ident = f"{int(NOW * 1000):012x}"
    return RequestRecord(
        id=f"{ident[:8]}-{ident[8:]}-7000-8000-{number:012x}",
        source="eu",
        received_at=NOW,
        headers={"content-type": "application/json"},
        body=b'{"n": %d}' % number,
        outcome=outcome,
    )


def published(state: redis.Redis, partitions: int | None = None) -> list[tuple[str, str]]:
    reader = Reader(state, partitions=partitions or len(numbers()))
    return [(event.attempt, event.type) for event in reader.events(newest_first=False)]


def test_a_store_has_the_partitions_of_the_run(state: redis.Redis, request: pytest.FixtureRequest) -> None:
    assert Journal(state).partitions == len(numbers()) == (6 if "-6-partitions" in request.node.name else 1)


def test_the_same_result_is_published_once_whatever_the_path(state: redis.Redis) -> None:
    journal = Journal(state)
    assert outcomes(journal, make_submission()) == ["published"]
    assert (
        outcomes(journal, make_submission(origin=POLL), make_submission(), make_submission(origin=BACKFILL))
        == ["duplicate"] * 3
    )
    assert published(state) == [("link:1", "attempt.completed")]


def test_the_same_attempt_twice_in_one_batch_is_published_once(state: redis.Redis) -> None:
    assert outcomes(Journal(state), make_submission(), make_submission(), make_submission("link:2")) == [
        "published",
        "duplicate",
        "published",
    ]


def test_the_same_attempt_id_in_another_source_is_another_attempt(state: redis.Redis) -> None:
    assert outcomes(Journal(state), make_submission(), make_submission(source="us")) == ["published", "published"]


def test_a_changed_result_is_a_revision_that_holds_the_replaced_one(state: redis.Redis) -> None:
    journal = Journal(state)
    outcomes(journal, make_submission(score=1))
    written = journal.publish(Entry(submissions=(make_submission(score=2, origin=POLL),)), now=NOW)
    assert [(verdict.outcome, verdict.revision) for verdict in written.results] == [("revised", 2)]
    newest = next(Reader(state).events())
    assert newest.type == "attempt.revised"
    assert json.loads(newest.event)["data"]["result"] == {"score": 2, "previous": 1}
    assert outcomes(journal, make_submission(score=3, origin=POLL)) == ["revised"]
    assert json.loads(next(Reader(state).events()).event)["data"]["result"]["previous"] == 2


@pytest.mark.long
def test_every_revision_of_an_attempt_has_an_id_of_its_own(state: redis.Redis) -> None:
    journal = Journal(state)
    for score in range(600):
        outcomes(journal, make_submission(score=score, origin=POLL if score % 2 else WEBHOOK))
    events = list(Reader(state).events(newest_first=False))
    assert len({event.id for event in events}) == 600
    revisions = [json.loads(event.event)["data"]["attempt"]["revision"] for event in events]
    assert revisions == list(range(1, 601))
    memory = Reader(state).attempt("eu", "link:1")
    assert memory is not None
    assert (memory.revision, memory.first_origin) == (600, WEBHOOK)
    assert memory.poll_day is not None
    # The bits of the revision are beside those of the paths.
    outcomes(journal, make_submission("link:2", score=1, origin=POLL))
    for score in range(2, 300):
        outcomes(journal, make_submission("link:2", score=score, origin=POLL))
    outcomes(journal, make_submission("link:2", score=299))
    memory = Reader(state).attempt("eu", "link:2")
    assert memory is not None
    assert (memory.revision, memory.first_origin, memory.webhook_day) == (299, POLL, memory.first_day)


@pytest.mark.own_partitions
def test_an_attempt_without_a_revision_left_publishes_no_id_twice(state: redis.Redis) -> None:
    journal = Journal(state)
    outcomes(journal, make_submission(score=1))
    field = attempt_field("eu", "link:1")
    value = state.hget(keys.seen(0) + ":0", field)  # type: ignore[arg-type]
    assert isinstance(value, bytes)
    full = bytes([value[0] | 0xF8]) + value[1:4] + b"\xff" + value[5:]
    state.hset(keys.seen(0) + ":0", field, full)  # type: ignore[arg-type]
    assert outcomes(journal, make_submission(score=2)) == ["stale"]
    assert len(list(Reader(state).events())) == 1


@pytest.mark.own_partitions
def test_what_the_previous_version_remembered_of_an_attempt_is_continued(state: redis.Redis) -> None:
    journal = Journal(state)
    outcomes(journal, make_submission(score=1))
    field = attempt_field("eu", "link:1")
    value = state.hget(keys.seen(0) + ":0", field)  # type: ignore[arg-type]
    assert isinstance(value, bytes)
    state.hset(keys.seen(0) + ":0", field, value[:4] + b"\xff" + value[5:])  # type: ignore[arg-type]
    for score in (2, 3):
        outcomes(journal, make_submission(score=score))
    results = [json.loads(event.event)["data"]["attempt"]["revision"] for event in Reader(state).events()]
    assert results == [257, 256, 1]


@pytest.mark.own_partitions
def test_a_revision_whose_earlier_event_was_trimmed_has_no_previous(state: redis.Redis) -> None:
    journal = Journal(state)
    outcomes(journal, make_submission(score=1))
    state.xtrim(keys.journal(0), maxlen=0, approximate=False)
    assert outcomes(journal, make_submission(score=2)) == ["revised"]
    assert json.loads(next(Reader(state).events()).event)["data"]["result"]["previous"] is None


def test_an_old_webhook_copy_is_a_duplicate_even_after_a_revision(state: redis.Redis) -> None:
    journal = Journal(state)
    assert outcomes(journal, make_submission(score=1)) == ["published"]
    assert outcomes(journal, make_submission(score=2)) == ["revised"]
    assert outcomes(journal, make_submission(score=1)) == ["duplicate"]


def test_a_poll_that_shows_the_old_result_again_is_a_revision_because_polls_show_the_current_state(
    state: redis.Redis,
) -> None:
    journal = Journal(state)
    outcomes(journal, make_submission(score=1))
    outcomes(journal, make_submission(score=2))
    assert outcomes(journal, make_submission(score=1, origin=POLL)) == ["revised"]
    assert Reader(state).attempt("eu", "link:1").revision == 3  # type: ignore[union-attr]


@pytest.mark.parametrize("origin", [WEBHOOK, POLL])
def test_a_version_with_a_lower_order_than_the_published_one_is_stale(state: redis.Redis, origin: str) -> None:
    journal = Journal(state)
    outcomes(journal, make_submission(score=2, order=300))
    assert outcomes(journal, make_submission(score=1, order=299, origin=origin)) == ["stale"]
    assert len(published(state)) == 1


def test_order_is_compared_as_a_number_over_all_five_bytes(state: redis.Redis) -> None:
    journal = Journal(state)
    outcomes(journal, make_submission(score=1, order=0xFF))
    assert outcomes(journal, make_submission(score=2, order=0x0100)) == ["revised"]
    assert outcomes(journal, make_submission(score=3, order=0xFF_0000_0000)) == ["revised"]
    assert outcomes(journal, make_submission(score=4, order=0x80_0000_0000)) == ["stale"]


def test_the_memory_of_an_attempt_has_paths_days_and_revision(state: redis.Redis) -> None:
    journal, reader = Journal(state), Reader(state)
    outcomes(journal, make_submission(order=77))
    outcomes(journal, make_submission(order=77, origin=POLL), now=NOW + 3 * DAY)
    outcomes(journal, make_submission(order=77, origin=POLL), now=NOW + 9 * DAY)
    memory = reader.attempt("eu", "link:1")
    assert memory is not None
    assert (memory.revision, memory.order, memory.first_origin) == (1, 77, "webhook")
    assert (memory.webhook_day, memory.poll_day) == (20_000, 20_003)
    assert memory.entry_id == next(reader.events()).entry_id
    assert memory.digests == (b"d00001",)
    outcomes(journal, make_submission("link:2", origin=POLL))
    rescued = reader.attempt("eu", "link:2")
    assert rescued is not None
    assert (rescued.first_origin, rescued.webhook_day, rescued.poll_day) == ("poll", None, 20_000)
    assert reader.attempt("eu", "link:3") is None


@pytest.mark.own_partitions
def test_a_request_is_stored_with_the_outcome_of_its_records(state: redis.Redis) -> None:
    journal, store = Journal(state), RequestStore(state)
    written = journal.publish_batch(
        [
            Entry(submissions=(make_submission(score=1),), request=request(1)),
            Entry(submissions=(make_submission(score=1),), request=request(2)),
            Entry(request=request(3, outcome="ignored")),
            Entry(submissions=(make_submission(score=2), make_submission("link:2")), request=request(4)),
        ],
        now=NOW,
    )
    assert [result.outcome for result in written] == ["published", "duplicate", "ignored", "published"]
    kept = {item.id[-1]: item for item in store.list()}
    assert {number: request.outcome for number, request in kept.items()} == {
        "1": "published",
        "2": "duplicate",
        "3": "ignored",
        "4": "published",
    }
    assert kept["4"].attempts == ("link:1", "link:2")
    assert (kept["1"].body, kept["1"].headers) == (b'{"n": 1}', {"content-type": "application/json"})
    assert store.find(request(2).id) == kept["2"]


def test_a_request_whose_record_is_revised_is_stored_once_as_revised(state: redis.Redis) -> None:
    journal = Journal(state)
    outcomes(journal, make_submission(score=1))
    written = journal.publish(Entry(submissions=(make_submission(score=2),), request=request(1)), now=NOW)
    assert written.outcome == "revised"
    assert [request.outcome for request in RequestStore(state).list()] == ["revised"]


def test_a_refused_request_is_stored_truncated_and_listed_with_the_others(state: redis.Redis) -> None:
    store = RequestStore(state)
    refused = request(9)
    store.reject(
        request_id=refused.id, source="eu", received_at=NOW, reason="bad_signature", headers={}, body=b"x" * 10_000
    )
    result = store.find(refused.id)
    assert result is not None
    assert (result.outcome, result.reason, len(result.body)) == ("rejected", "bad_signature", 4096)


def test_counts_add_up_by_source_path_and_outcome(state: redis.Redis) -> None:
    journal = Journal(state)
    journal.publish(Entry(submissions=(make_submission(),), request=request(1)), now=NOW)
    outcomes(journal, make_submission(origin=POLL), make_submission("link:2", origin=POLL))
    journal.publish(Entry(request=request(2, outcome="test")), now=NOW)
    assert Reader(state).counts(20_000, 20_000) == {
        ("eu", "webhook", "published"): 1,
        ("eu", "webhook", "requests"): 2,
        ("eu", "webhook", "test"): 1,
        ("eu", "poll", "duplicate"): 1,
        ("eu", "poll", "published"): 1,
    }


@pytest.mark.own_partitions
@pytest.mark.long
def test_memory_grows_bucket_by_bucket_and_loses_no_attempt(state: redis.Redis) -> None:
    journal, reader = Journal(state), Reader(state)
    names = [f"link:{number}" for number in range(1500)]
    for start in range(0, len(names), 100):
        outcomes(journal, *(make_submission(name) for name in names[start : start + 100]))
    assert reader.remembered() == 1500
    buckets = int(state.hget(keys.seen(0), "b") or 0)  # type: ignore[arg-type]
    assert buckets >= 1500 // 96
    assert set(outcomes(journal, *(make_submission(name, origin=POLL) for name in names))) == {"duplicate"}
    for name in names:
        field = attempt_field("eu", name)
        assert state.hexists(f"{keys.seen(0)}:{bucket_number(field, buckets)}", field)  # type: ignore[arg-type]


def test_each_attempt_is_in_one_of_several_partitions(state: redis.Redis) -> None:
    journal = Journal(state, partitions=4)
    names = [f"link:{number}" for number in range(40)]
    entries = [
        Entry(submissions=(make_submission(name),), request=request(number)) for number, name in enumerate(names)
    ] + [Entry(request=request(99, outcome="ignored"))]
    written = journal.publish_batch(entries, now=NOW)
    assert [result.outcome for result in written] == ["published"] * 40 + ["ignored"]
    assert sorted(name for name, _ in published(state, 4)) == sorted(names)
    assert all(state.exists(keys.journal(number)) for number in range(4))
    assert len(list(RequestStore(state, partitions=4).list())) == 41
    assert Reader(state, partitions=4).remembered() == 40


def test_a_request_is_stored_once_after_its_last_record_though_some_are_revised_in_several_partitions(
    state: redis.Redis,
) -> None:
    journal = Journal(state, partitions=4)
    names = [f"link:{number}" for number in range(12)]
    outcomes(journal, *(make_submission(name) for name in names[::2]))
    submissions = tuple(make_submission(name, 2, order=2) for name in names)
    journal.publish(Entry(submissions=submissions, request=request(1)), now=NOW)
    journal.publish(Entry(submissions=submissions[::2], request=request(2)), now=NOW)
    journal.publish(
        Entry(submissions=(make_submission("link:0", 3, order=3), *submissions[1:]), request=request(3)), now=NOW
    )
    stored = [(webhook.id[-1], webhook.outcome) for webhook in RequestStore(state, partitions=4).list()]
    assert sorted(stored) == [("1", "published"), ("2", "duplicate"), ("3", "revised")]
    assert Reader(state, partitions=4).counts(20_000, 20_000)["eu", "webhook", "requests"] == 3


@pytest.mark.own_partitions
def test_a_fault_in_the_append_leaves_no_memory_so_the_repeat_publishes(state: redis.Redis) -> None:
    journal = Journal(state)
    state.set(keys.journal(0), "not a stream")
    with pytest.raises(StateUnavailable, match="WRONGTYPE"):
        outcomes(journal, make_submission())
    assert Reader(state).attempt("eu", "link:1") is None
    state.delete(keys.journal(0))
    assert outcomes(journal, make_submission()) == ["published"]


def test_attempts_are_forgotten_by_their_last_event_and_published_again_with_the_same_event_id(
    state: redis.Redis,
) -> None:
    journal, retention = Journal(state), Retention(state)
    outcomes(journal, *(make_submission(f"link:{number}") for number in range(300)))
    first = {event.attempt: event.id for event in Reader(state).events()}
    bridge = BridgeConfig(name="b", public_url="http://b", remember_attempts=180 * DAY)
    written_at = int(next(Reader(state).events()).entry_id.split("-")[0]) / 1000
    assert retention.run(bridge, now=written_at + 179 * DAY).attempts == 0
    assert retention.run(bridge, now=written_at + 181 * DAY).attempts == 300
    assert Reader(state).remembered() == 0
    assert outcomes(journal, make_submission("link:7")) == ["published"]
    assert next(Reader(state).events()).id == first["link:7"]


@pytest.mark.own_partitions
def test_trimming_keeps_what_a_consumer_group_still_needs(state: redis.Redis) -> None:
    journal, retention = Journal(state), Retention(state)
    outcomes(journal, *(make_submission(f"link:{number}") for number in range(5)))
    state.xgroup_create(keys.journal(0), "lagging", id="0")
    state.xreadgroup("lagging", "one", {keys.journal(0): ">"}, count=2)
    bridge = BridgeConfig(name="b", public_url="http://b", retention=RetentionConfig(events=1, requests=1))
    report = retention.run(bridge, now=9e9)
    assert (report.events, report.held_back) == (0, (0,))
    state.xgroup_destroy(keys.journal(0), "lagging")
    # A new subscription begins with the oldest entry.
    report = retention.run(bridge, now=9e9, subscriptions=["crm"])
    assert (report.events, report.held_back) == (0, (0,))
    report = retention.run(bridge, now=9e9)
    assert (report.events, report.held_back) == (5, ())


def test_old_entries_are_deleted_from_short_streams_of_every_partition_too(state: redis.Redis) -> None:
    partitions = range(3)
    streams = [keys.requests(partition) for partition in partitions]
    streams += [keys.rejected(0), keys.quarantine(0)]
    for stream in streams:
        for moment in (1_000, 9_000):
            state.xadd(stream, {"id": "e"}, id=f"{moment * 1000}-0")
    keep = RetentionConfig(dead_letters=100, requests=100)
    bridge = BridgeConfig(name="b", public_url="http://b", retention=keep)
    report = Retention(state, partitions=3).run(bridge, now=9_050)
    assert (report.dead_letters, report.requests) == (1, 4)
    assert QuarantineStore(state).expired() == 1
    assert [state.xlen(stream) for stream in streams] == [1] * len(streams)


def test_quarantine_stores_the_same_bytes_once_and_can_delete_them(state: redis.Redis) -> None:
    store = QuarantineStore(state)
    for _ in range(3):
        store.add(source="eu", origin=POLL, reason="no test_id", body=b"{}", now=NOW)
    store.add(source="us", origin=WEBHOOK, reason="no test_id", body=b"{}", now=NOW, request_id="r1")
    assert [(item.source, item.request_id) for item in store.list()] == [("us", "r1"), ("eu", None)]
    (mine,) = store.list(source="eu")
    assert store.find(mine.entry_id) == mine
    store.remove(mine)
    assert store.find(mine.entry_id) is None
    store.add(source="eu", origin=POLL, reason="no test_id", body=b"{}", now=NOW)
    assert len(list(store.list(source="eu"))) == 1


def test_events_are_paged_in_both_directions_and_by_time(state: redis.Redis) -> None:
    for number in range(1201):
        state.xadd(
            keys.journal(0),
            {"id": f"e{number}", "type": "attempt.completed", "source": "eu", "attempt": f"a{number}", "event": "{}"},
            id=f"{(number + 1) * 1000}-0",
        )
    reader = Reader(state)
    forward = [event.attempt for event in reader.events(newest_first=False)]
    assert forward == [f"a{number}" for number in range(1201)]
    assert [event.attempt for event in reader.events()] == forward[::-1]
    assert [event.attempt for event in reader.events(since=10, until=12, newest_first=False)] == ["a9", "a10", "a11"]
    result = next(event for event in reader.events() if event.id == "e3")
    assert result is not None
    assert result.attempt == "a3"


def test_any_interleaving_of_writers_gives_consecutive_revisions(state: redis.Redis) -> None:
    draw = random.Random(3)
    journal = Journal(state)
    for _ in range(200):
        outcomes(journal, make_submission(f"link:{draw.randrange(5)}", score=draw.randrange(4), origin=POLL))
    by_attempt: dict[str, list[int]] = {}
    for event in Reader(state).events(newest_first=False):
        by_attempt.setdefault(event.attempt, []).append(json.loads(event.event)["data"]["attempt"]["revision"])
    assert all(revisions == list(range(1, len(revisions) + 1)) for revisions in by_attempt.values())


def test_the_script_and_python_rank_outcomes_alike() -> None:
    script = Path(entries.__file__).with_name("publish_once.lua").read_text()
    (table,) = re.findall(r"local RANK = \{(.*)\}", script)
    assert {outcome: int(rank) for outcome, rank in re.findall(r"(\w+) = (\d+)", table)} == entries.OUTCOME_RANK


@pytest.mark.parametrize(("results", "revised"), [(8, 0), (9, 9), (12, 12)])
def test_results_sent_again_are_duplicates_while_an_attempt_has_at_most_eight_of_them(
    state: redis.Redis, results: int, revised: int
) -> None:
    """The limit that SECURITY.md names: without an order, a result that was forgotten counts as new."""
    journal = Journal(state)
    for score in range(results):
        outcomes(journal, make_submission(score=score))
    again = [outcomes(journal, make_submission(score=score))[0] for score in range(results)]
    assert again.count("revised") == revised
    assert again.count("duplicate") == results - revised
