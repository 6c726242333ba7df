"""The API's description in OpenAPI 3.1: what every operation shares, and the one shape of errors."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeVar

from flask import Flask, Response
from flask_smorest import Api, Blueprint

from bridge import __version__
from bridge.web.api.problems import MEDIA_TYPE, ProblemDetails
from bridge.web.sessions import COOKIE

__all__ = ["DescribedApi", "described", "options"]

_View = TypeVar("_View", bound=Callable[..., Any])

_ABOUT = """What the bridge knows and does, for operators.

Every call needs a token: `Authorization: Bearer TOKEN`. The role `viewer` may read, `operator` may also change;
`receiver` confirms the events of one subscription, and may do nothing else."""
#: Errors with headers of their own; the others are named as flask-smorest names them.
_UNAUTHORIZED, _UNAVAILABLE = "UNAUTHORIZED_BEARER", "SERVICE_UNAVAILABLE_RETRY"
_TOO_MANY = "TOO_MANY_REQUESTS_RETRY"


#: Parameters and answers that all operations of a method have.
_CONDITION = {
    "name": "If-None-Match",
    "in": "header",
    "schema": {"type": "string"},
    "description": "`ETag` of an earlier answer: 304 if it is still the same.",
}
_ONCE = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[ -~]+$"},
    "description": "A random text: for a day, a call repeated with it is not done again, and gets the first answer.",
}


class DescribedApi(Api):  # type: ignore[misc]  # flask-smorest has no types
    """An API whose description names exactly the errors that each operation sends.

    The description is made when it is first requested: that takes longer than the rest of the start, and every command
    of the command line starts an API.
    """

    ERROR_SCHEMA = ProblemDetails
    DEFAULT_ERROR_RESPONSE_NAME = None

    def __init__(self, app: Flask) -> None:
        self._blueprints: list[Blueprint] = []
        self._lock = threading.Lock()
        self._description: dict[str, Any] | None = None
        super().__init__(app)

    def register_blueprint(self, blueprint: Blueprint) -> None:
        """Add the resource of this blueprint."""
        self._app.extensions["flask-smorest"]["blp_name_to_api"][blueprint.name] = self
        self._app.register_blueprint(blueprint)
        self._blueprints.append(blueprint)

    def description(self) -> dict[str, Any]:
        """The OpenAPI document."""
        with self._lock:
            if self._description is None:
                self._description = self._describe()
            return self._description

    def _describe(self) -> dict[str, Any]:
        for status in HTTPStatus:
            answer: dict[str, Any] = {"description": status.phrase}
            if status >= HTTPStatus.BAD_REQUEST:
                answer["content"] = {MEDIA_TYPE: {"schema": ProblemDetails}}
            self.spec.components.response(status.name, answer, lazy=True)
        _describe_errors(self)
        for blueprint in self._blueprints:
            blueprint.register_views_in_doc(self, self._app, self.spec, name=blueprint.name, parameters=None)
            self.spec.tag({"name": blueprint.name, "description": blueprint.description})
        _describe_shared(self)
        document: dict[str, Any] = self.spec.to_dict()
        return document

    def _openapi_json(self) -> Response:
        return Response(json.dumps(self.description(), indent=2), mimetype="application/json")

    def _register_responses(self) -> None:
        """Nothing: see `_describe`."""

    def _register_error_handlers(self) -> None:
        """Nothing: `register_errors` has handlers for the whole application."""


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


def _describe_errors(api: DescribedApi) -> None:
    """Add what the operations refer to, and remove what none does."""
    components = api.spec.components
    components.schemas.pop("PaginationMetadata", None)
    components.security_scheme(
        "session", {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "Opened by `openSession`."}
    )
    components.security_scheme(
        "token", {"type": "http", "scheme": "bearer", "description": "Made by `attempt-bridge tokens new`."}
    )
    for name, status, header, meaning in (
        (_UNAUTHORIZED, HTTPStatus.UNAUTHORIZED, "WWW-Authenticate", "Always `Bearer`."),
        (_TOO_MANY, HTTPStatus.TOO_MANY_REQUESTS, "Retry-After", "Seconds after which to try again."),
        (_UNAVAILABLE, HTTPStatus.SERVICE_UNAVAILABLE, "Retry-After", "Seconds after which to try again."),
    ):
        answer = {
            "description": status.phrase,
            "headers": {header: {"description": meaning, "required": True, "schema": {"type": "string"}}},
            "content": {MEDIA_TYPE: {"schema": ProblemDetails}},
        }
        components.response(name, answer)


def _describe_shared(api: DescribedApi) -> None:
    """Add to the operations, once all are known, what all operations of a method share."""

    def reference(status: HTTPStatus) -> Any:
        return api.spec.components.get_ref("response", status.name)

    for path in api.spec._paths.values():
        if (operation := path.get("get")) is not None:
            operation.setdefault("parameters", []).append(_CONDITION)
            operation["responses"]["304"] = {"description": HTTPStatus.NOT_MODIFIED.phrase}
            operation["responses"]["414"] = reference(HTTPStatus.REQUEST_URI_TOO_LONG)
        if (operation := path.get("post")) is not None and operation["security"]:
            operation.setdefault("parameters", []).append(_ONCE)
            for status in (HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY):
                operation["responses"].setdefault(str(int(status)), reference(status))


def described(
    blueprint: Blueprint,
    operation: str,
    *errors: HTTPStatus,
    answers: Mapping[int, Any] | None = None,
    public: bool = False,
) -> Callable[[_View], _View]:
    """A decorator: the operation's id and its errors; every operation may also answer 401, 403, 429 and 503.

    `answers`: status -> what to add to its description. `public`: it needs no token.
    """
    responses: dict[int, Any] = {401: _UNAUTHORIZED, 429: _TOO_MANY, 503: _UNAVAILABLE, **(answers or {})}
    if not public:
        responses[403] = "FORBIDDEN"
    responses |= {int(status): status.name for status in errors}
    document: Callable[[_View], _View] = blueprint.doc(
        operationId=operation, security=[] if public else [{"token": []}, {"session": []}], responses=responses
    )

    def decorate(view: _View) -> _View:
        documented = document(view)
        # The audit records it.
        documented.operation = operation  # type: ignore[attr-defined]
        return documented

    return decorate
