"""Calls of the operator API within this process, as the reader of the page. All that a page shows comes from here."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode

from flask import current_app, request
from werkzeug.wrappers import Response

__all__ = ["Answer", "Refused", "call", "read"]

_API = "/api/v1/"
#: Parts of the page's request that the call does not get: its body, conditions, and what the framework has kept.
_NOT_PASSED_ON = (
    "CONTENT_",
    "HTTP_CONTENT_",
    "HTTP_IF_",
    "HTTP_RANGE",
    "HTTP_TRANSFER_ENCODING",
    "werkzeug.",
    "HTTP_X_CSRF",
)


class Answer(NamedTuple):
    """What the API answered. `document`: the JSON, None where there is none. `cookies`: of `Set-Cookie`."""

    status: int
    document: Any
    raw: bytes
    cookies: list[str]


class Refused(Exception):
    """The API has refused a call: its problem details."""

    def __init__(self, status: int, document: Mapping[str, Any]) -> None:
        self.status = status
        self.title = str(document.get("title", ""))
        #: Fact, value, remedy, in one line.
        self.detail = str(document.get("detail", ""))
        #: What is wrong with each member: `path` and `message`.
        self.problems: list[Mapping[str, str]] = document.get("problems") or []
        self.document = document
        super().__init__(self.detail)

    @property
    def line(self) -> str:
        """The detail, with those problems that it does not name."""
        more = [
            ": ".join(part for part in (problem.get("path", ""), problem.get("message", "")) if part)
            for problem in self.problems
            if problem.get("message", "") not in self.detail
        ]
        return "; ".join((self.detail.removesuffix("; see problems"), *more))


def read(path: str, **query: Any) -> Any:
    """The document of a GET. `path`: below `/api/v1/`. Members of the query that are None or "" are left out.

    Raises `Refused`.
    """
    return call("GET", path, query=query).document


def call(
    method: str,
    path: str,
    *,
    query: Mapping[str, Any] | None = None,
    body: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """One call, with the cookie, token and address of the current request. Raises `Refused` for answers from 300 on."""
    raw = b"" if body is None else json.dumps(body).encode()
    given = {name: value for name, value in (query or {}).items() if value not in (None, "")}
    environ = {name: value for name, value in request.environ.items() if not name.startswith(_NOT_PASSED_ON)}
    environ |= {
        "REQUEST_METHOD": method,
        "PATH_INFO": f"{_API}{path}".encode().decode("latin-1"),
        "QUERY_STRING": urlencode(given),
        "wsgi.input": io.BytesIO(raw),
        **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in (headers or {}).items()},
    }
    if body is not None:
        environ |= {"CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(raw))}
    app = current_app._get_current_object()  # type: ignore[attr-defined]  # the application behind the proxy
    # A context of its own: what a call notes about itself, such as its change for the audit, must not reach another.
    with app.app_context():
        response = Response.from_app(app.wsgi_app, environ, buffered=True)
    content = response.get_data()
    answer = Answer(response.status_code, _document(content), content, response.headers.getlist("Set-Cookie"))
    if answer.status >= 300:
        document = answer.document if isinstance(answer.document, dict) else {}
        raise Refused(404 if answer.status < 400 else answer.status, document)
    return answer


def _document(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None
