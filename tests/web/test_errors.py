"""Errors of the API: one shape for every status, and paths that name what is wrong."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import pytest
from flask.testing import FlaskClient

from bridge.web.api.problems import problem_list

JSON = "application/json"
WATCHES = "/api/v1/watches"


@pytest.mark.parametrize(
    ("messages", "problems"),
    [
        ({"deadline": ["past"]}, [("deadline", "past")]),
        ({"source": ["a", "b"]}, [("source", "a"), ("source", "b")]),
        ({"_schema": ["no object"]}, [("", "no object")]),
        ({"reference": {"result": {"value": ["empty"]}}}, [("reference.result", "empty")]),
        (
            {"reference": {"r": {"key": ["bad"], "value": ["empty"]}}},
            [("reference.r", "bad"), ("reference.r", "empty")],
        ),
        ({"reference": {"value": {"value": ["empty"]}}}, [("reference.value", "empty")]),
        ({"value": ["unknown"]}, [("value", "unknown")]),
        ({0: {"due": ["bad"]}}, [("0.due", "bad")]),
        (["whole"], [("", "whole")]),
        (None, []),
    ],
)
def test_messages_become_problems_with_paths(messages: Any, problems: list[tuple[str, str]]) -> None:
    assert problem_list(messages) == [{"path": path, "message": message} for path, message in problems]


@pytest.mark.parametrize(
    ("call", "status", "paths"),
    [
        ({"data": "{", "content_type": JSON}, 400, []),
        ({"data": "[1]", "content_type": JSON}, 422, [""]),
        ({"data": "x" * 300_000, "content_type": JSON}, 413, []),
        ({"data": "source=eu", "content_type": "application/x-www-form-urlencoded"}, 415, []),
        ({"data": "{}"}, 415, []),
        ({"json": {}}, 422, ["reference", "source"]),
        ({}, 422, ["reference", "source"]),
        ({"json": {"source": "eu", "reference": {"stream": {}}, "due": "x"}}, 422, ["due", "reference.stream"]),
        ({"method": "GET", "query_string": "limit=0&state=no"}, 422, ["limit", "state"]),
        ({"method": "GET", "query_string": "source=zz"}, 422, ["source"]),
        ({"method": "PUT"}, 405, []),
    ],
)
def test_every_error_has_one_line_and_a_list_of_problems(
    api: FlaskClient, call: dict[str, Any], status: int, paths: list[str]
) -> None:
    answer = api.open(WATCHES, **{"method": "POST"} | call)
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")
    assert set(answer.json) == {"type", "title", "status", "detail", "problems"}
    assert (answer.json["type"], answer.json["status"]) == ("about:blank", status)
    assert answer.json["title"] == HTTPStatus(status).phrase
    assert "\n" not in answer.json["detail"]
    assert sorted(problem["path"] for problem in answer.json["problems"]) == paths


def test_a_wrong_method_names_the_right_ones(api: FlaskClient) -> None:
    assert api.put(WATCHES).headers["Allow"] == "GET, HEAD, OPTIONS, POST"
