"""The simulated ClassMarker keeps to the vendor's pages: webhooks over real HTTP, faults, quota, paging, XML."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections import Counter
from collections.abc import Iterator

import pytest
from werkzeug.test import Client
from werkzeug.wrappers import Request, Response

from bridge.vendors.classmarker.simulator import Behaviour, Simulator
from tests.support.servers import serving
from tests.support.waiting import until

NOW = 1_795_000_000


class Receiver:
    """A real HTTP server that keeps what it gets."""

    def __init__(self) -> None:
        self.got: list[tuple[bytes, str]] = []
        self.url = ""

    @Request.application
    def app(self, request: Request) -> Response:
        self.got.append((request.get_data(), request.headers["X-Classmarker-Hmac-Sha256"]))
        return Response(status=200)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    with serving(receiver.app) as address:
        receiver.url = f"{address}/webhooks/cm"
        yield receiver


def deliver(simulator, receiver):
    simulator.start_webhooks(receiver.url)
    until(lambda: simulator.webhooks_pending() == 0)
    simulator.stop()


def get(simulator, path, **params):
    timestamp = str(params.pop("timestamp", int(simulator.now())))
    secret = f"{simulator.api_key}{simulator.api_secret}{timestamp}".encode()
    query = {
        "api_key": simulator.api_key,
        "timestamp": timestamp,
        "signature": hashlib.sha256(secret).hexdigest(),
        **params,
    }
    return Client(simulator.wsgi).get(path, query_string=query)


def test_saving_the_webhook_sends_the_signed_sample_and_then_every_result(receiver):
    simulator = Simulator(1, lambda: NOW, webhook_secret="phrase")
    ids = [simulator.finish_random() for _ in range(5)]

    deliver(simulator, receiver)

    assert [json.loads(raw)["payload_status"] for raw, _ in receiver.got] == ["verify"] + ["live"] * 5
    for raw, signature in receiver.got:
        assert base64.b64decode(signature) == hmac.new(b"phrase", raw, hashlib.sha256).digest()
    assert {key: attempt.sent for key, attempt in simulator.expected().items()} == dict.fromkeys(ids, 1)


def test_grading_sends_nothing_and_moves_no_time_but_reopening_does_both(receiver):
    clock = [float(NOW)]
    simulator = Simulator(1, lambda: clock[0], behaviour=Behaviour(verify_on_save=False))
    attempt_id = simulator.finish(channel="group", test_id=90013, points_available=30.0, requires_grading=True)
    simulator.grade(attempt_id, points_scored=30.0)
    graded = simulator.expected()[attempt_id]
    clock[0] += 86_400
    simulator.reopen(attempt_id)
    reopened = simulator.expected()[attempt_id]

    deliver(simulator, receiver)

    assert (graded.needs_grading, graded.finished_at, graded.versions, graded.percentage) == (False, NOW, 2, 100.0)
    assert (reopened.finished_at, reopened.versions) == (NOW + 86_400, 3)
    assert [json.loads(raw)["result"]["requires_grading"] for raw, _ in receiver.got] == ["Yes", "No"]


def test_the_api_refuses_as_documented_and_always_with_status_200():
    clock = [float(NOW)]
    simulator = Simulator(1, lambda: clock[0], quota_calls=2, quota_window=60)

    def code(path="/v1.json", **params):
        answer = get(simulator, path, **params)
        assert answer.status_code == 200
        return answer.json.get("error", {}).get("error_code")

    assert code(api_key="other") == "noApiKeyExists"
    assert code(signature="0" * 64) == "apiKeyAuthFail"
    assert code(timestamp=NOW - 301) == code(timestamp=NOW + 301) == "timeStampOutOfRange"
    assert code("/v2.json") == "incorrectUrl"
    assert code("/v1/accesslists/3301.json") == "incorrectRequestMethod"
    assert code(timestamp=NOW - 300) is None
    assert code("/v1/groups/recent_results.json", finishedAfterTimestamp="soon") == "requestParamValidationError"
    limited = get(simulator, "/v1.json").json
    assert limited["error"]["error_code"] == "rateLimitExceeded"
    assert NOW < limited["error"]["next_request_after"] <= NOW + 61
    clock[0] = limited["error"]["next_request_after"]
    assert code("/v1/links/recent_results.json", finishedAfterTimestamp=NOW - 100 * 86_400) == (
        "finishedAfterTimestampTooEarly"
    )
    simulator.api_fault = "maintenance"
    assert code() == "offlineMaintenance"
    simulator.api_fault = "broken"
    assert get(simulator, "/v1.json").status_code == 502
    assert simulator.counts()["quota_refusals"] == 1


def test_a_query_may_start_with_an_ampersand():
    simulator = Simulator(1, lambda: NOW)
    text = f"{simulator.api_key}{simulator.api_secret}{NOW}".encode()
    query = f"&api_key={simulator.api_key}&timestamp={NOW}&signature={hashlib.sha256(text).hexdigest()}"

    assert Client(simulator.wsgi).get(f"/v1.json?{query}").json["status"] == "ok"


@pytest.mark.parametrize(("inclusive", "expected"), [(False, 2), (True, 3)])
def test_pages_run_oldest_first_and_after_means_what_the_switch_says(inclusive, expected):
    simulator = Simulator(1, lambda: NOW, behaviour=Behaviour(inclusive=inclusive, page_size=200))
    for moment in (NOW - 10, NOW - 30, NOW - 20):
        simulator.finish(channel="link", time_finished=moment)

    page = get(simulator, "/v1/links/recent_results.json", finishedAfterTimestamp=NOW - 30, limit=999).json
    finishes = [row["result"]["time_finished"] for row in page["results"]]

    assert len(finishes) == expected
    assert finishes == sorted(finishes)
    assert page["next_finished_after_timestamp"] == NOW - 10
    first = get(simulator, "/v1/links/recent_results.json", limit=1).json
    assert (first["more_results_exist"], first["num_results_available"]) == (True, 3)
    nothing = get(simulator, "/v1/groups/recent_results.json").json
    assert nothing["status"] == "no_results"
    assert "next_finished_after_timestamp" not in nothing


def test_a_test_id_is_text_in_the_names_of_links_and_a_number_in_those_of_groups():
    simulator = Simulator(1, lambda: NOW)
    for channel in ("group", "link"):
        simulator.finish(channel=channel, test_id=90011)

    kinds = {
        stream: type(get(simulator, f"/v1/{stream}/recent_results.json").json["tests"][0]["test"]["test_id"])
        for stream in ("groups", "links")
    }
    assert kinds == {"groups": int, "links": str}


def test_xml_has_the_vendors_quirks():
    simulator = Simulator(1, lambda: NOW, behaviour=Behaviour(next_below=True))
    simulator.finish(channel="group", pass_mark=70, points_scored=0.0, points_available=6.0, last="O'Neill & <Co>")

    text = get(simulator, "/v1/groups/recent_results.xml").text

    assert "<passed></passed>" in text
    assert "<more_results_exist></more_results_exist>" in text
    assert '<duration>"0' in text
    assert "<last>O'Neill &amp; &lt;Co&gt;</last>" in text
    assert f"<next_finished_after_timestamp>{NOW - 140}</next_finished_after_timestamp>" in text


def test_invented_life_has_both_channels_surveys_missing_pass_marks_and_open_essays():
    simulator = Simulator(2, lambda: NOW)
    ids = [simulator.finish_random() for _ in range(300)]
    sittings = [sitting for channel in ("group", "link") for sitting in simulator.sittings(channel, 0)]

    assert len(set(ids)) == 300
    assert Counter(sitting.channel for sitting in sittings).keys() == {"group", "link"}
    assert any(sitting.points_available == 0 for sitting in sittings)
    assert any(sitting.points_available and not sitting.pass_mark for sitting in sittings)
    assert any(sitting.requires_grading for sitting in sittings)
    assert any(not sitting.feedback.isascii() for sitting in sittings)
