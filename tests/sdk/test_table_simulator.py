"""The simulated vendor made of a table: how it is asked, what it answers, and what the demo asks of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from werkzeug.test import Client

from bridge.sdk.simulator import Faults
from bridge.sdk.table_simulator import Sitting, Table, TableBench, TableSimulator, iso

NOW = 1_795_000_000


def row(sitting: Sitting) -> dict[str, Any]:
    return {"id": f"r{sitting.number}", "quiz": {"id": f"Q{sitting.number % 2}"}, "at": iso(sitting.finished)}


TABLE = Table(
    path="/results",
    rows="data.items",
    row=row,
    key=("x-token", "invented"),
    credentials={"token": "invented"},
    since="since",
    until="until",
    more_at="data.more",
    page_size=3,
)


def simulator(finished=(), **changes) -> TableSimulator:
    api = TableSimulator(replace(TABLE, **changes), lambda: NOW)
    for seconds in finished:
        api.add(NOW - seconds)
    return api


def call(api: TableSimulator, path: str = "/results", **parameters: Any) -> Any:
    return Client(api.wsgi).get(path, query_string=parameters, headers={"x-token": "invented"})


def ids(api: TableSimulator, **parameters: Any) -> list[str]:
    return [item["id"] for item in call(api, **parameters).get_json()["data"]["items"]]


def test_rows_come_oldest_first_where_the_table_says_with_a_flag_for_more():
    api = simulator([10, 40, 30, 20])

    document = call(api).get_json()

    assert [item["id"] for item in document["data"]["items"]] == ["r2", "r3", "r4"]
    assert document["data"]["more"] is True
    assert document["data"]["items"][0] == {"id": "r2", "quiz": {"id": "Q0"}, "at": "2026-11-18T11:06:00Z"}


@pytest.mark.parametrize(
    ("kind", "spelled"), [("unix", str), ("unix_ms", lambda moment: str(1000 * moment)), ("iso", iso)]
)
@pytest.mark.parametrize(("inclusive", "expected"), [(True, ["r2", "r3"]), (False, ["r3"])])
def test_a_period_is_asked_for_in_the_form_of_the_table(kind, spelled, inclusive, expected):
    api = simulator([40, 30, 20, 10], time=kind, inclusive=inclusive)

    assert ids(api, since=spelled(NOW - 30), until=spelled(NOW - 20)) == expected


@pytest.mark.parametrize(
    ("changes", "second"),
    [
        ({"page": "page"}, {"page": 2}),
        ({"offset": "offset"}, {"offset": 3}),
        ({"after": "after"}, {"after": "r3"}),
    ],
)
def test_further_pages_are_asked_for_by_number_offset_or_last_id(changes, second):
    api = simulator([50, 40, 30, 20, 10], **changes)

    assert ids(api) == ["r1", "r2", "r3"]
    assert ids(api, **second) == ["r4", "r5"]


def test_a_token_leads_to_the_next_page_also_when_rows_were_added_before_it():
    api = simulator([50, 40, 30, 20], token="cursor", next_at="meta.next")
    token = call(api).get_json()["meta"]["next"]
    api.add(NOW - 60)

    last = call(api, cursor=token).get_json()

    assert [item["id"] for item in last["data"]["items"]] == ["r4"]
    assert "meta" not in last
    assert call(api, cursor="none of ours").status_code == 400


def test_a_filter_selects_by_a_member_of_the_row():
    api = simulator([30, 20, 10], filters={"quiz": "quiz.id"})

    assert ids(api, quiz="Q1") == ["r1", "r3"]


def test_each_item_may_have_a_list_of_its_own():
    api = simulator([10], path="/forms/{item}/results", per="forms", options={"forms": ("F7", "F8")})
    api.add(NOW, item="F8")

    def listed(item: str) -> list[str]:
        answer = call(api, f"/forms/{item}/results")
        return [printed["id"] for printed in answer.get_json()["data"]["items"]]

    assert (listed("F7"), listed("F8"), listed("F9")) == (["r1"], ["r2"], [])
    assert call(api, "/forms/F7").status_code == 404
    for candidate in range(20):
        api.sit(NOW, candidate=candidate)
    assert {sitting.item for sitting in api.sittings.values()} == {"F7", "F8"}


def test_one_row_has_an_address_unless_it_is_hidden():
    api = simulator([20, 10], one="/results/")
    api.hidden.add("r2")

    assert [item["id"] for item in call(api, "/results/r1").get_json()["data"]["items"]] == ["r1"]
    assert call(api, "/results/r2").status_code == 404
    assert ids(api) == ["r1"]


def test_a_spoiled_row_keeps_its_id_alone():
    api = simulator([20])
    api.spoiled.add("r1")

    assert call(api).get_json()["data"]["items"] == [{"id": "r1", "quiz": {"id": {"odd": True}}, "at": {"odd": True}}]


def test_a_spoiled_row_keeps_an_id_inside_of_an_object():
    def nested(sitting: Sitting) -> dict[str, Any]:
        return {"attempt": {"id": f"r{sitting.number}", "at": sitting.finished}}

    api = TableSimulator(replace(TABLE, row=nested, attempt_id=lambda row: row["attempt"]["id"]), lambda: NOW)
    api.spoiled.add(api.add(NOW))

    assert call(api).get_json()["data"]["items"] == [{"attempt": {"id": "r1", "at": {"odd": True}}}]


def test_a_wrong_key_and_an_unknown_address_are_refused():
    api = simulator([20])

    assert Client(api.wsgi).get("/results", headers={"x-token": "wrong"}).status_code == 401
    assert call(api, "/elsewhere").status_code == 404


def test_faults_come_in_their_order_and_end():
    api = simulator([50, 40, 30, 20], page="page")
    first = call(api).data
    api.fail(429, {"Retry-After": "30"})
    api.fail(500)
    api.repeat()

    assert (call(api).status_code, call(api, page=2).status_code) == (429, 500)
    assert call(api, page=2).data == first
    assert ids(api, page=2) == ["r4"]


def test_calls_beyond_the_quota_are_refused_and_counted_until_the_window_has_passed():
    now = [float(NOW)]
    api = TableSimulator(replace(TABLE, calls=2, per_seconds=60.0), lambda: now[0])

    assert [call(api).status_code for _ in range(3)] == [200, 200, 429]
    now[0] += 60.0
    assert call(api).status_code == 200
    assert (api.counts()["api_calls"], api.counts()["quota_refusals"]) == (3, 1)


def test_a_demo_knows_what_should_be_published_and_what_was_sent():
    def webhook(printed, moment):
        assert moment == NOW
        return json.dumps(printed).encode(), {"content-type": "application/json"}

    table = replace(TABLE, webhook=webhook, graded_after=3_600.0)
    api = TableSimulator(table, lambda: NOW, scale=60.0, faults=Faults(lose=1.0))
    attempt_id = api.sit(NOW, candidate=4)
    assert api.expected()[attempt_id].needs_grading
    assert not api.idle()

    api.tick(NOW + 60.0)

    assert api.idle()
    truth = api.expected()[attempt_id]
    assert (truth.needs_grading, truth.versions, truth.lost) == (False, 2, 2)
    assert truth.percentage == api.sittings[attempt_id].score
    assert (api.counts()["completed"], api.counts()["lost"]) == (1, 2)


def test_a_bench_has_pages_of_three_rows_and_what_a_variant_changes():
    class Bench(TableBench):
        table = replace(TABLE, page_size=100, visible_after=90.0)

    bench = Bench(lambda: NOW, inclusive=False)
    first = bench.finish("", NOW - 20)
    second = bench.retake(first, NOW - 10)
    bench.hide(second)

    assert (bench.visible_after, bench.credentials) == (90.0, {"token": ("invented",)})
    assert bench.simulator.table.page_size == 3
    assert not bench.simulator.table.inclusive
    assert bench.simulator.sittings[first].person == bench.simulator.sittings[second].person
    assert ids(bench.simulator) == [first]
    bench.show(second)
    bench.spoil(first)
    assert ids(bench.simulator) == [first, second]
    assert not [name for name in ("grade", "revise", "webhook", "expectation", "begin") if hasattr(bench, name)]


def test_an_attempt_that_is_not_finished_has_no_version_yet():
    api = simulator()
    attempt_id = api.add(None, started=NOW - 60)
    assert attempt_id not in api.expected()

    api.change(attempt_id, finished=NOW)

    assert api.expected()[attempt_id].versions == 1


@pytest.mark.parametrize(
    ("place", "wrapped"),
    [("", lambda row: row), ("data", lambda row: {"data": row}), (None, lambda row: {"data": {"items": [row]}})],
)
def test_one_row_may_be_below_its_item_and_an_object(place, wrapped):
    items = {"path": "/forms/{item}/results", "per": "forms", "options": {"forms": ("F7", "F8")}}
    api = simulator([10], one="/forms/{item}/results/", one_at=place, **items)

    assert call(api, "/forms/F7/results/r1").get_json() == wrapped(api.shown("r1"))
    assert [call(api, path).status_code for path in ("/forms/F8/results/r1", "/forms/F7/results/r2")] == [404, 404]
    assert call(api, "/forms/F7/results").get_json()["data"]["items"] == [api.shown("r1")]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"one": "/forms/{item}/results/"}, "Table.one: /forms/{item}/results/: .* Known parts: none without `per`"),
        ({"path": "/{form}"}, "Table.path: /{form}: "),
        ({"one": "/{form}/", "per": "forms"}, "Table.one: /{form}/: .* Known parts: {item}, once"),
    ],
)
def test_a_part_of_an_address_that_nothing_fills_in_is_refused(changes, line):
    with pytest.raises(ValueError, match=line):
        replace(TABLE, **changes)


def test_a_row_may_count_its_changes_and_be_withdrawn():
    def counted(sitting: Sitting) -> dict[str, Any]:
        return {"id": f"r{sitting.number}", "rev": sitting.revision, "state": "void" if sitting.voided else "done"}

    api = simulator([10], row=counted)
    assert api.shown("r1") == {"id": "r1", "rev": 1, "state": "done"}

    api.change("r1", voided=True)

    assert api.shown("r1") == {"id": "r1", "rev": 2, "state": "void"}
    assert api.expected()["r1"].voided
