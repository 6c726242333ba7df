"""`/api/v1/events/stream`: nothing missed, nothing repeated; filters, roles, heartbeats, slow viewers, the end."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient

from bridge.config.model import RetryPolicy, Subscription
from bridge.delivery.try_feed import EndedTry, TryFeed
from bridge.errors import DeliveryFailed
from bridge.services import Services
from bridge.state import keys
from bridge.web import create_app
from bridge.web.api import stream as api_stream
from bridge.web.live import Live
from tests.support.dispatch import SOURCE, Receiver, lane, refuse, run_until_idle
from tests.support.dispatch import publish as publish_plain
from tests.support.published import publish, submission
from tests.support.waiting import until
from tests.support.watches_api import TOKENS, OpenGate, access_of, build

ADDRESS = "/api/v1/events/stream"


_opened: list[Following] = []


class Following:
    """One open stream of an application within the test."""

    def __init__(self, client: FlaskClient, query: str = "", last: str | None = None) -> None:
        headers = {} if last is None else {"Last-Event-ID": last}
        self.answer = client.get(ADDRESS + query, headers=headers, buffered=False)
        self._messages: Iterator[bytes] = iter(self.answer.response)
        self.last = last
        _opened.append(self)

    def next(self) -> dict[str, str]:
        """The next message; its id is kept as a browser does."""
        fields = {}
        for line in next(self._messages).decode().strip().splitlines():
            name, _, value = line.partition(": ")
            fields[name] = value
        self.last = fields.get("id", self.last)
        return fields

    def attempts(self, number: int) -> list[str]:
        """The attempts of the next events."""
        attempts: list[str] = []
        while len(attempts) < number:
            message = self.next()
            if "data" in message:
                attempts.append(json.loads(message["data"])["attempt"])
        return attempts

    def close(self) -> None:
        self.answer.close()


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """A stream that stays open would go on, and log, in the tests that follow."""
    yield
    while _opened:
        _opened.pop().close()
    until(lambda: not {"live", "live tries"} & {thread.name for thread in threading.enumerate()})


@pytest.fixture
def services(state: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    monkeypatch.setattr("bridge.web.live._BLOCK_SECONDS", 0.05)
    return build(state, tmp_path, access=access_of(TOKENS))


def app_of(services: Services, **options: Any) -> Flask:
    app = create_app(services, gate=OpenGate())  # type: ignore[arg-type]
    app.extensions["bridge.live"] = Live(services.journal_reader, services.journal_tail, **options)
    return app


def client_of(app: Flask, role: str = "operator") -> FlaskClient:
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {TOKENS[role]}"
    return client


def serving(services: Services, partitions: int) -> Services:
    """The services of processes that serve so many partitions."""
    bridge = replace(services.config.bridge, partitions=partitions)
    return replace(services, config=replace(services.config, bridge=bridge))


@pytest.mark.parametrize("partitions", [1, 3])
def test_a_viewer_that_reconnects_misses_nothing_and_gets_nothing_twice(services: Services, partitions: int) -> None:
    services = serving(services, partitions)
    publish(services, submission(0))
    received: list[str] = []
    stream = Following(client_of(app_of(services)))
    assert "data" not in stream.next()
    for number in range(1, 9):
        publish(services, submission(number))
        if number % 3 == 0:
            # Events come while nobody reads; another process answers next.
            stream.close()
            stream = Following(client_of(app_of(services)), last=stream.last)
        if number % 2 == 0:
            received += stream.attempts(2)
    stream.close()
    assert sorted(received) == [f"link:{number}" for number in range(1, 9)]


@pytest.mark.own_partitions
def test_a_viewer_that_reconnects_after_partitions_were_added_misses_nothing(services: Services) -> None:
    before, after = serving(services, 1), serving(services, 3)
    stream = Following(client_of(app_of(before)))
    stream.next()
    publish(before, submission(0))
    assert stream.attempts(1) == ["link:0"]
    stream.close()
    publish(after, *(submission(number) for number in range(1, 9)))
    stream = Following(client_of(app_of(after)), last=stream.last)
    assert sorted(stream.attempts(8)) == [f"link:{number}" for number in range(1, 9)]
    stream.close()


@pytest.mark.own_partitions
def test_what_another_process_has_sent_already_is_not_sent_again(services: Services) -> None:
    app = app_of(services)
    stream = Following(client_of(app))
    publish(services, submission(1), submission(2))
    ahead = Following(client_of(app), last="9999999999999-0")
    ahead.next()
    assert stream.attempts(2) == ["link:1", "link:2"]
    assert not [message for message in app.extensions["bridge.live"]._viewers if message.ended]
    app.extensions["bridge.live"].heartbeat = 0.01
    assert ahead.next() == {"": "heartbeat", "id": "9999999999999-0"}


@pytest.mark.own_partitions
def test_filter_topics_and_since_choose_what_is_sent(services: Services) -> None:
    publish(services, submission(1), submission(2), submission(3, kind="source.poll_failing"))
    client = client_of(app_of(services, heartbeat=0.01))
    for query, expected in (
        ("?since=1h", ["link:1", "link:2", "link:3"]),
        ("?filter=passed:true+since:1h", ["link:2"]),
        ("?since=1h&topics=alarms", ["link:3"]),
        ("?since=1h&topics=events", ["link:1", "link:2"]),
    ):
        stream = Following(client, query)
        assert stream.attempts(len(expected)) == expected, query
        publish(services, submission(90 + len(query)))
        stream.close()


def test_a_filter_is_evaluated_once_for_all_viewers_that_share_it(services: Services) -> None:
    app = app_of(services)
    client = client_of(app)
    streams = [Following(client, "?filter=passed:true") for _ in range(3)]
    evaluated: list[str] = []
    for viewer in app.extensions["bridge.live"]._viewers:
        matches = viewer.matches
        viewer.matches = lambda event, matches=matches: evaluated.append(event.stored.id) or matches(event)
    publish(services, submission(1), submission(2))
    assert [stream.attempts(1) for stream in streams] == [["link:2"]] * 3
    assert len(evaluated) == 2


def test_silence_is_broken_by_heartbeats_that_move_the_place_on(services: Services) -> None:
    stream = Following(client_of(app_of(services, heartbeat=0.01)), "?filter=passed:true")
    first = stream.next()
    assert (first[""], stream.next()) == ("heartbeat", first)


def test_viewers_get_no_persons_and_cannot_search_for_them(services: Services) -> None:
    app = app_of(services)
    masked, full = Following(client_of(app, "viewer")), Following(client_of(app))
    publish(services, submission(7))
    shown = []
    for stream in (masked, full):
        stream.next()
        shown.append(stream.next()["data"])
    assert ["Sam Number 7" in text or "sam7@" in text for text in shown] == [False, True]
    refused = client_of(app, "viewer").get(ADDRESS + "?filter=email:sam7@example.test")
    assert refused.status_code == 422


def test_a_slow_viewer_is_dropped_with_the_reason_and_can_continue(services: Services) -> None:
    app = app_of(services, max_waiting=2)
    slow, quick = Following(client_of(app)), Following(client_of(app))
    slow.next()
    received = []
    for number in range(4):
        publish(services, submission(number))
        received += quick.attempts(1)
    assert received == [f"link:{number}" for number in range(4)]
    last = slow.next()
    assert (last["event"], "too slowly" in last["data"]) == ("bridge.dropped", True)
    assert next(slow._messages, None) is None
    again = Following(client_of(app), last=slow.last)
    assert again.attempts(4) == received


def test_a_viewer_that_does_not_even_take_the_reason_is_cut_off(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.web.viewers.GRACE_SECONDS", 0.0)
    app = app_of(services, max_waiting=1)
    live = app.extensions["bridge.live"]
    stuck = Following(client_of(app))
    cut: list[bool] = []
    next(iter(live._viewers)).abort = lambda: cut.append(True)
    publish(services, submission(1), submission(2))
    until(lambda: live.viewers == 0)
    assert cut
    stuck.close()


def test_more_viewers_than_allowed_are_refused_until_one_leaves(services: Services) -> None:
    client = client_of(app_of(services, max_viewers=1))
    first = Following(client)
    refused = client.get(ADDRESS)
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "10")
    assert client.head(ADDRESS).status_code == 200
    first.close()
    assert Following(client).answer.status_code == 200


def test_a_stream_ends_with_its_process(services: Services) -> None:
    current = [True]
    stream = Following(client_of(app_of(services, is_current=lambda: current[0])))
    stream.next()
    current[0] = False
    last = stream.next()
    assert (last["event"], "stopping" in last["data"]) == ("bridge.dropped", True)


def test_the_journal_is_read_only_while_there_are_viewers(services: Services) -> None:
    app = app_of(services)
    live = app.extensions["bridge.live"]
    assert not live._runs
    stream = Following(client_of(app))
    assert live._runs
    stream.close()
    until(lambda: not live._runs)
    again = Following(client_of(app))
    publish(services, submission(1))
    assert again.attempts(1) == ["link:1"]


@pytest.mark.own_partitions
def test_events_that_are_not_sent_are_told_as_a_gap(
    services: Services, state: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_stream, "MAX_BACKLOG", 2)
    client = client_of(app_of(services))
    publish(services, *(submission(number) for number in range(4)))
    entries = [entry.decode() for entry, _ in state.xrange(keys.journal(0))]
    stream = Following(client, last="0-0")
    assert stream.attempts(2) == ["link:0", "link:1"]
    gap = stream.next()
    assert (gap["event"], json.loads(gap["data"])) == ("bridge.gap", {"after": entries[1], "until": entries[3]})
    publish(services, submission(4))
    assert stream.attempts(1) == ["link:4"]
    state.xtrim(keys.journal(0), maxlen=1, approximate=False)
    late = Following(client, last=entries[0])
    late.next()
    assert late.next()["event"] == "bridge.gap"
    assert late.attempts(1) == ["link:4"]


@pytest.mark.own_partitions
@pytest.mark.parametrize(
    ("query", "last"), [("", "x"), ("", "1-0,2-0"), ("", "1-x"), ("?topics=all", None), ("?filter=until:1h", None)]
)
def test_wrong_parameters_are_refused_before_the_stream_begins(
    services: Services, query: str, last: str | None
) -> None:
    headers = {} if last is None else {"Last-Event-ID": last}
    refused = client_of(app_of(services)).get(ADDRESS + query, headers=headers)
    assert (refused.status_code, refused.content_type) == (422, "application/problem+json")


def crm(**changes: Any) -> Subscription:
    return Subscription(name="crm", transport="http", retry=RetryPolicy(schedule=(5.0,), jitter=0.0), **changes)


def try_of(stream: Following) -> tuple[str, dict[str, Any]]:
    """The next try of a delivery."""
    while True:
        message = stream.next()
        if message.get("event", "").startswith("delivery."):
            return message["event"], json.loads(message["data"])


def test_tries_are_shown_as_they_end_and_name_no_person(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.web.live_tries._BLOCK_SECONDS", 0.05)
    state, now = services.state, services.now()
    (first,) = publish_plain(state, 1)
    run_until_idle(lane(state, Receiver(), subscription=crm(), consumer="before"), now)
    # Nobody watches: nothing is told.
    assert not state.exists(keys.ended_tries())
    app = app_of(services)
    stream = Following(client_of(app, "viewer"), "?topics=events,deliveries")
    stream.next()
    failed, dead = publish_plain(state, 2, 3)
    verdicts = {failed: refuse(None), dead: DeliveryFailed("no", reason="refused", permanent=True)}  # type: ignore[arg-type]
    served = lane(state, Receiver(lambda sent: verdicts[sent.id], status=500), subscription=crm())
    run_until_idle(served, now + 2)
    tries = [try_of(stream) for _ in range(2)]
    assert [(kind, row["event_id"], row["outcome"]) for kind, row in tries] == [
        ("delivery.failed", failed, "failed"),
        ("delivery.dead", dead, "dead"),
    ]
    row = tries[0][1]
    assert (row["subscription"], row["status"], row["tries"], row["source"]) == ("crm", 500, 1, SOURCE)
    assert "Zo" not in json.dumps(tries)
    served.transport.answer = lambda sent: None  # type: ignore[attr-defined]
    run_until_idle(served, now + 8)
    kind, row = try_of(stream)
    assert (kind, row["event_id"], row["tries"], row["reason"]) == ("delivery.delivered", failed, 2, "")
    assert first not in {row["event_id"] for _, row in tries}


def test_a_filter_chooses_among_tries_and_does_not_mix_with_one_of_events(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.web.live_tries._BLOCK_SECONDS", 0.05)
    client = client_of(app_of(services))
    chosen = Following(client, "?topics=deliveries&filter=outcome:dead+status:>=500")
    other = Following(client, "?topics=deliveries&source=us&type=x")
    told = EndedTry(
        at=1.0,
        subscription="crm",
        event_id="e1",
        type="x",
        source="s",
        outcome="failed",
        reason="r",
        status=500,
        seconds=0.5,
        tries=1,
    )
    TryFeed(services.state).show([told, replace(told, outcome="dead", event_id="e2"), replace(told, source="us")])
    assert try_of(chosen)[1]["event_id"] == "e2"
    assert try_of(other)[1]["source"] == "us"
    for query, problem in (
        ("?topics=events,deliveries&filter=passed:true", "open two streams"),
        ("?topics=deliveries&filter=passed:true", "unknown field"),
        ("?topics=tries", "must be events"),
    ):
        answer = client.get(ADDRESS + query)
        assert (answer.status_code, problem in answer.text) == (422, True), answer.text


@pytest.mark.own_partitions
def test_who_cannot_set_headers_gives_the_last_id_as_after(services: Services) -> None:
    client = client_of(app_of(services))
    stream = Following(client, "?since=1h")
    publish(services, submission(1), submission(2))
    assert stream.attempts(2) == ["link:1", "link:2"]
    last = stream.last
    publish(services, submission(3))
    assert Following(client, f"?after={last}").attempts(1) == ["link:3"]
    refused = client.get(f"{ADDRESS}?after=nonsense")
    assert (refused.status_code, refused.json["problems"][0]["path"]) == (422, "after")
