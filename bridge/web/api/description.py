"""The API's description in OpenAPI 3.1: what every operation shares, and the one shape of errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeVar

from flask_smorest import Api, Blueprint
from marshmallow import EXCLUDE, Schema, fields

from bridge import __version__

__all__ = ["DescribedApi", "describe", "described", "options", "problem_list"]

_View = TypeVar("_View", bound=Callable[..., Any])

_ABOUT = """Expected attempts, and all others that the bridge rechecks at the vendors.

Every call needs a token: `Authorization: Bearer TOKEN`. The role `viewer` may read, `operator` may also change."""
#: Errors with headers of their own; the others are named as flask-smorest names them.
_UNAUTHORIZED, _UNAVAILABLE = "UNAUTHORIZED_BEARER", "SERVICE_UNAVAILABLE_RETRY"


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


class Error(_Answer):
    """An error, for every status from 400 on."""

    error = fields.String(
        required=True,
        metadata={"description": "What is wrong, in one line.", "examples": ["the watch was not registered"]},
    )
    problems = fields.List(
        fields.Nested(Problem),
        required=True,
        metadata={
            "description": "What is wrong with each member; empty where there is no more to say.",
            "examples": [[{"path": "deadline", "message": "is in the past or before `due`. Give a later one"}]],
        },
    )


class DescribedApi(Api):  # type: ignore[misc]  # flask-smorest has no types
    """An API whose description names exactly the errors that each operation sends."""

    ERROR_SCHEMA = Error
    DEFAULT_ERROR_RESPONSE_NAME = None


def options(public_url: str) -> dict[str, Any]:
    """flask-smorest's settings. `public_url`: where clients reach the bridge."""
    return {
        "API_TITLE": "Attempt Bridge",
        "API_VERSION": __version__,
        "OPENAPI_VERSION": "3.1.0",
        "OPENAPI_URL_PREFIX": "/api/v1",
        "OPENAPI_JSON_PATH": "openapi.json",
        "API_SPEC_OPTIONS": {
            "info": {
                "description": _ABOUT,
                "license": {"name": "MIT", "identifier": "MIT"},
                "contact": {"name": "The operator of this bridge", "url": public_url},
            },
            "servers": [{"url": public_url, "description": "`bridge.public_url` of this bridge."}],
        },
    }


def describe(api: DescribedApi) -> None:
    """Add what the operations refer to, and remove what none does."""
    components = api.spec.components
    components.schemas.pop("PaginationMetadata", None)
    components.security_scheme(
        "token", {"type": "http", "scheme": "bearer", "description": "Made by `attempt-bridge tokens new`."}
    )
    for name, status, header, meaning in (
        (_UNAUTHORIZED, HTTPStatus.UNAUTHORIZED, "WWW-Authenticate", "Always `Bearer`."),
        (_UNAVAILABLE, HTTPStatus.SERVICE_UNAVAILABLE, "Retry-After", "Seconds after which to try again."),
    ):
        answer = {
            "description": status.phrase,
            "headers": {header: {"description": meaning, "required": True, "schema": {"type": "string"}}},
            "content": {"application/json": {"schema": Error}},
        }
        components.response(name, answer)


def described(
    blueprint: Blueprint, operation: str, *errors: HTTPStatus, answers: Mapping[int, Any] | None = None
) -> Callable[[_View], _View]:
    """A decorator: the operation's id and its errors; every operation may also answer 401 and 503.

    `answers`: status -> what to add to its description.
    """
    responses: dict[int, Any] = {401: _UNAUTHORIZED, 503: _UNAVAILABLE, **(answers or {})}
    responses |= {int(status): status.name for status in errors}
    decorate: Callable[[_View], _View] = blueprint.doc(
        operationId=operation, security=[{"token": []}], responses=responses
    )
    return decorate


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
