"""The bridge's own HTTP calls without a socket: what leaves `requests` is handed to a WSGI app or to canned answers."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

import requests
import urllib3
from requests.adapters import HTTPAdapter
from werkzeug.test import run_wsgi_app

from bridge.polling.vendor_http import Calls

__all__ = ["BASE_URL", "Facts", "Wire", "calls_over", "canned", "session_over", "wsgi"]

_HOST = "vendor.test"
BASE_URL = f"http://{_HOST}"
#: Method, path with query, headers, body -> status, headers, body.
Wire = Callable[[str, str, Mapping[str, str], bytes], tuple[int, Mapping[str, str], bytes]]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The least that a vendor folder and `bridge.polling.vendor_http` may know of a source."""

    name: str
    credentials: Mapping[str, tuple[str, ...]]
    options: Mapping[str, Any]
    base_url: str = BASE_URL
    budget: None = None


def wsgi(app: Any) -> Wire:
    """A simulated API. Werkzeug's client of tests would take as long for each call as the API itself."""

    def answer(method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        place, _, query = path.partition("?")
        environ = {
            **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()},
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(place).decode("latin-1"),
            "QUERY_STRING": query,
            "SERVER_NAME": _HOST,
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": _HOST,
            "CONTENT_TYPE": headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr,
            "wsgi.url_scheme": "http",
        }
        content, status, answered = run_wsgi_app(app, environ, buffered=True)
        return int(status.split()[0]), dict(answered), b"".join(content)

    return answer


def canned(answers: Iterable[tuple[int, bytes]]) -> Wire:
    """The same answers in this order, whatever is asked; one call more than answers is an error."""
    left = iter(answers)

    def answer(method: str, path: str, *_: Any) -> tuple[int, Mapping[str, str], bytes]:
        status, body = next(left, (0, b""))
        assert status, f"no answer is left for {method} {path.partition('?')[0]}"
        return status, {}, body

    return answer


def session_over(wire: Wire) -> requests.Session:
    """A session whose calls all end at `wire`, encoded as they would be for the network."""
    session = requests.Session()
    session.trust_env = False
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(wire))
    return session


def calls_over(wire: Wire, facts: Facts, now: Callable[[], float], before: Callable[[], None] = lambda: None) -> Calls:
    """The real `vendor_http.Calls` without a budget: what it makes of 429, 5xx and redirects holds here too."""
    return Calls(facts, _NoBudget(), session_over(wire), now, spender="test", before=before)


class _Adapter(HTTPAdapter):
    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self._wire = wire

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        body = request.body or b""
        status, headers, content = self._wire(
            request.method, request.path_url, request.headers, body.encode() if isinstance(body, str) else body
        )
        raw = urllib3.HTTPResponse(io.BytesIO(content), headers=headers, status=status, preload_content=False)
        return self.build_response(request, raw)


class _NoBudget:
    def take(self, *_: Any, **__: Any) -> None: ...

    def check(self, *_: Any) -> None: ...

    def record_vendor_limit(self, *_: Any, **__: Any) -> None: ...
