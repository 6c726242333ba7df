"""`/api/v1/attempts`: one row per attempt, one attempt's whole life, ids of any characters, roles, bounds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest
import redis
from flask.testing import FlaskClient

from bridge.ingest import notices
from bridge.ingest.context import WebhookRequest
from bridge.ingest.pipeline import receive
from bridge.journal import Entry
from bridge.journal import search as searching
from bridge.polling.watches import EXPECTATION, OpenWatch
from bridge.services import Services
from bridge.web import create_app
from tests.support.published import submission
from tests.support.watches_api import LINK, TOKENS, OpenGate, access_of, build
from tests.support.web import result, sign


@pytest.fixture
def services(state: redis.Redis, tmp_path: Any) -> Services:
    return build(state, tmp_path, access=access_of(TOKENS))


@pytest.fixture
def viewer(services: Services) -> FlaskClient:
    client = create_app(services, gate=OpenGate()).test_client()  # type: ignore[arg-type]
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {TOKENS['viewer']}"
    return client


def send(services: Services, body: bytes, number: int, *, at: float | None = None) -> str:
    request = WebhookRequest(
        id=f"01930000-0000-7000-8000-{number:012}",
        body=body,
        headers={"x-classmarker-hmac-sha256": sign(body, "w")},
        kept_headers={},
        received_at=services.now() if at is None else at,
    )
    return receive(services.ingest_context("eu"), request).outcome


def listed(client: FlaskClient, query: str = "") -> list[tuple[str, int]]:
    answer = client.get(f"/api/v1/attempts?{query}")
    assert answer.status_code == 200, answer.json
    return [(row["attempt"], row["revision"]) for row in answer.json["attempts"]]


def shown(client: FlaskClient, attempt: str, source: str = "eu") -> Any:
    answer = client.get(f"/api/v1/attempts/{source}", query_string={"attempt": attempt})
    assert answer.status_code == 200, answer.json
    return answer.json


def test_each_attempt_is_listed_once_with_its_newest_revision(api: FlaskClient, services: Services) -> None:
    outcomes = [send(services, result(1), 1), send(services, result(2, first="Zoë"), 2)]
    outcomes += [send(services, result(1, percentage=80.0), 3), send(services, result(1, percentage=80.0), 4)]
    assert outcomes == ["published", "published", "revised", "duplicate"]
    assert listed(api) == [("link:1", 2), ("link:2", 1)]
    assert listed(api, "filter=zo%C3%AB") == [("link:2", 1)]
    assert listed(api, "filter=percentage:>75") == [("link:1", 2)]
    # The earlier revision matches, the attempt as it is now does not.
    assert listed(api, "filter=percentage:70") == [("link:2", 1)]
    (row,) = api.get("/api/v1/attempts?filter=attempt:link:2").json["attempts"]
    assert (row["name"], row["email"], row["assessment"], row["percentage"], row["passed"]) == (
        "Zoë Reyes",
        "sam@example.test",
        "Fire warden refresher",
        70.0,
        True,
    )


def test_pages_repeat_no_attempt_and_the_newest_come_first(api: FlaskClient, services: Services) -> None:
    for number in range(1, 6):
        send(services, result(number), number)
    for number in (1, 4):
        send(services, result(number, percentage=90.0), 10 + number)
    seen, cursor = [], ""
    while True:
        page: Any = api.get(f"/api/v1/attempts?limit=2{cursor}").json
        seen += [row["attempt"] for row in page["attempts"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert seen == ["link:4", "link:1", "link:5", "link:3", "link:2"]


def test_a_search_says_how_far_it_came_and_an_id_is_found_beyond_its_bound(
    api: FlaskClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 8):
        send(services, result(number, first="Ann" if number == 1 else "Sam"), number)
    monkeypatch.setattr(searching.search, "__kwdefaults__", {**searching.search.__kwdefaults__, "max_entries": 3})
    page: Any = api.get("/api/v1/attempts?filter=Ann").json
    assert (page["attempts"], page["searched_until"] is None, page["next"] is None) == ([], False, False)
    assert listed(api, "filter=attempt:link:1") == [("link:1", 1)]
    assert listed(api, "filter=%22link:1%22") == [("link:1", 1)]
    assert listed(api, "filter=-attempt:link:1")[0] == ("link:7", 1)
    assert listed(api, "filter=%22link:1%22&source=us") == []


def test_one_attempt_has_its_events_their_webhooks_deliveries_and_the_paths_that_saw_it(
    api: FlaskClient, services: Services
) -> None:
    send(services, result(1), 1)
    send(services, result(1, percentage=80.0), 2)
    send(services, result(2), 3)
    attempt = shown(api, "link:1")
    assert [row["revision"] for row in attempt["events"]] == [1, 2]
    assert [row["type"] for row in attempt["events"]] == ["attempt.completed", "attempt.revised"]
    assert [row["deliveries"] for row in attempt["events"]] == [[], []]
    assert [request["id"][-1] for request in attempt["requests"]] == ["1", "2"]
    assert [request["outcome"] for request in attempt["requests"]] == ["published", "revised"]
    assert (attempt["vendor"], attempt["revision"], attempt["missing"], attempt["watch"]) == ("classmarker", 2, 0, None)
    assert (attempt["first_path"], attempt["poll_day"]) == ("webhook", None)
    assert attempt["webhook_day"] == attempt["first_day"]


def test_a_request_names_the_events_that_it_brought_and_the_secret_that_it_matched(
    api: FlaskClient, services: Services
) -> None:
    for number, percentage in ((1, 70.0), (2, 80.0), (3, 80.0)):
        send(services, result(1, percentage=percentage), number, at=services.now() + number)
    rows = [api.get(f"/api/v1/requests/01930000-0000-7000-8000-{number:012}").json for number in (1, 2, 3)]
    assert [[(event["type"], event["revision"]) for event in row["events"]] for row in rows] == [
        [("attempt.completed", 1)],
        [("attempt.revised", 2)],
        [],
    ]
    assert [row["secret"] for row in rows] == [1, 1, 1]


@pytest.mark.own_partitions
def test_a_request_of_an_earlier_version_has_no_secret(
    api: FlaskClient, services: Services, state: redis.Redis
) -> None:
    send(services, result(1), 1)
    ((_, entry),) = state.xrange("ab:{0}:requests")
    del entry[b"secret"]
    state.delete("ab:{0}:requests")
    state.xadd("ab:{0}:requests", entry)  # type: ignore[arg-type]  # as it was read
    (row,) = api.get("/api/v1/requests").json["requests"]
    assert row["secret"] is None


@pytest.mark.own_partitions
def test_events_that_have_left_the_journal_are_counted(
    api: FlaskClient, services: Services, state: redis.Redis
) -> None:
    for number in range(3):
        send(services, result(1, percentage=50.0 + number), number)
    state.xtrim("ab:{0}:journal", maxlen=2, approximate=False)
    attempt = shown(api, "link:1")
    assert ([row["revision"] for row in attempt["events"]], attempt["revision"], attempt["missing"]) == ([2, 3], 3, 1)


def test_an_expected_attempt_is_shown_by_its_key_and_its_overdue_event_is_found(
    api: FlaskClient, services: Services
) -> None:
    row: Any = api.post("/api/v1/watches", json=LINK).json
    attempt = shown(api, row["key"])
    assert (attempt["watch"]["label"], attempt["revision"], attempt["events"]) == ("HR-7", None, [])
    (expected,) = services.expectations.list("eu")
    watch = OpenWatch(
        key=expected.key,
        kind=EXPECTATION,
        reference=expected.reference,
        opened_at=expected.registered_at,
        due=expected.due,
        give_up_at=expected.deadline,
        rechecks=3,
    )
    notice = notices.submission(
        services.config.bridge, "eu", "classmarker", notices.overdue(watch, label="HR-7"), now=services.now()
    )
    services.journal.publish(Entry(submissions=(notice,)), now=services.now())
    assert [event["type"] for event in shown(api, row["key"])["events"]] == ["attempt.overdue"]


ODD = ["a/b", "a//b", "/", "100%", "%2F", "a?b=c&d", "a#b", "a b", "ä→漢字", "..", ".", '"><img src=x>', "a+b", "a;b"]


def test_an_attempt_is_found_by_any_id(api: FlaskClient, services: Services) -> None:
    plain = submission(1)
    event = plain.build(1, None)
    odd = [replace(plain, attempt_id=ident, subject=None, build=lambda *_: event) for ident in ODD]
    services.journal.publish(Entry(submissions=tuple(odd)), now=services.now())
    for ident in ODD:
        answer = api.get(f"/api/v1/attempts/eu?attempt={quote(ident, safe='')}")
        assert answer.status_code == 200, ident
        attempt = answer.json
        assert (attempt["attempt"], attempt["revision"], len(attempt["events"])) == (ident, 1, 1)


def test_viewers_see_no_person_and_find_none(api: FlaskClient, viewer: FlaskClient, services: Services) -> None:
    send(services, result(1), 1)
    assert "sam@example.test" in api.get("/api/v1/attempts").text
    for address in ("/api/v1/attempts", "/api/v1/attempts/eu?attempt=link:1"):
        text = viewer.get(address).text
        assert "link:1" in text
        assert [word for word in ("Sam", "Reyes", "sam@") if word in text] == []
    assert listed(viewer, "filter=Reyes") == []
    assert viewer.get("/api/v1/attempts?filter=email:sam").status_code == 422


def test_viewers_do_not_learn_of_an_attempt_whose_id_is_an_address(
    api: FlaskClient, viewer: FlaskClient, services: Services
) -> None:
    plain = submission(1)
    event = plain.build(1, None)
    named = replace(plain, attempt_id="7/sam@x.test", subject=None, build=lambda *_: event)
    services.journal.publish(Entry(submissions=(named,)), now=services.now())
    assert shown(api, "7/sam@x.test")["revision"] == 1
    assert viewer.get("/api/v1/attempts/eu?attempt=7/sam@x.test").status_code == 404
    assert [row["attempt"] for row in viewer.get("/api/v1/attempts").json["attempts"]] == ["***"]
    assert listed(viewer, "filter=attempt:7/sam@x.test") == []


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("attempts/eu?attempt=link:9", 404),
        ("attempts/nowhere?attempt=link:1", 404),
        ("attempts/eu", 422),
        ("attempts/eu?attempt=", 422),
        ("attempts?source=nowhere", 422),
        ("attempts?cursor=x", 422),
        ("attempts?filter=nome:x", 422),
    ],
)
def test_what_is_not_there_or_wrong_is_refused(api: FlaskClient, address: str, status: int) -> None:
    assert api.get(f"/api/v1/{address}").status_code == status
