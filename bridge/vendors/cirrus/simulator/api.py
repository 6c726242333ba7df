"""The simulated Cirrus's API: token, quota by day, results in two shapes, attempts and schedules in their wrapper."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, request

from bridge.vendors.cirrus.simulator.sittings import iso, person, shape_a, shape_b

if TYPE_CHECKING:
    from bridge.vendors.cirrus.simulator import Simulator

__all__ = ["create_api"]

_DAY = 86_400.0


class _Quota:
    """Calls of `/results` since the last reset; the day begins at `quota_resets_at` seconds after midnight UTC."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._day = -1
        self._used = 0

    def take(self) -> bool:
        simulator = self._simulator
        with simulator.lock:
            day = int((simulator.now() - simulator.quota_resets_at) // simulator.quota_window)
            if day != self._day:
                self._day, self._used = day, 0
            if self._used >= simulator.quota_calls:
                simulator.refused += 1
                return False
            self._used += 1
            simulator.counter["results_calls"] += 1
            return True


def create_api(simulator: Simulator) -> Flask:
    """The WSGI app of one simulated environment."""
    app = Flask("cirrus-simulator")
    quota, base = _Quota(simulator), simulator.base_path

    @app.before_request
    def authenticate() -> Response | None:
        simulator.counter["api_calls"] += 1
        if simulator.api_fault == "broken":
            return _answer("Internal server error", 500)
        if request.headers.get("Authorization") != f"EAPI {simulator.token}":
            return _answer({"Message": "Not allowed to use external API"}, 403)
        return None

    @app.get(f"{base}/results")
    def results() -> Response:
        if not quota.take():
            return _answer({"Message": "API quota exceeded"}, simulator.behaviour.quota_refusal)
        return _results(simulator)

    @app.get(f"{base}/external/schedule/<path:schedule>/attempt-info")
    def attempt_info(schedule: str) -> Response:
        return _attempt_info(simulator, schedule, request.args.get("CandidateExtId", ""))

    @app.get(f"{base}/external/schedule/<path:schedule>")
    def schedule_info(schedule: str) -> Response:
        return _schedule_info(simulator, schedule)

    @app.errorhandler(404)
    def unknown_address(_: Exception) -> Response:
        return _answer("Url not found", 404)

    return app


def _answer(document: Any, status: int = 200) -> Response:
    body = document if isinstance(document, str) else json.dumps(document)
    return Response(body, status=status, mimetype="application/json")


def _results(simulator: Simulator) -> Response:
    candidate, schedule, attempt = (
        request.args.get(name) for name in ("CandidateExtId", "ScheduleExtId", "AttemptExtId")
    )
    if not candidate and not attempt:
        return _answer({"Message": "Missing parameter: CandidateExtId"}, 400)
    with simulator.lock:
        sittings = simulator.of(candidate, schedule, attempt)
        # A no-show is listed only once it is published; for others the behaviour decides.
        open_too = simulator.behaviour.show_unpublished
        rows = [
            sitting for sitting in sittings if sitting.shown is not None or (open_too and sitting.handed_in is not None)
        ]
        if not rows:
            return _nothing(simulator, f"User/Candidate {candidate or attempt} was not found")
        if attempt is not None and not simulator.behaviour.attempt_in_shape_a:
            document: Any = shape_b(rows[0])
        elif attempt is None and schedule is None:
            document = [shape_b(sitting) for sitting in rows]
        else:
            # It is not known which of several attempts the vendor returns; here it is the one handed in last.
            last = max(rows, key=lambda sitting: sitting.number)
            document = shape_b(last) if last.handed_in is None else _with_counts(simulator, last)
    document = _retyped(document, simulator.behaviour.types)
    wrapped = {"Content": document, "Success": True, "Errors": []}
    return _answer(wrapped if simulator.behaviour.wrapped_results else document)


def _with_counts(simulator: Simulator, sitting: Any) -> dict[str, Any]:
    handed_in = [other for other in simulator.of(sitting.candidate) if other.handed_in is not None]
    return shape_a(
        sitting,
        in_schedule=sum(other.schedule == sitting.schedule for other in handed_in),
        of_assessment=sum(other.assessment == sitting.assessment for other in handed_in),
    )


def _retyped(value: Any, types: str) -> Any:
    """The same document with every number as text, or every numeric text as a number."""
    if isinstance(value, dict):
        return {name: _retyped(member, types) for name, member in value.items()}
    if isinstance(value, list):
        return [_retyped(item, types) for item in value]
    if types == "text" and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if types == "numbers" and isinstance(value, str) and value.replace(".", "", 1).isdecimal():
        return float(value) if "." in value else int(value)
    return value


def _nothing(simulator: Simulator, message: str) -> Response:
    answers = {
        "400": ({"Message": message}, 400),
        "404": ({"Message": message}, 404),
        "list": ([], 200),
        "empty": ("", 204),
        "message": ({"Success": False, "Message": message}, 200),
    }
    return _answer(*answers[simulator.behaviour.nothing])


def _attempt_info(simulator: Simulator, schedule: str, candidate: str) -> Response:
    with simulator.lock:
        plan = simulator.schedules.get(schedule)
        if plan is None:
            return _refused(301, "Schedule not found")
        if candidate not in plan.candidates:
            return _refused(203, "User is not in schedule")
        if plan.begins > simulator.now():
            return _refused(310, "Schedule has not begun")
        attempts = [
            {
                "AttemptNumber": sitting.number,
                "StartDate": iso(sitting.started),
                "EndDate": iso(sitting.handed_in),
                "Status": "HANDED_IN",
            }
            for sitting in simulator.of(candidate, schedule)
            if sitting.handed_in is not None and not sitting.voided
        ]
    return _answer({"Content": {"Attempts": attempts}, "Success": True, "Errors": []})


def _schedule_info(simulator: Simulator, schedule: str) -> Response:
    with simulator.lock:
        plan = simulator.schedules.get(schedule)
        if plan is None:
            return _refused(301, "Schedule not found")
        content = {
            "ExternalId": schedule,
            "Title": f"Schedule {schedule}",
            "StartDateTime": iso(plan.begins),
            "EndDateTime": iso(plan.begins + 30 * _DAY),
            "ArchiveState": 1,
            "IsActivated": True,
            "Candidates": [
                {name: value for name, value in person(candidate).items() if name != "Email"}
                for candidate in plan.candidates
            ],
        }
    return _answer({"Content": content, "Success": True, "Errors": []})


def _refused(code: int, message: str) -> Response:
    return _answer({"Content": None, "Success": False, "Errors": [{"Code": code, "Message": message}]}, 400)
