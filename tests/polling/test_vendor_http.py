"""`Calls` against a real HTTP server that behaves, redirects, throttles and breaks off."""

from __future__ import annotations

import gzip
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import redis

import bridge.polling.vendor_http
from bridge.config.model import PollConfig, Source, WebhookConfig
from bridge.errors import BudgetExhausted, VendorRefused, VendorThrottled, VendorUnavailable
from bridge.polling.vendor_http import Calls, rate_limit, retry_after, vendor_session
from bridge.quota.budgets import OVERDUE, POLL, Budgets, VendorLimit, Window

SECRET = "query-canary-5f1c"
NOW = 1_800_000_000.0


class _Handler(BaseHTTPRequestHandler):
    """The path says what to do."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.seen.append((self.path, dict(self.headers)))  # type: ignore[attr-defined]
        getattr(self, "_" + self.path.split("?")[0].strip("/"))()

    do_POST = do_GET

    def _answer(self, status: int = 200, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _good(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self._answer(body=b'{"ok": true}' + self.rfile.read(length), X_Limit="7")

    def _packed(self) -> None:
        self._answer(body=gzip.compress(b"x" * 100_000), Content_Encoding="gzip")

    def _chunked(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")

    def _moved(self) -> None:
        self._answer(302, Location="/good")

    def _limit(self) -> None:
        self._answer(429, Retry_After="90")

    def _limit_unsaid(self) -> None:
        self._answer(429)

    def _limited(self) -> None:
        left = max(0, 3 - len(self.server.seen))  # type: ignore[attr-defined]
        headers = {"X_RateLimit_Limit": "3", "X_RateLimit_Remaining": f"{left}", "X_RateLimit_Reset": f"{NOW + 40:.0f}"}
        self._answer(429 if len(self.server.seen) > 3 else 200, **headers)  # type: ignore[attr-defined]

    def _limit_by_headers(self) -> None:
        self._answer(429, RateLimit_Remaining="0", RateLimit_Reset="70")

    def _broken(self) -> None:
        self._answer(503, Retry_After="30")

    def _teapot(self) -> None:
        self._answer(418, b"short and stout")

    def _huge(self) -> None:
        self._answer(body=b"x" * 200_000)

    def _short(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b"half")
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def vendor() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.seen = []  # type: ignore[attr-defined]
    server.closing = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.closing.set()  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()
    thread.join()


class Asking:
    def __init__(self, vendor: ThreadingHTTPServer, state: redis.Redis, session: Any, calls: int = 100) -> None:
        self.base = f"http://127.0.0.1:{vendor.server_port}"
        self.budgets = Budgets(state)
        source = Source(
            name="eu-little",
            vendor="little",
            base_url=self.base,
            credentials={},
            webhook=WebhookConfig(),
            poll=PollConfig(),
            budget=Window(calls, 60.0),
            options={},
        )
        self.moment = NOW
        self.calls = Calls(source, self.budgets, session, lambda: self.moment, spender=POLL)

    def get(self, path: str, **options: Any) -> tuple[int, Any, bytes]:
        return self.calls.request("GET", f"{self.base}/{path}", params=[("api_key", SECRET)], **options)


@pytest.fixture
def asking(vendor: ThreadingHTTPServer, state: redis.Redis) -> Iterator[Asking]:
    with vendor_session() as session:
        yield Asking(vendor, state, session)


def test_an_answer_comes_with_lower_case_headers_and_costs_one_call(asking: Asking, vendor: Any) -> None:
    status, headers, body = asking.get("good", headers={"Authorization": "Bearer x"})
    assert (status, headers["x-limit"], body) == (200, "7", b'{"ok": true}')
    assert asking.calls.made == asking.budgets.status("eu-little", Window(100, 60.0), NOW).used == 1
    path, sent = vendor.seen[0]
    assert path == f"/good?api_key={SECRET}"
    assert sent["User-Agent"].startswith("attempt-bridge/")
    assert sent["Authorization"] == "Bearer x"


def test_a_body_is_sent_as_it_is(asking: Asking) -> None:
    _, _, body = asking.calls.request("POST", f"{asking.base}/good", body=b"\xffraw", free=True)
    assert body == b'{"ok": true}\xffraw'
    assert asking.calls.made == 0


def test_packed_and_chunked_answers_are_read(asking: Asking) -> None:
    assert asking.get("packed")[2] == b"x" * 100_000
    assert asking.get("chunked")[2] == b"abcde"


def test_other_answers_are_left_to_the_vendors_client(asking: Asking) -> None:
    assert asking.get("teapot")[0] == 418


def test_no_call_is_made_without_budget(vendor: Any, state: redis.Redis) -> None:
    with vendor_session() as session:
        asking = Asking(vendor, state, session, calls=1)
        asking.get("good")
        with pytest.raises(BudgetExhausted):
            asking.get("good")
        asking.get("good", free=True)
    assert len(vendor.seen) == 2


def test_every_call_is_charged_to_the_current_spender(asking: Asking) -> None:
    asking.get("good")
    asking.calls.spender = OVERDUE
    asking.get("good")
    assert asking.budgets.status("eu-little", Window(100, 60.0), NOW).spenders == {POLL: 1, OVERDUE: 1}


def test_the_limit_in_the_answers_headers_is_obeyed_by_every_process_until_its_reset(
    asking: Asking, vendor: Any, state: redis.Redis
) -> None:
    asking.get("limited")
    with vendor_session() as session:
        other = Asking(vendor, state, session)
        other.get("limited")
        asking.get("limited")
        for client in (asking, other, asking):
            with pytest.raises(BudgetExhausted) as exhausted:
                client.get("limited")
            assert exhausted.value.retry_at == NOW + 40
        assert len(vendor.seen) == 3
        status = other.budgets.status("eu-little", Window(100, 60.0), NOW)
        assert (status.left, status.vendor_limit) == (0, VendorLimit(remaining=0, limit=3, resets_at=NOW + 40))

        asking.moment = NOW + 40
        asking.get("good")


def test_a_free_call_does_not_record_the_vendors_limit(asking: Asking) -> None:
    asking.get("limited", free=True)
    assert asking.budgets.status("eu-little", Window(100, 60.0), NOW).vendor_limit is None


def test_no_process_calls_a_vendor_before_the_time_it_gives(asking: Asking, vendor: Any, state: redis.Redis) -> None:
    for path, wait in (("limit", 90), ("broken", 30)):
        with pytest.raises((VendorThrottled, VendorUnavailable)) as refused:
            asking.get(path)
        # As whoever has the turn does (`workers/polling/source_access.py`).
        Budgets(state).pause_until("eu-little", refused.value.retry_at or 0.0, str(refused.value))
        seen = len(vendor.seen)
        asking.moment += wait - 0.1
        with pytest.raises(VendorThrottled, match=path):
            asking.get("good")
        assert len(vendor.seen) == seen
        asking.moment += 0.2
        asking.get("good")


def test_a_paused_or_stopped_source_makes_no_call_not_even_a_free_one(asking: Asking, vendor: Any) -> None:
    asking.budgets.pause_until("eu-little", NOW + 1, "HTTP 429")
    for free in (True, False):
        with pytest.raises(VendorThrottled):
            asking.get("good", free=free)
    asking.budgets.pause_until("eu-little", float("inf"), "credentials")
    for free in (True, False):
        with pytest.raises(VendorRefused):
            asking.get("good", free=free)
    assert vendor.seen == []


@pytest.mark.parametrize(
    ("path", "retry_at"), [("limit", NOW + 90), ("limit_by_headers", NOW + 70), ("limit_unsaid", None)]
)
def test_a_429_pauses_the_source_until_the_time_that_the_vendor_gives(
    asking: Asking, path: str, retry_at: float | None
) -> None:
    with pytest.raises(VendorThrottled) as throttled:
        asking.get(path)
    assert throttled.value.retry_at == retry_at


def test_a_server_error_is_unavailable(asking: Asking) -> None:
    with pytest.raises(VendorUnavailable, match=r"GET 127\.0\.0\.1/broken: HTTP 503") as unavailable:
        asking.get("broken")
    assert unavailable.value.retry_at == NOW + 30


def test_redirects_are_not_followed(asking: Asking, vendor: Any) -> None:
    with pytest.raises(VendorUnavailable, match=r"sources\.eu-little\.base_url"):
        asking.get("moved")
    assert len(vendor.seen) == 1


@pytest.mark.parametrize("path", ["huge", "packed"])
def test_an_answer_that_is_too_large_is_not_read_to_its_end(
    asking: Asking, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(bridge.polling.vendor_http, "MAX_BODY", 90_000)
    with pytest.raises(VendorUnavailable, match="larger than 90000 bytes"):
        asking.get(path)


@pytest.mark.parametrize("path", ["short", "refused"])
def test_no_error_and_no_log_line_contains_the_query(
    asking: Asking, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    if path == "refused":
        asking.base = "http://127.0.0.1:1"
    with pytest.raises(VendorUnavailable) as unavailable:
        asking.get(path)
    asking.base = ""
    chain, error = [], unavailable.value
    while error is not None:
        chain.append(repr(error))
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    assert "Error" in chain[0]
    assert SECRET not in " ".join(chain) + caplog.text


def test_the_environments_proxy_is_not_used(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert asking.get("good")[0] == 200


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("120", NOW + 120),
        ("Fri, 15 Jan 2027 08:01:00 GMT", NOW + 60),
        ("Fri, 15 Jan 2027 07:00:00 GMT", NOW),
        ("99999999999999999999", NOW + 25 * 3600),
        ("soon", None),
        ("-5", None),
        ("²", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_bounded(text: str, expected: float | None) -> None:
    assert retry_after({"retry-after": text}, NOW) == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-ratelimit-remaining": "7", "x-ratelimit-reset": f"{NOW + 30:.0f}"}, (7, None, NOW + 30)),
        ({"x-ratelimit-remaining": "7", "x-ratelimit-reset": "30", "x-ratelimit-limit": "120"}, (7, 120, NOW + 30)),
        ({"ratelimit-remaining": "0", "ratelimit-reset": "30", "ratelimit-limit": "120, 120;w=60"}, (0, 120, NOW + 30)),
        ({"x-ratelimit-remaining": " 7 ", "x-ratelimit-reset": "29.5"}, (7, None, NOW + 29)),
        ({"x-ratelimit-remaining": "7", "x-ratelimit-reset": "30", "x-ratelimit-limit": "many"}, (7, None, NOW + 30)),
        ({"x-ratelimit-remaining": "soon", "ratelimit-remaining": "4", "ratelimit-reset": "30"}, (4, None, NOW + 30)),
        ({"x-ratelimit-remaining": "7"}, None),
        ({"x-ratelimit-reset": "30"}, None),
        ({"x-ratelimit-remaining": "-1", "x-ratelimit-reset": "30"}, None),
        ({"x-ratelimit-remaining": "²", "x-ratelimit-reset": "30"}, None),
        ({"x-ratelimit-remaining": "7", "x-ratelimit-reset": "0"}, None),
        ({"x-ratelimit-remaining": "7", "x-ratelimit-reset": f"{NOW - 5:.0f}"}, None),
        ({"x-ratelimit-remaining": "7", "x-ratelimit-reset": f"{NOW * 1000:.0f}"}, None),
        ({"x-ratelimit-remaining": "7", "x-ratelimit-reset": f"{NOW + 30 * 3600:.0f}"}, None),
        ({"x-ratelimit-remaining": "7", "x-ratelimit-reset": "9" * 400}, None),
        ({}, None),
    ],
)
def test_rate_limit_headers_are_read_in_both_spellings_and_nonsense_is_ignored(
    headers: dict[str, str], expected: tuple[int, int | None, float] | None
) -> None:
    assert rate_limit(headers, NOW) == expected
