"""Problem details (RFC 9457) for every error of the API, the framework's own among them; and pages by cursor."""

from __future__ import annotations

import base64
import json
from http import HTTPStatus
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient

from bridge import watch_registration
from bridge.errors import StateUnavailable
from bridge.polling.expectations import Expectation
from bridge.services import Services
from bridge.web.api.paging import cursor_of
from tests.support.watches_api import LINK

WATCHES = "/api/v1/watches"


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gevent.sleep", lambda seconds: None)


@pytest.mark.parametrize(
    ("path", "call", "status"),
    [
        ("/api/v1/none", {}, 404),
        (f"{WATCHES}/none", {}, 404),
        ("/api/v1/openapi.json", {"method": "POST"}, 405),
        (WATCHES, {"method": "PATCH"}, 405),
        (WATCHES, {"headers": {"Authorization": "Bearer wrong"}}, 401),
    ],
)
def test_every_error_has_problem_details(api: FlaskClient, path: str, call: dict[str, Any], status: int) -> None:
    answer = api.open(path, **call)
    assert (answer.status_code, answer.mimetype) == (status, "application/problem+json")
    details = answer.json
    assert set(details) == {"type", "title", "status", "detail", "problems"}
    assert (details["title"], details["status"]) == (HTTPStatus(status).phrase, status)
    assert "\n" not in details["detail"]


def test_an_unexpected_error_is_a_500_that_quotes_nothing_of_it(
    api: FlaskClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise ValueError("CANARY")

    monkeypatch.setattr("bridge.watch_registration.listed", fail)
    answer = api.get(WATCHES)
    assert (answer.status_code, answer.mimetype) == (500, "application/problem+json")
    assert answer.json["detail"] == "unexpected error. Remedy: see the log of web"
    assert "CANARY" not in answer.text


def test_a_state_server_that_is_away_is_named_to_who_has_a_token(
    api: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> Any:
        raise StateUnavailable("state server: connection refused. Remedy: start it")

    monkeypatch.setattr("bridge.watch_registration.listed", away)
    answer = api.get(WATCHES)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
    assert answer.json["detail"] == "state server: connection refused. Remedy: start it"


# Pages --------------------------------------------------------------------------------------------------------------


def add(api: FlaskClient, number: int, hour: int = 0) -> str:
    document = {"source": "eu", "reference": {"stream": "link", "result": str(number)}}
    answer = api.post(WATCHES, json=document | {"due": f"2050-01-01T{hour:02}:00:00Z", "deadline": "2060-01-01"})
    return str(answer.json["id"])


def walk(api: FlaskClient, limit: int, during: Any = lambda page: None) -> list[str]:
    rows: list[str] = []
    cursor = ""
    while True:
        page = api.get(f"{WATCHES}?limit={limit}{cursor}").json
        rows += [row["key"] for row in page["watches"]]
        if page["next"] is None:
            return rows
        cursor = f"&cursor={page['next']}"
        during(rows)


def test_pages_hold_every_row_once_also_where_many_are_due_at_the_same_time(api: FlaskClient) -> None:
    for number in range(7):
        add(api, number)
    assert sorted(walk(api, 3)) == [f"link:{number}" for number in range(7)]
    assert walk(api, 7) == walk(api, 1000) == walk(api, 1)


def test_rows_that_come_and_go_between_two_pages_move_no_other_row(api: FlaskClient) -> None:
    idents = {number: add(api, number, hour=number) for number in range(1, 10)}

    def change(rows: list[str]) -> None:
        # Before the cursor: what was shown is gone, and something earlier has come.
        if len(rows) == 3:
            api.delete(f"{WATCHES}/{idents[1]}")
            api.delete(f"{WATCHES}/{idents[3]}")
            add(api, 50, hour=0)
        # Behind it: what is gone is not shown.
        if len(rows) == 6:
            api.delete(f"{WATCHES}/{idents[8]}")

    assert walk(api, 3, change) == [f"link:{number}" for number in (1, 2, 3, 4, 5, 6, 7, 9)]


def test_further_pages_are_read_row_by_row_and_not_whole(
    api: FlaskClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(9):
        add(api, number, hour=number)
    plain, calls = watch_registration.listed, []

    def counted(*arguments: Any, **more: Any) -> Any:
        calls.append(arguments)
        return plain(*arguments, **more)

    monkeypatch.setattr("bridge.watch_registration.listed", counted)
    assert len(walk(api, 2)) == 9
    assert len(calls) == 1
    # What is kept is not kept for long.
    cursor = api.get(f"{WATCHES}?limit=2").json["next"]
    monkeypatch.setattr("bridge.web.api.watches._KEPT_SECONDS", 0.0)
    assert len(api.get(f"{WATCHES}?limit=2&cursor={cursor}").json["watches"]) == 2
    assert len(calls) == 3


def test_a_cursor_names_no_person(api: FlaskClient, services: Services) -> None:
    for number in range(2):
        expected = Expectation(
            key=f"a:sam{number}@example.test", reference={}, label=None, due=1e9, deadline=3e9, registered_at=1e9
        )
        services.expectations.register("eu", [expected], now=1e9)
    cursor = api.get(f"{WATCHES}?limit=1").json["next"]
    assert b"sam" not in base64.urlsafe_b64decode(cursor + "==")


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "%%%",
        "é",
        "W10",
        cursor_of("events", "1-0", "eu", "k"),
        cursor_of("watches", "1-0"),
        cursor_of("watches", "soon", "eu", "k"),
        cursor_of("watches", "0.0", "a\x00b", "k"),
        base64.urlsafe_b64encode(json.dumps(["watches", 1, 2, 3]).encode()).decode(),
        base64.urlsafe_b64encode(b"[" * 1400).decode(),
    ],
)
def test_a_cursor_that_the_list_did_not_give_is_refused_with_a_remedy(api: FlaskClient, cursor: str) -> None:
    answer = api.get(WATCHES, query_string={"cursor": cursor})
    assert answer.status_code == 422
    assert [problem["path"] for problem in answer.json["problems"]] == ["cursor"]
    assert "Remedy: give `next` of the previous page" in answer.text


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "x", "1.5"])
def test_a_limit_is_from_1_to_1000(api: FlaskClient, limit: str) -> None:
    assert api.get(WATCHES, query_string={"limit": limit}).status_code == 422


# Several at once ----------------------------------------------------------------------------------------------------


def test_several_watches_are_registered_together_or_none(api: FlaskClient, state: redis.Redis) -> None:
    wrong = LINK | {"reference": {"stream": "link", "reslt": "7"}}
    answer = api.post(f"{WATCHES}/import", json={"watches": [LINK, wrong, {"source": "zz", "reference": {}}]})
    assert answer.status_code == 422
    assert [problem["path"] for problem in answer.json["problems"]] == ["watches.1.reference", "watches.2.source"]
    assert state.keys("*") == []
    checked = api.post(f"{WATCHES}/import", json={"watches": [LINK], "dry_run": True})
    assert state.keys("*") == []
    registered = api.post(f"{WATCHES}/import", json={"watches": [LINK, LINK]})
    assert registered.json["ids"] == checked.json["ids"] * 2
    assert api.get(f"{WATCHES}/{checked.json['ids'][0]}").json["label"] == "HR-7"


def test_watches_are_cancelled_by_id_or_by_source(api: FlaskClient) -> None:
    first, second, third = (add(api, number) for number in range(3))
    cancel = f"{WATCHES}/cancel"
    assert api.post(cancel, json={"ids": [first], "dry_run": True}).json == {"cancelled": 1, "unknown_ids": []}
    assert api.post(cancel, json={"ids": [first, "none", first]}).json == {"cancelled": 1, "unknown_ids": ["none"]}
    assert api.post(cancel, json={"source": "eu", "dry_run": True}).json == {"cancelled": 2, "unknown_ids": []}
    assert api.post(cancel, json={"source": "eu"}).json == {"cancelled": 2, "unknown_ids": []}
    for body in ({}, {"source": "eu", "ids": [second]}, {"ids": []}, {"source": "zz"}, {"ids": [third], "dry_run": 1}):
        assert api.post(cancel, json=body).status_code == 422
