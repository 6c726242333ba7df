"""The simulated Mettl's API: signature, time stamp, rate limit, schedules, tests, paging, one candidate."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections import deque
from collections.abc import Callable, Sequence
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

from flask import Flask, Response, request

from bridge.vendors.mettl.simulator.sittings import Schedule, Sitting, api_row

if TYPE_CHECKING:
    from bridge.vendors.mettl.simulator import Simulator

__all__ = ["create_api", "signature"]

_One = TypeVar("_One")
_DAY = 86_400
#: Code -> HTTP status, if the vendor is set to report errors by status as well.
_HTTP = {"E400": 400, "E401": 401, "E403": 403, "E404": 404, "E405": 405, "E422": 422, "E503": 503, "E509": 429}
_HTTP["E504"] = 422


class _ApiError(Exception):
    """Becomes an answer with `status: ERROR`."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


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
                raise _ApiError("E509")
            self._calls.append(now)
            simulator.counter["api_calls"] += 1


def signature(private_key: str, version: str, method: str, url: str, values: Sequence[tuple[str, str]]) -> str:
    """What `asgn` must be according to the vendor's page: method and address, then each value on its own line."""
    lines = [method + url]
    for name in sorted(name for name, _ in values):
        lines.append(dict(values)[name])
    digest = hashlib.sha1 if version == "v1" else hashlib.sha256
    mac = hmac.new(private_key.encode("utf-8"), "\n".join(lines).encode("utf-8"), digest)
    return base64.b64encode(mac.digest()).decode("ascii")


def create_api(simulator: Simulator) -> Flask:
    """The WSGI app of one simulated account."""
    app = Flask("mettl-simulator")
    quota = _Quota(simulator)

    def answer(work: Callable[[], dict[str, Any]]) -> Response:
        if simulator.api_fault == "broken":
            return Response("Bad gateway", status=502)
        return _answer(simulator, quota, work)

    @app.get("/<any(v1, v2, v3):version>/account")
    def account(version: str) -> Response:
        return answer(lambda: {"account": {"name": "Sandbox"}})

    @app.get("/<any(v1, v2, v3):version>/assessments")
    def assessments(version: str) -> Response:
        return answer(lambda: _paged("assessments", simulator.tests, lambda test: {"id": test.id, "name": test.name}))

    @app.get("/<any(v1, v2, v3):version>/assessments/<int:test>/schedules")
    def schedules_of(version: str, test: int) -> Response:
        matches = [_schedule(schedule) for schedule in simulator.schedules if schedule.test.id == test]
        return answer(lambda: {"schedules": matches})

    @app.get("/<any(v1, v2, v3):version>/schedules")
    def schedules(version: str) -> Response:
        return answer(lambda: _paged("schedules", simulator.schedules, _schedule))

    @app.get("/<any(v1, v2, v3):version>/schedules/<key>")
    def schedule(version: str, key: str) -> Response:
        return answer(lambda: {"schedule": _schedule(_known(simulator, key))})

    @app.get("/<any(v1, v2, v3):version>/schedules/<key>/candidates")
    def candidates(version: str, key: str) -> Response:
        return answer(lambda: _candidates(simulator, _known(simulator, key)))

    @app.get("/<any(v1, v2, v3):version>/schedules/<key>/candidates/<path:email>")
    def candidate(version: str, key: str, email: str) -> Response:
        return answer(lambda: _one(simulator, _listed(simulator, _known(simulator, key)), email))

    @app.get("/<any(v1, v2, v3):version>/candidates/<path:email>")
    def everywhere(version: str, email: str) -> Response:
        return answer(
            lambda: _one(
                simulator,
                [sitting for schedule in simulator.schedules for sitting in _listed(simulator, schedule)],
                email,
            )
        )

    app.register_error_handler(404, lambda _: answer(lambda: _fail("E404")))
    app.register_error_handler(405, lambda _: answer(lambda: _fail("E405")))
    return app


def _fail(code: str) -> dict[str, Any]:
    raise _ApiError(code)


def _answer(simulator: Simulator, quota: _Quota, work: Callable[[], dict[str, Any]]) -> Response:
    behaviour, status = simulator.behaviour, 200
    try:
        _authenticate(simulator)
        if simulator.api_fault == "unavailable":
            _fail("E503")
        quota.take()
        document = {"status": "SUCCESS" if behaviour.capitals else "Success", **work()}
    except _ApiError as error:
        status = _HTTP[error.code] if behaviour.http_errors else 200
        document = {"status": "ERROR", "error": {"code": error.code, "message": f"{error.code} (invented text)"}}
    headers = {"Date": formatdate(simulator.now(), usegmt=True)}
    return Response(json.dumps(document), status=status, mimetype="application/json", headers=headers)


def _authenticate(simulator: Simulator) -> None:
    given = [(name, value) for name, value in request.args.items(multi=True) if name != "asgn"]
    version = request.path.split("/")[1]
    # The address as the client sees it: a proxy in between must not break signatures.
    base = simulator.base_url or request.url_root.rstrip("/")
    wanted = signature(simulator.private_key, version, request.method, base + request.path, given)
    if request.args.get("ak") != simulator.public_key:
        raise _ApiError("E401")
    if not hmac.compare_digest(request.args.get("asgn", "").encode(), wanted.encode()):
        raise _ApiError("E401")
    timestamp = request.args.get("ts", "")
    if not timestamp.isdecimal():
        raise _ApiError("E504")
    if abs(int(timestamp) - simulator.now()) > _DAY:
        raise _ApiError("E422")


def _known(simulator: Simulator, key: str) -> Schedule:
    for schedule in simulator.schedules:
        if schedule.access_key == key:
            return schedule
    raise _ApiError("E404")


def _schedule(schedule: Schedule) -> dict[str, Any]:
    return {
        "id": 40_000 + schedule.test.id,
        "name": schedule.name,
        "accessKey": schedule.access_key,
        "accessUrl": f"https://vendor.example/authenticateKey/{schedule.access_key}",
        "status": "ACTIVE",
        "assessmentId": schedule.test.id,
    }


def _candidates(simulator: Simulator, schedule: Schedule) -> dict[str, Any]:
    sort, order = request.args.get("sort", "testStartTime"), request.args.get("sort_order", "desc")
    if sort not in ("testStartTime", "name") or order not in ("asc", "desc"):
        raise _ApiError("E400")
    rows = _listed(simulator, schedule)
    if sort == "name":
        rows.sort(key=lambda sitting: (sitting.first, sitting.last), reverse=order == "desc")
    else:
        rows = _by_start(rows, descending=order == "desc", unstarted_first=simulator.behaviour.unstarted_first)
    return _paged("candidates", rows, lambda sitting: _row(simulator, sitting), page_size=simulator.behaviour.page_size)


def _listed(simulator: Simulator, schedule: Schedule) -> list[Sitting]:
    return simulator.sittings(schedule.access_key)


def _by_start(rows: list[Sitting], *, descending: bool, unstarted_first: bool) -> list[Sitting]:
    """It is not documented where candidates without a start are listed."""
    begun = sorted(
        (sitting for sitting in rows if sitting.started), key=lambda sitting: sitting.started, reverse=descending
    )
    others = [sitting for sitting in rows if not sitting.started]
    return others + begun if unstarted_first else begun + others


def _one(simulator: Simulator, rows: list[Sitting], email: str) -> dict[str, Any]:
    matches = [_row(simulator, sitting) for sitting in rows if sitting.email.lower() == email.strip().lower()]
    if not matches:
        raise _ApiError("E404")
    return {"candidate": matches[0]} if simulator.behaviour.alone else {"candidates": matches}


def _row(simulator: Simulator, sitting: Sitting) -> dict[str, Any]:
    wanted, essays = request.args.get("ir"), request.args.get("qr", "false")
    if wanted not in (None, '{"recommendation":true}') or essays not in ("true", "false"):
        raise _ApiError("E400")
    return api_row(sitting, simulator.behaviour.style, recommendation=wanted is not None, essays=essays == "true")


def _paged(
    member: str, rows: Sequence[_One], show: Callable[[_One], dict[str, Any]], *, page_size: int = 100
) -> dict[str, Any]:
    limit, offset = _whole("limit", 20), _whole("offset", 0)
    if not 1 <= limit <= 100 or (offset and offset >= len(rows)):
        raise _ApiError("E400")
    limit = min(limit, page_size)
    more = offset + limit < len(rows)
    return {
        member: [show(sitting) for sitting in rows[offset : offset + limit]],
        "paging": {
            "previous": _address(offset=max(offset - limit, 0)) if offset else None,
            "next": _address(offset=offset + limit) if more else None,
        },
    }


def _address(**changes: int) -> str:
    """Another page's address, with the parameters of this one, but without those that authenticate the caller."""
    kept = {name: value for name, value in request.args.items() if name not in ("ak", "ts", "asgn")}
    return f"{request.base_url}?{urlencode({**kept, **{name: str(value) for name, value in changes.items()}})}"


def _whole(name: str, default: int) -> int:
    text = request.args.get(name, str(default))
    if not text.isdecimal():
        raise _ApiError("E400")
    return int(text)
