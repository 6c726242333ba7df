"""The simulated Coremetrix' API: the key, a quota, the three reads of the report, the names of events."""

from __future__ import annotations

from collections import deque
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, abort, jsonify, request

from bridge.vendors.coremetrix.simulator.attempts import EVENTS, Attempt, attempt_row

if TYPE_CHECKING:
    from bridge.vendors.coremetrix.simulator import Simulator

__all__ = ["create_api"]

_LONGEST_SPAN = 7 * 86_400


def create_api(simulator: Simulator) -> Flask:
    """The WSGI app of one simulated account."""
    app = Flask("coremetrix-simulator")
    calls: deque[float] = deque()

    @app.before_request
    def admit() -> Response | None:
        if simulator.api_fault is not None:
            return Response("invented trouble", status=simulator.api_fault)
        given = request.headers.get("apikey") if simulator.behaviour.key_in_header else request.args.get("apikey")
        if given != simulator.api_key:
            return Response(status=401)
        return None if _take(simulator, calls) else Response(status=429)

    @app.get("/report/attempts")
    def attempts() -> Response:
        if "customId" in request.args:
            return _by_person(simulator, request.args["customId"])
        return jsonify({"results": _people(simulator, _selected(simulator))})

    @app.get("/report/attempts/<attempt_id>")
    def attempt(attempt_id: str) -> Response:
        attempts = [attempt for attempt in simulator.visible(include_test=True) if attempt.id == attempt_id.lower()]
        if not attempts:
            abort(404)
        row = attempt_row(attempts[0], by_id=True, text=simulator.behaviour.text)
        return jsonify({"attempts": [row]} if simulator.behaviour.enveloped else row)

    @app.get("/subscriptions/events")
    def events() -> Response:
        return jsonify({"events": list(EVENTS)} if simulator.behaviour.enveloped else list(EVENTS))

    return app


def _take(simulator: Simulator, calls: deque[float]) -> bool:
    """One call of the sliding window, if one is left."""
    with simulator.lock:
        now = simulator.now()
        while calls and calls[0] <= now - simulator.quota_window:
            calls.popleft()
        if len(calls) >= simulator.quota_calls:
            simulator.refused += 1
            return False
        calls.append(now)
        simulator.counter["api_calls"] += 1
        return True


def _by_person(simulator: Simulator, custom_id: str) -> Response:
    listed = [attempt for attempt in simulator.visible(include_test=False) if attempt.custom_id == custom_id]
    if not listed and simulator.behaviour.missing_is_404:
        abort(404)
    people = _people(simulator, listed) or [{"customId": custom_id, "attempts": []}]
    return jsonify({"results": people} if simulator.behaviour.enveloped else people[0])


def _people(simulator: Simulator, listed: list[Attempt]) -> list[dict[str, Any]]:
    def whose(attempt: Attempt) -> str:
        return attempt.custom_id

    text = simulator.behaviour.text
    return [
        {"customId": custom_id, "attempts": [attempt_row(attempt, by_id=False, text=text) for attempt in attempts]}
        for custom_id, attempts in groupby(sorted(listed, key=whose), whose)
    ]


def _selected(simulator: Simulator) -> list[Attempt]:
    """The attempts of a window; 400 for one of more than seven days, as documented."""
    end = _moment("to", simulator.now())
    begin = _moment("from", end - _LONGEST_SPAN)
    if not 0 <= end - begin <= _LONGEST_SPAN:
        abort(400)
    behaviour, quiz_id = simulator.behaviour, request.args.get("quizId", "").lower()
    attempts = []
    for attempt in simulator.visible(include_test=request.args.get("includeTest") == "true"):
        moment = getattr(attempt, behaviour.selects)
        inside = moment is not None and (begin <= moment <= end if behaviour.inclusive else begin < moment < end)
        if inside and quiz_id in ("", attempt.quiz.id):
            attempts.append(attempt)
    return attempts[: behaviour.page_limit]


def _moment(name: str, default: float) -> float:
    text = request.args.get(name)
    if text is None:
        return default
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        abort(400)
    # "2026-02-23T00:00:01+00:00" loses its plus on the way unless it is encoded.
    return moment.timestamp() if moment.tzinfo else abort(400)
