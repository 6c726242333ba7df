"""`/api/v1/events`, `/requests`, `/stats`: filters, cursors that skip nothing, ids, roles, a bound for every call."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import pytest
import redis
from flask.testing import FlaskClient

from bridge import cli
from bridge.journal import POLL, Entry, Journal, RequestRecord
from bridge.journal import search as searching
from bridge.services import Services
from bridge.state import keys
from bridge.web import create_app
from tests.support.published import EVENT, SPACE, publish, submission
from tests.support.waiting import until
from tests.support.watches_api import TOKENS, OpenGate, access_of, build

pytestmark = pytest.mark.long


@pytest.fixture
def services(state: redis.Redis, tmp_path: Path) -> Services:
    return build(state, tmp_path, access=access_of(TOKENS))


@pytest.fixture
def viewer(services: Services) -> FlaskClient:
    client = create_app(services, gate=OpenGate()).test_client()  # type: ignore[arg-type]
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {TOKENS['viewer']}"
    return client


def bound(monkeypatch: pytest.MonkeyPatch, **limits: int) -> None:
    """Let searches end sooner."""
    monkeypatch.setattr(searching.search, "__kwdefaults__", {**searching.search.__kwdefaults__, **limits})


def attempts(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.json
    return [row["attempt"] for row in answer.json["events"]]


def pages(api: FlaskClient, address: str) -> Iterator[dict[str, Any]]:
    cursor = ""
    while True:
        page: Any = api.get(address + cursor).json
        yield page
        if page["next"] is None:
            return
        cursor = f"&cursor={page['next']}"


@pytest.mark.own_partitions
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["link:3", "link:2", "link:2", "link:1"]),
        ("filter=type:attempt.revised", ["link:2"]),
        ("filter=source:us", ["link:3"]),
        ("filter=source:e*%20passed:true%20type:attempt.completed", ["link:2"]),
        ("filter=-passed:true%20percentage:<2", ["link:1"]),
        ("filter=%22number%203%22", ["link:3"]),
        ("filter=email:SAM1@", ["link:1"]),
        ("filter=attempt:link:2%20origin:poll", ["link:2"]),
        (
            "filter=recorded:1h%20completed:<2027-01-01%20grading:final%20revision:1%20since:1h",
            ["link:3"] + ["link:2"] * 2 + ["link:1"],
        ),
        ("source=us", ["link:3"]),
        ("type=attempt.revised", ["link:2"]),
        ("attempt=link:1", ["link:1"]),
        ("since=1h&until=2099-01-01", ["link:3", "link:2", "link:2", "link:1"]),
        ("until=1h", []),
        ("until=2099-01-01&filter=until:1h", []),
    ],
)
def test_events_are_filtered(services: Services, api: FlaskClient, query: str, expected: list[str]) -> None:
    publish(services, submission(1), submission(2), submission(2, kind="attempt.revised", origin=POLL))
    publish(services, submission(3, source="us"))
    assert attempts(api.get(f"/api/v1/events?{query}")) == expected


@pytest.mark.parametrize(
    ("query", "path", "words"),
    [
        ("filter=tpye:x", "filter", 'unknown field at character 1: "tpye". Did you mean "type"?'),
        ("filter=type:attempt.complete", "filter", 'Did you mean "attempt.completed"?'),
        ("since=yesterday", "since", '"yesterday" is not a time'),
        ("source=eux", "source", 'unknown source: "eux". Did you mean "eu"?'),
        ("limit=1001", "limit", "1000"),
        ("cursor=abc", "cursor", "is not a cursor"),
        ("cursor=WyJldmVudHMiLCIxLTAvOSJd", "cursor", "is not a cursor of events"),  # a partition that is not there
        ("cursor=WyJldmVudHMiLCJ4Il0", "cursor", "is not a cursor of events"),
        ("more=1", "more", "unknown name. Did you mean"),
    ],
)
def test_what_is_wrong_with_a_query_is_said_by_parameter(api: FlaskClient, query: str, path: str, words: str) -> None:
    answer = api.get(f"/api/v1/events?{query}")
    assert answer.status_code == 422
    (problem,) = answer.json["problems"]
    assert problem["path"] == path
    assert words in problem["message"]


def test_pages_skip_no_event_and_repeat_none_whatever_is_published_meanwhile(
    state: redis.Redis, tmp_path: Path
) -> None:
    services = build(state, tmp_path, access=access_of(TOKENS))
    object.__setattr__(services.config.bridge, "partitions", 3)
    client = create_app(services, gate=OpenGate()).test_client()  # type: ignore[arg-type]
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {TOKENS['operator']}"
    # Entries of several partitions with the same stream id.
    for number in range(40):
        fields = {
            "id": f"e{number}",
            "type": "attempt.completed",
            "source": "eu",
            "attempt": f"a{number}",
            "event": "{}",
        }
        state.xadd(
            keys.journal(number % 3),
            fields,
            id=f"{1000 + number // 6}-0" if number % 6 < 3 else f"{1000 + number // 6}-1",
        )  # type: ignore[arg-type]
    seen: list[str] = []
    for number, page in enumerate(pages(client, "/api/v1/events?limit=7")):
        seen += [row["attempt"] for row in page["events"]]
        state.xadd(keys.journal(0), {"id": "n", "type": "t", "source": "eu", "attempt": f"new{number}", "event": "{}"})
    assert sorted(seen) == sorted(f"a{number}" for number in range(40))
    assert len(seen) == 40


def test_a_search_ends_at_its_bound_says_so_and_goes_on_there(
    services: Services, api: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound(monkeypatch, max_entries=10, max_bytes=10**9)
    publish(services, *(submission(number) for number in range(35)))
    all_pages = list(pages(api, "/api/v1/events?filter=attempt:link:3"))
    assert [row["attempt"] for page in all_pages for row in page["events"]] == ["link:3"]
    assert len(all_pages) == 4
    assert all(page["searched_until"] is not None for page in all_pages[:3])
    assert all_pages[-1]["searched_until"] is None


def test_the_command_goes_on_after_pages_without_a_row(
    services: Services, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bridge.cli.common.load", lambda **_: services)
    bound(monkeypatch, max_entries=10)
    publish(services, *(submission(number) for number in range(35)))
    assert cli.run(["events", "list", "--filter", "attempt:link:3,link:4", "-o", "json"]) == 0
    assert [row["attempt"] for row in json.loads(capfd.readouterr().out)] == ["link:4", "link:3"]
    assert cli.run(["events", "list", "--filter", "attempt:none-such"]) == 3
    assert cli.run(["events", "list", "-n", "34", "-o", "jsonl"]) == 0
    assert capfd.readouterr().out.count("\n") == 34


@pytest.mark.own_partitions
def test_a_page_of_large_events_is_shorter_and_loses_none(
    services: Services, api: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound(monkeypatch, max_found_bytes=5000)
    publish(services, *(submission(number) for number in range(9)))
    all_pages = list(pages(api, "/api/v1/events?limit=100"))
    assert [row["attempt"] for page in all_pages for row in page["events"]] == [f"link:{n}" for n in range(8, -1, -1)]
    assert len(all_pages) > 2
    assert {page["searched_until"] for page in all_pages} == {None}


def test_large_entries_end_a_search_sooner(
    services: Services, api: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound(monkeypatch, max_entries=1000, max_bytes=3000)
    publish(services, *(submission(number) for number in range(9)))
    first = api.get("/api/v1/events?filter=attempt:none-such").json
    assert (first["events"], first["searched_until"] is None) == ([], False)


def test_an_event_is_found_by_its_id_or_a_unique_beginning(services: Services, api: FlaskClient) -> None:
    publish(services, *(submission(number) for number in range(300)))
    rows = [row for page in pages(api, "/api/v1/events?limit=1000") for row in page["events"]]
    assert len(rows) == 300
    for row in rows[:3]:
        assert api.get(f"/api/v1/events/{row['id']}").json == row
        assert api.get(f"/api/v1/events/{row['id'][:13]}").json == row
    assert api.get("/api/v1/events/00000000-0000-5000-8000-000000000000").status_code == 404
    assert api.get(f"/api/v1/events/{rows[0]['id'][:3]}").status_code == 404  # four characters at least
    assert api.get("/api/v1/events/*").status_code == api.get("/api/v1/events/abc%00").status_code == 404
    beginnings = [row["id"][:4] for row in rows]
    twice = next(text for text in beginnings if beginnings.count(text) > 1)
    answer = api.get(f"/api/v1/events/{twice}")
    assert (answer.status_code, answer.json["problems"][0]["path"]) == (422, "ident")


def test_an_event_that_an_earlier_version_published_is_found_too(
    services: Services, api: FlaskClient, state: redis.Redis
) -> None:
    publish(services, submission(1))
    for name in state.scan_iter(f"{keys.event_ids(0)}:*"):
        state.delete(name)
    (row,) = api.get("/api/v1/events").json["events"]
    assert api.get(f"/api/v1/events/{row['id']}").json == row


@pytest.mark.own_partitions
def test_a_deleted_event_is_unknown(services: Services, api: FlaskClient, state: redis.Redis) -> None:
    publish(services, submission(1))
    (row,) = api.get("/api/v1/events").json["events"]
    state.xdel(keys.journal(0), row["entry_id"])
    answer = api.get(f"/api/v1/events/{row['id']}")
    assert answer.status_code == 404
    assert answer.json["detail"] == f"unknown event: {row['id']}. It may be older than bridge.retention.events"


def test_a_viewer_sees_no_person_and_cannot_ask_for_one(services: Services, viewer: FlaskClient) -> None:
    publish(services, submission(1))
    (row,) = viewer.get("/api/v1/events").json["events"]
    assert row["event"]["data"]["candidate"]["name"] is row["event"]["data"]["candidate"]["email"] is None
    assert row["event"]["data"]["candidate"]["id"] == EVENT["data"]["candidate"]["id"]
    assert "Sam Number" not in viewer.get(f"/api/v1/events/{row['id']}").text
    for name in ("email", "name", "label"):
        assert viewer.get(f"/api/v1/events?filter={name}:x").status_code == 422, name
    assert viewer.get("/api/v1/events?filter=%22sam1@example.test%22").json["events"] == []
    assert len(viewer.get("/api/v1/events?filter=%22link:1%22").json["events"]) == 1


def test_an_attempt_id_that_is_an_address_is_hidden_from_viewers_and_from_their_filters(
    services: Services, viewer: FlaskClient, api: FlaskClient
) -> None:
    ident = "key:sam@example.test"
    document = json.dumps(EVENT | {"subject": ident}).encode()
    mailed = replace(
        submission(1),
        subject=ident,
        build=lambda revision, previous: ("attempt.completed", EVENT["id"], document),
    )
    publish(services, mailed)
    (row,) = viewer.get("/api/v1/events").json["events"]
    assert (row["attempt"], row["event"]["subject"]) == ("***", "***")
    for query in (f"attempt={ident}", f"filter=attempt:{ident}", "filter=attempt:*@*", "filter=%22sam@%22"):
        assert viewer.get(f"/api/v1/events?{query}").json["events"] == [], query
        assert len(api.get(f"/api/v1/events?{query}").json["events"]) == 1, query


class Reads:
    """How many entries and fields the server's answers hold."""

    def __init__(self, client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
        self.items = 0
        for owner in (type(client), redis.client.Pipeline):
            monkeypatch.setattr(owner, "parse_response", self._counted(owner.parse_response))

    def _counted(self, plain: Any) -> Any:
        def parse_response(*arguments: Any, **options: Any) -> Any:
            answer = plain(*arguments, **options)
            self.items += len(answer) if isinstance(answer, (list, dict, set)) else 1
            return answer

        return parse_response


@pytest.mark.own_partitions
def test_every_get_reads_as_much_of_a_long_list_as_of_a_short_one(
    services: Services, api: FlaskClient, state: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted, not timed: of a list that is twice as long, no call reads more."""
    bound(monkeypatch, max_entries=60, max_found_bytes=50_000)
    monkeypatch.setattr(searching, "_PAGE", 40)
    reads = Reads(state, monkeypatch)
    first = str(uuid5(SPACE, "eu#0#attempt.completed"))
    calls = [
        *("events", "events?limit=1000", "events?filter=attempt:none-such", "events?filter=%22none%20such%22"),
        *(f"events/{first}", "events/ffffffff-ffff-5fff-8fff-ffffffffffff", "sources", "sources/eu", "sources/us"),
        *("requests", "requests?outcome=quarantined", "requests?filter=%22none%20such%22"),
        *("requests/00000000-0000-7000-8000-000000000000", "stats?period=1h", "stats?period=7d", "stats?period=30d"),
    ]

    def counted() -> dict[str, int]:
        numbers = {}
        for call in calls:
            reads.items = 0
            assert api.get(f"/api/v1/{call}").status_code in (200, 404), call
            numbers[call] = reads.items
        return numbers

    def fill(start: int) -> None:
        publish(services, *(submission(number) for number in range(start, start + 120)))
        for number in range(start, start + 120):
            store_request(services, number)

    fill(0)
    short = counted()
    assert max(short.values()) > 0
    fill(120)
    long = counted()
    # An id that is not whole or not there is looked for in all of its bucket of the index, which is small.
    assert {call: long[call] for call in calls if long[call] > short[call] + 20} == {}


def store_request(
    services: Services, number: int, outcome: str = "ignored", body: bytes = b'{"name": "Sam Reyes"}'
) -> str:
    milliseconds = int(services.now() * 1000)
    text = f"{milliseconds:012x}7000{0x8000_0000_0000_0000 + number:016x}"
    ident = str(UUID(text))
    record = RequestRecord(
        id=ident, source="eu", received_at=services.now(), headers={"x-a": "b"}, body=body, outcome=outcome, reason="r"
    )
    services.journal.publish(Entry(request=record), now=services.now())
    return ident


def test_requests_are_listed_filtered_shown_and_read(services: Services, api: FlaskClient) -> None:
    first = store_request(services, 1)
    second = store_request(services, 2, "quarantined", body=bytes(range(256)))
    # Rejected requests are kept apart: within a millisecond the list keeps no order of them and the others.
    stored = services.now()
    until(lambda: services.now() - stored > 0.002)
    services.requests.reject(
        request_id=str(UUID(int=7)),
        source="us",
        received_at=services.now(),
        reason="bad_signature",
        headers={},
        body=b"",
    )
    listed = api.get("/api/v1/requests").json
    assert [row["outcome"] for row in listed["requests"]] == ["rejected", "quarantined", "ignored"]
    assert (listed["next"], listed["searched_until"]) == (None, None)
    for query, idents in (
        ("outcome=quarantined", [second]),
        ("source=us", [str(UUID(int=7))]),
        ("filter=outcome:ignored,quarantined%20bytes:>100", [second]),
        ("filter=%22sam%20reyes%22", [first]),
        ("filter=received:1h%20-outcome:rejected%20reason:r", [second, first]),
        ("since=1h&limit=1", [str(UUID(int=7))]),
        ("until=1h", []),
    ):
        assert [row["id"] for row in api.get(f"/api/v1/requests?{query}").json["requests"]] == idents, query
    shown = api.get(f"/api/v1/requests/{second}").json
    assert shown == listed["requests"][1] | {"headers": {"x-a": "b"}, "events": []}
    raw = api.get(f"/api/v1/requests/{second}/raw")
    assert (raw.data, raw.mimetype) == (bytes(range(256)), "application/octet-stream")
    assert raw.headers["Content-Disposition"] == "attachment"
    assert api.get("/api/v1/requests/00000000-0000-7000-8000-000000000000").status_code == 404
    assert api.get(f"/api/v1/requests/{first[:8]}").status_code == 422  # the second one begins so too


def test_a_viewer_gets_no_body_and_cannot_search_in_it(services: Services, viewer: FlaskClient) -> None:
    ident = store_request(services, 1)
    assert viewer.get(f"/api/v1/requests/{ident}").status_code == 200
    assert viewer.get(f"/api/v1/requests/{ident}/raw").status_code == 403
    assert viewer.post(f"/api/v1/requests/{ident}/reprocess").status_code == 403
    assert viewer.get("/api/v1/requests?filter=%22Sam%20Reyes%22").json["requests"] == []


def test_a_request_is_processed_again_unless_it_was_rejected_or_its_source_is_gone(
    services: Services, api: FlaskClient, state: redis.Redis
) -> None:
    ident = store_request(services, 1, "quarantined", body=b"{")
    assert api.post(f"/api/v1/requests/{ident}/reprocess").json == {"outcome": "quarantined"}
    (entry,) = api.get("/api/v1/audit").json["audit"]
    assert (entry["action"], entry["target"]) == ("reprocessRequest", f"request {ident}")
    refused = str(UUID(int=7))
    services.requests.reject(
        request_id=refused, source="eu", received_at=services.now(), reason="bad_signature", headers={}, body=b""
    )
    answer = api.post(f"/api/v1/requests/{refused}/reprocess")
    assert (answer.status_code, answer.json["detail"]) == (
        409,
        f"request {refused} was rejected. Have the vendor send it again",
    )
    gone = store_request(services, 2)
    services.config.sources.pop("eu")  # type: ignore[attr-defined]
    assert api.post(f"/api/v1/requests/{gone}/reprocess").status_code == 409


def test_a_request_whose_web_server_had_a_wrong_clock_is_found(services: Services, api: FlaskClient) -> None:
    for number in range(5):
        record = RequestRecord(
            id=str(UUID(int=number + 1)), source="eu", received_at=1.0, headers={}, body=b"", outcome="ignored"
        )
        services.journal.publish(Entry(request=record), now=services.now())
    assert api.get(f"/api/v1/requests/{UUID(int=3)}").json["id"] == str(UUID(int=3))


def test_stats_name_every_source_and_subscription(services: Services, api: FlaskClient) -> None:
    publish(services, submission(1), submission(2, origin=POLL))
    document = api.get("/api/v1/stats?period=1h").json
    assert (document["period"], document["step_seconds"], len(document["starts"])) == ("1h", 60, 60)
    totals = {figures["name"]: figures["totals"] for figures in document["sources"]}
    assert (totals["eu"]["published_by_webhook"], totals["eu"]["rescued"]) == (1, 1)
    assert sum(totals["us"].values()) == 0
    assert api.get("/api/v1/stats").json["period"] == "24h"
    assert api.get("/api/v1/stats?period=1y").status_code == 422


def test_only_the_stats_that_are_asked_for_are_answered(services: Services, api: FlaskClient) -> None:
    publish(services, submission(1))
    document = api.get("/api/v1/stats?period=24h&step=5m&sources=eu,gone&figures=published_by_webhook").json
    assert (document["step_seconds"], document["subscriptions"]) == (300, [])
    (eu,) = document["sources"]
    assert (eu["name"], eu["totals"]) == ("eu", {"published_by_webhook": 1})
    assert len(eu["series"]["published_by_webhook"]) == 288
    totals = api.get("/api/v1/stats?series=false").json["sources"]
    assert [row["series"] for row in totals] == [{}, {}]
    assert totals[0]["totals"]["published_by_webhook"] == 1
    every = api.get("/api/v1/stats?sources=*&figures=rescued&series=false").json
    assert ([row["name"] for row in every["sources"]], every["subscriptions"]) == (["eu", "us"], [])
    answer = api.get("/api/v1/stats?figures=publishd")
    assert (answer.status_code, answer.json["problems"][0]["path"]) == (422, "figures")


def test_the_journal_is_never_read_for_stats(
    services: Services, api: FlaskClient, state: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(services, submission(1))
    for name in ("xrange", "xrevrange", "xread", "xlen", "scan"):
        monkeypatch.setattr(state, name, None)
    assert api.get("/api/v1/stats?period=7d").status_code == 200


@pytest.mark.own_partitions
def test_the_index_of_ids_ends_with_the_events(state: redis.Redis) -> None:
    journal = Journal(state, keep_events=1000.0)
    journal.publish(Entry(submissions=(submission(1),)), now=20_000 * 86_400.0)
    (name,) = state.scan_iter(f"{keys.event_ids(0)}:*")
    assert 2 * 86_400 + 990 <= state.ttl(name) <= 2 * 86_400 + 1000
