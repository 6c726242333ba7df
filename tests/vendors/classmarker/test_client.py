"""ClassMarker's API client against the simulated vendor and against answers that only a bad day brings."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from werkzeug.test import Client as WsgiClient

from bridge.errors import BudgetExhausted, Unreadable, VendorFault, VendorRefused, VendorThrottled, VendorUnavailable
from bridge.vendors.classmarker import VENDOR
from bridge.vendors.classmarker.client import LOOK_BACK_SECONDS
from bridge.vendors.classmarker.simulator import Behaviour, Simulator

NOW = 1_795_000_000


@dataclass
class Source:
    name: str = "eu-classmarker"
    base_url: str = "https://api.vendor.test/"
    credentials: dict[str, tuple[str, ...]] = field(
        default_factory=lambda: {"api_key": ("KEYKEY",), "api_secret": ("SECRETSECRET",)}
    )
    options: dict[str, Any] = field(default_factory=lambda: {"signature": "sha256", "format": "json"})


class Calls:
    """Keeps every call; `answers` are taken first, then the simulated vendor answers."""

    def __init__(self, simulator=None, *answers):
        self.wsgi = WsgiClient(simulator.wsgi) if simulator else None
        self.answers = list(answers)
        self.made: list[dict[str, Any]] = []
        self.clock = float(NOW)

    def now(self):
        return self.clock

    def request(self, method, url, *, params=(), headers=None, body=None, free=False):
        self.made.append({"method": method, "url": url, "params": dict(params), "body": body, "free": free})
        if self.answers:
            status, answer = self.answers.pop(0)
            return status, {}, answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        answer = self.wsgi.open(url, method=method, query_string=list(params), headers=headers, data=body)
        return answer.status_code, {}, answer.data


def simulated(clock=lambda: NOW, behaviour=Behaviour(), **options):  # noqa: B008 - frozen
    simulator = Simulator(3, clock, api_key="KEYKEY", api_secret="SECRETSECRET", behaviour=behaviour, **options)
    return simulator, Calls(simulator)


def connect(calls, **options):
    source = Source()
    source.options |= options
    return VENDOR.connect(source, calls)


def error(code, **more):
    return 200, {"status": "error", "server_timestamp": NOW, "error": {"error_code": code, **more}}


@pytest.mark.parametrize(
    ("digest", "signature"),
    [
        ("sha256", "2079f182a791a31e1bf73faa6c61ed64928cdf1875da2c0cd7e88e035be94901"),
        ("md5", "a393f836b2d5a9bd79c773248858e217"),
    ],
)
def test_the_signature_is_the_known_answer_for_the_second_that_is_sent(digest, signature):
    calls = Calls(None, (200, {"status": "no_results"}))
    calls.clock = 1_767_225_600.9
    connect(calls, signature=digest).page("links", None)

    assert calls.made[0]["params"] == {"api_key": "KEYKEY", "signature": signature, "timestamp": "1767225600"}


def test_the_wrong_digest_is_refused_and_never_changed_by_itself():
    simulator, calls = simulated(behaviour=Behaviour(digest="md5"))

    with pytest.raises(VendorRefused, match="apiKeyAuthFail"):
        connect(calls).catalogue()
    assert len(calls.made) == 1
    assert simulator.counts()["api_calls"] == 0


@pytest.mark.parametrize("form", ["json", "xml"])
def test_the_catalogue_lists_groups_links_and_their_tests(form):
    _, calls = simulated()
    catalogue = connect(calls, format=form).catalogue()

    group, link = catalogue["groups"][0]["group"], catalogue["links"][0]["link"]
    assert (group["group_name"], str(group["group_id"])) == ("Warehouse B", "50721")
    assert link["assigned_tests"][0]["test"]["test_id"] == "90011"
    assert calls.made[0]["url"] == f"https://api.vendor.test/v1.{form}"


@pytest.mark.parametrize("form", ["json", "xml"])
def test_access_codes_are_added_and_removed_by_the_hundred_outside_the_budget(form):
    simulator, calls = simulated()
    client = connect(calls, format=form)
    codes = [f"code-{number}-é" for number in range(250)]

    assert client.add_codes(3301, codes) == 250
    assert client.remove_codes(3301, codes[:120]) == 130
    assert simulator.access_lists[3301] == set(codes[120:])
    assert [call["method"] for call in calls.made] == ["POST"] * 3 + ["DELETE"] * 2
    assert all(call["free"] for call in calls.made)
    assert simulator.counts()["api_calls"] == 0


@pytest.mark.parametrize("code", ["", "x" * 256])
def test_an_access_code_that_the_vendor_would_refuse_is_refused_before_any_call(code):
    _, calls = simulated()

    with pytest.raises(ValueError, match="1 to 255"):
        connect(calls).add_codes(3301, ["good", code])
    assert calls.made == []


def test_an_unknown_access_list_is_a_fault_of_the_call():
    _, calls = simulated()

    with pytest.raises(VendorFault, match="incorrectUrlId"):
        connect(calls).add_codes(1, ["code"])


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("rateLimitExceeded", VendorThrottled),
        ("request_limit_reached", VendorThrottled),
        ("offlineMaintenance", VendorUnavailable),
        ("internalError100", VendorUnavailable),
        ("internalError101", VendorUnavailable),
        ("somethingNewIn2030", VendorUnavailable),
        ("apiKeyAuthFail", VendorRefused),
        ("apiKeyInactive", VendorRefused),
        ("noApiKeyExists", VendorRefused),
        ("accountNotUpgraded", VendorRefused),
        ("apiKeyNoGroupPermission", VendorFault),
        ("incorrectUrl", VendorFault),
        ("incorrectUrlVersionNumber", VendorFault),
        ("incorrectUrlId", VendorFault),
        ("incorrectRequestMethod", VendorFault),
        ("requestParamValidationError", VendorFault),
        ("invalidJson", VendorFault),
        ("payloadValidationError", VendorFault),
        ("NotAllowedActionForQuestionType", VendorFault),
        ("custom_error", VendorFault),
    ],
)
def test_an_error_in_an_answer_of_200_says_what_to_do_next(code, kind):
    calls = Calls(None, error(code, error_message="invented"))

    with pytest.raises(kind, match=code):
        connect(calls).page("groups", str(NOW - 60))
    assert len(calls.made) == 1


def test_the_old_word_for_the_limit_is_understood_as_a_status():
    with pytest.raises(VendorThrottled):
        connect(Calls(None, (200, {"status": "request_limit_reached"}))).page("groups", None)


def test_a_used_up_quota_says_when_to_come_back():
    simulator, calls = simulated(quota_calls=2)
    client = connect(calls)
    client.page("groups", None)
    client.page("links", None)

    with pytest.raises(VendorThrottled) as refused:
        client.catalogue()
    assert NOW < refused.value.retry_at <= NOW + 3601
    assert simulator.counts()["quota_refusals"] == 1


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, b"<html>We are busy</html>", VendorUnavailable),
        (200, b"", VendorUnavailable),
        (200, b'{"status": "ok", "results": [', VendorUnavailable),
        (200, b"[]", VendorUnavailable),
        (200, b'{"results": []}', VendorUnavailable),
        (200, b'{"status": "ok", "results": "none"}', VendorUnavailable),
        (404, b"", VendorFault),
        (403, b"", VendorRefused),
    ],
)
@pytest.mark.parametrize("form", ["json", "xml"])
def test_an_answer_that_is_none_is_never_an_empty_page(status, body, kind, form):
    with pytest.raises(kind):
        connect(Calls(None, *[(status, body)] * 2), format=form).page("groups", str(NOW - 60))


@pytest.mark.parametrize(
    "body",
    [
        b'<!DOCTYPE a [<!ENTITY b "c">]><response><status>&b;</status></response>',
        b'<!DOCTYPE response SYSTEM "http://vendor.test/x.dtd"><response><status>no_results</status></response>',
        b"<response>" + b"<a>" * 100_000 + b"</a>" * 100_000 + b"</response>",
    ],
    ids=["entity", "dtd", "deep"],
)
def test_xml_with_a_dtd_or_a_depth_of_its_own_is_refused(body):
    with pytest.raises(VendorUnavailable, match="XML"):
        connect(Calls(None, (200, body)), format="xml").page("groups", None)


def test_no_error_tells_key_secret_or_signature():
    answers = [error("custom_error", error_message="KEY"), (404, b"KEYKEY"), (200, b"SECRETSECRET")]
    for answer in answers:
        with pytest.raises((VendorFault, VendorUnavailable)) as raised:
            connect(Calls(None, answer)).page("groups", str(NOW))
        text = f"{raised.value!r} {raised.value.__cause__!r}"
        assert "KEYKEY" not in text
        assert "SECRET" not in text
        assert "?" not in text


@pytest.mark.parametrize("offset", [-7_200, 400, 86_400])
def test_a_clock_that_is_off_is_corrected_once_and_then_remembered(offset):
    simulator, calls = simulated(behaviour=Behaviour(clock_offset=offset))
    client = connect(calls)

    client.catalogue()
    assert len(calls.made) == 2
    calls.clock += 1_000
    simulator._clock = lambda: NOW + 1_000
    client.catalogue()
    assert len(calls.made) == 3


def test_a_clock_that_cannot_be_corrected_is_not_tried_for_ever():
    calls = Calls(None, *[error("timeStampOutOfRange")] * 5)

    with pytest.raises(VendorUnavailable, match="timeStampOutOfRange"):
        connect(calls).catalogue()
    assert len(calls.made) == 2


def test_a_cursor_older_than_the_look_back_moves_up_to_it():
    simulator, calls = simulated()
    attempt_id = simulator.finish(channel="link", time_finished=int(NOW - LOOK_BACK_SECONDS + 3_600))

    page = connect(calls).page("links", str(NOW - 200 * 86_400))

    assert [str(record.body["result"]["link_result_id"]) for record in page.records] == [attempt_id[5:]]
    assert len(calls.made) == 1


def test_a_look_back_that_is_refused_all_the_same_falls_to_the_vendors_own():
    simulator, calls = simulated()
    simulator.finish(channel="link", time_finished=NOW - 86_400)
    calls.answers = [error("finishedAfterTimestampTooEarly")]

    page = connect(calls).page("links", str(NOW - 80 * 86_400))

    assert len(page.records) == 1
    assert "finishedAfterTimestamp" not in calls.made[1]["params"]


def test_a_second_with_more_results_than_a_page_is_passed_and_reported():
    simulator, calls = simulated(behaviour=Behaviour(page_size=3))
    client = connect(calls)
    for _ in range(5):
        simulator.finish(channel="link", time_finished=NOW - 100)
    last = simulator.finish(channel="link", time_finished=NOW - 50)

    cursor, read, problems, more = str(NOW - 1_000), set(), [], True
    while more:
        page = client.page("links", cursor)
        for record in page.records:
            try:
                read.add(VENDOR.normalise(record, NOW, {}).attempt_id)
            except Unreadable as unreadable:
                problems.append(str(unreadable))
        cursor, more = page.cursor, page.more

    assert last in read
    assert len(read) == 4
    [problem] = problems
    assert f"second {NOW - 100}, " in problem


def rows(*finishes, more):
    results = [{"result": {"link_result_id": n, "time_finished": moment}} for n, moment in enumerate(finishes)]
    return 200, {"status": "ok", "server_timestamp": NOW, "results": results, "more_results_exist": more}


def test_a_vendor_that_goes_in_circles_is_a_fault():
    with pytest.raises(VendorFault, match="asked for"):
        connect(Calls(None, rows(NOW - 500, NOW - 400, more=True))).page("links", str(NOW - 300))
    with pytest.raises(VendorFault, match="no listed row has a time"):
        connect(Calls(None, rows(more=True))).page("links", str(NOW - 300))


def test_a_finish_in_the_future_or_without_sense_does_not_move_the_cursor():
    client = connect(Calls(None, rows(NOW - 500, NOW + 86_400, NOW * 1_000, "soon", more=False)))
    page = client.page("links", str(NOW - 1_000))

    assert (page.cursor, len(page.records)) == (str(NOW - 500), 4)


def test_a_watch_reads_only_its_own_test_from_just_before_its_finish():
    simulator, calls = simulated()
    attempt_id = simulator.finish(
        channel="group", test_id=90013, time_finished=NOW - 60, requires_grading=True, points_available=30.0
    )
    simulator.finish(channel="group", test_id=90011, time_finished=NOW - 60)
    sitting = next(sitting for sitting in simulator.sittings("group", 0) if sitting.attempt_id == attempt_id)
    reference = {
        "stream": "group",
        "user": str(sitting.user_id),
        "test": "90013",
        "group": str(sitting.place_id),
        "started": str(sitting.time_started),
        "finished": str(NOW - 60),
    }
    [record] = VENDOR.recheck(connect(calls), reference)

    assert VENDOR.normalise(record, NOW, {}).attempt_id == attempt_id
    assert calls.made[0]["url"].endswith(f"/v1/groups/{sitting.place_id}/tests/90013/recent_results.json")
    assert calls.made[0]["params"]["finishedAfterTimestamp"] == str(NOW - 61)


def test_an_expected_result_of_a_link_is_found_without_knowing_its_test():
    simulator, calls = simulated()
    attempt_id = simulator.finish(channel="link", time_finished=NOW - 86_400)
    reference = {"stream": "link", "result": attempt_id[5:]}

    [record] = VENDOR.recheck(connect(calls), reference)

    assert VENDOR.normalise(record, NOW, {}).attempt_id == attempt_id
    [resume] = VENDOR.recheck(connect(calls), reference | {"result": "1"})
    # The list was read in vain: the next recheck reads only what is new, or was listed late.
    assert resume.reference == {"stream": "link", "result": "1", "read_until": str(NOW - 86_400 - 3600)}
    VENDOR.recheck(connect(calls), resume.reference)
    assert calls.made[-1]["params"]["finishedAfterTimestamp"] == str(NOW - 86_400 - 3600)


def test_a_result_whose_link_test_and_finish_are_known_is_found_in_one_call():
    simulator, calls = simulated()
    attempt_id = simulator.finish(channel="link", time_finished=NOW - 86_400)
    sitting = next(sitting for sitting in simulator.sittings("link", 0) if sitting.attempt_id == attempt_id)
    place = {"link": str(sitting.place_id), "test": str(sitting.test_id), "finished": str(NOW - 86_400)}
    pointer = VENDOR.expect({"stream": "link", "result": attempt_id[5:], **place}, {})
    assert (pointer.key, set(VENDOR.reference_help) >= set(pointer.reference)) == (attempt_id, True)

    [record] = VENDOR.recheck(connect(calls), pointer.reference)

    assert VENDOR.normalise(record, NOW, {}).attempt_id == attempt_id
    [call] = calls.made
    assert call["url"].endswith(f"/v1/links/{sitting.place_id}/tests/{sitting.test_id}/recent_results.json")
    assert call["params"]["finishedAfterTimestamp"] == str(NOW - 86_401)


@pytest.mark.parametrize("member", ["link", "test", "finished"])
def test_a_hint_that_is_no_number_is_refused(member):
    with pytest.raises(ValueError, match=member):
        VENDOR.expect({"stream": "link", "result": "7", member: "soon"}, {})


def test_a_search_that_the_budget_cuts_short_goes_on_where_it_stopped():
    def page(finish):
        row = {"result": {"link_result_id": finish, "time_finished": finish, "test_id": 1, "link_id": 1}}
        return 200, {"status": "ok", "server_timestamp": NOW, "more_results_exist": True, "results": [row]}

    class Short(Calls):
        def request(self, *args, **options):
            if len(self.made) == 2:
                raise BudgetExhausted("no call is left", retry_at=NOW + 3600)
            return super().request(*args, **options)

    reference = {"stream": "link", "result": "5"}
    calls = Short(None, page(NOW - 900), page(NOW - 600))
    [resume] = VENDOR.recheck(connect(calls), reference)
    assert int(resume.reference["read_until"]) >= NOW - 601
    with pytest.raises(BudgetExhausted):
        VENDOR.recheck(connect(calls), resume.reference)


@pytest.mark.parametrize(
    "reference", [{}, {"stream": "course"}, {"stream": "link"}, {"stream": "group", "user": "1", "test": "two"}]
)
def test_a_watch_that_names_no_attempt_is_refused_before_any_call(reference):
    _, calls = simulated()

    with pytest.raises(Unreadable, match="watch"):
        VENDOR.recheck(connect(calls), reference)
    assert calls.made == []


@pytest.mark.parametrize(
    "odd",
    [
        {"links": {}},
        {"links": False},
        {"groups": "none", "tests": [None, 7, {"test": None}]},
        {"access_lists": False},
        {"error": False},
        {"next_finished_after_timestamp": "soon"},
        {"server_timestamp": "now"},
    ],
)
def test_a_member_that_is_not_needed_loses_no_page(odd):
    status, answer = rows(NOW - 500, NOW - 400, more=False)

    page = connect(Calls(None, (status, answer | odd))).page("links", str(NOW - 600))

    assert len(page.records) == 2
    assert page.cursor == str(NOW - 400)


def test_what_is_no_row_is_quarantined_and_the_others_are_read():
    status, answer = rows(NOW - 500, NOW - 400, more=False)
    answer["results"][1:1] = [None, "text", {"result": None}]

    page = connect(Calls(None, (status, answer))).page("links", str(NOW - 600))

    assert len(page.records) == 5
    unreadable = 0
    for record in page.records:
        try:
            VENDOR.normalise(record, NOW, {})
        except Unreadable:
            unreadable += 1
    assert unreadable >= 3


def test_results_that_are_no_list_are_no_page():
    with pytest.raises(VendorUnavailable, match="results"):
        connect(Calls(None, (200, {"status": "ok", "results": {"0": {}}}))).page("links", str(NOW))
