"""How commands call the API: within this process on the server, or over HTTP with `--url` and `--token`.

Calls and answers are the same either way, so a command prints the same wherever it runs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

import click

from bridge.cli.common import services_over_state
from bridge.cli.exit_codes import FAILED, NOTHING_MATCHED, UNAVAILABLE, USAGE
from bridge.cli.local_changes import user_name
from bridge.cli.output import say
from bridge.cli.server_events import STALE_SECONDS, Message, lines_of, messages, open_stream
from bridge.errors import clip
from bridge.net.tls import tls_problem
from bridge.settings import PREFIX, read_api_token

if TYPE_CHECKING:
    import requests

__all__ = ["Api", "ApiProblem", "CallFailed", "api", "path_of"]

_API = "/api/v1/"
_TIMEOUT_SECONDS = 60.0
#: Rows of one page: the API's maximum.
_MAX_LIMIT = 1000
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_PROBLEM = "application/problem+json"
#: Status -> exit code; any other error is `FAILED`.
_EXIT_CODES = {400: USAGE, 404: NOTHING_MATCHED, 413: USAGE, 422: USAGE, 502: UNAVAILABLE, 503: UNAVAILABLE}
_EXIT_CODES[504] = UNAVAILABLE
_TOKEN_REMEDY = f"Remedy: give --token, or set {PREFIX}TOKEN"


class CallFailed(click.ClickException):
    """A call that ends the command with one line and an exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self._exit_code = exit_code
        #: The command that made the call.
        self.ctx = click.get_current_context(silent=True)

    @property
    def exit_code(self) -> int:  # type: ignore[override]  # click's is an attribute of the class
        return self._exit_code


class ApiProblem(CallFailed):
    """A call that was refused: `status`, `detail`, `problems` and further `members` of the problem details."""

    def __init__(self, status: int, document: Mapping[str, Any]) -> None:
        self.status = status
        self.detail = str(document.get("detail", ""))
        self.problems: list[Mapping[str, str]] = document.get("problems") or []
        self.members = document
        if status == HTTPStatus.UNAUTHORIZED:
            # The remedy in terms of the command's options.
            self.detail = f"{self.detail.partition('. Remedy: ')[0]}. {_TOKEN_REMEDY}"
        more = [_shown(problem) for problem in self.problems if problem.get("message", "") not in self.detail]
        detail = self.detail.removesuffix("; see problems") if more else self.detail
        message = ": ".join(part for part in (detail, "; ".join(more)) if part)
        super().__init__(message, _EXIT_CODES.get(status, FAILED))


class _Answer(NamedTuple):
    status: int
    media_type: str
    body: bytes


#: Method, path with query, headers, body -> answer.
_Send = Callable[[str, str, Mapping[str, str], bytes], _Answer]


class _Opened(NamedTuple):
    """An answer whose body is read as it comes."""

    answer: _Answer
    lines: Iterator[bytes]
    close: Callable[[], object]


#: Path with query, headers -> answer, which has a body of its own only if the call was refused.
_Open = Callable[[str, Mapping[str, str]], _Opened]


class Api:
    """The API of one bridge. `where`: its address in messages."""

    def __init__(self, send: _Send, open_: _Open, where: str, *, is_remote: bool = True) -> None:
        self._send = send
        self._open = open_
        self._where = where
        #: Whether the bridge is called with `--url`, so that its state and files cannot be used here.
        self.is_remote = is_remote

    def call(
        self, method: str, path: str, query: Mapping[str, Any] | None = None, body: Mapping[str, Any] | None = None
    ) -> Any:
        """The document that the API returns, None if it returns none. `path`: below `/api/v1/`, see `path_of`.

        Members of the query that are None are left out. Raises `ApiProblem`, which ends a command with one line and
        the exit code of its status, and `CallFailed` if no bridge answers.
        """
        given = {name: value for name, value in (query or {}).items() if value is not None}
        target = f"{_API}{path}" + (f"?{urlencode(given)}" if given else "")
        headers = {} if body is None else {"Content-Type": "application/json"}
        raw = b"" if body is None else json.dumps(body).encode()
        answer = self._send(method, target, headers, raw)
        if not answer.body and answer.status < 300:
            return None
        document = _document(answer)
        if answer.status >= 300 or document is None:
            raise self._refusal(answer, document)
        return document

    def read(self, path: str) -> bytes:
        """The bytes of an answer that is not a document. Raises as `call` does."""
        answer = self._send("GET", f"{_API}{path}", {}, b"")
        if answer.status >= 300:
            raise self._refusal(answer, _document(answer))
        return answer.body

    def follow(self, path: str, query: Mapping[str, Any], *, last: str | None = None) -> Iterator[Message]:
        """The messages of one connection to a stream, heartbeats included. `last`: the id to continue after.

        Raises as `call` does, also if nothing comes for 45 s.
        """
        given = {name: value for name, value in query.items() if value is not None}
        target = f"{_API}{path}" + (f"?{urlencode(given)}" if given else "")
        opened = self._open(target, {} if last is None else {"Last-Event-ID": last})
        try:
            if opened.answer.status >= 300:
                raise self._refusal(opened.answer, _document(opened.answer))
            yield from messages(opened.lines)
        finally:
            opened.close()

    def _refusal(self, answer: _Answer, document: Any) -> CallFailed:
        if answer.media_type == _PROBLEM and isinstance(document, dict):
            return ApiProblem(answer.status, document)
        return CallFailed(f"{self._where} answered {answer.status}, unlike a bridge. Remedy: check --url", UNAVAILABLE)

    def rows(
        self, path: str, query: Mapping[str, Any] | None = None, *, limit: int, resource: str = ""
    ) -> Iterator[dict[str, Any]]:
        """Up to `limit` rows of a list, page by page. `resource`: the member with the rows; default: the path."""
        member, cursor = resource or path.replace("-", "_"), None
        while limit > 0:
            size = min(limit, _MAX_LIMIT)
            page = self.call("GET", path, {**(query or {}), "limit": size, "cursor": cursor})
            yield from page[member]
            # A page may be short, even empty, if a search stopped at its bound.
            limit, cursor = limit - len(page[member]), page["next"]
            if cursor is None:
                return


def api() -> Api:
    """The API that the current command calls: that of `--url`, or that of the configuration beside the server.

    Raises `ConfigError` and `click.UsageError`.
    """
    root = click.get_current_context().find_root().params
    url = root.get("url")
    if url is None:
        if root.get("token") is not None:
            raise click.UsageError("--token needs --url. Locally no token is needed")
        return Api(*_local(), "the local bridge", is_remote=False)
    return Api(*_remote(url, _token(root.get("token"))), url)


def path_of(*parts: str) -> str:
    """A path with names and ids in it: `path_of("watches", ident)`."""
    return "/".join(quote(part, safe="") for part in parts)


def _document(answer: _Answer) -> Any:
    """The JSON of an answer; None if it is not JSON."""
    try:
        return json.loads(answer.body)
    except ValueError:
        return None


def _token(given: str | None) -> str:
    """The token; the list of processes shows it only if it was given as an option."""
    token = sys.stdin.readline().strip() if given == "-" else given or read_api_token()
    if not token:
        raise click.UsageError(f"--url needs a token. {_TOKEN_REMEDY}")
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise click.UsageError("the token is not valid: it has a character that no token has. Remedy: copy it again")
    return token


def _local() -> tuple[_Send, _Open]:
    # Imported late: a remote call needs none of this.
    from werkzeug.test import Client  # noqa: PLC0415

    from bridge.web.api import local_application  # noqa: PLC0415
    from bridge.web.api.common import LOCAL_CALLER, OPERATOR, Caller  # noqa: PLC0415

    client = Client(local_application(services_over_state()))
    caller = Caller(f"cli:{user_name()}", OPERATOR)

    def send(method: str, target: str, headers: Mapping[str, str], body: bytes) -> _Answer:
        answer = client.open(
            target, method=method, headers=dict(headers), data=body or None, environ_overrides={LOCAL_CALLER: caller}
        )
        return _Answer(answer.status_code, answer.mimetype or "", answer.get_data())

    def open_(target: str, headers: Mapping[str, str]) -> _Opened:
        answer = client.open(target, headers=dict(headers), environ_overrides={LOCAL_CALLER: caller})
        refused = answer.status_code >= 300
        kept = _Answer(answer.status_code, answer.mimetype or "", answer.get_data() if refused else b"")
        return _Opened(kept, lines_of(answer.iter_encoded()), answer.close)

    return send, open_


def _remote(url: str, token: str) -> tuple[_Send, _Open]:
    import requests  # noqa: PLC0415 - commands beside the server need no HTTP

    from bridge.net.timed_session import timed_session  # noqa: PLC0415

    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        say(f"warning: {url} gets the token unencrypted. Remedy: use https://")
    session = timed_session()
    session.headers["Authorization"] = f"Bearer {token}"

    def failed(error: Exception) -> CallFailed:
        remedy = "Remedy: check --url, and that the bridge runs"
        return CallFailed(f"{url} unreachable: {_reason(error)}. {remedy}", UNAVAILABLE)

    def send(method: str, target: str, headers: Mapping[str, str], body: bytes) -> _Answer:
        try:
            answer = session.request(
                method, url + target, headers=dict(headers), data=body or None, timeout=_TIMEOUT_SECONDS
            )
        except requests.RequestException as error:
            raise failed(error) from error
        return _Answer(answer.status_code, _media_type(answer), answer.content)

    def open_(target: str, headers: Mapping[str, str]) -> _Opened:
        silent = CallFailed(f"nothing from {url} for {STALE_SECONDS:g} s", UNAVAILABLE)
        try:
            given = {**headers, "Authorization": f"Bearer {token}"}
            answer, chunks, close = open_stream(url + target, given, failed=failed, silent=silent)
            body = answer.content if answer.status_code >= 300 else b""
        except requests.RequestException as error:
            raise failed(error) from error
        return _Opened(_Answer(answer.status_code, _media_type(answer), body), lines_of(chunks), close)

    return send, open_


def _media_type(answer: requests.Response) -> str:
    return str(answer.headers.get("Content-Type", "")).partition(";")[0]


def _reason(error: Exception) -> str:
    """The operating system's short text from the innermost error that has one, otherwise the type of the error."""
    if problem := tls_problem(error):
        return problem
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.strerror:
            return clip(seen.strerror)
        seen = seen.__cause__ or seen.__context__
    return type(error).__name__


def _shown(problem: Mapping[str, str]) -> str:
    # Escaped: a wrong name may contain characters that must not reach a terminal.
    path = clip(ascii(problem.get("path", ""))[1:-1], 80)
    return f"{path}: {problem.get('message', '')}" if path else problem.get("message", "")
