"""Wrong cursors, limits, parameters, ids, bodies and tokens, for every operation that the description names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis
from flask.testing import FlaskClient

from bridge.web import create_app
from bridge.web.api.paging import cursor_of
from bridge.web.api.sessions import PATH as SESSION
from tests.support.watches_api import TOKENS, OpenGate, access_of, build

# Each case is one call to many operations.
pytestmark = pytest.mark.long

PROBLEM = "application/problem+json"
BIG = b'"' + b"a" * 256 * 1024 + b'"'


class Operation(NamedTuple):
    """One of the description. `path`: with `x` for what is in braces."""

    method: str
    path: str
    parameters: frozenset[str]
    has_body: bool
    has_id: bool


class Bridge(NamedTuple):
    """An application with both tokens."""

    client: FlaskClient
    operations: tuple[Operation, ...]

    def call(self, operation: Operation, *, role: str | None = "operator", **options: Any) -> Any:
        headers = {} if role is None else {"Authorization": f"Bearer {TOKENS[role]}"}
        path = options.pop("path", operation.path)
        return self.client.open(path, method=operation.method, headers=headers, **options)


@pytest.fixture
def bridge(state: redis.Redis, tmp_path: Path) -> Bridge:
    client = create_app(build(state, tmp_path, access=access_of(TOKENS)), gate=OpenGate()).test_client()  # type: ignore[arg-type]
    document = client.get("/api/v1/openapi.json", headers={"Authorization": f"Bearer {TOKENS['viewer']}"}).json
    return Bridge(client, tuple(operations(document)))


def operations(document: Any) -> Iterator[Operation]:
    for path, methods in document["paths"].items():
        shared = methods.get("parameters", [])
        in_path = [parameter["name"] for parameter in shared if parameter.get("in") == "path"]
        plain = path
        for name in in_path:
            plain = plain.replace(f"{{{name}}}", "x")
        for method, operation in methods.items():
            if method != "parameters":
                names = (each["name"] for each in operation.get("parameters", ()) if each.get("in") == "query")
                yield Operation(method.upper(), plain, frozenset(names), "requestBody" in operation, bool(in_path))


def refused(answer: Any, *statuses: int) -> list[str]:
    """The paths of the problems of an answer with one of the statuses, in the one shape."""
    assert (answer.status_code in statuses, answer.mimetype) == (True, PROBLEM), (answer.request.path, answer.text)
    details = answer.json
    assert details["status"] == answer.status_code
    assert details["detail"]
    assert "\n" not in details["detail"]
    return [problem["path"] for problem in details["problems"]]


def test_a_wrong_page_is_refused_by_every_list(bridge: Bridge) -> None:
    lists = [operation for operation in bridge.operations if "cursor" in operation.parameters]
    assert len(lists) >= 2
    for operation in lists:
        for cursor in (
            "x",
            "",
            "W10",
            cursor_of("another", "1-0"),
            cursor_of("another", "1", "2", "3"),
            "é",
            "a" * 5000,
        ):
            assert set(refused(bridge.call(operation, query_string={"cursor": cursor}), 422)) == {"cursor"}
        for limit in ("0", "1001", "-1", "ten", "", "9" * 5000):
            assert refused(bridge.call(operation, query_string={"limit": limit}), 422) == ["limit"]
        assert refused(bridge.call(operation, query_string="limit=1&limit=2"), 422) == ["limit"]


def test_a_parameter_that_there_is_not_is_refused_with_the_right_name(bridge: Bridge) -> None:
    asked = [operation for operation in bridge.operations if operation.parameters and operation.method == "GET"]
    assert asked
    for operation in asked:
        answer = bridge.call(operation, query_string={"limt": "5"})
        assert refused(answer, 422) == ["limt"]
        if "limit" in operation.parameters:
            assert answer.json["detail"] == 'limt: unknown name. Did you mean "limit"?'


@pytest.mark.parametrize("ident", ["none", "0-0", "%00", "%ED%A0%80", "%F0%9F%98%80", "a%2Fb", "..%2F..", "x" * 3000])
def test_an_id_that_was_never_given_is_a_404_everywhere(bridge: Bridge, ident: str) -> None:
    with_id = [operation for operation in bridge.operations if operation.has_id and not operation.has_body]
    assert with_id
    for operation in with_id:
        path = operation.path.replace("/x", f"/{ident}")
        refused(bridge.call(operation, path=path), 404)


def test_without_a_token_or_the_role_nothing_is_answered(bridge: Bridge) -> None:
    for operation in bridge.operations:
        if (operation.method, operation.path) == ("POST", SESSION):
            continue
        refused(bridge.call(operation, role=None), 401)
        changes = operation.method != "GET" and operation.path != SESSION
        if changes:
            # Before anything of the call is looked at.
            refused(bridge.call(operation, role="viewer", data=b"{", content_type="application/json"), 403)


@pytest.mark.parametrize(
    ("body", "media", "statuses"),
    [
        (b"{", "application/json", (400,)),
        (b'{"a": 1, "a": 2}', "application/json", (400,)),
        (b"[" * 1000, "application/json", (400,)),
        (b"\xff", "application/json", (400,)),
        (b"[]", "application/json", (422,)),
        (b"null", "application/json", (422,)),
        (b'{"no such member": 1}', "application/json", (422,)),
        (b"a=b", "application/x-www-form-urlencoded", (415,)),
        (BIG, "application/json", (413,)),
    ],
)
def test_a_wrong_body_is_refused_everywhere(bridge: Bridge, body: bytes, media: str, statuses: tuple[int, ...]) -> None:
    with_body = [operation for operation in bridge.operations if operation.has_body]
    assert with_body
    for operation in with_body:
        refused(bridge.call(operation, data=body, content_type=media), *statuses)
