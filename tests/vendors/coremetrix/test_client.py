"""Coremetrix' API client against the simulated vendor and against answers that only a bad day brings."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from bridge.errors import Unreadable, VendorFault, VendorRefused, VendorUnavailable
from bridge.vendors.coremetrix import VENDOR
from bridge.vendors.coremetrix.adapter import normalise
from bridge.vendors.coremetrix.simulator import QUIZZES, Behaviour, Simulator
from tests.support.coremetrix import POLL, Calls, Source, connect, whole_round

NOW = 1_795_000_000
HOUR, DAY = 3_600, 86_400
ATTEMPT = "b7b7b7b7-0000-4000-8000-0000000000bb"


def simulated(clock=lambda: NOW, behaviour=None, **options):
    simulator = Simulator(3, clock, api_key="INVENTED", quota_calls=10_000, behaviour=behaviour or Behaviour())
    calls = Calls(simulator)
    return simulator, calls, connect(calls, **options)


def ids(records):
    return [record.body["id"].lower() for record in records]


def windows(calls):
    return [(params["from"], params["to"]) for _, params in calls.made if "from" in params]


# Calls ----------------------------------------------------------------------------------------------------------------


def test_each_call_has_its_address_and_the_key_last():
    calls = Calls(None, (200, {"attempts": []}), (404, b""), (200, {"results": []}), (200, []))
    client = connect(calls)
    client.by_person("p 1&b")
    client.by_id("../x")
    client.batch(1_771_804_801, 1_772_381_162, quiz="q", include_test=True)
    client.events()

    assert calls.made == [
        ("https://api.vendor.test/report/attempts", {"customId": "p 1&b", "apikey": "INVENTED"}),
        ("https://api.vendor.test/report/attempts/..%2Fx", {"apikey": "INVENTED"}),
        (
            "https://api.vendor.test/report/attempts",
            {
                "from": "2026-02-23T00:00:01Z",
                "to": "2026-03-01T16:06:02Z",
                "quizId": "q",
                "includeTest": "true",
                "apikey": "INVENTED",
            },
        ),
        ("https://api.vendor.test/subscriptions/events", {"apikey": "INVENTED"}),
    ]


@pytest.mark.parametrize("enveloped", [False, True])
def test_the_events_can_be_listed_and_the_probe_says_what_it_found(enveloped):
    simulator, _, client = simulated(behaviour=Behaviour(enveloped=enveloped))
    simulator.finish(finished=NOW - 60)

    assert "quiz_consent_withdrawal" in client.events()
    assert VENDOR.probe(client) == "1 attempts in the last hour, webhook events on offer: 8"


@pytest.mark.parametrize("answer", [{}, {"events": None}, "quiz_load", None, [1]])
def test_a_list_of_events_of_another_form_is_no_fault(answer):
    assert connect(Calls(None, (200, answer))).events() == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, VendorRefused),
        (403, VendorRefused),
        (400, VendorFault),
        (422, VendorFault),
        (404, VendorFault),
        (410, VendorFault),
    ],
)
def test_a_refused_window_raises_what_says_what_to_do_and_nothing_secret(status, kind):
    with pytest.raises(kind, match=f"source eu-coremetrix: GET report/attempts: HTTP {status}") as raised:
        POLL.fetch(connect(Calls(None, *[(status, b"INVENTED trouble")] * 2)), None)
    assert "INVENTED" not in str(raised.value)


@pytest.mark.parametrize("answer", [b"<html>", b"", b"[", [], "x", None, {}, {"error": "x"}, {"results": "none"}])
def test_an_answer_that_is_none_is_tried_again_later_and_never_an_empty_page(answer):
    with pytest.raises(VendorUnavailable) as raised:
        POLL.fetch(connect(Calls(None, (200, answer))), None)
    assert raised.value.reason == "bad_answer"


def test_the_wrong_key_is_refused():
    _, calls, _ = simulated()
    source = Source(credentials={"api_key": ("other",)})

    with pytest.raises(VendorRefused, match="api_key"):
        VENDOR.connect(source, calls).batch(NOW - 60, NOW)


def test_nothing_of_a_profile_leaves_the_client():
    simulator, _, client = simulated()
    attempt_id = simulator.finish(finished=NOW - 60)
    results = [*client.batch(NOW - HOUR, NOW), *client.by_person("p-001"), client.by_id(attempt_id)]

    assert ids(results) == [attempt_id] * 3
    assert all(record.body.keys().isdisjoint({"user", "clientInfo"}) for record in results)


def test_a_person_filter_that_is_ignored_gives_no_stranger():
    other = {"results": [{"customId": "p-002", "attempts": [{"id": ATTEMPT}]}]}

    assert connect(Calls(None, (200, other))).by_person("p-001") == []


# Rounds ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("selects", ["load", "start", "end"])
@pytest.mark.parametrize("inclusive", [True, False])
def test_whatever_a_window_selects_a_round_reads_what_finished_since_its_start(selects, inclusive):
    simulator, calls, client = simulated(behaviour=Behaviour(selects=selects, inclusive=inclusive))
    finished = [
        simulator.finish(finished=NOW - 3 * DAY + number * HOUR / 2, started=NOW - 3 * DAY) for number in range(9)
    ]
    records, cursor = whole_round(client, POLL.start(NOW - 3 * DAY, None))

    assert set(ids(records)) >= set(finished)
    assert POLL.position(cursor) == NOW - 2 * DAY
    assert len(calls.made) == 5


def test_every_round_reads_the_last_seven_days_again_in_windows_of_a_day():
    simulator, calls, client = simulated()
    simulator.finish(finished=NOW - 100)
    _, cursor = whole_round(client, POLL.start(NOW - HOUR, None))
    calls.made.clear()

    whole_round(client, POLL.rewind(cursor, 600))

    assert cursor == str(NOW - 100)
    assert len(calls.made) == 8
    assert windows(calls)[0][0] == "2026-11-11T11:05:00Z"
    assert windows(calls)[-1][1] == "2026-11-18T11:06:40Z"


def test_after_an_outage_of_weeks_a_round_walks_in_windows_that_are_allowed():
    simulator, calls, client = simulated()
    finished = [simulator.finish(finished=NOW - number * DAY) for number in range(30)]
    records, cursor = whole_round(client, POLL.rewind(str(NOW - 30 * DAY), 0))

    assert set(ids(records)) == set(finished)
    assert cursor == str(NOW)
    # The simulated vendor refuses more than seven days; the windows overlap by a minute.
    for (_, end), (begin, _) in zip(windows(calls), windows(calls)[1:], strict=False):
        assert begin < end


def test_inside_a_round_the_cursor_says_where_it_goes_on_and_between_rounds_what_was_read():
    simulator, _, client = simulated()
    simulator.finish(finished=NOW - 3 * DAY)
    page = POLL.fetch(client, str(NOW - 4 * DAY))

    assert page.cursor == f"{NOW - 3 * DAY}@{NOW - 3 * DAY - 60}"
    assert POLL.position(page.cursor) == NOW - 3 * DAY - 60
    assert POLL.position(POLL.rewind(page.cursor, 0)) == NOW - 10 * DAY
    assert POLL.position(POLL.rewind(str(NOW), 30 * DAY)) == NOW - 30 * DAY


def test_a_clock_that_was_put_back_still_asks_for_a_window():
    simulator, calls, client = simulated()
    simulator.finish(finished=NOW - 60)

    assert len(POLL.fetch(client, str(NOW + 5 * DAY)).records) == 1
    assert windows(calls) == [("2026-11-18T10:06:40Z", "2026-11-18T11:06:40Z")]


def test_a_time_in_the_future_moves_no_cursor():
    row = {"id": ATTEMPT, "timings": {"load": 1000 * (NOW - 60), "end": 1000 * (NOW + DAY)}}
    answer = {"results": [{"customId": "p-001", "attempts": [row]}]}

    assert POLL.fetch(connect(Calls(None, (200, answer))), str(NOW - HOUR)).cursor == str(NOW - 60)


def test_each_configured_quiz_is_asked_for_and_test_attempts_only_on_request():
    for include_test in (False, True):
        simulator, calls, client = simulated(quiz_ids=(QUIZZES[1].id.upper(), QUIZZES[2].id), include_test=include_test)
        simulator.finish(quiz=QUIZZES[0], finished=NOW - 60)
        wanted = simulator.finish(quiz=QUIZZES[1], finished=NOW - 60)
        test = simulator.begin(quiz=QUIZZES[2], loaded=NOW - 60, test=True)

        assert ids(POLL.fetch(client, str(NOW - HOUR)).records) == [wanted, test][: 1 + include_test]
        assert [params["quizId"] for _, params in calls.made] == [QUIZZES[1].id, QUIZZES[2].id]


def test_a_window_of_a_round_size_is_halved_until_the_hidden_page_is_uncovered():
    simulator, calls, client = simulated(behaviour=Behaviour(page_limit=50))
    finished = {
        simulator.finish(finished=NOW - 23 * HOUR + 600 * number, started=NOW - 23 * HOUR + 600 * number - 60)
        for number in range(130)
    }
    records, _ = whole_round(client, str(NOW - DAY))

    assert set(ids(records)) == finished
    assert len(calls.made) < 20


def test_a_round_size_in_the_smallest_window_is_told():
    simulator, calls, client = simulated(behaviour=Behaviour(page_limit=50))
    for _ in range(60):
        simulator.finish(finished=NOW - 60, started=NOW - 120)

    with capture_logs() as logs:
        records, _ = whole_round(client, str(NOW - HOUR))
    assert len(records) == 50
    assert [(line["event"], line["sizes"]) for line in logs] == [("batch_of_round_size", [50])]
    assert len(calls.made) == 1


# Rechecks -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def school():
    """One person with an attempt of last year and one of today, and somebody else."""
    simulator, calls, client = simulated()
    old = simulator.finish(custom_id="p-001", finished=NOW - 200 * DAY)
    new = simulator.finish(custom_id="p-001", finished=NOW - 60)
    other_quiz = simulator.finish(custom_id="p-001", quiz=QUIZZES[1], finished=NOW - 50 * DAY)
    stranger = simulator.finish(custom_id="p-002", finished=NOW - 60)
    return calls, client, {"old": old, "new": new, "other_quiz": other_quiz, "stranger": stranger}


@pytest.mark.parametrize(
    ("reference", "expected", "owners", "made"),
    [
        ({"custom_id": "p-001", "quiz_id": QUIZZES[0].id}, ["new"], ["p-001"], 1),
        ({"custom_id": "p-001", "quiz_id": QUIZZES[2].id}, [], [], 1),
        ({"custom_id": "p-001"}, ["new", "other_quiz"], ["p-001"] * 2, 1),
        ({"custom_id": "p-003"}, [], [], 1),
        ({"custom_id": "p-001", "quiz_id": QUIZZES[0].id, "announced": "old"}, ["old"], ["p-001"], 1),
        ({"custom_id": "p-001", "quiz_id": QUIZZES[0].id, "announced": ATTEMPT}, ["new"], ["p-001"], 2),
        ({"custom_id": "p-001", "announced": "stranger"}, ["stranger"], ["p-002"], 3),
        ({"attempt_id": "new", "custom_id": "p-001"}, ["new"], ["p-001"], 1),
        ({"attempt_id": "old"}, ["old"], ["p-001"], 2),
        ({"attempt_id": ATTEMPT}, [], [], 1),
        ({"attempt_id": ATTEMPT, "custom_id": "p-001"}, [], [], 1),
    ],
)
def test_a_recheck_finds_the_attempt_and_whose_it_is(school, reference, expected, owners, made):
    calls, client, named = school
    answer = VENDOR.recheck(client, {name: named.get(value, value) for name, value in reference.items()})

    assert ids(answer) == [named[item] for item in expected]
    assert [record.body["customId"] for record in answer] == owners
    assert len(calls.made) == made


def test_a_recheck_without_a_person_and_an_attempt_is_no_reference():
    with pytest.raises(Unreadable, match="attempt_id and custom_id"):
        VENDOR.recheck(connect(Calls()), {"quiz_id": QUIZZES[0].id})


def test_among_a_persons_attempts_only_configured_quizzes_count():
    simulator, _, client = simulated(quiz_ids=(QUIZZES[1].id,))
    simulator.finish(custom_id="p-001", quiz=QUIZZES[0])

    assert VENDOR.recheck(client, {"custom_id": "p-001"}) == []
    wanted = simulator.finish(custom_id="p-001", quiz=QUIZZES[1])
    assert ids(VENDOR.recheck(client, {"custom_id": "p-001"})) == [wanted]


@pytest.mark.parametrize("timings", [{}, {"load": 1000 * (NOW + DAY)}])
def test_an_attempt_of_nobody_known_is_not_there_yet(timings):
    calls = Calls(None, (200, {"id": ATTEMPT, "timings": timings}))
    assert VENDOR.recheck(connect(calls), {"attempt_id": ATTEMPT}) == []
    assert len(calls.made) == 1


def test_an_attempt_open_for_eight_days_is_found_finished_by_its_id():
    clock = [float(NOW)]
    simulator, calls, client = simulated(clock=lambda: clock[0])
    attempt_id = simulator.begin(custom_id="p-001", loaded=NOW - 60, started=NOW - 30)
    [record] = POLL.fetch(client, str(NOW - HOUR)).records
    watch = normalise(record, NOW, {}).watch
    clock[0] = calls.clock = NOW + 8 * DAY
    simulator.complete(attempt_id)
    simulator.grade(attempt_id)

    assert whole_round(client, POLL.rewind(str(NOW + 8 * DAY), 0))[0] == []
    [record] = VENDOR.recheck(client, watch.reference)
    attempt = normalise(record, clock[0], {})
    assert (attempt.status, attempt.result.grading, attempt.candidate.external_id) == ("completed", "final", "p-001")


@pytest.mark.parametrize("problem", [(500, b""), (404, b""), (403, b""), (200, b"<html>"), (302, b"")])
def test_one_quiz_that_cannot_be_read_holds_up_no_other_and_is_read_from_where_it_was(problem):
    simulator = Simulator(7, lambda: NOW, api_key="INVENTED", quota_calls=10_000)
    quizzes = (simulator.attempt(simulator.finish(finished=NOW - 60)).quiz.id,)
    other = "2f1d3c50-0000-4000-8000-0000000000ff"
    calls = FaultyQuiz(simulator, quizzes[0], problem)
    client = connect(calls, quiz_ids=(*quizzes, other))

    page = POLL.fetch(client, f"{NOW - 3_600}")
    assert (page.records, page.more) == ([], False)
    assert list(page.unread) == [f"quiz {quizzes[0]}"]

    calls.clock += 20 * DAY
    again = POLL.rewind(page.cursor, 600)
    assert POLL.position(again) <= NOW - 3_600
    _, cursor = whole_round(client, again)
    assert POLL.position(POLL.rewind(cursor, 600)) <= NOW - 3_600, "its place is kept"

    calls.problem = None
    records, cursor = whole_round(connect(calls, quiz_ids=quizzes), POLL.rewind(cursor, 600))
    assert len({record.body["id"] for record in records}) == 1
    assert "!" not in cursor


def test_a_problem_of_every_quiz_is_the_sources():
    calls = FaultyQuiz(None, "", (500, b""))
    quizzes = ("2f1d3c50-0000-4000-8000-0000000000ff", "2f1d3c50-0000-4000-8000-0000000000ee")

    with pytest.raises(VendorUnavailable):
        POLL.fetch(connect(calls, quiz_ids=quizzes), str(NOW - 3_600))


class FaultyQuiz(Calls):
    """Calls about one quiz, or about any if it is "", fail as the real HTTP client would report it."""

    def __init__(self, simulator, quiz, problem):
        super().__init__(simulator)
        self.quiz, self.problem = quiz, problem

    def request(self, method, url, *, params=(), **options):
        if self.problem is None or self.quiz not in dict(params).get("quizId", ""):
            return super().request(method, url, params=params, **options)
        status, body = self.problem
        if status >= 500:
            raise VendorUnavailable("HTTP 500")
        return status, {}, body
