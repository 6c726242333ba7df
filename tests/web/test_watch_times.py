"""Which times can be registered, and that whatever is stored can be listed, shown and cancelled."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.services import Services
from bridge.state import keys
from bridge.watch_registration import watch_id
from bridge.web.api.watch_shapes import EARLIEST, LATEST
from tests.support.watches_api import LINK

pytestmark = pytest.mark.long

#: The ends of the calendar and of what can be registered, also as other zones see them.
FAR = [
    "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59-12:00",
    "9999-12-31T23:59:59.999999+14:00",
    "9999-12-25",
    "0001-01-01T00:00:00+14:00",
    "0001-01-01T00:00:00-12:00",
    "0001-01-01",
    "1999-12-31T23:59:59Z",
    "2100-01-01T00:00:00Z",
    "2099-12-31T23:30:00-01:00",
]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gevent.sleep", lambda seconds: None)


@pytest.mark.parametrize("time", FAR)
@pytest.mark.parametrize("member", ["due", "deadline"])
def test_a_time_far_from_now_is_refused_and_nothing_is_stored(
    api: FlaskClient, run: Any, services: Services, member: str, time: str
) -> None:
    answer = api.post("/api/v1/watches", json=LINK | {member: time})
    problem = "is not in the years 2000 to 2099. Give a time in these"
    assert answer.status_code == 422
    assert [(problem["path"], problem["message"]) for problem in answer.json["problems"]] == [(member, problem)]
    command = run("add", "--source", "eu", "--ref", "stream=link", "--ref", "result=7", f"--{member}", time)
    assert (command.exit_code, f"{member}: {problem}" in command.stderr) == (1, True)
    assert services.state.keys("*") == []


def test_the_last_time_that_can_be_registered_is_shown_whatever_follows_from_it(api: FlaskClient, run: Any) -> None:
    row = api.post("/api/v1/watches", json=LINK | {"due": "2099-12-31T23:59:59.999Z"}).json
    assert (row["due"], row["deadline"]) == ("2099-12-31T23:59:59.999Z", "2100-01-07T23:59:59.999Z")
    assert json.loads(run("show", row["id"], "-o", "json").stdout) == row


def test_a_file_with_a_time_that_cannot_be_registered_registers_nothing(
    run: Any, services: Services, tmp_path: Path
) -> None:
    file = tmp_path / "expected.csv"
    file.write_text("stream,result,due\nlink,7,\nlink,8,9999-12-31T23:59:59Z\nlink,9,\n")
    answer = run("import", file, "--source", "eu")
    assert (answer.exit_code, f"{file}:3: due: is not in the years" in answer.stderr) == (1, True)
    assert services.state.keys("*") == []


def test_nothing_is_stored_that_cannot_be_shown(
    run: Any, services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever makes a row impossible: it shows before the first of the file is stored."""

    def fail(moment: float) -> Any:
        raise OverflowError

    file = tmp_path / "expected.csv"
    file.write_text("stream,result\nlink,7\nlink,8\n")
    monkeypatch.setattr("bridge.clock.to_datetime", fail)
    assert isinstance(run("import", file, "--source", "eu").exception, OverflowError)
    assert services.state.keys("*") == []


#: What an earlier version stored for `--due 9999-12-31T23:59:59Z`, and what nobody has stored yet.
ODD_MOMENTS = [253402300799.0, 253402905599.0, -62135596800.0, -9e15, 1e300, float("inf"), float("nan"), "x", None, [1]]


@pytest.mark.parametrize("moment", ODD_MOMENTS, ids=str)
def test_a_stored_time_without_a_date_breaks_no_list(
    api: FlaskClient, run: Any, services: Services, moment: Any
) -> None:
    good = api.post("/api/v1/watches", json=LINK).json
    facts = {"reference": {}, "label": None, "due": moment, "deadline": moment, "registered_at": moment}
    services.state.hset(keys.expected("eu"), "link:8", json.dumps(facts | {"state": "open"}))
    details = json.dumps({"reference": {}, "give_up_at": moment}, separators=(",", ":"))
    services.state.hset(keys.watch("eu"), "link:8", f"0|{moment}|expectation|{details}")
    score = moment if isinstance(moment, float) and moment == moment else 1e300
    services.state.zadd(keys.watch_due("eu"), {"link:8": score})
    odd = watch_id("eu", "link:8")

    page = api.get("/api/v1/watches").json
    assert {row["id"] for row in page["watches"]} == {good["id"], odd}
    assert api.get(f"/api/v1/watches/{odd}").status_code == 200
    assert len(json.loads(run("list", "-o", "json").stdout)) == 2
    assert run("show", odd).exit_code == 0
    services.watches.due("eu", 9e9, 20)
    services.expectations.overdue("eu", before=9e9)
    assert run("cancel", "--all", "--source", "eu", "--yes").stderr == "2 cancelled\n"
    assert services.watches.list("eu") == services.expectations.list("eu") == ()


@pytest.mark.parametrize("value", ["", "x", "[]", "null", '{"label": 5}', "{}", b"\xff", '{"state": "new", "more": 1}'])
def test_a_stored_expectation_that_nobody_can_read_breaks_no_list(
    api: FlaskClient, run: Any, services: Services, value: str | bytes
) -> None:
    good = api.post("/api/v1/watches", json=LINK).json
    services.state.hset(keys.expected("eu"), "link:8", value)
    services.state.zadd(keys.deadlines("eu"), {"link:8": 1.0})
    assert good["id"] in {row["id"] for row in api.get("/api/v1/watches").json["watches"]}
    assert run("list").exit_code == 0
    services.expectations.overdue("eu", before=9e9)
    assert next(iter(services.expectations.matching("eu", ["link:7", "link:8"], now=9e9))) == "link:7"
    assert run("cancel", watch_id("eu", "link:8")).stderr == "1 cancelled\n"


offsets = st.integers(-14 * 60, 14 * 60).map(
    lambda minutes: f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
)
times = (
    st.builds(lambda moment, offset: moment.isoformat() + offset, st.datetimes(), offsets | st.just("") | st.just("Z"))
    | st.datetimes().map(lambda moment: moment.date().isoformat())
    | st.text(max_size=30)
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(due=times, deadline=times | st.none())
def test_every_time_is_shown_as_registered_or_refused(api: FlaskClient, due: str, deadline: str | None) -> None:
    answer = api.post("/api/v1/watches", json=LINK | {"due": due, "deadline": deadline})
    assert answer.status_code in (201, 400, 422)
    if answer.status_code == 201:
        shown = datetime.fromisoformat(answer.json["due"])
        assert EARLIEST <= shown.timestamp() < LATEST
        given_ = datetime.fromisoformat(due)
        given_ = given_ if given_.tzinfo else given_.replace(tzinfo=UTC)
        assert abs(shown - given_).total_seconds() < 0.001
    assert api.get("/api/v1/watches").status_code == 200
