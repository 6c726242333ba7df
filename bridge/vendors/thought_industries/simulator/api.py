"""The simulated Thought Industries' API: bearer key, ping, the list of attempts, rate limit."""

from __future__ import annotations

import base64
import binascii
import json
from collections import deque
from datetime import datetime
from math import ceil
from typing import TYPE_CHECKING, Any

from flask import Flask, Response, request

from bridge.vendors.thought_industries.simulator.rows import Attempt, row

if TYPE_CHECKING:
    from bridge.vendors.thought_industries.simulator import Simulator

__all__ = ["create_api"]

_PREFIX = "/incoming/v2"
_DEFAULT_ROWS = 25


class _BadRequest(Exception):
    """Becomes HTTP 400."""


class _Quota:
    """A sliding window over the times of the calls."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._calls: deque[float] = deque()

    def take(self) -> float | None:
        """Count a call; return the seconds to wait if none is left."""
        simulator, now = self._simulator, self._now()
        if len(self._calls) >= simulator.quota_calls:
            simulator.counter["quota_refusals"] += 1
            return self._calls[0] + simulator.quota_window - now
        self._calls.append(now)
        simulator.counter["api_calls"] += 1
        return None

    def headers(self) -> dict[str, str]:
        """The three headers of every answer; the reset is in whole UNIX seconds."""
        simulator, now = self._simulator, self._now()
        reset = (self._calls[0] if self._calls else now) + simulator.quota_window
        return {
            "X-RateLimit-Limit": str(simulator.quota_calls),
            "X-RateLimit-Remaining": str(simulator.quota_calls - len(self._calls)),
            "X-RateLimit-Reset": str(ceil(reset)),
        }

    def _now(self) -> float:
        now = self._simulator.now()
        while self._calls and self._calls[0] <= now - self._simulator.quota_window:
            self._calls.popleft()
        return now


def create_api(simulator: Simulator) -> Flask:
    """The WSGI app of one simulated tenant; the routes are also there without the prefix of the base address."""
    app = Flask("thought-industries-simulator")
    quota = _Quota(simulator)

    @app.before_request
    def admit() -> Response | None:
        return _refusal(simulator, quota)

    @app.after_request
    def tell_limit(answer: Response) -> Response:
        with simulator.lock:
            answer.headers.update(quota.headers())
        return answer

    @app.get("/ping", defaults={"prefix": ""})
    @app.get(f"{_PREFIX}/ping", defaults={"prefix": _PREFIX})
    def ping(prefix: str) -> dict[str, Any]:
        return {"valid": True}

    @app.get("/assessmentAttempts", defaults={"prefix": ""})
    @app.get(f"{_PREFIX}/assessmentAttempts", defaults={"prefix": _PREFIX})
    def attempts(prefix: str) -> tuple[dict[str, Any], int]:
        try:
            with simulator.lock:
                return _listing(simulator), 200
        except _BadRequest as error:
            return {"error": "bad_request", "message": str(error)}, 400

    return app


def _refusal(simulator: Simulator, quota: _Quota) -> Response | None:
    if simulator.api_fault == "maintenance":
        return Response("<html>We will be back soon</html>", status=503)
    if simulator.api_fault == "broken":
        return Response("<html>We will be back soon</html>", status=200)
    if request.headers.get("Authorization") != f"Bearer {simulator.api_key}":
        return Response(status=401)
    with simulator.lock:
        wait = quota.take()
    if wait is None:
        return None
    seconds = ceil(wait)
    body = {"error": "rate_limit_exceeded", "message": "Too many requests (invented text)", "retryAfter": seconds}
    answer = Response(json.dumps(body), status=429, content_type="application/json")
    answer.headers["Retry-After"] = str(seconds)
    return answer


def _listing(simulator: Simulator) -> dict[str, Any]:
    behaviour = simulator.behaviour
    size = _whole("perPage", _DEFAULT_ROWS)
    if not 1 <= size <= 100:
        raise _BadRequest("perPage is 1 to 100")
    size = min(size, behaviour.page_size)
    attempts = sorted(
        simulator.listed(
            created_from=_moment(simulator, "startDate"),
            created_until=_moment(simulator, "endDate"),
            user_id=request.args.get("userId"),
            course_id=request.args.get("courseId"),
        ),
        key=_place,
        reverse=behaviour.newest_first,
    )
    total = len(attempts)
    if cursor := request.args.get("cursor"):
        after = _read_cursor(cursor)
        attempts = [
            attempt
            for attempt in attempts
            if (_place(attempt) < after if behaviour.newest_first else _place(attempt) > after)
        ]
    else:
        attempts = attempts[size * (_whole("page", 1) - 1) :]
    page, more = attempts[:size], len(attempts) > size
    return _wrapped(simulator, page, total=total, size=size, more=more)


def _wrapped(simulator: Simulator, page: list[Attempt], *, total: int, size: int, more: bool) -> dict[str, Any]:
    behaviour = simulator.behaviour
    last = _cursor(page[-1]) if page else None
    info = {"perPage": size, "cursor": last, "total": total, "hasMore": more}
    rows = [
        row(attempt, full=behaviour.full_rows, sparse=behaviour.sparse, as_text=behaviour.as_text) for attempt in page
    ]
    inner: dict[str, Any] = {"pageInfo": info, "assessmentAttempts": rows}
    if behaviour.meta:
        # As the vendor's general page has it for every list.
        inner = {"assessmentAttempts": rows, "meta": {"totalCount": total, "nextCursor": last if more else None}}
    return {"data": {"AssessmentAttempts": inner}} if behaviour.wrapped else inner


def _place(attempt: Attempt) -> tuple[int, str]:
    return round(attempt.created * 1000), attempt.id


def _cursor(attempt: Attempt) -> str:
    created, attempt_id = _place(attempt)
    return base64.b64encode(json.dumps({"id": attempt_id, "createdAt": created}).encode()).decode()


def _read_cursor(text: str) -> tuple[int, str]:
    try:
        stored = json.loads(base64.b64decode(text, validate=True))
        return int(stored["createdAt"]), str(stored["id"])
    except (binascii.Error, ValueError, KeyError, TypeError) as error:
        raise _BadRequest("cursor is none of ours") from error


def _whole(name: str, default: int) -> int:
    text = request.args.get(name, str(default))
    if not text.isdecimal() or int(text) < 1:
        raise _BadRequest(f"{name} is a whole number from 1")
    return int(text)


def _moment(simulator: Simulator, name: str) -> float | None:
    """UNIX seconds of a date in the form this tenant takes; the other form is refused or overlooked."""
    text = request.args.get(name)
    if text is None:
        return None
    try:
        if simulator.behaviour.dates == "unix_ms":
            return int(text) / 1000
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%f%z").timestamp()
    except ValueError as error:
        if simulator.behaviour.overlooks_dates:
            return None
        raise _BadRequest(f"{name} is not a valid date") from error
