"""Cirrus's API client: what it asks, how often, and what it makes of every answer that the pages leave open."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlsplit

import pytest

from bridge.errors import Unreadable, VendorFault, VendorRefused, VendorThrottled, VendorUnavailable
from bridge.sdk.vendor import Pointer, Record
from bridge.vendors.cirrus import VENDOR
from bridge.vendors.cirrus.adapter import UNASSIGNED, normalise
from bridge.vendors.cirrus.answers import next_reset
from tests.support.contract.wire import Facts, calls_over

NOW = datetime(2026, 3, 9, 12, tzinfo=UTC).timestamp()
PAIR = {"schedule": "SPRING-07", "candidate": "cand-1"}
ROW_A = {
    "CandidateExtId": "cand-1",
    "ScheduleExtId": "SPRING-07",
    "AssessmentExtId": "BIO-2",
    "Score": "13.5",
    "MaxScore": "20",
    "PercentageScore": 67.5,
    "Published": "2026-03-06T08:00:00.5Z",
    "AttemptsCount": "1",
    "Status": "Satisfactory",
    "PublishStatus": "FINAL",
    "Presence": True,
}
ROW_B = {
    "CandidateNumber": "cand-1",
    "BookingReference": "SPRING-07",
    "AssessmentNumber": "BIO-2",
    "Score": "13.5",
    "MaxScore": "20",
    "PercentageScore": "67.5",
    "Published": "2026-03-06T08:00:00.5Z",
    "Presence": True,
}
FIRST = {
    "AttemptNumber": 1,
    "StartDate": "2026-03-01T09:00:00Z",
    "EndDate": "2026-03-01T10:00:00Z",
    "Status": "HANDED_IN",
}
SECOND = FIRST | {"AttemptNumber": "2", "StartDate": "2026-03-05T09:00:00Z", "EndDate": "2026-03-05T10:00:00Z"}
THIRD = SECOND | {"AttemptNumber": 3, "EndDate": "2026-03-05T20:00:00Z"}
NOT_FOUND = (400, {"Message": "User/Candidate cand-1 was not found"})


class Api:
    """Answers in this order, and keeps what was asked."""

    def __init__(self, *answers, base_url="https://api.vendor.test", **options):
        self.answers = list(answers)
        self.asked = []
        facts = Facts(
            name="eu-cirrus",
            credentials={"token": ("INVENTED",)},
            options={"identity": "pair"} | options,
            base_url=base_url,
        )
        self.options = facts.options
        self.client = VENDOR.connect(facts, calls_over(self.wire, facts, lambda: NOW))

    def wire(self, method, path, headers, body):
        if not self.answers and urlsplit(path).path.rpartition("/")[0].endswith("/schedule"):
            # Without a result, the schedule is asked for the spelling of its ids; most tests are not about that.
            return 400, {}, b'{"Message": "Schedule not found"}'
        self.asked.append((method, path, headers, body))
        answer = self.answers.pop(0)
        status, document = answer if isinstance(answer, tuple) else (200, answer)
        return status, {}, document if isinstance(document, bytes) else json.dumps(document).encode()

    @property
    def calls(self):
        """Last part of the path and the parameters of each call."""
        parts = [urlsplit(path) for _, path, _, _ in self.asked]
        return [(part.path.rpartition("/")[2], dict(parse_qsl(part.query))) for part in parts]

    def recheck(self, **reference):
        return list(VENDOR.recheck(self.client, reference))

    def rechecked(self, **reference):
        attempts = [normalise(record, NOW, self.options) for record in self.recheck(**reference)]
        assert self.answers == []
        return attempts


def wrapped(content, **more):
    return {"Content": content, "Success": True, "Errors": []} | more


def attempts(*listed):
    return wrapped({"Attempts": list(listed)})


def refused(code, message="no"):
    return 400, {"Content": None, "Success": False, "Errors": [{"Code": code, "Message": message}]}


# What is asked ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "base_url",
    [
        "https://api.vendor.test",
        "https://api.vendor.test/",
        "https://api.vendor.test/api/v1/integrations",
        "https://api.vendor.test/api/v1/integrations/",
    ],
)
def test_a_call_has_the_path_and_the_headers_of_the_vendors_page(base_url):
    api = Api([ROW_B], base_url=base_url)

    api.client.results(candidate="eddard stark", schedule="WINTER/000&x=1", attempt="ä")

    [(method, path, headers, body)] = api.asked
    assert (method, body) == ("GET", b"")
    assert path == (
        "/api/v1/integrations/results?CandidateExtId=eddard+stark&ScheduleExtId=WINTER%2F000%26x%3D1&AttemptExtId=%C3%A4"
    )
    assert headers["Authorization"] == "EAPI INVENTED"
    assert headers["Content-Type"] == "application/json"


def test_results_need_a_candidate_or_an_attempt():
    api = Api()

    with pytest.raises(ValueError, match="candidate or attempt"):
        api.client.results(schedule="SPRING-07")
    assert api.asked == []


def test_ids_in_a_path_are_encoded():
    api = Api(attempts(), wrapped({}))

    api.client.attempts("A/1 ?#%41", "c+d")
    api.client.schedule("A/1")

    assert [path for _, path, _, _ in api.asked] == [
        "/api/v1/integrations/external/schedule/A%2F1%20%3F%23%2541/attempt-info?CandidateExtId=c%2Bd",
        "/api/v1/integrations/external/schedule/A%2F1",
    ]


# What a recheck costs and returns ---------------------------------------------------------------------------------

BY_PAIR = ("results", {"CandidateExtId": "cand-1", "ScheduleExtId": "SPRING-07"})
INFO = ("attempt-info", {"CandidateExtId": "cand-1"})
LISTED = pytest.mark.parametrize("row", [ROW_A, [ROW_A], wrapped(ROW_A), wrapped([ROW_A], Success="true")])


@LISTED
def test_a_recheck_of_a_published_result_is_one_call(row):
    api = Api(row)
    [attempt] = api.rechecked(**PAIR, attempt="a")

    assert (attempt.attempt_id, attempt.result.grading) == ("pair:SPRING-07:cand-1", "final")
    assert api.calls == [BY_PAIR]


def test_a_no_show_is_one_call():
    api = Api(ROW_B | {"Presence": False, "MaxScore": "0", "Score": "0"})
    [attempt] = api.rechecked(**PAIR)

    assert (attempt.status, api.calls) == ("not_started", [BY_PAIR])


@pytest.mark.parametrize(
    "nothing",
    [
        [],
        (204, b""),
        (404, b""),
        b"null",
        {},
        [None],
        NOT_FOUND,
        (404, {"Message": "No results"}),
        (400, b"User/Candidate cand-1 was not found"),
        (400, {"Message": "Something that no page mentions"}),
        {"Message": "Result is not yet published"},
        {"Success": False, "Errors": [{"Code": 203}]},
        wrapped(None),
        wrapped([]),
    ],
)
def test_nothing_in_the_results_is_no_error_and_the_attempts_are_asked_for(nothing):
    api = Api(nothing, attempts())

    assert api.rechecked(**PAIR) == []
    assert api.calls == [BY_PAIR, INFO]


@pytest.mark.parametrize("code", [202, 203, 301, 303, 310])
def test_a_refusal_of_the_attempts_means_not_yet(code):
    for status in (200, 400, 404):
        assert Api(NOT_FOUND, (status, refused(code)[1])).rechecked(**PAIR) == []
        assert Api(NOT_FOUND, (status, refused(str(code))[1])).rechecked(**PAIR) == []


@pytest.mark.parametrize("answer", [attempts(FIRST), wrapped([FIRST]), {"Attempts": [FIRST]}])
def test_handed_in_without_a_result_is_pending(answer):
    api = Api(NOT_FOUND, answer)
    [attempt] = api.rechecked(**PAIR)

    assert (attempt.attempt_id, attempt.status, attempt.result.grading) == (
        "pair:SPRING-07:cand-1",
        "completed",
        "pending",
    )
    assert attempt.completed_at == datetime(2026, 3, 1, 10, tzinfo=UTC)


def test_attempts_that_were_not_handed_in_are_none():
    api = Api(NOT_FOUND, attempts(FIRST | {"Status": "IN_PROGRESS"}))

    assert api.rechecked(**PAIR) == []


def test_what_a_pending_recheck_learned_is_returned_with_the_result():
    [pending] = Api(NOT_FOUND, attempts(FIRST)).rechecked(**PAIR)
    [final] = Api(ROW_A).rechecked(**pending.watch.reference)

    assert (final.started_at, final.completed_at) == (pending.started_at, pending.completed_at)


@pytest.mark.parametrize(
    ("rows", "listed", "expected"),
    [
        # published after the second was handed in
        (ROW_A | {"AttemptsCount": "2"}, [SECOND, FIRST], [(":2", 2, "final")]),
        # published before it
        (
            ROW_A | {"AttemptsCount": 2, "Published": "2026-03-02T08:00:00Z"},
            [FIRST, SECOND],
            [("", 1, "final"), (":2", 2, "pending")],
        ),
        # not published: of the newest
        (ROW_A | {"AttemptsCount": "2", "Published": None}, [FIRST, SECOND], [(":2", 2, "pending")]),
        # no result at all
        ([], [FIRST, SECOND], [("", 1, "pending"), (":2", 2, "pending")]),
        # two results at once
        (
            [ROW_B | {"Published": "2026-03-02T08:00:00Z"}, ROW_B, ROW_B | {"BookingReference": "OTHER"}],
            [FIRST, SECOND],
            [("", 1, "provisional"), (":2", 2, "provisional")],
        ),
        # the first was voided, so it is counted and not listed
        (ROW_A | {"AttemptsCount": "2"}, [SECOND], [(":2", 2, "final")]),
        # the first was never handed in, so it is neither
        (ROW_A | {"AttemptsCount": "2"}, [SECOND, THIRD], [(":3", 3, "final")]),
    ],
)
def test_several_attempts_under_one_schedule_are_told_apart_by_their_times(rows, listed, expected):
    api = Api(rows, attempts(*listed))
    published = api.rechecked(**PAIR)

    told = [(attempt.attempt_id.removeprefix("pair:SPRING-07:cand-1"), attempt.result.grading) for attempt in published]
    assert told == [(suffix, grading) for suffix, _, grading in expected]
    assert [attempt.vendor_ids["attempt_number"] for attempt in published] == [str(number) for _, number, _ in expected]
    assert all("several_attempts" in attempt.flags for attempt in published)
    assert api.calls == [BY_PAIR, INFO]


def test_the_first_attempt_keeps_its_id_when_a_second_is_handed_in():
    for listed in ([FIRST, SECOND], [SECOND | {"EndDate": "2026-03-04T00:00:00Z"}, THIRD]):
        row = ROW_A | {"Published": "2026-03-04T08:00:00Z"}
        [alone] = Api(row).rechecked(**PAIR)
        first, second = Api(row | {"AttemptsCount": "2"}, attempts(*listed)).rechecked(**PAIR)
        assert (first.attempt_id, second.attempt_id) == (
            alone.attempt_id,
            f"{alone.attempt_id}:{listed[1]['AttemptNumber']}",
        )


def test_an_attempt_whose_place_is_not_sure_waits_for_its_result():
    assert Api(NOT_FOUND, attempts(SECOND)).rechecked(**PAIR) == []
    [attempt] = Api(ROW_A).rechecked(**PAIR)
    assert attempt.attempt_id == "pair:SPRING-07:cand-1"


@pytest.mark.parametrize(
    ("rows", "listed"),
    [
        (ROW_A | {"AttemptsCount": "2"}, []),
        (ROW_A | {"AttemptsCount": "2", "Published": "2026-02-01T00:00:00Z"}, [FIRST, SECOND]),
        ([ROW_A, ROW_A], [FIRST, SECOND]),
        (ROW_A | {"AttemptsCount": "2"}, [FIRST, {"AttemptNumber": "two"}]),
    ],
)
def test_a_result_that_may_belong_to_several_attempts_is_kept_and_not_guessed(rows, listed):
    api = Api(rows, attempts(*listed))
    [record] = api.recheck(**PAIR)

    assert record.kind == UNASSIGNED
    assert json.dumps(record.body, default=str)
    with pytest.raises(Unreadable):
        normalise(record, NOW, {})


@pytest.mark.parametrize("count", [None, "", "many", "1.5", "0", "1", 1])
def test_a_count_that_tells_of_no_second_attempt_costs_nothing(count):
    api = Api(ROW_A | {"AttemptsCount": count})

    assert len(api.rechecked(**PAIR)) == 1
    assert api.calls == [BY_PAIR]


# By the attempt's own id ------------------------------------------------------------------------------------------


@LISTED
def test_an_attempt_is_asked_for_by_all_that_is_known_of_it_in_one_call(row):
    api = Api(row, identity="attempt")
    [attempt] = api.rechecked(**PAIR, attempt="a")

    assert attempt.attempt_id == "attempt:a"
    assert api.calls == [("results", BY_PAIR[1] | {"AttemptExtId": "a"})]


@pytest.mark.parametrize("bare", [ROW_B, [ROW_B]])
@pytest.mark.parametrize("known", [{}, {"schedule": "SPRING-07"}, PAIR])
def test_a_result_without_status_is_asked_for_again_by_schedule_and_candidate(bare, known):
    api = Api(bare, ROW_A, identity="attempt")
    [attempt] = api.rechecked(**known, attempt="a")

    assert (attempt.attempt_id, attempt.result.passed, attempt.result.grading) == ("attempt:a", True, "final")
    assert [call[1].get("AttemptExtId") for call in api.calls] == ["a", None]
    assert api.calls[1] == BY_PAIR
    assert attempt.watch.reference == {**PAIR, "attempt": "a"}


@pytest.mark.parametrize(
    "again", [ROW_A | {"Score": "20"}, ROW_A | {"Published": "2026-03-07T08:00:00Z"}, [], [ROW_A, ROW_A]]
)
def test_an_answer_about_another_result_gives_no_status(again):
    [attempt] = Api(ROW_B, again, identity="attempt").rechecked(attempt="a")

    assert (attempt.result.passed, attempt.result.grading, attempt.result.score) == (None, "provisional", 13.5)


def test_by_pair_an_attempt_leads_to_its_schedule_and_candidate():
    api = Api(ROW_A)
    [attempt] = api.rechecked(attempt="a")

    assert attempt.attempt_id == "pair:SPRING-07:cand-1"
    assert "?attempt:a" in attempt.aliases
    assert Api([]).rechecked(attempt="a") == []


def test_an_attempt_without_result_is_pending_if_it_is_the_only_one():
    [attempt] = Api([], attempts(FIRST), identity="attempt").rechecked(**PAIR, attempt="a")
    assert (attempt.attempt_id, attempt.result.grading) == ("attempt:a", "pending")

    assert Api([], attempts(FIRST, SECOND), identity="attempt").rechecked(**PAIR, attempt="a") == []
    assert Api([], identity="attempt").rechecked(attempt="a") == []


def test_two_results_for_one_attempt_are_kept_and_not_guessed():
    [record] = Api([ROW_A, ROW_B], identity="attempt").recheck(attempt="a")

    assert record.kind == UNASSIGNED


# What leads on ----------------------------------------------------------------------------------------------------


def schedule(**more):
    names = ["cand-1", " cand-2 ", None, "cand-1", {"no": "id"}]
    facts = {
        "StartDateTime": "2026-03-09T12:00:00Z",
        "IsActivated": True,
        "Candidates": [{"ExternalId": name} for name in names],
    }
    return wrapped(facts | more)


@pytest.mark.parametrize(
    "answer", [schedule(), schedule()["Content"], schedule(StartDateTime=None), schedule(StartDateTime="soon")]
)
def test_a_schedule_becomes_its_candidates(answer):
    api = Api(answer)

    assert api.recheck(schedule="SPRING-07") == [
        Pointer(key=f"pair:SPRING-07:{name}", reference={"schedule": "SPRING-07", "candidate": name})
        for name in ("cand-1", "cand-2")
    ]
    assert api.calls == [("SPRING-07", {})]


@pytest.mark.parametrize(
    "answer",
    [
        schedule(IsActivated=False),
        schedule(StartDateTime="2026-03-09T12:00:01Z"),
        schedule(Candidates=None),
        refused(301),
        wrapped(None),
    ],
)
def test_a_schedule_that_has_not_begun_leads_nowhere_yet(answer):
    assert Api(answer).recheck(schedule="SPRING-07") == []


def test_a_candidate_becomes_the_schedules_of_the_results():
    api = Api([ROW_B, ROW_B | {"BookingReference": "SPRING-09"}, ROW_B | {"BookingReference": ""}])
    first, second, nameless = api.recheck(candidate="cand-1")

    assert [first.key, second.key] == ["pair:SPRING-07:cand-1", "pair:SPRING-09:cand-1"]
    assert isinstance(nameless, Record)
    assert api.calls == [("results", {"CandidateExtId": "cand-1"})]


def test_an_id_that_is_repeated_in_a_message_is_no_reason_to_rest():
    api = Api((400, {"Message": "Candidate quota-77 not found"}), wrapped(None))
    assert api.recheck(schedule="SPRING-07", candidate="quota-77") == []


def test_a_reference_that_names_nothing_is_refused_before_any_call():
    api = Api()

    with pytest.raises(Unreadable, match="Give schedule and candidate"):
        api.recheck(started="1")
    assert api.asked == []


# Errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((401, b""), VendorRefused),
        ((403, {"Message": "Not allowed to use external API"}), VendorRefused),
        ((403, {"Message": "API quota exceeded"}), VendorThrottled),
        ((400, {"Message": "Too many requests"}), VendorThrottled),
        ({"Success": False, "Message": "Throttling limit reached"}, VendorThrottled),
        ((429, b""), VendorThrottled),
        ((404, b"Url not found"), VendorFault),
        ((404, b"<html><body>nginx</body></html>"), VendorFault),
        ((400, {"Message": "Missing parameter: CandidateExtId"}), VendorFault),
        ((418, b""), VendorFault),
        ((302, b""), VendorUnavailable),
        ((500, b"Internal server error"), VendorUnavailable),
        ((200, b"<html>maintenance</html>"), VendorUnavailable),
        ((200, b""), VendorUnavailable),
        ((200, b'{"Score": '), VendorUnavailable),
        ((200, b'"text"'), VendorUnavailable),
        ({"Success": False, "Errors": [{"Code": 999, "Message": "cand-1 is odd"}]}, VendorUnavailable),
        ({"Something": "else"}, VendorUnavailable),
        ([{"Something": "else"}], VendorUnavailable),
        (["text"], VendorUnavailable),
    ],
)
def test_an_error_says_what_to_do_next_and_names_nobody(answer, kind):
    with pytest.raises(kind) as caught:
        Api(answer, answer).recheck(**PAIR)

    assert type(caught.value) is kind
    for secret in ("INVENTED", "cand-1", "SPRING", "?"):
        assert secret not in str(caught.value)


@pytest.mark.parametrize("answer", [(429, b""), (403, {"Message": "Quota exceeded"}), (400, b"rate limit reached")])
def test_over_the_quota_the_source_rests_until_half_past_one(answer):
    with pytest.raises(VendorThrottled) as caught:
        Api(answer).recheck(**PAIR)

    assert caught.value.retry_at == datetime(2026, 3, 9, 13, 30, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("now", "reset"),
    [
        ((9, 0, 0), (9, 13, 30)),
        ((9, 13, 29), (9, 13, 30)),
        ((9, 13, 30), (10, 13, 30)),
        ((9, 23, 59), (10, 13, 30)),
    ],
)
def test_the_quota_begins_anew_at_half_past_one_not_at_midnight(now, reset):
    moments = [datetime(2026, 3, *moment, tzinfo=UTC).timestamp() for moment in (now, reset)]

    assert next_reset(moments[0]) == moments[1]


@pytest.mark.parametrize("answer", [NOT_FOUND, [], (404, {"Message": "not found"})])
def test_a_probe_is_one_call_that_reads_nobody(answer):
    api = Api(answer)

    assert "logged in" in VENDOR.probe(api.client)
    [(name, parameters)] = api.calls
    assert name == "results"
    assert list(parameters) == ["CandidateExtId"]


def test_a_probe_with_a_wrong_token_says_so():
    with pytest.raises(VendorRefused, match="token"):
        VENDOR.probe(Api((403, b"")).client)


@pytest.mark.parametrize(
    "spelled", [{"schedule": "spring-07", "candidate": "CAND-1"}, {"schedule": "SPRING-07", "candidate": "Cand-1"}]
)
def test_an_attempt_has_the_vendors_spelling_also_before_its_result_is_there(spelled):
    plan = wrapped({"ExternalId": "SPRING-07", "Candidates": [{"ExternalId": "other"}, {"ExternalId": "cand-1"}]})
    listed = wrapped({"Attempts": [FIRST]})
    api = Api(NOT_FOUND, listed, plan, NOT_FOUND, listed, ROW_A)

    ids = [normalise(record, NOW, api.options).attempt_id for _ in range(3) for record in api.recheck(**spelled)]

    assert ids == ["pair:SPRING-07:cand-1"] * 3
    assert len(api.asked) == 6, "the spelling is asked for once"
