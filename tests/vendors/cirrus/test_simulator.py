"""The simulated Cirrus keeps to the vendor's pages; and a simulated life through the whole bridge ends as it was."""

from __future__ import annotations

import json
from collections import Counter
from types import SimpleNamespace

import pytest
from werkzeug.test import Client

from bridge.sdk.simulator import Faults
from bridge.vendors.cirrus import VENDOR
from bridge.vendors.cirrus.contract import VARIANTS
from bridge.vendors.cirrus.simulator import Behaviour, Simulator, sandbox
from bridge.vendors.cirrus.simulator.sittings import TEMPLATES, iso
from tests.support.contract.engine import SOURCE, Bridge
from tests.support.contract.stage import Clock, connect

NOW = 1_795_000_000.0
DAY = 86_400.0
BASE = "/api/v1/integrations"
ADDRESS = {"CandidateExtId": "cand-1", "ScheduleExtId": "SPRING-07"}


def simulated(clock=lambda: NOW, *, faults=Faults(), **behaviour):  # noqa: B008 - frozen
    return Simulator(3, clock, behaviour=Behaviour(**behaviour), faults=faults)


def get(simulator, path="results", *, token=None, **parameters):
    headers = {"Authorization": f"EAPI {simulator.token}" if token is None else token}
    return Client(simulator.wsgi).get(f"{BASE}/{path}", query_string=parameters, headers=headers)


def finished(simulator, *, score=12.0, **more):
    return simulator.finish("SPRING-07", "cand-1", at=NOW - 100, score=score, **more)


def announced(simulator):
    """The webhooks sent so far, each delivered at once."""
    messages = simulator.outbox.take_due()
    for message in messages:
        simulator.outbox.settle(message, delivered=True)
    return [json.loads(message.body) for message in messages]


# The API ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["EAPI other", "eapi sandbox-token", "EAPI  sandbox-token", "sandbox-token", ""])
def test_only_the_exact_token_is_let_in(token):
    simulator = simulated()
    finished(simulator, score=12)

    assert get(simulator, token=token, **ADDRESS).status_code == 403
    assert simulator.counts()["results_calls"] == 0


def test_a_result_shows_when_it_is_published_and_in_two_shapes():
    simulator = simulated()
    attempt_id = finished(simulator)
    assert get(simulator, **ADDRESS).status_code == 400

    simulator.publish(attempt_id)
    shape_a, [shape_b] = get(simulator, **ADDRESS).json, get(simulator, CandidateExtId="cand-1").json

    assert (shape_a["CandidateExtId"], shape_a["Status"], shape_a["PublishStatus"]) == (
        "cand-1",
        "Satisfactory",
        "FINAL",
    )
    assert (shape_b["CandidateNumber"], shape_b["BookingReference"]) == ("cand-1", "SPRING-07")
    assert not {"Status", "PublishStatus", "AttemptsCount", "ScheduleExtId"} & shape_b.keys()
    kinds = [type(row["PercentageScore"]) for row in (shape_a, shape_b)]
    assert kinds in ([int, str], [float, str])
    assert shape_a["Score"] == shape_b["Score"] == "12"
    assert shape_a["Published"] == iso(NOW)


def test_a_call_without_its_parameters_names_what_is_missing():
    answer = get(simulated(), ScheduleExtId="SPRING-07")

    assert answer.status_code == 400
    assert "CandidateExtId" in answer.json["Message"]
    assert get(simulated(), "result").status_code == 404
    assert get(simulated(), "result").text == "Url not found"


@pytest.mark.parametrize(
    ("nothing", "status", "text"),
    [
        ("400", 400, "not found"),
        ("404", 404, "not found"),
        ("list", 200, "[]"),
        ("empty", 204, ""),
        ("message", 200, "Success"),
    ],
)
def test_nothing_there_is_said_in_every_way_it_may_be_said(nothing, status, text):
    answer = get(simulated(nothing=nothing), **ADDRESS)

    assert answer.status_code == status
    assert text in answer.text


def test_a_no_show_looks_like_a_zero():
    simulator = simulated()
    simulator.no_show("SPRING-07", "cand-1", at=NOW)
    row = get(simulator, **ADDRESS).json

    assert (row["Presence"], row["Score"], row["MaxScore"], row["PercentageScore"], row["Grade"]) == (
        False,
        "0",
        "0",
        0,
        None,
    )
    assert "ResultsPerSubject" not in row
    assert simulator.expected() == {}


def test_unpublished_results_may_be_shown_without_a_time():
    simulator = simulated(show_unpublished=True)
    finished(simulator)

    assert get(simulator, **ADDRESS).json["Published"] is None
    assert get(simulator, CandidateExtId="cand-1").json[0]["Published"] is None


def test_counts_are_running_totals():
    simulator = simulated()
    first = finished(simulator)
    simulator.publish(first)
    before = get(simulator, **ADDRESS).json
    simulator.retake(first, at=NOW - 50, score=4)
    after = get(simulator, **ADDRESS).json

    assert [row["AttemptsCount"] for row in (before, after)] == ["1", "2"]
    assert before["Score"] == after["Score"]


@pytest.mark.parametrize(("types", "kind"), [("text", str), ("numbers", (int, float))])
def test_numbers_may_all_be_text_or_all_be_numbers(types, kind):
    simulator = simulated(types=types)
    simulator.publish(finished(simulator))
    row = get(simulator, **ADDRESS).json

    assert all(isinstance(row[name], kind) for name in ("Score", "MaxScore", "PassScore", "PercentageScore"))


def test_attempts_and_schedules_come_in_a_wrapper_with_codes_for_refusals():
    simulator = simulated()
    first = finished(simulator)
    simulator.retake(first, at=NOW - 50, score=4)
    simulator.void(first)

    info = get(simulator, "external/schedule/SPRING-07/attempt-info", CandidateExtId="cand-1").json
    assert [attempt["AttemptNumber"] for attempt in info["Content"]["Attempts"]] == [2]
    assert {attempt["Status"] for attempt in info["Content"]["Attempts"]} == {"HANDED_IN"}
    facts = get(simulator, "external/schedule/SPRING-07").json
    assert [candidate["ExternalId"] for candidate in facts["Content"]["Candidates"]] == ["cand-1"]

    def code(path, candidate="cand-1"):
        answer = get(simulator, path, CandidateExtId=candidate)
        return answer.json["Success"], answer.json["Errors"][0]["Code"]

    assert code("external/schedule/OTHER/attempt-info") == code("external/schedule/OTHER") == (False, 301)
    assert code("external/schedule/SPRING-07/attempt-info", "nobody") == (False, 203)
    simulator.schedules["SPRING-07"].begins = NOW + 1
    assert code("external/schedule/SPRING-07/attempt-info") == (False, 310)


@pytest.mark.parametrize("code", [429, 403, 400])
def test_the_quota_counts_results_and_begins_anew_at_half_past_one(code):
    half_past_one = NOW - NOW % DAY + 48_600.0
    clock = [half_past_one - 1]
    simulator = Simulator(1, lambda: clock[0], quota_calls=2, behaviour=Behaviour(quota_refusal=code))

    def status(path="results"):
        return get(simulator, path, CandidateExtId="nobody", ScheduleExtId="x").status_code

    assert [status(), status(), status()] == [400, 400, code]
    assert status("external/schedule/x") == 400
    assert simulator.refused == simulator.counts()["quota_refusals"] == 1
    clock[0] = half_past_one
    assert [status(), status()] == [400, 400]
    clock[0] = half_past_one + DAY - 1
    assert status() == code
    simulator.api_fault = "broken"
    assert status() == 500


# What people do ---------------------------------------------------------------------------------------------------


def test_the_webhook_fires_when_a_result_is_published_and_when_it_changes():
    simulator = simulated()
    attempt_id = finished(simulator)
    assert announced(simulator) == []

    simulator.publish(attempt_id)
    simulator.publish(attempt_id)
    assert len(announced(simulator)) == 1
    simulator.flag(attempt_id)
    simulator.remark(attempt_id)
    assert announced(simulator) == []
    assert get(simulator, **ADDRESS).json["PublishStatus"] == "REMARKING_IN_PROGRESS"
    simulator.grade(attempt_id, score=8.0)
    assert len(announced(simulator)) == 1
    assert simulator.expected()[attempt_id].versions == 4


def test_flagging_may_be_announced():
    simulator = simulated(announce_remarking=True, auto_publish=True)
    simulator.flag(finished(simulator))

    assert len(announced(simulator)) == 2


def test_only_a_published_result_can_be_marked_again():
    simulator = simulated()
    with pytest.raises(ValueError, match="only a published result"):
        simulator.flag(finished(simulator))


def test_a_rescoring_is_a_burst_over_the_schedule_with_the_same_ids():
    simulator = simulated(auto_publish=True)
    for number in range(5):
        simulator.finish("SPRING-07", f"cand-{number}", at=NOW, score=4.0)
    simulator.finish("SPRING-09", "cand-0", at=NOW, score=4.0)
    announced(simulator)
    ids = set(simulator.expected())

    simulator.rescore("SPRING-07", points=1.5)

    assert [body["CandidateExtId"] for body in announced(simulator)] == [f"cand-{number}" for number in range(5)]
    assert set(simulator.expected()) == ids


@pytest.mark.parametrize("by", ["invigilator", "marker", "publisher", "api"])
def test_a_voided_attempt_shows_when_that_is_published(by):
    simulator = simulated(auto_publish=True)
    attempt_id = finished(simulator)
    simulator.void(attempt_id, by=by, published=False)
    assert get(simulator, **ADDRESS).json["Status"] != "Voided"
    assert not simulator.expected()[attempt_id].voided

    simulator.publish(attempt_id)
    assert get(simulator, **ADDRESS).json["Status"] == "Voided"
    assert simulator.expected()[attempt_id].voided


@pytest.mark.parametrize(("moves", "same"), [(True, False), (False, True)])
def test_the_time_of_publication_moves_or_not(moves, same):
    clock = [NOW]
    simulator = simulated(lambda: clock[0], published_moves=moves)
    attempt_id = finished(simulator)
    simulator.publish(attempt_id)
    before = get(simulator, **ADDRESS).json["Published"]
    clock[0] += DAY
    simulator.grade(attempt_id, score=3.0)

    assert (get(simulator, **ADDRESS).json["Published"] == before) is same


def test_satisfactory_only_hides_failures_and_corrections():
    simulator = simulated(only_satisfactory=True)
    attempt_id = finished(simulator, score=50)
    simulator.publish(attempt_id)
    assert len(announced(simulator)) == 1
    simulator.grade(attempt_id, score=0.0)
    simulator.void(attempt_id)

    assert announced(simulator) == []


def test_an_inactive_webhook_sends_nothing_and_nothing_later():
    simulator = simulated()
    attempt_id = finished(simulator)
    simulator.active = False
    simulator.publish(attempt_id)
    simulator.active = True

    assert announced(simulator) == []
    assert simulator.idle()


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_webhook_names_the_candidate_and_no_score(template):
    simulator = simulated(template=template)
    raw, headers = simulator.webhook(finished(simulator))

    assert headers == {"Content-Type": "application/json"}
    assert b"cand-1" in raw
    assert b"core" not in raw


@pytest.mark.parametrize(("first_is_try", "retries"), [(True, 9), (False, 10)])
def test_retries_follow_the_printed_formula_and_end(first_is_try, retries):
    least = [15, 16, 31, 96, 271, 640, 1311, 2416, 4111, 6576]
    most = [44, 74, 118, 212, 416, 814, 1514, 2648, 4372, 6866]
    clock = [NOW]
    simulator = simulated(lambda: clock[0], first_is_try=first_is_try)
    simulator.publish(finished(simulator))
    waits = []
    while not simulator.idle():
        before = clock[0]
        while not (messages := simulator.outbox.take_due()):
            clock[0] += 1
        waits.append(clock[0] - before)
        simulator.outbox.settle(messages[0], delivered=False)

    assert len(waits) == 1 + retries
    assert all(low <= wait <= high for low, wait, high in zip(least, waits[1:], most, strict=False))
    assert simulator.counts()["given_up"] == 1


def test_times_have_two_or_three_digits_of_a_second():
    assert [iso(NOW + fraction) for fraction in (0, 0.82, 0.232)] == [
        "2026-11-18T11:06:40.00Z",
        "2026-11-18T11:06:40.82Z",
        "2026-11-18T11:06:40.232Z",
    ]


def test_a_demo_is_over_soon():
    clock = [NOW]
    simulator = sandbox(1, lambda: clock[0], scale=120, faults=Faults(lose=0.2))
    for number in range(200):
        simulator.sit(clock[0], candidate=number)
    while not simulator._lifecycle.idle():
        clock[0] += 1
        simulator.tick(clock[0])

    kinds = Counter((attempt.voided, attempt.versions > 1) for attempt in simulator.expected().values())
    assert clock[0] - NOW < 60
    assert len(kinds) == 3
    assert not any(attempt.needs_grading for attempt in simulator.expected().values())
    assert any("absent" in expectation["candidate"] for expectation in simulator.expectations())


# A life through the bridge ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_the_client_reads_is_the_truth(variant):
    """Every attempt in every state that people can bring it to, asked for as an operator would."""
    clock = Clock()
    bench = VARIANTS[variant](clock)
    stage = connect(VENDOR, lambda _: bench, clock)
    simulator = bench.simulator
    ids = [stage.finish("", clock.now - 9000, graded=number > 0) for number in range(6)]
    simulator.flag(ids[2])
    simulator.void(ids[3])
    simulator.rescore(simulator.sittings[ids[4]].schedule, points=2)
    simulator.remark(ids[5])

    for attempt_id, truth in simulator.expected().items():
        [record] = stage.recheck(VENDOR.expect(simulator.expectation(attempt_id), stage.options).reference)
        attempt = stage.normalise(record)
        assert attempt.attempt_id == attempt_id
        assert (attempt.status == "voided") is truth.voided
        assert (attempt.result.grading in ("pending", "provisional")) is truth.needs_grading
        assert attempt.result.percentage == truth.percentage


@pytest.mark.long
@pytest.mark.parametrize("behaviour", [{}, {"external_attempts": True, "announce_remarking": True}])
def test_a_month_with_lost_webhooks_ends_with_every_attempt_published_once_as_it_is(empty_state, behaviour):
    clock = Clock()
    simulator = Simulator(5, clock, faults=Faults(lose=0.3, duplicate=0.2), behaviour=Behaviour(**behaviour))
    bench = SimpleNamespace(
        wsgi=simulator.wsgi, options=simulator.options, credentials={"token": (simulator.token,)}, secret=""
    )
    bridge = Bridge(connect(VENDOR, lambda _: bench, clock), empty_state())
    expectations = bridge.services.expectations
    registered = 0
    for step in range(150):
        if step < 30:
            simulator.sit(clock.now, candidate=step)
        simulator.tick(clock.now)
        for message in simulator.outbox.take_due():
            simulator.outbox.settle(message, delivered=bridge.post(message.body, message.headers)[0] == 200)
        fresh = simulator.expectations()[registered:]
        registered += len(fresh)
        pointers = [VENDOR.expect(item, bridge.stage.options) for item in fresh]
        expectations.expect(
            SOURCE, pointers, label=None, due=clock.now + DAY, deadline=clock.now + 90 * DAY, now=clock.now
        )
        bridge.work()
        clock.now += DAY / 2

    truth = simulator.expected()
    last = {event["subject"]: event["data"] for event in bridge.events()}
    assert len(truth) == 30
    assert simulator.counts()["lost"] > 5
    assert not any(attempt.needs_grading for attempt in truth.values())
    assert Counter(attempt for kind, attempt in bridge.published() if kind != "revised") == Counter(truth.keys())
    for attempt_id, expected in truth.items():
        result = last[attempt_id]["result"]
        assert (last[attempt_id]["attempt"]["status"] == "voided") == expected.voided
        assert (result["grading"] in ("pending", "provisional")) == expected.needs_grading
        assert result["percentage"] == expected.percentage
    assert simulator.refused == 0
