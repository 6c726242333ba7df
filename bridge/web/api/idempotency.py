"""`Idempotency-Key`: for a day, a POST that is repeated with its key is not done again, and gets the first answer."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any, cast

from flask import Flask, Response, g, request

from bridge.errors import StateUnavailable
from bridge.state import keys
from bridge.state.errors import state_errors
from bridge.state.stored_json import UnreadableRecord, json_object
from bridge.text import text_problem
from bridge.web.api.auditing import not_a_change
from bridge.web.api.bodies import read_body
from bridge.web.api.common import caller_here, refuse, services_here

__all__ = ["HEADER", "register_once"]

HEADER = "Idempotency-Key"
_LONGEST = 200
#: How long an answer is kept; and how long a call may take before its key may be used again.
_ANSWER_SECONDS, _CALL_SECONDS = 86_400, 120


def _begin() -> Response | None:
    """Before a POST with a key: the answer of the first call with it; None if this is the first one."""
    given = request.headers.get(HEADER)
    caller = caller_here()
    if request.method != "POST" or given is None or caller is None:
        return None
    if not given or text_problem(given, longest=_LONGEST):
        problem = f"must have 1 to {_LONGEST} printable characters"
        refuse(422, f"{HEADER} {problem}. Remedy: send a new random text, such as a UUID", errors={HEADER: [problem]})
    key = keys.idempotent_call(sha256(f"{caller.name}\0{given}".encode()).hexdigest())
    call = sha256(f"{request.full_path}\0".encode() + read_body(request)).hexdigest()
    state = services_here().state
    with state_errors():
        if state.set(key, json.dumps({"call": call}), nx=True, ex=_CALL_SECONDS):
            g.idempotent = (key, call)
            return None
        stored = _record(cast("bytes | None", state.get(key)) or b"{}")
    if stored.get("call") != call:
        refuse(422, f"{HEADER}: used for another call before. Remedy: send a new key for each call")
    if not stored.keys() >= {"status", "type", "body"}:
        refuse(409, f"{HEADER}: the first call with it is under way. Remedy: repeat it in a moment")
    not_a_change()
    answer = Response(stored["body"], status=stored["status"], content_type=stored["type"])
    answer.headers["Idempotency-Replayed"] = "true"
    return answer


def _record(stored: bytes) -> dict[str, Any]:
    try:
        return json_object(stored)
    except UnreadableRecord:
        return {}  # refused as another call's key: what was done under it is not known


def _finish(answer: Response) -> Response:
    """After a POST with a key: keep its answer if it was done; otherwise the key may be used again."""
    key, call = g.pop("idempotent", (None, None))
    if key is None:
        return answer
    state = services_here().state
    try:
        with state_errors():
            if 200 <= answer.status_code < 300:
                record: dict[str, Any] = {"call": call, "status": answer.status_code, "type": answer.content_type}
                state.set(key, json.dumps(record | {"body": answer.get_data(as_text=True)}), ex=_ANSWER_SECONDS)
            else:
                state.delete(key)
    except StateUnavailable:
        # The call was done, so this is its answer; a repetition is refused until the key expires.
        return answer
    return answer


def register_once(app: Flask) -> None:
    """Have every call of the API done only once for each key."""
    app.before_request(_begin)
    app.after_request(_finish)
