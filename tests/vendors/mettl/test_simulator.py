"""The simulated Mettl keeps to the vendor's pages: signature, limits, paging, webhooks, and whole lives end to end."""

from __future__ import annotations

import json
from collections import Counter
from random import Random
from urllib.parse import parse_qsl, urlsplit

import pytest
from werkzeug.test import Client

from bridge.sdk.simulator import Faults
from bridge.sdk.vendor import PUBLISHABLE_STATUSES, Ignored, Pointer, material_digest
from bridge.vendors.mettl import VENDOR, listing
from bridge.vendors.mettl.simulator import Behaviour, Simulator, Style
from bridge.vendors.mettl.simulator.api import signature
from bridge.vendors.mettl.simulator.sittings import SCHEDULES
from tests.support.contract.wire import BASE_URL, Facts, calls_over, wsgi

NOW = 1_795_000_000
FIRST = SCHEDULES[0].access_key
OPTIONS = {name: option.default for name, option in VENDOR.options.items()}


def get(simulator, path, *, version="v2", private=None, **params):
    """A call signed by hand; `None` takes a parameter away."""
    given = {"ak": simulator.public_key, "ts": str(int(simulator.now()))} | params
    values = [(name, str(value)) for name, value in given.items() if value is not None]
    asgn = signature(private or simulator.private_key, version, "GET", f"{BASE_URL}/{version}/{path}", values)
    query = [*values, ("asgn", asgn)]
    return Client(simulator.wsgi).get(f"/{version}/{path}", base_url=BASE_URL, query_string=query)


def code(simulator, path, **params):
    return (get(simulator, path, **params).json.get("error") or {}).get("code")


def test_both_known_answers_of_the_vendors_page():
    keys = (
        "zy98x765-4321-0987-654w-32v1u0987654",
        "v2",
        "GET",
        "https://api.mettl.com/v2/schedules/0x0x0x0x0x/candidates",
    )
    short = [("ak", "ab12c345-6789-0123-456d-78e9f0123456"), ("ts", "1635976200")]
    rest = {"ir": '{"recommendation":true}', "qr": "true", "limit": "10", "offset": "20", "sort": "name"}
    long = [*short, *rest.items(), ("sort_order", "asc")]

    assert signature(*keys, short) == "vtf9LV80jVBq6bzBGnhQbku+qfM+iCC5i2Lbxk/ArUM="
    assert signature(*keys, long) == "BCPevoXzusbBGiWsfONNvmXaxHKMMWJPm1jVrL3TELc="


def test_the_api_refuses_as_documented():
    simulator = Simulator(1, lambda: NOW)
    path = f"schedules/{FIRST}/candidates"

    assert code(simulator, path) is None
    assert code(simulator, path, private="other") == "E401"
    assert code(simulator, path, ak="other") == "E401"
    assert code(simulator, path, ts=NOW - 86_401) == code(simulator, path, ts=NOW + 86_401) == "E422"
    assert code(simulator, path, ts=NOW - 86_400) is None
    assert code(simulator, path, ts="yesterday") == "E504"
    assert (
        code(simulator, path, limit=500) == code(simulator, path, limit=0) == code(simulator, path, limit="x") == "E400"
    )
    assert code(simulator, path, offset=1) == "E400"
    assert code(simulator, path, sort="score") == code(simulator, path, sort_order="up") == "E400"
    assert code(simulator, "schedules/none/candidates") == code(simulator, "nothing") == "E404"
    assert code(simulator, f"{path}/nobody@example.test") == "E404"
    assert get(simulator, path, version="v1").json["status"] == "SUCCESS"
    simulator.api_fault = "unavailable"
    assert code(simulator, path) == "E503"
    simulator.api_fault = "broken"
    assert get(simulator, path).status_code == 502


def test_errors_come_with_http_200_unless_switched():
    simulator = Simulator(1, lambda: NOW, behaviour=Behaviour(http_errors=True))

    assert get(simulator, "nothing").status_code == 404
    assert get(simulator, "account", private="other").status_code == 401
    assert get(Simulator(1, lambda: NOW), "account", private="other").status_code == 200


def test_calls_over_the_quota_are_refused_and_counted_until_the_window_has_moved():
    clock = [float(NOW)]
    simulator = Simulator(1, lambda: clock[0], quota_calls=2, quota_window=60)

    assert [code(simulator, "account") for _ in range(4)] == [None, None, "E509", "E509"]
    clock[0] += 60
    assert code(simulator, "account") is None
    assert (simulator.refused, simulator.counts()["api_calls"]) == (2, 3)


def test_pages_are_sorted_and_name_each_other_with_the_optional_parameters():
    simulator = Simulator(1, lambda: NOW)
    for number in (3, 1, 2):
        simulator.finish(at=NOW - 1_000 * number, first=f"P{number}")
    simulator.invite()
    path = f"schedules/{FIRST}/candidates"

    def names(**params):
        return [row["registration"]["First Name"][-1] for row in get(simulator, path, **params).json["candidates"]][:3]

    assert names() == ["1", "2", "3"]
    assert names(sort_order="asc") == ["3", "2", "1"]
    page = get(simulator, path, limit=2, offset=2, qr="true").json["paging"]
    assert page["next"] is None
    assert dict(parse_qsl(urlsplit(page["previous"]).query)) == {"limit": "2", "offset": "0", "qr": "true"}
    assert "asgn" not in get(simulator, path, limit=2).json["paging"]["next"]


def test_recommendations_and_essays_come_only_when_asked_for():
    simulator = Simulator(1, lambda: NOW)
    simulator.finish(schedule=2)
    path = f"schedules/{SCHEDULES[2].access_key}/candidates"

    def result(**params):
        return get(simulator, path, **params).json["candidates"][0]["testStatus"]["result"]

    assert result()["analysis"] is None
    assert result()["sectionMarks"][0]["skillMarks"][0]["questions"] is None
    assert result(ir='{"recommendation":true}')["analysis"]["versionId"]
    assert result(qr="true")["sectionMarks"][0]["skillMarks"][0]["questions"][0]["type"] == "la"
    assert code(simulator, path, ir='{"recommendation": true}') == "E400"
    assert [type(result()["totalQuestion"]), type(result()["difficultyMarks"][0]["totalQuestion"])] == [float, int]


def test_webhooks_are_unsigned_and_as_odd_as_observed():
    simulator = Simulator(1, lambda: NOW, behaviour=Behaviour(style=Style(text=True, camel=False)))
    attempt_id = simulator.finish(at=NOW - 60)
    sent = [(json.loads(message.body), message.headers) for message in simulator.outbox.take_due()]
    start, finish, graded = (body for body, _ in sent)

    assert [body["EVENT_TYPE"] for body, _ in sent] == ["startAssessment", "finishTest", "gradedAssessment"]
    assert {tuple(headers) for _, headers in sent} == {("Content-Type",)}
    assert start["name"].endswith(" ")
    assert (finish["finish_mode"], "marks_scored" in finish) == ("NormalSubmission", False)
    assert json.loads(graded["sectional_scores"])[0]["sectionScore"] == 14.5
    assert json.loads(start["context_data"])["ref"]
    assert graded["assessment_id"] == "310044"
    assert graded["end_time_GMT"].endswith("UTC")
    assert graded["testStatus"]["endTime"].endswith("IST")
    assert graded["testStatus"]["result"]["performanceCategory"] == "Good"
    assert graded["testStatus"]["result"]["totalMarks"] == "14.5"
    assert simulator.webhook(attempt_id)[0] == json.dumps(graded, ensure_ascii=False).encode()


def test_an_address_sits_once_per_schedule_unless_the_result_is_deleted():
    simulator = Simulator(1, lambda: NOW)
    first = simulator.finish()
    email = simulator.sitting(first).email

    with pytest.raises(ValueError, match="one test per address and schedule"):
        simulator.finish(email=email.upper())
    elsewhere = simulator.retake(first)
    second, third = (simulator.sit_again(attempt_id) for attempt_id in (first, f"{first}:2"))

    assert elsewhere.partition(":")[2] == first.partition(":")[2]
    assert (second, third) == (f"{first}:2", f"{first}:3")
    assert set(simulator.expected()) == {first, second, third, elsewhere}
    assert len(simulator.sittings(FIRST)) == 1


def test_the_same_seed_has_the_same_life_whatever_the_order_of_candidates():
    def life(order):
        simulator = Simulator(9, lambda: NOW, faults=Faults(lose=0.5))
        for candidate in order:
            simulator.sit(NOW, candidate=candidate)
        simulator.tick(NOW + 1e6)
        return {
            key: (attempt.percentage, attempt.versions) for key, attempt in simulator.expected().items()
        }, simulator.counts()

    assert life(range(50)) == life(range(50))
    assert life(range(50))[0] == life(reversed(range(50)))[0]


class Follower:
    """The smallest bridge: rechecks pointers and watches, polls, keeps the newest version of each attempt."""

    def __init__(self, simulator, clock):
        facts = Facts(name="n", credentials={k: (v,) for k, v in simulator.credentials.items()}, options=OPTIONS)
        self.simulator, self.clock = simulator, clock
        self.client = VENDOR.connect(facts, calls_over(wsgi(simulator.wsgi), facts, lambda: clock[0]))
        self.cursor = listing.start(clock[0], None)
        self.watches, self.latest, self.versions = {}, {}, Counter()

    def see(self, records):
        for record in records:
            attempt = VENDOR.normalise(record, self.clock[0], OPTIONS)
            if attempt.watch is None:
                self.watches.pop(attempt.attempt_id, None)
            else:
                self.watches[attempt.attempt_id] = attempt.watch.reference
            if attempt.status in PUBLISHABLE_STATUSES:
                known = self.latest.get(attempt.attempt_id)
                self.versions[attempt.attempt_id] += known is None or material_digest(known) != material_digest(attempt)
                self.latest[attempt.attempt_id] = attempt

    def hear(self):
        for message in self.simulator.outbox.take_due():
            reading = VENDOR.split(json.loads(message.body), OPTIONS)
            assert not isinstance(reading, Ignored)
            assert all(isinstance(item, Pointer) for item in reading)
            for item in reading:
                self.see(VENDOR.recheck(self.client, item.reference))
            self.simulator.outbox.settle(message, delivered=True)

    def recheck(self):
        for reference in list(self.watches.values()):
            self.see(VENDOR.recheck(self.client, reference))

    def poll(self, cursor):
        while True:
            page = self.client.page(cursor)
            self.see(page.records)
            cursor = page.cursor
            if not page.more:
                return cursor


@pytest.mark.long
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("lose", [0.3, 1.0])
def test_a_life_of_many_candidates_is_told_as_it_was(seed, lose):
    """Webhooks are lost, doubled and late; results wait, are changed, tests expire and go on."""
    clock = [float(NOW)]
    simulator = Simulator(
        seed,
        lambda: clock[0],
        quota_calls=10**6,
        faults=Faults(lose=lose, duplicate=0.2, delay=60, reorder=True),
        behaviour=Behaviour(page_size=7, resume_share=0.2, regrade_share=0.2, processing=90, hand_grading=4_000),
    )
    follower, draw, candidate = Follower(simulator, clock), Random(seed), 0
    while candidate < 25 or not simulator.idle():
        if candidate < 25:
            candidate += 1
            simulator.sit(clock[0], candidate=candidate)
        clock[0] += draw.choice((20, 200))
        simulator.tick(clock[0])
        follower.hear()
        if draw.random() < 0.2:
            follower.cursor = follower.poll(listing.rewind(follower.cursor, 60))
            follower.recheck()
    follower.recheck()
    follower.poll(VENDOR.polls["again"].start(clock[0] - 30 * 86_400, None))
    follower.recheck()

    expected = simulator.expected()
    assert len(expected) == 25
    assert any(truth.versions > 2 for truth in expected.values())
    told = {
        key: (float(attempt.result.percentage), attempt.completed_at.timestamp())
        for key, attempt in follower.latest.items()
    }
    assert told == {key: (truth.percentage, truth.finished_at) for key, truth in expected.items()}
    assert {attempt.result.grading for attempt in follower.latest.values()} == {"final"}
    assert follower.watches == {}
    assert all(follower.versions[key] <= truth.versions for key, truth in expected.items())
    assert simulator.refused == 0


def test_the_demos_face_is_whole():
    simulator = Simulator(1, lambda: NOW)

    assert simulator.expectations() == []
    assert simulator.idle()
    attempt_id = simulator.sit(NOW, candidate=1_000_007)
    assert not simulator.idle()
    assert simulator.expected()[attempt_id].needs_grading
    simulator.tick(NOW + 60)
    assert not simulator.expected()[attempt_id].needs_grading
    for message in simulator.outbox.take_due():
        simulator.outbox.settle(message, delivered=True)
    assert simulator.idle()
    assert simulator.expected()[attempt_id].sent == 3
    assert set(simulator.credentials) == set(VENDOR.credentials)
    assert simulator.counts()["completed"] == 1


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("mapped", "not_started"),
        ("access_expired", "not_started"),
        ("blocked", "not_started"),
        ("in_progress", "in_progress"),
        ("awaiting_permission", "in_progress"),
        ("resume_allowed", "in_progress"),
        ("finished", "completed"),
        ("time_over", "completed"),
        ("proctor_stopped", "completed"),
        ("browsing_stopped", "completed"),
        ("suspicious_stopped", "completed"),
        ("expired", "completed"),
    ],
)
@pytest.mark.parametrize("graded", [False, True])
def test_every_state_that_it_can_show_is_understood(state, status, graded):
    simulator = Simulator(1, lambda: NOW)
    attempt_id = simulator.finish(graded=graded)
    simulator.set_state(attempt_id, state)
    follower = Follower(simulator, [float(NOW)])
    page = follower.client.page(follower.cursor)

    [attempts] = [VENDOR.normalise(record, NOW, OPTIONS) for record in page.records]
    assert attempts.status == status
    if status == "completed":
        assert attempts.result.grading == (
            "pending" if not graded else "provisional" if state == "expired" else "final"
        )
