"""`/api/v1/watches` and the command `watches`: the same expectations, who may register them, and what is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient

from bridge.config.access import FILE
from bridge.sdk.records import Watch
from bridge.services import Services
from bridge.watch_registration import parse_watch_id, watch_id
from bridge.web import create_app
from tests.support.watches_api import LINK, TOKENS, OpenGate, access_of, build


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gevent.sleep", lambda seconds: None)


def test_an_expectation_is_registered_shown_listed_and_cancelled(api: FlaskClient, services: Services) -> None:
    made = api.post("/api/v1/watches", json=LINK)
    assert made.status_code == 201
    row = made.json
    assert {name: row[name] for name in ("source", "key", "kind", "state", "label", "looks")} == {
        "source": "eu",
        "key": "link:7",
        "kind": "expectation",
        "state": "open",
        "label": "HR-7",
        "looks": 0,
    }
    assert row["next_look"] == row["due"] < row["deadline"]
    address = f"/api/v1/watches/{row['id']}"
    assert api.get(address).json == row
    listed = api.get("/api/v1/watches?source=eu&state=open").json
    assert (listed["watches"], listed["next"], listed["total"]) == ([row], None, 1)
    assert api.get("/api/v1/watches?state=overdue").json["total"] == 0
    assert api.delete(address).status_code == 204
    assert api.delete(address).status_code == api.get(address).status_code == 404
    assert services.watches.list("eu") == ()


def test_times_and_numbers_are_taken_as_people_write_them(api: FlaskClient) -> None:
    reference = {"stream": "group", "user": 1, "test": 2, "group": 3}
    times = {"due": "2030-01-01T10:00:00+02:00", "deadline": "2030-01-02"}
    row = api.post("/api/v1/watches", json={"source": "eu", "reference": reference} | times).json
    assert (row["due"], row["deadline"]) == ("2030-01-01T08:00:00.000Z", "2030-01-02T00:00:00.000Z")
    assert row["key"] == "?group:1:2:3"


@pytest.mark.parametrize(
    ("change", "member", "words"),
    [
        ({"source": "eux"}, "source", 'Did you mean "eu"?'),
        ({"reference": {"stream": "link"}}, "reference", "result"),
        ({"reference": {"stream": "link", "reslt": "7"}}, "reference", 'Did you mean "result"?'),
        ({"deadline": "2020-01-01T00:00:00Z"}, "deadline", "past"),
        ({"label": "x" * 201}, "label", "200"),
        ({"xyz": 1}, "xyz", "unknown name. Known: deadline, due, label"),
        ({"lable": "x"}, "lable", 'unknown name. Did you mean "label"?'),
    ],
)
def test_what_cannot_be_expected_is_refused_by_member(
    api: FlaskClient, change: dict[str, Any], member: str, words: str
) -> None:
    answer = api.post("/api/v1/watches", json=LINK | change)
    assert answer.status_code == 422
    assert [problem["path"] for problem in answer.json["problems"]] == [member]
    assert words in answer.json["problems"][0]["message"]


#: What callers may look like: a neighbour, a proxy's client that says it is one, a stranger, a browser.
CALLERS: list[dict[str, Any]] = [
    {},
    {"headers": {"Host": "localhost:8080"}},
    {"headers": {"Host": "127.0.0.1"}, "environ_base": {"REMOTE_ADDR": "127.0.0.1"}},
    {"headers": {"X-Forwarded-For": "127.0.0.1"}},
    {"headers": {"Forwarded": "for=127.0.0.1"}},
    {"headers": {"Origin": "http://localhost:8080"}},
    {"environ_base": {"REMOTE_ADDR": "192.0.2.7"}},
    {"environ_base": {"REMOTE_ADDR": "::1"}},
]
#: All below /api, whether there is something or not, and the numbers.
PLACES = ["/api/v1/watches", "/api/v1/watches/x", "/api/v1/openapi.json", "/api/v1/none", "/api/v1", "/api", "/metrics"]


@pytest.mark.parametrize("access", ["", access_of(TOKENS)], ids=["no token configured", "tokens configured"])
@pytest.mark.parametrize("place", PLACES)
def test_without_a_token_nobody_is_answered_wherever_the_call_comes_from(
    place: str, access: str, state: redis.Redis, tmp_path: Path
) -> None:
    client = create_app(build(state, tmp_path, access=access), gate=OpenGate()).test_client()  # type: ignore[arg-type]
    for caller in CALLERS:
        answer = client.get(place, **caller)
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert ("access.tokens" in answer.json["detail"]) == (not access)
        assert "eu" not in answer.text.replace("Bearer", "")


def test_a_forged_webhook_is_not_told_about_tokens(state: redis.Redis, tmp_path: Path) -> None:
    client = create_app(build(state, tmp_path), gate=OpenGate()).test_client()  # type: ignore[arg-type]
    forged = client.post("/webhooks/eu", json={})
    assert (forged.status_code, "access.tokens" in forged.text) == (401, False)


def test_the_token_that_up_made_is_accepted_until_the_file_names_others(state: redis.Redis, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / FILE).write_text(hashlib.sha256(b"made").hexdigest() + "\n")
    headers = {"Authorization": "Bearer made"}
    client = create_app(build(state, tmp_path), gate=OpenGate()).test_client()  # type: ignore[arg-type]
    assert client.post("/api/v1/watches", json=LINK, headers=headers).status_code == 201
    other = build(state, tmp_path, access=access_of(TOKENS))
    client = create_app(other, gate=OpenGate()).test_client()  # type: ignore[arg-type]
    assert client.get("/api/v1/watches", headers=headers).status_code == 401


def test_a_viewer_may_read_the_numbers(state: redis.Redis, tmp_path: Path) -> None:
    client = create_app(build(state, tmp_path, access=access_of(TOKENS)), gate=OpenGate()).test_client()  # type: ignore[arg-type]
    answer = client.get("/metrics", headers={"Authorization": "Bearer view-token"})
    assert (answer.status_code, 'source="eu"' in answer.text) == (200, True)


@pytest.mark.parametrize(
    ("authorization", "read", "write"),
    [
        (None, 401, 401),
        ("Bearer wrong", 401, 401),
        ("Basic op-token", 401, 401),
        ("Bearer view-token", 200, 403),
        ("bearer op-token", 200, 201),
    ],
)
def test_tokens_have_roles(
    state: redis.Redis, tmp_path: Path, authorization: str | None, read: int, write: int
) -> None:
    services = build(state, tmp_path, access=access_of(TOKENS))
    api = create_app(services, gate=OpenGate()).test_client()  # type: ignore[arg-type]
    headers = {"Authorization": authorization} if authorization else {}
    assert api.get("/api/v1/watches", headers=headers).status_code == read
    assert api.post("/api/v1/watches", json=LINK, headers=headers).status_code == write
    # Who may not write learns nothing about what would be right.
    refused = api.post("/api/v1/watches", json={}, headers=headers)
    assert refused.status_code == (422 if write == 201 else write)


def test_the_api_describes_itself(api: FlaskClient) -> None:
    page = api.get("/api/v1/openapi.json").json
    assert page["openapi"] == "3.1.0"
    assert set(page["paths"]) >= {f"/api/v1/watches{rest}" for rest in ("", "/import", "/cancel", "/{ident}")}
    assert "label" in page["components"]["schemas"]["NewWatch"]["properties"]


@pytest.mark.parametrize("key", ["link:7", "?group:1:2", "a/b", "pair:%C3%A9:x"])
def test_an_id_names_source_and_key_and_nothing_else_is_one(key: str) -> None:
    assert parse_watch_id(watch_id("eu-1", key)) == ("eu-1", key)
    assert parse_watch_id("%%") is None


# The command line ---------------------------------------------------------------------------------------------------


def test_the_command_adds_lists_shows_and_cancels(run: Any) -> None:
    reference = ("--ref", "stream=link", "--ref", "result=7")
    row = json.loads(run("add", "--source", "eu", *reference, "--label", "HR-7", "-o", "json").stdout)
    assert row["label"] == "HR-7"
    assert json.loads(run("list", "-o", "json").stdout) == [row]
    assert json.loads(run("show", row["id"], "-o", "json").stdout) == row
    assert run("cancel", row["id"]).stderr == "1 cancelled\n"
    assert run("cancel", row["id"]).exit_code == 3
    assert run("list", "--source", "eu").exit_code == 3


def test_a_file_is_imported_whole_or_not_at_all(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "expected.csv"
    file.write_text("stream,result,label,deadline\nlink,7,HR-7,2030-01-01T00:00:00Z\nlink,x,HR-8,\nlnk,9,,\n")
    wrong = run("import", file, "--source", "eu")
    assert wrong.exit_code == 1
    assert f"{file}:3: reference: result: a link needs whole numbers" in wrong.stderr
    assert f'{file}:4: reference: stream is "lnk"' in wrong.stderr
    assert "2 of 3 attempts have problems; nothing was registered" in wrong.stderr
    assert run("list", "-o", "json").stdout == "[]\n"

    file.write_text("\ufeffsource,stream,result,label\n,link,7,HR-7\nus,link,8,\n")
    assert run("import", file, "--source", "eu").stderr.startswith("2 attempts are expected")
    rows = json.loads(run("list", "-o", "json").stdout)
    assert [(row["source"], row["key"], row["label"]) for row in rows] == [
        ("eu", "link:7", "HR-7"),
        ("us", "link:8", None),
    ]
    assert "Nothing was done" in run("cancel", "--all", "--source", "eu").stderr
    assert run("cancel", "--all", "--source", "eu", "--yes").stderr == "1 cancelled\n"


def test_odd_files_get_one_clear_line(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "expected.csv"
    file.write_text("stream,result\nlink,7,more\n")
    assert f"{file}:2: more cells than the header has" in run("import", file, "--source", "eu").stderr
    file.write_bytes(b"stream,result,label\nlink,7,caf\xe9\n")
    assert "not UTF-8 at byte " in run("import", file, "--source", "eu").stderr
    file.write_text("stream,result,label\nlink,7,one\nlink,7,two\n")
    messages = run("import", file, "--source", "eu").stderr
    assert messages.startswith("1 line(s) repeat an attempt")
    assert "1 attempts are expected" in messages
    assert [row["label"] for row in json.loads(run("list", "-o", "json").stdout)] == ["two"]


def test_an_empty_file_says_so(run: Any, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("stream,result\n")
    answer = run("import", tmp_path / "empty.csv", "--source", "eu")
    assert (answer.exit_code, "no line" in answer.stderr) == (3, True)


def test_watches_are_filtered_by_kind_and_all_of_the_source_are_counted(api: FlaskClient, services: Services) -> None:
    now = services.now()
    for number in (1, 2):
        api.post("/api/v1/watches", json=LINK | {"reference": {"stream": "link", "result": str(number)}})
    watch = Watch(reference={"stream": "link", "result": "3"}, due_in=60.0, give_up_at=now + 3600)
    services.watches.open("us", "link:3", watch, now=now)
    page = api.get("/api/v1/watches?kind=attempt").json
    assert [row["key"] for row in page["watches"]] == ["link:3"]
    assert page["total"] == 1
    kinds = {"attempt": 1, "expectation": 2, "pointer": 0, "ungraded": 0, "reread": 0}
    assert page["counts"] == {"states": {"open": 3, "overdue": 0, "expanded": 0}, "kinds": kinds}
    assert api.get("/api/v1/watches?kind=nothing").status_code == 422
    first = api.get("/api/v1/watches?kind=expectation&limit=1").json
    rest = api.get(f"/api/v1/watches?kind=expectation&limit=1&cursor={first['next']}").json
    assert [row["key"] for row in first["watches"] + rest["watches"]] == ["link:1", "link:2"]
    assert rest["counts"] == page["counts"]


def test_the_text_of_a_csv_file_is_imported_or_refused_with_its_lines(api: FlaskClient) -> None:
    text = "stream,result,label,source\n\nlink,7,HR-7,\nlink,8,HR-8,us\n"
    call = {"csv": text, "source": "eu"}
    checked = api.post("/api/v1/watches/import", json=call | {"dry_run": True})
    assert (checked.status_code, api.get("/api/v1/watches").json["total"]) == (200, 0)
    assert api.post("/api/v1/watches/import", json=call).json == checked.json
    assert [row["source"] for row in api.get("/api/v1/watches").json["watches"]] == ["eu", "us"]

    def problems(text: str) -> list[str]:
        answer = api.post("/api/v1/watches/import", json={"csv": text, "source": "eu"})
        assert answer.status_code == 422
        return [f"{problem['path']}: {problem['message']}" for problem in answer.json["problems"]]

    assert problems("stream,result\nlink,7\nlink,\nlink,9\n")[0].startswith("csv.3.reference: ")
    assert problems("stream,result,due\nlink,7,soon\n") == ["csv.2.due: Not a valid datetime."]
    assert problems('stream,result\nlink,"7\n')[0].startswith("csv.2: a quoted cell does not end in its line")
    assert problems("stream,result\n") == ["csv: has 0 lines below the header. Give 1 to 500"]
    many = "stream,result\n" + "".join(f"link,{number}\n" for number in range(501))
    assert problems(many) == ["csv: has 501 lines below the header. Give 1 to 500"]
    assert api.post("/api/v1/watches/import", json={"csv": text, "watches": []}).status_code == 422
    assert api.get("/api/v1/watches").json["total"] == 2
