"""The simulated Coremetrix keeps to the vendor's pages, and its life is read through client and adapter as it was."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace

import pytest
from werkzeug.test import Client

from bridge.sdk.simulator import Faults
from bridge.sdk.strict_json import parse
from bridge.sdk.vendor import Consent, Ignored, Pointer
from bridge.vendors.coremetrix import VENDOR
from bridge.vendors.coremetrix.simulator import QUIZZES, Behaviour, Simulator, sandbox
from bridge.vendors.coremetrix.simulator.attempts import EVENTS
from tests.support.coremetrix import Calls, Source, connect, whole_round

NOW = 1_795_000_000
DAY = 86_400
KEY = "sandbox-key"


def get(simulator, path="/report/attempts", headers=None, **query):
    return Client(simulator.wsgi).get(path, query_string={"apikey": simulator.api_key, **query}, headers=headers)


def listed(simulator, **query):
    answer = get(simulator, **query)
    assert answer.status_code == 200
    return [attempt["id"] for person in answer.json["results"] for attempt in person["attempts"]]


def sent(simulator):
    return [json.loads(raw) for raw, _ in simulator.due_webhooks()]


# The API --------------------------------------------------------------------------------------------------------------


def test_the_three_reads_have_their_three_shapes():
    simulator = Simulator(1, lambda: NOW)
    attempt_id = simulator.finish(finished=NOW - 60)
    by_id = get(simulator, f"/report/attempts/{attempt_id}").json
    by_person = get(simulator, customId="p-001").json
    batch = get(simulator).json

    assert by_person.keys() == {"customId", "attempts"}
    assert batch == {"results": [by_person]}
    [attempt] = by_person["attempts"]
    assert attempt.keys() == {"id", "name", "quizId", "status", "flags", "timings", "scores", "user"}
    assert by_id == attempt | {"clientInfo": {}}
    assert attempt["name"] == " sandbox"
    assert attempt["timings"]["end"] == 1000 * (NOW - 60)


def test_an_open_attempt_has_no_profile_no_scores_and_only_the_times_that_were():
    simulator = Simulator(1, lambda: NOW)
    attempt_id = simulator.begin(quiz=QUIZZES[1], loaded=NOW - 60)
    row = get(simulator, f"/report/attempts/{attempt_id}").json

    assert (row["status"], row["scores"], row["timings"]) == ("INCOMPLETE", [], {"load": 1000 * (NOW - 60)})
    assert "user" not in row


def test_the_landing_page_may_have_been_seen_months_before():
    simulator = Simulator(1, lambda: NOW)
    for _ in range(20):
        simulator.finish(finished=NOW - 60)
    ages = {sitting.load - sitting.landing for sitting in simulator.visible(include_test=False)}

    assert ages == {20, 270 * DAY}


def test_the_key_is_wanted_in_the_query_or_by_switch_as_a_header():
    assert get(Simulator(1, lambda: NOW), apikey="other").status_code == 401
    simulator = Simulator(1, lambda: NOW, behaviour=Behaviour(key_in_header=True))
    assert get(simulator).status_code == 401
    assert get(simulator, headers={"apikey": KEY}).status_code == 200


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({}, 200),
        ({"from": "2026-11-11T11:06:40Z", "to": "2026-11-18T11:06:40Z"}, 200),
        ({"from": "2026-11-11T11:06:39Z", "to": "2026-11-18T11:06:40Z"}, 400),
        ({"from": "2026-11-11T11:06:39Z"}, 400),
        ({"to": "2026-01-01T00:00:00Z"}, 200),
        ({"from": "2026-11-18T11:06:40Z", "to": "2026-11-11T11:06:40Z"}, 400),
        ({"from": "yesterday"}, 400),
        ({"from": "2026-11-18T11:06:40"}, 400),
    ],
)
def test_a_window_spans_at_most_seven_days(query, status):
    assert get(Simulator(1, lambda: NOW), **query).status_code == status


@pytest.mark.parametrize(("selects", "begin"), [("load", 615), ("start", 600), ("end", 0)])
@pytest.mark.parametrize("inclusive", [True, False])
def test_which_time_selects_and_whether_bounds_belong_are_switches(selects, begin, inclusive):
    simulator = Simulator(1, lambda: NOW, behaviour=Behaviour(selects=selects, inclusive=inclusive))
    simulator.finish(finished=NOW - 1_000)
    moment = NOW - 1_000 - begin

    def count_between(first, last):
        form = "2026-11-18T{:02}:{:02}:{:02}Z"
        noon = NOW - (11 * 3_600 + 6 * 60 + 40)
        text = [
            form.format((moment - noon) // 3_600, (moment - noon) // 60 % 60, (moment - noon) % 60)
            for moment in (first, last)
        ]
        return len(listed(simulator, **{"from": text[0], "to": text[1]}))

    assert count_between(moment - 1, moment + 1) == 1
    assert count_between(moment - 2, moment - 1) == count_between(moment + 1, moment + 2) == 0
    assert count_between(moment, moment + 1) == count_between(moment - 1, moment) == inclusive


def test_test_attempts_are_listed_only_on_request_and_carry_no_sign_of_it():
    simulator = Simulator(1, lambda: NOW)
    test = simulator.begin(loaded=NOW - 60, test=True)

    assert listed(simulator) == []
    assert listed(simulator, includeTest="true") == [test]
    assert listed(simulator, includeTest="true", quizId=QUIZZES[1].id) == []
    assert "test" not in get(simulator, f"/report/attempts/{test}").text.lower()


def test_unknown_ones_are_not_found_or_empty():
    simulator, strict = Simulator(1, lambda: NOW), Simulator(1, lambda: NOW, behaviour=Behaviour(missing_is_404=True))

    assert get(simulator, "/report/attempts/b7b7b7b7-0000-4000-8000-0000000000bb").status_code == 404
    assert get(simulator, customId="nobody").json == {"customId": "nobody", "attempts": []}
    assert get(strict, customId="nobody").status_code == 404
    assert get(simulator, "/subscriptions/events").json == list(EVENTS)
    assert len(EVENTS) == 8


def test_the_quota_is_enforced_in_a_sliding_window_and_refusals_are_counted():
    clock = [float(NOW)]
    simulator = Simulator(1, lambda: clock[0], quota_calls=2, quota_window=60)
    statuses = []
    for later in (0, 30, 1, 29.5, 0):
        clock[0] += later
        statuses.append(get(simulator).status_code)

    assert statuses == [200, 200, 429, 200, 429]
    assert (simulator.refused, simulator.counts()["api_calls"], simulator.counts()["quota_refusals"]) == (2, 3, 2)
    simulator.api_fault = 503
    assert get(simulator).status_code == 503


# Life and webhooks ----------------------------------------------------------------------------------------------------


def test_a_life_announces_all_eight_events_unsigned_and_with_documented_bodies():
    simulator = Simulator(1, lambda: NOW)
    attempt_id = simulator.finish()
    simulator.withdraw(attempt_id)
    raw, headers = simulator.webhook(attempt_id)
    bodies = {body["event"]: body for body in sent(simulator)}

    assert set(bodies) == set(EVENTS)
    assert headers == {"Content-Type": "application/json"}
    assert bodies["quiz_consent"].keys() == {"event", "consentTime", "lastUpdated", "slug", "puid", "quizId", "consent"}
    assert bodies["quiz_consent_withdrawal"]["consent"] is False
    assert all(re.fullmatch(r"\S+T\d\d:\d\d:\d\d\.\d{3}Z", body["lastUpdated"]) for body in bodies.values())
    assert [event for event, body in bodies.items() if "attemptId" in body] == [
        "quiz_load",
        "quiz_start",
        "quiz_complete",
        "attempt_scored",
        "attempt_profiled",
    ]
    assert json.loads(raw)["attemptId"] == attempt_id


@pytest.mark.parametrize("member", ["attemptId", "id", None])
@pytest.mark.parametrize("names_quiz", [True, False])
def test_what_a_webhook_names_is_a_switch(member, names_quiz):
    behaviour = Behaviour(id_member=member, names_quiz=names_quiz, withdrawal_names_quiz=names_quiz)
    simulator = Simulator(1, lambda: NOW, behaviour=behaviour)
    attempt_id = simulator.finish()
    body = json.loads(simulator.webhook(attempt_id)[0])
    simulator.withdraw(attempt_id)

    assert body.keys() & {"attemptId", "id"} == ({member} if member else set())
    assert ("quizId" in body) == names_quiz
    assert ("quizId" in sent(simulator)[-1]) == names_quiz


def test_an_attempt_goes_from_incomplete_over_unscored_to_scored():
    clock = [float(NOW)]
    simulator = Simulator(1, lambda: clock[0])
    attempt_id = simulator.begin(quiz=QUIZZES[1])
    attempt = simulator.attempt(attempt_id)
    seen = [attempt.status]
    simulator.complete(attempt_id)
    seen.append(attempt.status)
    assert simulator.expected()[attempt_id].needs_grading
    simulator.grade(attempt_id, models=1, flags=("THIN_DATA",))
    seen.append(attempt.status)
    assert simulator.expected()[attempt_id].needs_grading
    simulator.grade(attempt_id)
    seen.append(attempt.status)

    assert seen == ["INCOMPLETE", "COMPLETED_NOT_SCORED", "COMPLETED_PARTIALLY_SCORED", "COMPLETED_SCORED"]
    assert not simulator.expected()[attempt_id].needs_grading
    assert simulator.expected()[attempt_id].versions == 3


def test_what_nobody_scores_is_settled_after_a_day_and_a_flag_settles_at_once():
    clock = [float(NOW)]
    simulator = Simulator(1, lambda: clock[0])
    never, flagged = simulator.finish(scored=False), simulator.finish(scored=False)
    simulator.grade(flagged, models=0, flags=("FAST_CLICK",))

    assert [body["event"] for body in sent(simulator)].count("attempt_scored") == 1
    assert simulator.attempt(flagged).status == "COMPLETED_NOT_SCORED"
    assert {key: attempt.needs_grading for key, attempt in simulator.expected().items()} == {
        never: True,
        flagged: False,
    }
    clock[0] += DAY
    assert not simulator.expected()[never].needs_grading


def test_a_retake_is_a_second_attempt_of_the_same_person_and_a_withdrawal_takes_both():
    simulator = Simulator(1, lambda: NOW)
    first = simulator.finish(finished=NOW - 92 * DAY)
    second = simulator.retake(first, finished=NOW - 60)
    other = simulator.finish(quiz=QUIZZES[1], custom_id="p-001")
    simulator.withdraw(second)

    assert len(get(simulator, customId="p-001").json["attempts"]) == 3
    assert {key: attempt.voided for key, attempt in simulator.expected().items()} == {
        first: True,
        second: True,
        other: False,
    }


@pytest.mark.parametrize("lose", [0.0, 1.0])
def test_a_withdrawal_that_is_lost_voids_nothing_because_nothing_else_tells_of_it(lose):
    simulator = Simulator(5, lambda: NOW, faults=Faults(lose=lose))
    attempt_id = simulator.finish()
    simulator.withdraw(attempt_id)

    assert simulator.expected()[attempt_id].voided == (
        "quiz_consent_withdrawal" in {event["event"] for event in sent(simulator)}
    )
    assert simulator.expected()[attempt_id].voided == (lose == 0.0)


def test_a_refused_webhook_is_not_sent_again_unless_told():
    simulator = Simulator(1, lambda: NOW)
    simulator.begin(quiz=QUIZZES[1])
    refused = simulator.outbox.take_due()
    for message in refused:
        simulator.outbox.settle(message, delivered=False)

    assert [json.loads(message.body)["event"] for message in refused] == ["quiz_consent", "quiz_load"]
    assert (simulator.counts()["given_up"], simulator.webhooks_pending()) == (2, 0)


def test_candidates_of_two_runs_share_no_attempt():
    simulators = Simulator(9, lambda: NOW), Simulator(9, lambda: NOW)
    first = {simulators[0].sit(NOW, candidate=number) for number in range(100)}

    assert first.isdisjoint(simulators[1].sit(NOW, candidate=1_000_000 + number) for number in range(100))


# From its life to our words -------------------------------------------------------------------------------------------


def played(behaviour, clock):
    behaviour = replace(behaviour, withdrawn_after=300)
    simulator = Simulator(11, lambda: clock[0], quota_calls=100_000, behaviour=behaviour)
    calls = Calls(simulator)
    calls.clock = NOW + 700
    client = VENDOR.connect(Source(credentials={"api_key": (KEY,)}), calls)
    for number in range(120):
        simulator.sit(clock[0], candidate=number)
        clock[0] += 2
        simulator.tick(clock[0])
    clock[0] = NOW + 700
    simulator.tick(clock[0])
    return simulator, client


def agrees(simulator, normalised):
    truth, attempt = simulator.expected()[normalised.attempt_id], simulator.attempt(normalised.attempt_id)
    assert int(normalised.completed_at.timestamp()) == truth.finished_at
    assert (normalised.result.grading in {"pending", "provisional"}) == truth.needs_grading
    assert normalised.candidate.external_id == attempt.custom_id
    assert {section.id: float(section.score) for section in normalised.sections} == pytest.approx(attempt.scores)
    return normalised.attempt_id


@pytest.mark.long
@pytest.mark.parametrize(
    "behaviour",
    [
        Behaviour(),
        Behaviour(text=True, selects="start", id_member="id"),
        Behaviour(enveloped=True, selects="end", id_member=None, inclusive=True),
        Behaviour(id_member=None, names_quiz=False, missing_is_404=True),
    ],
)
@pytest.mark.parametrize("way", ["poll", "webhooks"])
def test_a_class_of_candidates_is_read_as_it_was_by_either_way(behaviour, way):
    clock = [float(NOW)]
    simulator, client = played(behaviour, clock)
    if way == "poll":
        records, _ = whole_round(client, VENDOR.polls["attempts"].start(NOW - DAY, None))
    else:
        pointers = {}
        for raw, _ in simulator.due_webhooks():
            reading = VENDOR.split(parse(raw), {})
            if not isinstance(reading, Ignored):
                pointers |= {item.key: item for item in reading if isinstance(item, Pointer)}
        records = [record for pointer in pointers.values() for record in VENDOR.recheck(client, pointer.reference)]
    attempts = [VENDOR.normalise(record, clock[0], {}) for record in records]

    assert {agrees(simulator, attempt) for attempt in attempts} == simulator.expected().keys()
    assert simulator.idle() == (way == "webhooks")
    gradings = Counter(attempt.result.grading for attempt in attempts)
    assert gradings.keys() == {"final", "not_scored"}


def test_a_withdrawal_names_the_consent_of_every_attempt_that_is_to_be_voided():
    clock = [float(NOW)]
    simulator, client = played(Behaviour(), clock)
    words = [item for raw, _ in simulator.due_webhooks() for item in consents(raw)]
    withdrawn = {word.key for word in words if not word.given}
    records, _ = whole_round(client, VENDOR.polls["attempts"].start(NOW - DAY, None))
    attempts = [VENDOR.normalise(record, clock[0], {}) for record in records]

    assert withdrawn
    assert {key for attempt in attempts for key in attempt.consent} == {word.key for word in words if word.given}
    voided = {key for key, attempt in simulator.expected().items() if attempt.voided}
    assert {attempt.attempt_id for attempt in attempts if not withdrawn.isdisjoint(attempt.consent)} == voided


def consents(raw):
    reading = VENDOR.split(parse(raw), {})
    return [] if isinstance(reading, Ignored) else [item for item in reading if isinstance(item, Consent)]


def test_a_forged_webhook_leads_to_nothing():
    simulator = Simulator(1, lambda: NOW, api_key="INVENTED")
    simulator.finish()
    [pointer] = VENDOR.split(parse(simulator.forge()[0]), {})

    assert VENDOR.recheck(connect(Calls(simulator)), pointer.reference) == []
    assert simulator.expectations() == []


def test_a_demo_is_over_in_less_than_a_minute_and_its_quota_is_as_quick():
    clock = [float(NOW)]
    simulator = sandbox(1, lambda: clock[0], scale=120.0, faults=Faults())
    for number in range(100):
        simulator.sit(NOW, candidate=number)
    assert not simulator.idle()
    clock[0] += 30
    simulator.tick(clock[0])
    assert not simulator.idle()
    simulator.due_webhooks()

    assert simulator.idle()
    assert sum(attempt.voided for attempt in simulator.expected().values()) > 0
    assert (simulator.quota_calls, simulator.quota_window) == (60, 0.5)
