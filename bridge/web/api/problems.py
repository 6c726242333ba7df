"""Errors as problem details (RFC 9457): one shape for every status, whoever raises it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, current_app, g, request
from marshmallow import EXCLUDE, Schema, fields
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from bridge.config import access
from bridge.errors import StateUnavailable, clip

__all__ = [
    "MEDIA_TYPE",
    "ProblemDetails",
    "problem_answer",
    "problem_body",
    "problem_list",
    "register_errors",
    "state_problem",
]

MEDIA_TYPE = "application/problem+json"
_RETRY_SECONDS = 10
#: The detail of an error without a text of its own; for any other status, its name.
_DETAILS = {
    400: "the request is not well-formed",
    404: "unknown address. Remedy: see /api/v1/openapi.json for all addresses",
    413: "the body is too large",
    500: "unexpected error. Remedy: see the log of web",
}


class _Answer(Schema):
    """Later versions may add members to answers."""

    class Meta:
        unknown = EXCLUDE


class Problem(_Answer):
    """What is wrong with one member or parameter."""

    path = fields.String(
        required=True,
        metadata={"description": "The member or parameter, such as `reference.result`; empty: the body as a whole."},
    )
    message = fields.String(required=True, metadata={"description": "What is wrong with it, in one line."})


class ProblemDetails(_Answer):
    """An error, for every status from 400 on (RFC 9457)."""

    type = fields.String(
        required=True, metadata={"description": "Always `about:blank`: the status is the kind of error."}
    )
    title = fields.String(required=True, metadata={"description": "The name of the status."})
    status = fields.Integer(required=True, metadata={"description": "The status of the answer."})
    detail = fields.String(
        required=True,
        metadata={"description": "What is wrong, in one line.", "examples": ["the watch was not registered"]},
    )
    problems = fields.List(
        fields.Nested(Problem),
        required=True,
        metadata={
            "description": "What is wrong with each member; empty: there is no more to say.",
            "examples": [[{"path": "deadline", "message": "is in the past or before `due`. Give a later one"}]],
        },
    )


def register_errors(app: Flask) -> None:
    """Answer every error of the application with problem details."""
    app.register_error_handler(HTTPException, _http_problem)
    app.register_error_handler(StateUnavailable, state_problem)
    app.after_request(_correct_options)


def _allowed_methods() -> set[str]:
    """The methods of the request's own address; werkzeug adds those of `/watches/<ident>` to `/watches/import`."""
    rules = (rule for rule in current_app.url_map.iter_rules() if rule.rule == request.path)
    return {method for rule in rules for method in rule.methods or ()}


def _correct_options(answer: Response) -> Response:
    if request.method == "OPTIONS" and (methods := _allowed_methods()):
        answer.headers["Allow"] = ", ".join(sorted(methods))
    return answer


def problem_body(
    status: int, detail: str, problems: Sequence[Mapping[str, str]] = (), more: Mapping[str, Any] | None = None
) -> bytes:
    """The problem details of a request that failed. `more`: further members."""
    document = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return json.dumps({**document, "problems": list(problems), **(more or {})}).encode()


def problem_answer(
    status: int, detail: str, problems: Sequence[Mapping[str, str]] = (), more: Mapping[str, Any] | None = None
) -> Response:
    """The answer with these problem details."""
    return Response(problem_body(status, detail, problems, more), status=status, content_type=MEDIA_TYPE)


def _http_problem(error: HTTPException) -> Response:
    status = error.code or 500
    details = getattr(error, "data", None) or {}
    # webargs nests messages below the location they are about, such as `query`; our own are not nested.
    places: Iterable[Any] = (details.get("messages") or {}).values()
    problems = [problem for value in (details.get("errors"), *places) for problem in problem_list(value)]
    allowed = (
        ", ".join(sorted(_allowed_methods() or error.valid_methods or ()))
        if isinstance(error, MethodNotAllowed)
        else ""
    )
    if len(problems) == 1:
        fallback = ": ".join(part for part in problems[0].values() if part)
    elif problems:
        fallback = f"{len(problems)} members or parameters are wrong; see problems"
    elif allowed:
        fallback = f"this address has no such method. Remedy: use one of {allowed}"
    else:
        fallback = _DETAILS.get(status, error.name)
    answer = problem_answer(status, details.get("message", fallback), problems)
    answer.headers.update(details.get("headers") or {})
    if status == HTTPStatus.UNAUTHORIZED:
        answer.headers["WWW-Authenticate"] = "Bearer"
    if allowed:
        answer.headers["Allow"] = allowed
    return answer


def state_problem(error: StateUnavailable, fact: str = "") -> Response:
    """The answer while the state server is unavailable. `fact`: what is known besides the error."""
    # The error names the server: only callers who may read get it.
    role = getattr(g.get("caller"), "role", None)
    known = access.includes(role, access.VIEWER)
    detail = clip(error, 500) if known else "state server unavailable. Remedy: run attempt-bridge doctor"
    if fact:
        detail = f"{fact}: {detail}"
    answer = problem_answer(503, detail, more=getattr(error, "members", None))
    answer.headers["Retry-After"] = str(_RETRY_SECONDS)
    return answer


def problem_list(messages: Any) -> list[dict[str, str]]:
    """marshmallow's messages as `problems`: `{"reference": {"result": ["..."]}}` has the path `reference.result`."""
    return [{"path": ".".join(path), "message": message} for path, message in _walk(messages, ())]


def _walk(node: Any, path: Sequence[str]) -> Iterator[tuple[Sequence[str], str]]:
    if isinstance(node, Mapping):
        for name, member in node.items():
            # A mapping's members have their problems under `key` and `value`, a schema's own are under `_schema`.
            inner = name == "_schema" or (len(path) > 1 and name in ("key", "value") and isinstance(member, list))
            yield from _walk(member, path if inner else (*path, str(name)))
    elif isinstance(node, list):
        for member in node:
            yield from _walk(member, path)
    elif node is not None:
        yield path, str(node)
