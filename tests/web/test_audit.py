"""Every change through the API is in the audit: who, what, when, before, after; neither secrets nor persons are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient

from bridge import audit, cli
from bridge.audit import AuditLog, Change, safe
from bridge.errors import StateUnavailable
from bridge.journal.search import search
from bridge.services import Services
from bridge.state import keys
from bridge.web import create_app
from bridge.web.api.paging import cursor_of
from tests.support.watches_api import LINK, TOKENS, OpenGate, access_of, build

WATCHES, AUDIT = "/api/v1/watches", "/api/v1/audit"
NOW = 1_700_000_000.0


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gevent.sleep", lambda seconds: None)


def entries(api: FlaskClient, **query: str | int) -> list[dict[str, Any]]:
    return list(api.get(AUDIT, query_string=query).json["audit"])


def test_every_change_of_watches_is_recorded_with_before_and_after(api: FlaskClient) -> None:
    times = {"due": "2050-01-01T00:00:00.000Z", "deadline": "2050-01-02T00:00:00.000Z"}
    ident = api.post(WATCHES, json=LINK | times).json["id"]
    api.post(WATCHES, json=LINK | times | {"deadline": "2050-02-02"})
    api.delete(f"{WATCHES}/{ident}")
    api.post(f"{WATCHES}/import", json={"watches": [LINK, LINK]})
    api.post(f"{WATCHES}/cancel", json={"source": "eu"})
    changes = entries(api)
    later = times | {"deadline": "2050-02-02T00:00:00.000Z"}
    assert [(row["action"], row["before"], row["after"]) for row in reversed(changes)] == [
        ("addWatch", None, times),
        ("addWatch", times, later),
        ("cancelWatch", later, None),
        ("importWatches", None, {"registered": 1, "watches": [audit.digest_of(ident)]}),
        ("cancelWatches", None, {"cancelled": 1, "watches": [audit.digest_of(ident)]}),
    ]
    assert {(row["actor"], row["role"]) for row in changes} == {("operator", "operator")}
    assert changes[-1]["target"] == f"watch of eu {audit.digest_of(ident)}"
    assert "HR-7" not in json.dumps(changes)


def test_what_changes_nothing_is_not_recorded(api: FlaskClient, state: redis.Redis) -> None:
    api.get(WATCHES)
    api.post(WATCHES, json={})
    api.post(WATCHES, json=LINK, headers={"Authorization": "Bearer wrong"})
    api.delete(f"{WATCHES}/none")
    api.post(f"{WATCHES}/import", json={"watches": [LINK], "dry_run": True})
    api.post(f"{WATCHES}/cancel", json={"source": "eu", "dry_run": True})
    api.post(f"{WATCHES}/cancel", json={"ids": ["none"]})
    assert state.exists(keys.audit()) == 0


def test_a_view_that_says_nothing_is_recorded_all_the_same(api: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.web.api.watches.audited", lambda *_, **__: None)
    api.post(WATCHES, json=LINK)
    assert [(row["action"], row["target"]) for row in entries(api)] == [("addWatch", "watches")]


def test_a_change_that_cannot_be_recorded_is_reported(
    api: FlaskClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise StateUnavailable("state server: full. Remedy: raise maxmemory")

    monkeypatch.setattr(AuditLog, "record", fail)
    answer = api.post(WATCHES, json=LINK)
    assert (answer.status_code, answer.mimetype) == (503, "application/problem+json")
    assert answer.json["detail"] == "done, but not recorded in the audit: state server: full. Remedy: raise maxmemory"
    assert len(services.expectations.list("eu")) == 1


def test_a_command_beside_the_server_is_recorded_with_its_user(
    services: Services, state: redis.Redis, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bridge.cli.common.load", lambda **_: services)
    monkeypatch.setattr("bridge.cli.api_client.user_name", lambda: "sam")
    reference = ("--ref", "stream=link", "--ref", "result=7", "--due", "2050-01-01", "--deadline", "2051-01-01")
    cli.run(["watches", "add", "--source", "eu", *reference])
    cli.run(["watches", "cancel", "--all", "--source", "eu", "--yes"])
    capfd.readouterr()
    assert cli.run(["audit", "list", "-o", "json"]) == 0
    rows = json.loads(capfd.readouterr().out)
    assert [(row["actor"], row["action"]) for row in rows] == [("cli:sam", "cancelWatches"), ("cli:sam", "addWatch")]
    assert cli.run(["audit", "list", "--action", "addWatch"]) == 0
    out = capfd.readouterr().out
    assert "due: 2050-01-01T00:00:00.000Z; deadline: 2051-01-01T00:00:00.000Z" in out
    assert "cancelWatches" not in out
    assert cli.run(["audit", "list", "--actor", "nobody"]) == 3


# The log ------------------------------------------------------------------------------------------------------------


def record(log: AuditLog, number: int, now: float = NOW, **more: Any) -> None:
    call = {"actor": f"a{number % 2}", "role": "operator", "action": "act", "call_id": f"call{number}"} | more
    log.record(Change(f"thing {number}", {"n": number}, {"n": number + 1}), now=now, **call)


@pytest.fixture
def log(state: redis.Redis) -> AuditLog:
    return AuditLog(state, keep_seconds=86_400)


def test_a_repeated_call_is_stored_once(log: AuditLog) -> None:
    record(log, 1)
    record(log, 2)
    record(log, 1)
    assert [entry.change.target for _, _, entry in log.newest_first()] == ["thing 2", "thing 1"]


def test_pages_hold_every_entry_once_while_others_come(
    api: FlaskClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "__kwdefaults__", {**search.__kwdefaults__, "max_entries": 4})
    for number in range(20):
        record(services.audit, number)
    seen, query, bounds = [], {"limit": 2, "actor": "a1"}, 0
    while True:
        page = api.get(AUDIT, query_string=query).json
        seen += [row["target"] for row in page["audit"]]
        bounds += page["searched_until"] is not None
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
        record(services.audit, 101 + 2 * len(seen))
    assert seen == [f"thing {number}" for number in range(19, 0, -2)]
    # A filter that matches nothing says how far it came.
    page = api.get(AUDIT, query_string={"actor": "nobody"}).json
    assert (page["audit"], page["searched_until"] is None, page["next"] is None) == ([], False, False)


@pytest.mark.parametrize("cursor", [cursor_of("watches", "1-0"), cursor_of("audit", "x"), cursor_of("audit", "9" * 30)])
def test_a_cursor_of_another_resource_is_refused(api: FlaskClient, cursor: str) -> None:
    assert api.get(AUDIT, query_string={"cursor": cursor}).status_code == 422


@pytest.mark.parametrize(
    ("query", "member"),
    [({"since": "soon"}, "since"), ({"until": "25:00"}, "until"), ({"actor": ""}, "actor"), ({"limit": "0"}, "limit")],
)
def test_a_wrong_filter_is_refused_by_its_name(api: FlaskClient, query: dict[str, str], member: str) -> None:
    answer = api.get(AUDIT, query_string=query)
    assert (answer.status_code, [problem["path"] for problem in answer.json["problems"]]) == (422, [member])


def test_changes_are_filtered_in_the_language_of_all_lists(api: FlaskClient, services: Services) -> None:
    for number in range(4):
        record(services.audit, number)
    for text, count in (
        ("actor:a1", 2),
        ("-actor:a1 action:ac*", 2),
        ("role:viewer", 0),
        ('"thing 3"', 1),
        ('target:"thing 2" since:1970-01-01', 1),
        ("until:1970-01-02", 0),
    ):
        assert len(entries(api, filter=text)) == count, text


@pytest.mark.parametrize("since", ["1970-01-01", "0001-01-01", "2h", "2099-01-01"])
def test_a_period_is_taken_as_people_write_it(api: FlaskClient, since: str) -> None:
    for name in ("since", "until"):
        assert api.get(AUDIT, query_string={name: since}).status_code in (200, 422)


def test_entries_older_than_the_retention_go(state: redis.Redis) -> None:
    log = AuditLog(state, keep_seconds=-86_400)
    for number in range(500):
        record(log, number, now=4_000_000_000.0)
    assert state.xlen(keys.audit()) < 300
    # And none goes before.
    state.delete(keys.audit())
    log = AuditLog(state, keep_seconds=86_400)
    for number in range(300):
        record(log, number, now=1_000_000_000.0)
    assert state.xlen(keys.audit()) == 300


def test_neither_secrets_nor_persons_are_kept_whoever_passes_them(log: AuditLog, state: redis.Redis) -> None:
    canary = "CANARY"
    secret = {
        "url": "https://crm.example.test",
        "token": canary,
        "nested": {"email": f"{canary}@example.test", "label": canary, "list": [{"secrets": [canary]}]},
        "note": f"{canary}@example.test",
        "deep": {"a": {"b": {"c": {"d": canary}}}},
    }
    log.record(
        Change(f"watch {canary}@example.test", secret, secret), actor="a", role="r", action="x", now=NOW, call_id="1"
    )
    stored = json.dumps([[str(part) for part in item] for item in state.xrange(keys.audit())])
    assert canary not in stored
    ((_, _, entry),) = log.newest_first()
    assert entry.change.before is not None
    assert entry.change.before["url"] == "https://crm.example.test"
    assert entry.change.before["token"] == "(not kept)"


def test_an_entry_is_bounded_and_odd_entries_break_no_list(log: AuditLog, state: redis.Redis) -> None:
    assert len(json.dumps(safe({"ids": [f"{number:03}" * 100 for number in range(1000)], "text": "x" * 9999}))) < 6000
    state.xadd(keys.audit(), {"at": "soon", "before": "[1", "more": "\xff"})
    ((_, _, entry),) = log.newest_first()
    assert (entry.actor, entry.change) == ("", Change("", None, None))


def test_a_viewer_may_read_the_audit_and_nobody_may_write_it(state: redis.Redis, tmp_path: Path) -> None:
    api = create_app(build(state, tmp_path, access=access_of(TOKENS)), gate=OpenGate()).test_client()  # type: ignore[arg-type]
    headers = {"Authorization": f"Bearer {TOKENS['viewer']}"}
    assert api.get(AUDIT, headers=headers).status_code == 200
    assert api.post(AUDIT, headers=headers, json={}).status_code == 405
