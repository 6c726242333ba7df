"""The simulated ClassMarker's API: signature, clock window, quota, paging, access lists, JSON and XML."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from html import escape
from typing import TYPE_CHECKING, Any, NoReturn

from flask import Flask, Response, request

from bridge.vendors.classmarker.simulator.sittings import CATALOGUE, PLACES, Sitting, poll_row

if TYPE_CHECKING:
    from bridge.vendors.classmarker.simulator import Simulator

__all__ = ["create_api"]

_CLOCK_WINDOW = 300
#: Never shorter than three calendar months, never longer.
_LOOK_BACK, _DEFAULT_LOOK_BACK = 89 * 86_400, 14 * 86_400
_NEXT_BELOW_BY = 140
_CODES_PER_CALL, _CODES_PER_LIST, _CODE_LENGTH = 100, 20_000, 255
_STREAMS = {"groups": "group", "links": "link"}


class _ApiError(Exception):
    """Becomes an answer with HTTP 200 and `status: error`."""

    def __init__(self, code: str, **more: Any) -> None:
        super().__init__(code)
        self.error = {"error_code": code, "error_message": f"{code} (invented text)", **more}


class _Quota:
    """A sliding window over the times of the calls."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._calls: deque[float] = deque()

    def take(self) -> None:
        simulator = self._simulator
        with simulator.lock:
            now = simulator.now()
            while self._calls and self._calls[0] <= now - simulator.quota_window:
                self._calls.popleft()
            if len(self._calls) >= simulator.quota_calls:
                simulator.counter["quota_refusals"] += 1
                raise _ApiError(
                    "rateLimitExceeded", next_request_after=int(self._calls[0] + simulator.quota_window) + 1
                )
            self._calls.append(now)
            simulator.counter["api_calls"] += 1


def create_api(simulator: Simulator) -> Flask:
    """The WSGI app of one simulated account."""
    app = Flask("classmarker-simulator")
    quota = _Quota(simulator)

    @app.get("/v1.<any(json, xml):form>")
    def catalogue(form: str) -> Response:
        return _answer(simulator, form, "v1", lambda: _catalogue(simulator, quota))

    @app.get("/v1/<any(groups, links):stream>/recent_results.<any(json, xml):form>")
    def all_results(stream: str, form: str) -> Response:
        return _answer(simulator, form, f"v1/{stream}/recent_results", lambda: _results(simulator, quota, stream))

    @app.get("/v1/<any(groups, links):stream>/<int:place>/tests/<int:test>/recent_results.<any(json, xml):form>")
    def results_of_one_test(stream: str, place: int, test: int, form: str) -> Response:
        path = f"v1/{stream}/{place}/tests/{test}/recent_results"
        return _answer(simulator, form, path, lambda: _results(simulator, quota, stream, place=place, test=test))

    @app.route("/v1/accesslists/<int:list_id>.<any(json, xml):form>", methods=["POST", "DELETE"])
    def access_list(list_id: int, form: str) -> Response:
        return _answer(simulator, form, f"v1/accesslists/{list_id}", lambda: _access_list(simulator, list_id))

    @app.errorhandler(404)
    def unknown_address(_: Exception) -> Response:
        return _answer(simulator, "json", request.path.strip("/"), lambda: _fail("incorrectUrl"))

    @app.errorhandler(405)
    def wrong_method(_: Exception) -> Response:
        return _answer(simulator, "json", request.path.strip("/"), lambda: _fail("incorrectRequestMethod"))

    return app


def _answer(simulator: Simulator, form: str, path: str, work: Any) -> Response:
    if simulator.api_fault == "broken":
        return Response("Bad gateway", status=502)
    head = {"status": "ok", "request_path": path, "server_timestamp": int(simulator.now())}
    try:
        _authenticate(simulator)
        if simulator.api_fault == "maintenance":
            _fail("offlineMaintenance")
        document = head | work()
    except _ApiError as error:
        document = head | {"status": "error", "error": error.error}
    if form == "xml":
        return Response(f"<response>{_xml(document)}</response>", mimetype="application/xml")
    return Response(json.dumps(document), mimetype="application/json")


def _fail(code: str) -> NoReturn:
    raise _ApiError(code)


def _authenticate(simulator: Simulator) -> None:
    given = request.args
    if given.get("api_key") != simulator.api_key:
        raise _ApiError("noApiKeyExists")
    timestamp = given.get("timestamp", "")
    text = f"{simulator.api_key}{simulator.api_secret}{timestamp}"
    if given.get("signature") != hashlib.new(simulator.behaviour.digest, text.encode()).hexdigest():
        raise _ApiError("apiKeyAuthFail")
    if not timestamp.isdecimal() or abs(int(timestamp) - simulator.now()) > _CLOCK_WINDOW:
        raise _ApiError("timeStampOutOfRange")


def _catalogue(simulator: Simulator, quota: _Quota) -> dict[str, Any]:
    quota.take()
    tests = [{"test": {"test_name": test.name, "test_id": str(test.id)}} for test in CATALOGUE]
    groups = [{"group_name": name, "group_id": key, "assigned_tests": tests} for key, name in PLACES["group"]]
    links = [
        {"link_name": name, "link_id": key, "link_url_id": f"abc{key}", "access_list_id": 3301, "assigned_tests": tests}
        for key, name in PLACES["link"]
    ]
    return {"groups": [{"group": group} for group in groups], "links": [{"link": link} for link in links]}


def _results(
    simulator: Simulator, quota: _Quota, stream: str, *, place: int | None = None, test: int | None = None
) -> dict[str, Any]:
    quota.take()
    after, limit = _whole("finishedAfterTimestamp"), _whole("limit")
    now = simulator.now()
    if after is None:
        after = int(now) - _DEFAULT_LOOK_BACK
    elif after < now - _LOOK_BACK:
        raise _ApiError("finishedAfterTimestampTooEarly")
    maximum = simulator.behaviour.page_size
    sittings = simulator.sittings(_STREAMS[stream], after, place=place, test=test)
    page = sittings[: maximum if limit is None else min(max(limit, 1), maximum)]
    if not page:
        return {"status": "no_results", "finished_after_timestamp_used": after}
    newest = page[-1].time_finished
    return {
        "finished_after_timestamp_used": after,
        **_names(stream, page),
        "results": [{"result": poll_row(sitting, newer_fields=simulator.behaviour.newer_fields)} for sitting in page],
        "num_results_available": len(sittings),
        "num_results_returned": len(page),
        "more_results_exist": len(sittings) > len(page),
        "next_finished_after_timestamp": newest - _NEXT_BELOW_BY if simulator.behaviour.next_below else newest,
    }


def _names(stream: str, page: list[Sitting]) -> dict[str, Any]:
    """Groups or links and tests of the page. Test ids are strings in link answers, numbers in group answers."""
    place = _STREAMS[stream]
    places = {sitting.place_id for sitting in page}
    tests = {sitting.test_id for sitting in page}
    return {
        stream: [{place: {f"{place}_id": key, f"{place}_name": name}} for key, name in PLACES[place] if key in places],
        "tests": [
            {"test": {"test_id": str(test.id) if place == "link" else test.id, "test_name": test.name}}
            for test in CATALOGUE
            if test.id in tests
        ],
    }


def _whole(name: str) -> int | None:
    text = request.args.get(name)
    if text is None:
        return None
    if not text.isdecimal():
        raise _ApiError("requestParamValidationError")
    return int(text)


def _access_list(simulator: Simulator, list_id: int) -> dict[str, Any]:
    try:
        codes = json.loads(request.get_data())
    except ValueError as error:
        raise _ApiError("invalidJson") from error
    valid = isinstance(codes, list) and len(codes) <= _CODES_PER_CALL
    if not valid or not all(isinstance(code, str) and 0 < len(code) <= _CODE_LENGTH for code in codes):
        raise _ApiError("payloadValidationError")
    with simulator.lock:
        kept = simulator.access_lists.get(list_id)
        if kept is None:
            raise _ApiError("incorrectUrlId")
        before = len(kept)
        if request.method == "DELETE":
            kept.difference_update(codes)
            change = {"num_codes_deleted": before - len(kept)}
        elif len(kept.union(codes)) > _CODES_PER_LIST:
            raise _ApiError("custom_error")
        else:
            kept.update(codes)
            change = {"num_codes_added": len(kept) - before}
        facts = {"access_list_id": list_id, "access_list_name": "Partners", **change, "num_codes_total": len(kept)}
    return {"access_lists": {"access_list": facts}}


def _xml(value: Any, name: str = "") -> str:
    """XML as the vendor prints it: false is an empty element, and a duration starts with a stray quote."""
    if isinstance(value, dict):
        return "".join(f"<{key}>{_xml(member, key)}</{key}>" for key, member in value.items())
    if isinstance(value, list):
        return "".join(_xml(member) for member in value)
    if isinstance(value, bool):
        return "true" if value else ""
    return ('"' if name == "duration" else "") + escape(str(value), quote=False)
