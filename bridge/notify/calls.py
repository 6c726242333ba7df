"""The network calls of one message: each within the message's deadline and the address policy, its answer kept.

Services of Apprise call `requests` and `smtplib`, and report only whether they succeeded. `GuardedRequests` and
`GuardedSMTP` replace both in Apprise's modules: they do the same, and `Calls` records what was answered.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, cast

import requests
from urllib3.exceptions import HTTPError
from urllib3.exceptions import TimeoutError as TimeoutsOfUrllib3

from bridge.errors import DeliveryFailed
from bridge.net.address_policy import check_url, resolve
from bridge.net.retry_after import retry_after_seconds
from bridge.net.timed_connections import Deadline, timed_context, timed_socket
from bridge.net.timed_session import timed_session

__all__ = ["Answer", "Calls", "GuardedRequests", "GuardedSMTP"]

#: At most this much of an answer is read, bytes.
_BODY_BYTES = 65_536
_RESOLVE_SECONDS = 3.0
_current = threading.local()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one call."""

    #: Status of HTTP; None: no answer, or SMTP.
    status: int | None = None
    #: Reply code of SMTP.
    code: int | None = None
    #: Why no answer came, in a few fixed words.
    problem: str = ""
    #: Seconds that the service asks to wait.
    retry_after: float | None = None


@dataclass(slots=True)
class Calls:
    """The calls of one message to one service. `now`: UNIX seconds, to read dates in `Retry-After`."""

    allow_private: bool
    seconds: float
    now: float
    answers: list[Answer] = field(default_factory=list)
    deadline: Deadline = field(default_factory=Deadline)

    @contextmanager
    def made(self) -> Iterator[None]:
        """While the block runs, calls of this thread belong to this message."""
        self.deadline.start(self.seconds)
        _current.calls = self
        try:
            yield
        finally:
            _current.calls = None

    def without_answer(self, error: Exception) -> None:
        """Record a call that ended with a network error."""
        self.answers.append(Answer(problem=_words(error)))


def _calls() -> Calls:
    calls: Calls | None = getattr(_current, "calls", None)
    if calls is None:
        # Some services log out when they are deleted; they expect errors of `requests`.
        raise requests.ConnectionError("no call without a message")
    return calls


def _words(error: Exception) -> str:
    """The error in fixed words, never its text, which may quote the address and a token in it."""
    if isinstance(error, TimeoutError | requests.Timeout | TimeoutsOfUrllib3):
        return "no answer in time"
    if isinstance(error, ssl.SSLError | requests.exceptions.SSLError):
        return "TLS failed; check its certificate"
    return "the connection failed"


# --- HTTP


class GuardedRequests(ModuleType):
    """Stands for the module `requests` in the modules of services: redirects are answers, bodies end early."""

    def __getattr__(self, name: str) -> Any:
        return getattr(requests, name)

    def request(self, method: str, url: str, **options: Any) -> requests.Response:
        """Like `requests.request`; raises its errors, and `DeliveryFailed` for an address that is not allowed."""
        calls = _calls()
        problem = check_url(url, allow_private=calls.allow_private)
        if problem is not None:
            raise DeliveryFailed(f"its address {problem}", reason="forbidden_address")
        try:
            options |= {"timeout": calls.deadline.left(), "stream": True}
            verify = options.get("verify") is not False
            with timed_session(allow_private=calls.allow_private, verify=verify) as session:
                response = session.request(method, url, **options)
                _read(response)
        except (requests.RequestException, HTTPError, OSError) as error:
            calls.without_answer(error)
            # Services expect an error of `requests`.
            raise requests.ConnectionError("no answer") from error
        wait = retry_after_seconds(response.headers.get("retry-after", ""), now=calls.now)
        calls.answers.append(Answer(status=response.status_code, retry_after=wait))
        return response

    def get(self, url: str, **options: Any) -> requests.Response:
        return self.request("GET", url, **options)

    def post(self, url: str, data: Any = None, json: Any = None, **options: Any) -> requests.Response:
        return self.request("POST", url, data=data, json=json, **options)

    def put(self, url: str, data: Any = None, **options: Any) -> requests.Response:
        return self.request("PUT", url, data=data, **options)

    def patch(self, url: str, data: Any = None, **options: Any) -> requests.Response:
        return self.request("PATCH", url, data=data, **options)

    def delete(self, url: str, **options: Any) -> requests.Response:
        return self.request("DELETE", url, **options)

    def head(self, url: str, **options: Any) -> requests.Response:
        return self.request("HEAD", url, **options)

    def Session(self) -> None:
        """Refuse it: a service with a session of its own would bypass this guard."""
        raise DeliveryFailed("this service keeps its own connections; use another", reason="unsupported_service")


def _read(response: requests.Response) -> None:
    """Read the beginning of the body; services read only short ones."""
    content = b""
    while len(content) < _BODY_BYTES and (part := response.raw.read(_BODY_BYTES - len(content), decode_content=True)):
        content += part
    response._content = content[:_BODY_BYTES]
    response._content_consumed = True  # type: ignore[attr-defined]
    response.close()


# --- SMTP


class GuardedSMTP(ModuleType):
    """Stands for the module `smtplib` in Apprise's SMTP connection."""

    def __getattr__(self, name: str) -> Any:
        return {"SMTP": _SMTP, "SMTP_SSL": _SMTPOverTLS}.get(name) or getattr(smtplib, name)


@contextmanager
def _recorded(calls: Calls) -> Iterator[None]:
    try:
        yield
    except smtplib.SMTPResponseException as error:
        calls.answers.append(Answer(code=error.smtp_code))
        raise
    except smtplib.SMTPRecipientsRefused as error:
        calls.answers += [Answer(code=code) for code, _ in error.recipients.values()]
        raise
    except smtplib.SMTPNotSupportedError:
        calls.answers.append(Answer(code=502))
        raise
    except (smtplib.SMTPException, OSError) as error:
        calls.without_answer(error)
        raise


class _Guarded:
    """Mixin of both kinds of connections."""

    def __init__(self, host: str, port: int, local_hostname: str | None = None, **options: Any) -> None:
        self._calls = _calls()
        # Without a name, smtplib asks the name server for this machine's, however long that takes.
        name = local_hostname or socket.gethostname() or "localhost"
        with _recorded(self._calls):
            options["timeout"] = self._calls.deadline.left()
            super().__init__(host, port, name, **options)  # type: ignore[call-arg]

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        calls = self._calls
        addresses = resolve(host, port, allow_private=calls.allow_private, timeout=min(_RESOLVE_SECONDS, timeout))
        return timed_socket(addresses, calls.deadline)

    def login(self, *args: Any, **options: Any) -> Any:
        connection = cast("smtplib.SMTP", self)
        if not isinstance(connection.sock, ssl.SSLSocket) and not self._calls.allow_private:
            connection.close()
            problem = "the password would be sent unencrypted; use mailtos://, or `allow_private: true`"
            raise DeliveryFailed(problem, reason="forbidden_address")
        with _recorded(self._calls):
            return super().login(*args, **options)  # type: ignore[misc]

    def starttls(self, *args: Any, context: ssl.SSLContext | None = None, **options: Any) -> Any:
        with _recorded(self._calls):
            cast("smtplib.SMTP", self).ehlo_or_helo_if_needed()
            # The handshake has the time that is left.
            cast("Any", self).sock.settimeout(self._calls.deadline.left())
            answer = super().starttls(*args, context=timed_context(context), **options)  # type: ignore[misc]
            cast("Any", self).sock.deadline = self._calls.deadline
            return answer

    def sendmail(self, *args: Any, **options: Any) -> Any:
        with _recorded(self._calls):
            refused = super().sendmail(*args, **options)  # type: ignore[misc]
        self._calls.answers += [Answer(code=code) for code, _ in refused.values()] or [Answer(code=250)]
        return refused


class _SMTP(_Guarded, smtplib.SMTP):
    """A plain connection, or one that STARTTLS encrypts."""


class _SMTPOverTLS(_Guarded, smtplib.SMTP_SSL):
    """A connection that is encrypted from the first byte."""

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        plain = super()._get_socket(host, port, timeout)
        encrypted: Any = timed_context(self.context).wrap_socket(plain, server_hostname=host)
        encrypted.deadline = self._calls.deadline
        return cast("socket.socket", encrypted)
