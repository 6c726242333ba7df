"""The simulated Thought Industries keeps to the vendor's pages, and its whole life reads as what it expects."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import Counter

import pytest
from werkzeug.test import Client

from bridge.errors import BadSignature, Unreadable
from bridge.sdk.simulator import Faults
from bridge.sdk.vendor import PUBLISHABLE_STATUSES
from bridge.vendors.thought_industries import VENDOR
from bridge.vendors.thought_industries.adapter import verify
from bridge.vendors.thought_industries.simulator import Behaviour, Simulator, sandbox
from bridge.vendors.thought_industries.simulator.rows import TESTS

NOW = 1_795_000_000
DAY = 86_400
OPTIONS = {name: option.default for name, option in VENDOR.options.items()}
QUIZ, BY_HAND = TESTS[0], TESTS[1]


class Clock:
    def __init__(self):
        self.now = float(NOW)

    def __call__(self):
        return self.now


def get(simulator, path="/assessmentAttempts", key=None, **params):
    headers = {"Authorization": f"Bearer {key or simulator.api_key}"}
    return Client(simulator.wsgi).get(path, query_string=params, headers=headers)


def rows(simulator, **params):
    answer = get(simulator, **params).json
    return answer["data"]["AssessmentAttempts"]["assessmentAttempts"]


# API ------------------------------------------------------------------------------------------------------------------


def test_the_api_refuses_as_documented():
    clock = Clock()
    simulator = Simulator(1, clock, quota_calls=6, quota_window=60)

    wrong = get(simulator, key="other")
    assert (wrong.status_code, wrong.data) == (401, b"")
    assert Client(simulator.wsgi).get("/ping").status_code == 401
    assert get(simulator, "/incoming/v2/ping").json == get(simulator, "/ping").json == {"valid": True}
    assert get(simulator, "/incoming/v2/nothing").status_code == 404
    for params in ({"perPage": "101"}, {"startDate": "1795000000000"}, {"cursor": "one"}):
        assert get(simulator, **params).status_code == 400

    clock.now += 10
    refused = get(simulator)
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "50")
    assert refused.json["error"] == "rate_limit_exceeded"
    assert refused.json["retryAfter"] == 50
    assert (refused.headers["X-RateLimit-Limit"], refused.headers["X-RateLimit-Remaining"]) == ("6", "0")
    assert int(refused.headers["X-RateLimit-Reset"]) == NOW + 60
    clock.now = NOW + 60
    assert get(simulator).status_code == 200
    assert (simulator.refused, simulator.counts()["api_calls"]) == (1, 7)

    simulator.api_fault = "maintenance"
    assert get(simulator).status_code == 503
    simulator.api_fault = "broken"
    assert get(simulator).data.startswith(b"<html>")


@pytest.mark.parametrize("dates", ["iso", "unix_ms"])
def test_rows_are_selected_by_creation_with_both_ends_and_never_by_anything_later(dates):
    simulator = Simulator(1, lambda: NOW, behaviour=Behaviour(dates=dates))
    spell = {"iso": lambda moment: f"2026-11-18T{moment}.000Z", "unix_ms": {"09:36:40": "1794994600000"}.get}[dates]
    at = 1_794_994_600
    ids = {simulator.finish(NOW, started=at) for _ in range(3)}
    simulator.finish(at, started=at - 1)
    simulator.begin(at + 1)

    result = rows(simulator, startDate=spell("09:36:40"), endDate=spell("09:36:40"))

    assert {item["id"] for item in result} == ids


def test_a_date_of_the_other_form_is_refused_or_overlooked():
    for overlooks, status in ((False, 400), (True, 200)):
        simulator = Simulator(1, lambda: NOW, behaviour=Behaviour(dates="unix_ms", overlooks_dates=overlooks))
        simulator.finish(NOW)
        answer = get(simulator, startDate="2036-01-01T00:00:00.000Z")
        assert answer.status_code == status
    assert answer.json["data"]["AssessmentAttempts"]["pageInfo"]["total"] == 1


@pytest.mark.parametrize("newest_first", [True, False])
def test_pages_hold_every_row_of_one_millisecond_once(newest_first):
    simulator = Simulator(1, lambda: NOW, behaviour=Behaviour(newest_first=newest_first))
    made = [simulator.begin(NOW - 5) for _ in range(30)]

    first = get(simulator).json["data"]["AssessmentAttempts"]
    second = rows(simulator, cursor=first["pageInfo"]["cursor"])

    assert first["pageInfo"] | {"cursor": ""} == {"perPage": 25, "cursor": "", "total": 30, "hasMore": True}
    results = [row["id"] for row in [*first["assessmentAttempts"], *second]]
    assert sorted(results) == sorted(made)
    assert results == sorted(made, reverse=newest_first)


def test_wrappers_and_paging_by_switch():
    flat = Simulator(1, lambda: NOW, behaviour=Behaviour(wrapped=False))
    general = Simulator(1, lambda: NOW, behaviour=Behaviour(meta=True, page_size=1))
    for simulator in (flat, general):
        simulator.finish()
        simulator.finish()

    assert get(flat).json.keys() == {"pageInfo", "assessmentAttempts"}
    inner = get(general).json["data"]["AssessmentAttempts"]
    assert inner.keys() == {"meta", "assessmentAttempts"}
    last = get(general, cursor=inner["meta"]["nextCursor"]).json["data"]["AssessmentAttempts"]
    assert last["meta"] == {"totalCount": 2, "nextCursor": None}


def test_a_full_row_is_as_large_and_as_personal_as_the_vendors_and_a_sparse_one_holds_null():
    full, sparse = (Simulator(1, lambda: NOW, behaviour=Behaviour(**{name: True})) for name in ("full_rows", "sparse"))
    for simulator in (full, sparse):
        simulator.finish()
    [row] = rows(full)
    [bare] = rows(sparse)

    assert len(json.dumps(row)) > 10_000
    assert {"telephone", "stripeCustomerId", "address1"} <= row["user"].keys()
    assert len(row["course"]) > 30
    nulls = {"answers", "questions", "course", "topic", "topicId", "originalGrade", "timeElapsedInSeconds"}
    assert {name for name, value in bare.items() if value is None} >= nulls


def test_a_row_is_listed_after_its_lag():
    clock = Clock()
    simulator = Simulator(1, clock, behaviour=Behaviour(lag=30.0))
    simulator.begin()

    assert rows(simulator) == []
    clock.now += 30
    assert len(rows(simulator)) == 1


# Life of an attempt ---------------------------------------------------------------------------------------------------


def test_the_life_of_an_attempt():
    clock = Clock()
    simulator = Simulator(1, clock)
    attempt_id = simulator.begin(test=BY_HAND)

    def told(*names):
        [row] = [row for row in rows(simulator) if row["id"] == attempt_id]
        return tuple(row[name] for name in names)

    results = ("status", "grade", "originalGrade", "passed", "forgiven")
    assert told(*results) == ("started", 0, 0, False, False)
    assert simulator.expected() == {}

    clock.now += 600
    simulator.hand_in(attempt_id, graded=False)
    assert told(*results) == ("pending", 0, 0, False, False)
    assert told("timeElapsedInSeconds") == (600,)
    assert told("assignmentSubmissionId") != (None,)
    assert simulator.expected()[attempt_id].needs_grading

    simulator.grade(attempt_id, 60)
    assert told(*results) == ("finished", 60, 60, False, False)
    before = told("updatedAt", "createdAt")
    simulator.grade(attempt_id, 70)
    assert told(*results) == ("finished", 70, 60, True, False)
    simulator.forgive(attempt_id)
    assert told(*results) == ("finished", 70, 60, True, True)
    assert told("updatedAt") > before[:1]
    assert told("createdAt") == before[1:]

    side = simulator.side_attempt(attempt_id)
    assert {row["id"] for row in rows(simulator)} == {attempt_id, side}
    simulator.fold(side, attempt_id, 75)
    assert [row["id"] for row in rows(simulator)] == [attempt_id]
    assert told("grade") == (75,)

    again = simulator.retake(attempt_id)
    assert again != attempt_id
    assert simulator.place(again) == simulator.place(attempt_id)
    expected = simulator.expected()[attempt_id]
    assert (expected.finished_at, expected.versions, expected.percentage) == (NOW + 600, 5, 75.0)
    with pytest.raises(ValueError, match="exists"):
        simulator.begin(id=again)


def test_invented_life_has_every_kind_of_test():
    simulator = Simulator(2, lambda: NOW)
    for number in range(200):
        simulator.sit(NOW, candidate=number)

    kinds = Counter((row["topicType"], row["status"]) for row in rows(simulator, perPage=100))
    assert {kind for kind, _ in kinds} == {"quiz", "test", "highlightZoneQuiz", "survey"}
    assert kinds["test", "pending"]
    assert kinds["test", "finished"]


def test_candidates_of_two_runs_share_no_attempt():
    first, second = Simulator(9, lambda: NOW), Simulator(9, lambda: NOW)

    assert not {first.sit(NOW, candidate=number) for number in range(50)} & {
        second.sit(NOW, candidate=number) for number in range(50, 100)
    }


def test_what_is_scheduled_is_done_by_ticks_and_then_the_vendor_is_idle():
    clock = Clock()
    simulator = Simulator(3, clock)
    ids = [simulator.sit(NOW, candidate=number) for number in range(100)]
    waiting = {key for key, attempt in simulator.expected().items() if attempt.needs_grading}
    assert set(simulator.expected()) == set(ids)
    assert simulator.expectations() == []

    step(simulator)
    assert waiting
    assert not simulator.idle()
    clock.now += 2 * DAY
    simulator.tick(clock.now)
    graded = simulator.expected()
    assert {key for key, attempt in graded.items() if attempt.versions == 2} == waiting
    assert not any(attempt.needs_grading for attempt in graded.values())
    assert not simulator.idle()

    clock.now += DAY
    simulator.tick(clock.now)
    assert simulator.idle()
    changed = {key for key, attempt in simulator.expected().items() if attempt.versions > graded[key].versions}
    assert 0 < len(changed) < 20


def test_in_the_sandbox_people_are_quick_and_everything_ends():
    clock = Clock()
    simulator = sandbox(1, clock, scale=120.0, faults=Faults())
    for number in range(50):
        simulator.sit(NOW, candidate=number)
    step(simulator)
    clock.now += 7
    simulator.tick(clock.now)

    assert simulator.idle()
    assert simulator.base_path == "/incoming/v2"
    assert simulator.options == {"dates": "iso"}
    assert simulator.credentials == {"api_key": "ti_test_sandbox", "webhook_secret": ("sandbox-phrase",)}


# Webhooks -------------------------------------------------------------------------------------------------------------


def step(simulator, delivered=lambda _: True):
    """Send what is due without HTTP."""
    sent = simulator.outbox.take_due()
    for message in sent:
        simulator.outbox.settle(message, delivered=delivered(message))
    return sent


def test_a_webhook_is_signed_over_its_raw_body_and_tells_no_result():
    simulator = Simulator(1, lambda: NOW, webhook_secret="phrase")
    attempt_id = simulator.finish(grade=77)
    [message] = step(simulator)

    assert message.headers["X-TI-Signature"] == hmac.new(b"phrase", message.body, hashlib.sha256).hexdigest()
    assert json.loads(message.body).keys() == {"event", "timestamp", "data"}
    assert json.loads(message.body)["data"].keys() == {"userId", "courseId"}
    assert attempt_id.encode() not in message.body
    assert simulator.expected()[attempt_id].sent == 1


def test_the_pointer_without_members_is_the_vendors_own_body():
    simulator = Simulator(
        1, lambda: 1_772_359_200.0, webhook_secret="whsec_invented", behaviour=Behaviour(names_ids=False)
    )
    raw, headers = simulator.webhook(simulator.finish())

    assert raw == b'{"event":"course.completed","timestamp":"2026-03-01T10:00:00.000Z","data":{}}'
    assert headers["X-TI-Signature"] == "9c9793c4263c96c868d9b2fc2e116dd3d94067aad7264d42c725ac6f2d70ef54"


def test_a_signature_over_another_print_is_not_the_one_over_the_body():
    simulator = Simulator(1, lambda: NOW, behaviour=Behaviour(reserialised=True))
    raw, headers = simulator.webhook(simulator.finish())

    with pytest.raises(BadSignature):
        verify(raw, {"x-ti-signature": headers["X-TI-Signature"]}, (simulator.webhook_secret,), NOW)


def test_a_refused_webhook_comes_again_after_each_documented_pause_and_never_changes():
    clock = Clock()
    simulator = Simulator(1, clock)
    attempt_id = simulator.finish(test=BY_HAND, graded=False)
    simulator.grade(attempt_id, 70)
    bodies = [message.body for message in step(simulator, delivered=lambda _: False)]
    for pause in (60, 300, 1800, 7200, 86_400):
        clock.now += pause - 1
        assert step(simulator) == []
        clock.now += 1
        bodies += [message.body for message in step(simulator, delivered=lambda _: False)]

    assert len(bodies) == 6
    assert len(set(bodies)) == 1
    assert (simulator.counts()["given_up"], simulator.webhooks_pending()) == (1, 0)


# End to end -----------------------------------------------------------------------------------------------------------


class Direct:
    """`VendorCalls` straight into the simulated API."""

    def __init__(self, simulator):
        self.client, self.now = Client(simulator.wsgi), simulator.now

    def request(self, method, url, *, params=(), headers=None, body=None, free=False):
        answer = self.client.open(url, method=method, query_string=list(params), headers=headers)
        return answer.status_code, {}, answer.data


class Facts:
    name, base_url = "academy", "http://vendor.test/incoming/v2"

    def __init__(self, simulator, options):
        self.credentials = {"api_key": (simulator.api_key,)}
        self.options = OPTIONS | options


def follow(simulator, clock, *, steps):
    """Minute by minute: candidates sit, pointers are rechecked, the list is polled. The last version by attempt."""
    client, poll = VENDOR.connect(Facts(simulator, simulator.options), Direct(simulator)), VENDOR.polls["attempts"]
    cursor, known = poll.start(clock.now - DAY, None), {}

    def read(records):
        for record in records:
            attempt = VENDOR.normalise(record, clock.now, OPTIONS)
            if attempt.status in PUBLISHABLE_STATUSES and attempt.order >= getattr(
                known.get(attempt.attempt_id), "order", 0
            ):
                known[attempt.attempt_id] = attempt

    for number in range(steps):
        simulator.sit(clock.now, candidate=number)
        for message in step(simulator):
            [pointer] = VENDOR.split(json.loads(message.body), OPTIONS)
            read(VENDOR.recheck(client, pointer.reference))
        clock.now += 60
        simulator.tick(clock.now)
        more, cursor = True, poll.rewind(cursor, 60)
        while more:
            page = poll.fetch(client, cursor)
            read(page.records)
            more, cursor = page.more, page.cursor
    return known


@pytest.mark.parametrize(
    "behaviour",
    [
        {"full_rows": True},
        {"wrapped": False, "newest_first": True, "dates": "unix_ms", "page_size": 2},
        {"meta": True, "sparse": True, "as_text": True, "lag": 15.0},
    ],
    ids=["documented", "in practice", "general paging, sparse, text, late"],
)
def test_a_simulated_life_reads_as_the_vendor_knows_it(behaviour):
    clock = Clock()
    faults = Faults(lose=0.3, duplicate=0.3, delay=100.0, reorder=True)
    people = Behaviour(graded_after=300.0, regraded_share=0.0, **behaviour)
    simulator = Simulator(11, clock, faults=faults, quota_calls=10_000, behaviour=people)

    known = follow(simulator, clock, steps=40)

    expected = simulator.expected()
    assert known.keys() == expected.keys()
    for attempt_id, attempt in known.items():
        truth = expected[attempt_id]
        assert (attempt.result.grading == "pending") == truth.needs_grading
        assert attempt.result.percentage == truth.percentage
        assert attempt.completed_at.timestamp() >= truth.finished_at
        assert attempt.flags == ()
    assert len(expected) == 40
    assert {attempt.versions for attempt in expected.values()} == {1, 2}
    assert simulator.refused == 0


def test_a_webhook_that_names_nobody_is_no_pointer():
    simulator = Simulator(1, lambda: NOW, behaviour=Behaviour(names_ids=False))
    raw, _ = simulator.webhook(simulator.finish())

    assert VENDOR.split(json.loads(raw), OPTIONS).kind == "course.completed"


def test_a_side_attempt_is_never_published_and_its_end_is_no_removal():
    clock = Clock()
    simulator = Simulator(1, clock)
    first = simulator.finish(test=QUIZ, grade=50)
    side = simulator.side_attempt(first)
    client = VENDOR.connect(Facts(simulator, {}), Direct(simulator))

    def by_id():
        result = VENDOR.recheck(client, simulator.place(first))
        return {
            attempt.attempt_id: attempt
            for attempt in (VENDOR.normalise(record, clock.now, OPTIONS) for record in result)
        }

    assert by_id()[side].status not in PUBLISHABLE_STATUSES
    watch = by_id()[side].watch
    simulator.fold(side, first, 85)

    assert by_id().keys() == {first}
    assert by_id()[first].extensions["original_grade"] == 50.0
    assert VENDOR.recheck(client, watch.reference) == []


def test_what_the_simulator_prints_as_unreadable_row_is_said_so():
    simulator = Simulator(1, lambda: NOW)
    simulator.finish(test=QUIZ, grade=104)
    [record] = VENDOR.connect(Facts(simulator, {}), Direct(simulator)).page(None).records

    with pytest.raises(Unreadable, match="grade"):
        VENDOR.normalise(record, NOW, OPTIONS)
