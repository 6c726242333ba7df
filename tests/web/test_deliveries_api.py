"""Deliveries, dead letters and failure groups over the API and the command line, over deliveries of a real lane."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient

from bridge.config.model import RetryPolicy, Subscription
from bridge.delivery.record import dead_letter
from bridge.errors import DeliveryFailed
from bridge.services import Services
from bridge.state import keys
from bridge.web import create_app
from tests.support.cli import Run, runner
from tests.support.dispatch import Receiver, event, lane, publish, refuse, replaying, run_until_idle, send_due
from tests.support.watches_api import TOKENS, OpenGate, access_of, build
from workers.dispatch.replays import ReplayRunner

NAME = "crm"
LATER = RetryPolicy(schedule=(50_000.0, 50_000.0), jitter=0.0)
CRM = Subscription(name=NAME, transport="http", retry=LATER)
NEVER = Subscription(name=NAME, transport="http", retry=RetryPolicy(schedule=()))
#: As the state server's: the services of the tests read the clock.


@pytest.fixture
def services(state: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Services:
    services = build(state, tmp_path, access=access_of(TOKENS))
    services = replace(services, config=replace(services.config, subscriptions={NAME: CRM}))
    monkeypatch.setattr("bridge.cli.common.load", lambda **_: services)
    return services


def client(services: Services, role: str) -> FlaskClient:
    made = create_app(services, gate=OpenGate()).test_client()  # type: ignore[arg-type]
    made.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {TOKENS[role]}"
    return made


@pytest.fixture
def api(services: Services) -> FlaskClient:
    return client(services, "operator")


@pytest.fixture
def run(services: Services, capfd: pytest.CaptureFixture[str]) -> Run:
    return runner(capfd)


def dispatch(services: Services, *numbers: int, answer: Any = None, subscription: Subscription = CRM) -> list[str]:
    """Events that are published and handed over once; their ids."""
    ids = publish(services.state, *numbers)
    receiver = Receiver(answer, status=500 if answer else 200, body=b"Dear Zoe")
    send_due(services.state, receiver, subscription, services.now())
    return ids


def listed(api: FlaskClient, **query: object) -> list[dict[str, Any]]:
    """All rows, page by page."""
    rows, cursor = [], None
    while True:
        asked = {**query, **({"cursor": cursor} if cursor else {})}
        answer = api.get("/api/v1/deliveries", query_string=asked)
        assert answer.status_code == 200, answer.json
        rows += answer.json["deliveries"]
        cursor = answer.json["next"]
        if cursor is None:
            return rows


def test_every_state_is_listed_and_every_page_continues_where_the_last_one_ended(
    services: Services, api: FlaskClient
) -> None:
    delivered = dispatch(services, 1, 2, 3)
    dead = dispatch(services, 4, 5, answer=refuse, subscription=NEVER)
    failing = dispatch(services, 6, 7, 8, answer=refuse)
    assert services.deliveries.cancel(NAME, failing[2], now=services.now()) == "done"
    waiting = publish(services.state, 9, 10)
    rows = listed(api)
    assert [row["event_id"] for row in rows[:2]] == sorted(failing[:2])
    assert {row["event_id"] for row in rows} == {*delivered, *dead, *failing}
    for limit in (1, 2, 3):
        assert [row["id"] for row in listed(api, limit=limit)] == [row["id"] for row in rows]
    expected = {"retrying": failing[:2], "dead": dead, "delivered": delivered, "cancelled": failing[2:]}
    expected |= {"waiting": waiting, "awaiting_receipt": []}
    for state, ids in expected.items():
        assert sorted(row["event_id"] for row in listed(api, state=state)) == sorted(ids), state
        assert sorted(row["event_id"] for row in listed(api, state=state, limit=1)) == sorted(ids), state
    assert {row["event_id"] for row in listed(api, filter="state:dead,cancelled")} == {*dead, failing[2]}
    assert {row["event_id"] for row in listed(api, filter="state:waiting")} == set(waiting)
    assert [row["state"] for row in listed(api, event=dead[0])] == ["dead"]
    assert listed(api, attempt="a6")[0]["event_id"] == failing[0]
    assert listed(api, filter="group:* -state:dead")[0]["reason"] == "receiver_error"
    assert listed(api, source="other") == []


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ({"cursor": "x"}, "cursor"),
        ({"cursor": "WyJkZWxpdmVyaWVzIiwieCJd"}, "cursor"),
        ({"state": "lost"}, "state"),
        ({"subscription": "none"}, "subscription"),
        ({"filter": "colour:blue"}, "filter"),
        ({"limit": 0}, "limit"),
    ],
)
def test_a_wrong_query_is_one_problem_at_its_place(api: FlaskClient, query: dict[str, Any], path: str) -> None:
    answer = api.get("/api/v1/deliveries", query_string=query)
    assert answer.status_code == 422
    assert [problem["path"] for problem in answer.json["problems"]] == [path]


def test_a_delivery_is_shown_with_its_tries_and_viewers_do_not_see_the_answer(
    services: Services, api: FlaskClient
) -> None:
    (only,) = dispatch(services, 1, answer=refuse)
    row = api.get(f"/api/v1/deliveries/{NAME}/{only}").json
    assert (row["state"], row["tries"], row["error"]) == ("retrying", 1, "receiver answered 500")
    (tried,) = row["log"]
    assert (tried["status"], tried["reason"], tried["answer"]) == (500, "receiver_error", "Dear Zoe")
    viewed = client(services, "viewer").get(f"/api/v1/deliveries/{NAME}/{only}").json
    assert viewed == {**row, "log": [{**tried, "answer": "***"}]}
    for ident in (f"{NAME}/none", f"other/{only}", "a%00b/c"):
        assert api.get(f"/api/v1/deliveries/{ident}").status_code == 404


def test_retry_and_cancel_are_audited_and_refused_for_what_has_ended(services: Services, api: FlaskClient) -> None:
    only, other = dispatch(services, 1, 2, answer=refuse)
    (done,) = dispatch(services, 3)
    path = f"/api/v1/deliveries/{NAME}"
    retried = api.post(f"{path}/{only}/retry")
    assert retried.status_code == 200
    assert services.state.zscore(keys.retry(NAME), only) == pytest.approx(services.now(), abs=60)
    cancelled = api.post(f"{path}/{other}/cancel")
    assert (cancelled.status_code, cancelled.json["state"]) == (200, "cancelled")
    assert api.post(f"{path}/{other}/cancel").status_code == 409
    refused = api.post(f"{path}/{done}/retry")
    assert (refused.status_code, refused.json["detail"]) == (409, f"delivery {NAME}/{done} has ended: delivered")
    assert api.post(f"{path}/none/retry").status_code == 404
    assert client(services, "viewer").post(f"{path}/{only}/retry").status_code == 403
    entries = api.get("/api/v1/audit").json["audit"]
    assert [(entry["action"], entry["target"]) for entry in entries] == [
        ("cancelDelivery", f"delivery {NAME}/{other}"),
        ("retryDelivery", f"delivery {NAME}/{only}"),
    ]


def test_failure_groups_are_listed_by_their_last_failure_or_by_their_number_page_by_page(
    services: Services, api: FlaskClient
) -> None:
    dispatch(services, 1, 2, answer=refuse, subscription=NEVER)
    dispatch(services, 3, answer=lambda _: DeliveryFailed("other", reason="timeout"), subscription=NEVER)
    for query, counts in (({}, [1, 2]), ({"order": "last"}, [1, 2]), ({"order": "count"}, [2, 1])):
        first = api.get("/api/v1/failure-groups", query_string={**query, "limit": 1}).json
        second = api.get("/api/v1/failure-groups", query_string={**query, "cursor": first["next"]}).json
        assert [group["count"] for page in (first, second) for group in page["failure_groups"]] == counts, query
    assert api.get("/api/v1/failure-groups", query_string={"order": "name"}).status_code == 422


def test_viewers_see_no_address_that_a_receiver_quotes_in_an_error(services: Services) -> None:
    quotes = DeliveryFailed("no sam@example.test here", reason="receiver_error")
    (dead,) = dispatch(services, 1, answer=lambda _: quotes, subscription=NEVER)
    (failing,) = dispatch(services, 2, answer=lambda _: quotes)
    (letter,) = services.deliveries.dead_letters(NAME)
    paths = ("failure-groups", f"failure-groups/{NAME}/{letter.group}", "deliveries", "dead-letters", "subscriptions")
    paths += (f"deliveries/{NAME}/{dead}", f"deliveries/{NAME}/{failing}", f"dead-letters/{NAME}/{letter.id}")
    for path in paths:
        assert "sam@example.test" in client(services, "operator").get(f"/api/v1/{path}").text, path
        assert "sam@example.test" not in client(services, "viewer").get(f"/api/v1/{path}").text, path


def test_a_failure_group_is_listed_acknowledged_replayed_and_discarded(services: Services, api: FlaskClient) -> None:
    dispatch(services, *range(3), answer=refuse, subscription=NEVER)
    (group,) = api.get("/api/v1/failure-groups").json["failure_groups"]
    assert (group["state"], group["count"], group["dead"], group["status"]) == ("open", 3, 3, 500)
    path = f"/api/v1/failure-groups/{group['id']}"
    assert api.get(path).json == group
    assert api.post(f"{path}/acknowledge").json["state"] == "acknowledged"
    assert api.get("/api/v1/failure-groups", query_string={"state": "open"}).json["failure_groups"] == []
    assert api.post(f"{path}/reopen").json["state"] == "open"
    made = api.post("/api/v1/replays", json={"what": "dead_letters", "group": group["id"]})
    assert (made.status_code, made.json["preview"]["total"]) == (201, 3)
    ReplayRunner(services, "test", live_seconds=0.0).step(services.now)
    assert api.post(f"{path}/acknowledge").status_code == 409
    run_until_idle(lane(services.state, Receiver(refuse), subscription=NEVER), services.now())
    assert api.get("/api/v1/failure-groups", query_string={"subscription": NAME}).json["failure_groups"][0]["dead"] == 3
    other = api.get("/api/v1/failure-groups", query_string={"limit": 1}).json
    (again,) = other["failure_groups"]
    assert api.post(f"/api/v1/failure-groups/{again['id']}/discard").json == {"discarded": 3}
    assert api.get(f"/api/v1/failure-groups/{NAME}/000").status_code == 404
    actions = [entry["action"] for entry in api.get("/api/v1/audit").json["audit"]]
    assert actions == ["discardFailureGroup", "addReplay", "reopenFailureGroup", "acknowledgeFailureGroup"]


def test_dead_letters_are_listed_shown_and_discarded(services: Services, api: FlaskClient) -> None:
    ids = dispatch(services, *range(4), answer=refuse, subscription=NEVER)
    page = api.get("/api/v1/dead-letters", query_string={"limit": 3}).json
    rest = api.get("/api/v1/dead-letters", query_string={"cursor": page["next"]}).json
    rows = [*page["dead_letters"], *rest["dead_letters"]]
    assert [row["event_id"] for row in rows] == ids[::-1]
    assert (rest["next"], rest["expired"]) == (None, 0)
    shown = api.get(f"/api/v1/dead-letters/{rows[0]['id']}").json
    assert json.loads(shown["event"]) == event(3)
    assert shown["log"][0]["answer"] == "Dear Zoe"
    viewed = client(services, "viewer").get(f"/api/v1/dead-letters/{rows[0]['id']}").json
    assert json.loads(viewed["event"])["data"]["candidate"]["name"] is None
    assert viewed["log"][0]["answer"] == "***"
    chosen = {"ids": [rows[0]["id"], "crm/0:1-1", rows[0]["id"], rows[1]["id"]]}
    done = api.post("/api/v1/dead-letters/discard", json=chosen).json
    assert (done["done"], [failure["id"] for failure in done["failed"]]) == (2, ["crm/0:1-1"])
    left = api.get("/api/v1/dead-letters", query_string={"filter": "source:eu-* reason:receiver_error"}).json
    assert [row["event_id"] for row in left["dead_letters"]] == ids[1::-1]
    assert api.get(f"/api/v1/dead-letters/{rows[0]['id']}").status_code == 404


def test_a_filter_on_stored_members_parses_only_the_dead_letters_that_match(
    services: Services, api: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = dispatch(services, *range(6), answer=refuse, subscription=NEVER)
    # As an earlier version stored it: everything is in the record.
    record = {"id": "old", "type": "t", "source": "past", "attempt": "a9", "entry": "1-1", "error": "no answer"}
    fields = {"id": "old", "event": "{}", "reason": "timeout", "at": "900", "delivery": json.dumps(record)}
    services.state.xadd(keys.dead(NAME), fields)
    (stored,) = {letter.group for letter in services.deliveries.dead_letters(NAME)} - {""}
    parsed: list[str] = []

    def counted(partition: int, entry: str, fields: dict[bytes, bytes]) -> Any:
        parsed.append(fields[b"id"].decode())
        return dead_letter(partition, entry, fields)

    monkeypatch.setattr("bridge.delivery.letters.dead_letter", counted)
    for text, matching, read in (
        (f"event:{ids[2]} source:eu-* type:attempt.*", [ids[2]], [ids[2]]),
        ("attempt:a3 reason:receiver_error", [ids[3]], ["old", ids[3]]),
        (f"group:{stored} attempt:a1", [ids[1]], [ids[1]]),
        ("source:past", ["old"], ["old"]),
        ("attempt:none", [], ["old"]),
        ("tries:>1 attempt:none", [], ["old"]),
        ('"no answer"', ["old"], ["old"]),
        ('"answered 500"', ids[::-1], ["old", *ids[::-1]]),
    ):
        parsed.clear()
        rows = api.get("/api/v1/dead-letters", query_string={"filter": text}).json["dead_letters"]
        assert ([row["event_id"] for row in rows], parsed) == (matching, read), text
    parsed.clear()
    preview = {"what": "dead_letters", "filter": "attempt:a4", "preview": True}
    assert api.post("/api/v1/replays", json=preview).json["preview"]["total"] == 1
    assert sorted(parsed) == sorted(["old", ids[4]])


def test_the_commands_print_what_the_api_answers_and_exit_as_documented(services: Services, run: Run) -> None:
    failing = dispatch(services, 1, 2, answer=refuse)
    (done,) = dispatch(services, 3)
    code, out, _ = run("deliveries", "list", "--state", "retrying", "-o", "json")
    assert (code, sorted(row["event_id"] for row in json.loads(out))) == (0, sorted(failing))
    assert run("deliveries", "list", "--attempt", "none")[0] == 3
    assert json.loads(run("deliveries", "show", f"{NAME}/{done}", "-o", "json")[1])["state"] == "delivered"
    assert run("deliveries", "show", f"{NAME}/none")[0] == 3
    assert run("deliveries", "show", "none")[0] == 2
    assert run("deliveries", "retry", f"{NAME}/{failing[0]}")[:2] == (0, "1 due now, 0 failed\n")
    code, out, err = run("deliveries", "cancel", f"{NAME}/{failing[0]}", f"{NAME}/{done}")
    assert (code, out) == (4, "1 cancelled, 1 failed\n")
    assert err == f"delivery {NAME}/{done} has ended: delivered\n"
    assert run("deliveries", "retry", f"{NAME}/none")[0] == 3


def test_the_commands_for_groups_preview_what_they_would_do(services: Services, run: Run) -> None:
    dispatch(services, *range(3), answer=refuse, subscription=NEVER)
    (group,) = json.loads(run("failure-groups", "list", "-o", "json")[1])
    ident = group["id"]
    assert run("failure-groups", "show", ident)[0] == 0
    code, out, err = run("failure-groups", "replay", ident)
    assert (code, err) == (0, "Nothing was done; add --yes to do it.\n")
    assert out.startswith(f"3 of {NAME} would be replayed\n")
    dry = run("failure-groups", "replay", ident, "--yes", "--dry-run")
    assert dry == (0, out, "Nothing was done; leave out --dry-run to do it.\n")
    assert run("failure-groups", "acknowledge", ident)[::2] == (0, f"{ident} is acknowledged\n")
    assert run("failure-groups", "reopen", ident)[::2] == (0, f"{ident} is open\n")
    assert run("dead-letters", "discard", "--filter", "attempt:a0", "--yes")[:2] == (0, "1 discarded, 0 failed\n")
    with replaying(services):
        assert run("failure-groups", "replay", ident, "--yes")[:2] == (0, "2 replayed, 0 failed\n")
    assert run("failure-groups", "replay", ident, "--yes")[::2] == (3, f"no dead letter in {ident}\n")
    assert run("failure-groups", "discard", ident, "--yes")[0] == 3
    assert run("failure-groups", "show", f"{NAME}/none")[0] == 3
    assert run("failure-groups", "show", "none")[0] == 2


def test_a_search_that_finds_nothing_says_how_far_it_came_and_goes_on_to_the_end(
    services: Services, api: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.delivery.views._MAX_STEPS", 3)
    ids = dispatch(services, *range(8))
    first = api.get("/api/v1/deliveries", query_string={"attempt": "a0"}).json
    assert first["deliveries"] == []
    assert first["searched_until"] is not None
    assert first["next"] is not None
    assert [row["event_id"] for row in listed(api, attempt="a0")] == [ids[0]]


def test_the_deliveries_of_one_event_are_listed_page_by_page_and_none_is_cut_off(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.delivery.history._TOGETHER", 2)
    names = ["s4", "s1", "s0", "s3", "s2"]
    ident = publish(services.state, 1)[0]
    for name in names:
        run_until_idle(lane(services.state, Receiver(), subscription=replace(CRM, name=name)), services.now())
    api = client(
        replace(services, config=replace(services.config, subscriptions=dict.fromkeys([*names, "quiet"], CRM))),
        "operator",
    )
    for limit in (1, 2, 4, 5):
        assert [row["subscription"] for row in listed(api, event=ident, limit=limit)] == sorted(names)
    cursor = api.get("/api/v1/deliveries", query_string={"event": ident, "limit": 1}).json["next"]
    refused = api.get("/api/v1/deliveries", query_string={"cursor": cursor})
    assert (refused.status_code, refused.json["problems"][0]["path"]) == (422, "cursor")


@pytest.mark.long
def test_lists_over_many_subscriptions_are_in_order_and_whole(services: Services) -> None:
    names = [f"s{number}" for number in range(12)]
    for number, name in enumerate(names * 3):
        subscription = replace(NEVER, name=name)
        publish(services.state, number)
        run_until_idle(lane(services.state, Receiver(refuse), subscription=subscription), services.now())
    many = replace(services, config=replace(services.config, subscriptions=dict.fromkeys(names, NEVER)))
    api = client(many, "operator")
    for resource, member in (("dead-letters", "dead_letters"), ("deliveries", "deliveries")):
        rows, query = [], {"limit": 7}
        while True:
            page = api.get(f"/api/v1/{resource}", query_string=query).json
            rows += page[member]
            if page["next"] is None:
                break
            query = {"limit": 7, "cursor": page["next"]}
        numbers = [row["id" if member == "dead_letters" else "dead_letter"] for row in rows]
        stored = sum(services.state.xlen(keys.dead(name)) for name in names)
        assert len(set(numbers)) == len(numbers) == stored > 12
        places = [tuple(map(int, number.rpartition(":")[2].split("-"))) for number in numbers]
        assert places == sorted(places, reverse=True)
