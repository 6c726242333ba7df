"""Every row of the table of answers, over the real server."""

from __future__ import annotations

import json
import math
import socket
from collections.abc import Iterator

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.ingest.sample_marks import marked
from bridge.journal.quarantine import QuarantineStore
from bridge.journal.requests import RequestStore
from bridge.quota.budgets import Budgets
from tests.support.partitions import entries
from tests.support.servers import Server
from tests.support.waiting import until
from tests.support.web import API_TOKEN, TOKEN, Web, journal_attempts, post, read_answer, result, sign

pytestmark = pytest.mark.usefixtures("starts_processes")

BODY = result(1)
ALLOWED = {200, 400, 401, 404, 405, 408, 411, 413, 414, 415, 417, 431, 503}


@pytest.fixture(scope="module")
def web(shared_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    web = Web(tmp_path_factory.mktemp("web"), shared_server.url, body_seconds=1)
    yield web
    web.close()


@pytest.fixture(autouse=True)
def _empty(state: redis.Redis) -> None:
    """Every test starts with an empty state server."""


def test_a_new_attempt_is_published_and_its_request_kept(web: Web, state: redis.Redis) -> None:
    answer = web.exchange(post("/webhooks/eu", BODY, X_Request_Note="n" * 300, Cookie="session=1", X_Api_Token="t"))
    assert (answer.status, answer.outcome) == (200, "published")
    assert answer.headers["content-type"] == "application/json"
    ((_, entry),) = entries(state)
    event = json.loads(entry[b"event"])
    assert event["type"] == "attempt.completed"
    request_id = json.loads(answer.body)["request_id"]
    kept = RequestStore(state).find(request_id)
    assert kept is not None
    assert (kept.body, kept.outcome, kept.attempts) == (BODY, "published", (event["subject"],))
    assert kept.headers["x-request-note"] == "n" * 200
    assert not {"cookie", "x-api-token", "host"} & kept.headers.keys()


def test_a_webhook_marked_as_a_test_gives_a_labelled_event_and_a_request_with_the_outcome_test(
    web: Web, state: redis.Redis
) -> None:
    body = json.dumps(marked(json.loads(BODY))).encode()
    answer = web.exchange(post("/webhooks/eu", body))
    assert (answer.status, answer.outcome) == (200, "published")
    ((_, entry),) = entries(state)
    event = json.loads(entry[b"event"])
    assert event["bridgetest"] is True
    assert event["subject"].startswith("test:")
    kept = RequestStore(state).find(json.loads(answer.body)["request_id"])
    assert kept is not None
    assert (kept.outcome, kept.attempts) == ("test", (event["subject"],))
    assert web.exchange(post("/webhooks/eu", BODY)).outcome == "published"


def test_the_same_webhook_again_is_a_duplicate(web: Web, state: redis.Redis) -> None:
    outcomes = [web.exchange(post("/webhooks/eu", BODY)).outcome for _ in range(3)]
    assert outcomes == ["published", "duplicate", "duplicate"]
    assert len(journal_attempts(state)) == 1


def test_a_changed_result_is_revised(web: Web, state: redis.Redis) -> None:
    assert web.exchange(post("/webhooks/eu", BODY)).outcome == "published"
    assert web.exchange(post("/webhooks/eu", result(1, points_scored=24.0, percentage=80.0))).outcome == "revised"
    assert len(journal_attempts(state)) == 2


def test_a_connection_serves_many_requests(web: Web) -> None:
    with web.connect() as connection:
        for number in range(20):
            connection.sendall(post("/webhooks/eu", result(number)))
            assert read_answer(connection).outcome == "published"


def test_the_previous_secret_is_still_accepted(web: Web) -> None:
    body = result(2)
    answer = web.exchange(post("/webhooks/eu", body, X_Classmarker_Hmac_Sha256=sign(body, "the-phrase-before")))
    assert answer.outcome == "published"


def test_the_vendors_test_message_is_answered_as_a_test(web: Web, state: redis.Redis) -> None:
    body = BODY.replace(b'"live"', b'"verify"')
    assert web.exchange(post("/webhooks/eu", body)).outcome == "test"
    assert journal_attempts(state) == []


def test_an_irrelevant_kind_is_ignored(web: Web) -> None:
    body = BODY.replace(b"single_user_test_results_link", b"something_else")
    assert web.exchange(post("/webhooks/eu", body)).outcome == "ignored"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1e400}',
        b'{"a": 1, "a": 2}',
        b'{"a": ' + b"1" * 5000 + b"}",
        b'{"a": "\\ud800"}',
        b'{"a": "\\u0000"}',
        b"[" * 100_000,
        b'{"a":' * 200 + b"1" + b"}" * 200,
        b"\xef\xbb\xbf{}",
        "{}".encode("utf-16"),
        b"\xff\xfe\xfd",
        b"PK\x03\x04",
        b"<xml/>",
        BODY[:-1],
        BODY + b"x",
        BODY.replace(b"70.0", b'"CANARY"'),
    ],
    ids=lambda body: repr(body[:24]),
)
def test_an_authentic_but_unreadable_request_is_quarantined(web: Web, state: redis.Redis, body: bytes) -> None:
    answer = web.exchange(post("/webhooks/eu", body))
    assert (answer.status, answer.outcome) == (200, "quarantined")
    (kept,) = QuarantineStore(state).list()
    assert (kept.body, kept.source, kept.request_id) == (body, "eu", json.loads(answer.body)["request_id"])
    assert journal_attempts(state) == []


# What else is no signature: tests/vendors/classmarker/test_adapter.py. HTTP has a say in these.
@pytest.mark.parametrize(
    "signature", [None, "", "\xff" * 44, sign(BODY, "another phrase"), sign(BODY) + "\t" + sign(BODY)]
)
def test_a_bad_signature_is_refused_without_details(web: Web, state: redis.Redis, signature: str | None) -> None:
    answer = web.exchange(post("/webhooks/eu", BODY, X_Classmarker_Hmac_Sha256=signature))
    assert (answer.status, answer.body) == (401, b"{}")
    (kept,) = RequestStore(state).list()
    assert (kept.outcome, kept.body, kept.source) == ("rejected", BODY, "eu")
    assert journal_attempts(state) == []


def test_only_the_beginning_of_a_refused_request_is_stored(web: Web, state: redis.Redis) -> None:
    assert web.exchange(post("/webhooks/eu", b"x" * 100_000, X_Classmarker_Hmac_Sha256="AAAA")).status == 401
    (kept,) = RequestStore(state).list()
    assert kept.body == b"x" * 4096


@pytest.mark.parametrize(
    "path",
    [
        "/webhooks/nobody",
        "/webhooks/nobody/" + TOKEN,
        "/webhooks/closed",
        "/webhooks/closed/",
        "/webhooks/closed/" + TOKEN[:-1],
        "/webhooks/closed/" + TOKEN + "/more",
        "/webhooks/closed/%ff%00",
        "/webhooks/eu/",
        "/webhooks/eu/" + TOKEN,
        "/webhooks/",
        "/webhooks/EU",
        "/webhooks/../livez",
    ],
)
def test_unknown_sources_and_tokens_look_the_same(web: Web, path: str) -> None:
    answer = web.exchange(post(path, BODY))
    assert (answer.status, answer.body) == (404, b"{}")
    assert answer.headers.keys() == {"server", "date", "connection"} | {
        "content-type",
        "content-length",
        "x-content-type-options",
    }


def test_a_source_with_a_token_is_found_by_it(web: Web) -> None:
    assert web.exchange(post(f"/webhooks/closed/{TOKEN}", BODY)).outcome == "published"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"])
def test_only_post_is_served(web: Web, method: str) -> None:
    for path in ("/webhooks/eu", "/webhooks/nobody"):
        with web.connect() as connection:
            connection.sendall(post(path, BODY).replace(b"POST", method.encode(), 1))
            answer = read_answer(connection, method)
        assert (answer.status, answer.headers["allow"]) == (405, "POST")


def test_a_request_without_a_length_is_refused(web: Web) -> None:
    assert web.exchange(post("/webhooks/eu", BODY, Content_Length=None)).status == 411


@pytest.mark.parametrize("size", ["-5", "+5", "0x5", " 5", "5_0", "", "five", "5;", "5\n", "\xb2", "f" * 18])
def test_a_malformed_chunk_is_a_400_also_for_the_api(web: Web, size: str) -> None:
    head = (
        b"POST /api/v1/watches HTTP/1.1\r\nHost: bridge\r\nContent-Type: application/json\r\n"
        b"Authorization: Bearer %s\r\nTransfer-Encoding: chunked\r\n\r\n" % API_TOKEN.encode()
    )
    chunks = size.encode("latin-1") + b"\r\nhello\r\n0\r\n\r\n"
    assert web.exchange(head + chunks, half_close=True).status == 400
    assert web.get("/livez").status == 200


def test_a_chunked_body_is_refused_whatever_its_size(web: Web) -> None:
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    head, _, _ = post("/webhooks/eu", BODY, Content_Length=None, Transfer_Encoding="chunked").partition(b"\r\n\r\n")
    assert web.exchange(head + b"\r\n\r\n" + chunks).status == 411
    head, _, _ = post("/webhooks/eu", BODY, Transfer_Encoding="chunked").partition(b"\r\n\r\n")
    assert web.exchange(head + b"\r\n\r\n" + chunks).status == 400


@pytest.mark.parametrize("length", ["-1", "+5", "5_0", "0x10", "1.0", "", " ", "\xb2", "many", "5, 5"])
def test_an_invalid_length_is_refused(web: Web, length: str) -> None:
    assert web.exchange(post("/webhooks/eu", BODY, Content_Length=length)).status in (400, 411)


def test_two_lengths_are_refused(web: Web) -> None:
    request = post("/webhooks/eu", BODY).replace(b"Content-Type:", b"Content-Length: 5\r\nContent-Type:")
    assert web.exchange(request).status == 400


@pytest.mark.parametrize("length", [str(256 * 1024 + 1), "5000000", "9" * 30, "9" * 4000])
def test_a_large_body_is_refused_by_its_length(web: Web, length: str) -> None:
    assert web.exchange(post("/webhooks/eu", b"", Content_Length=length)).status == 413


def test_a_large_body_that_is_sent_anyway_gets_its_answer(web: Web) -> None:
    with web.connect() as connection:
        connection.sendall(post("/webhooks/eu", b"x" * 5_000_000))
        assert read_answer(connection).status == 413
    assert web.exchange(post("/webhooks/eu", BODY)).outcome == "published"


def test_the_largest_body_is_read(web: Web) -> None:
    answer = web.exchange(post("/webhooks/eu", b" " * (256 * 1024)))
    assert answer.outcome == "quarantined"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "GZIP", "identity, gzip"])
def test_an_encoded_body_is_refused(web: Web, encoding: str) -> None:
    assert web.exchange(post("/webhooks/eu", BODY, Content_Encoding=encoding)).status == 415


def test_the_identity_encoding_is_accepted(web: Web) -> None:
    assert web.exchange(post("/webhooks/eu", BODY, Content_Encoding="Identity")).outcome == "published"


@pytest.mark.parametrize(
    "media_type", [None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
def test_a_media_type_that_the_vendor_does_not_send_is_refused(web: Web, media_type: str | None) -> None:
    assert web.exchange(post("/webhooks/eu", BODY, Content_Type=media_type)).status == 415


def test_the_media_type_may_have_parameters(web: Web) -> None:
    answer = web.exchange(post("/webhooks/eu", BODY, Content_Type="Application/JSON; charset=utf-8"))
    assert answer.outcome == "published"


def test_a_source_that_an_operator_pauses_answers_503_until_it_is_resumed(web: Web, state: redis.Redis) -> None:
    budgets = Budgets(state)
    budgets.pause("eu")
    until(lambda: web.exchange(post("/webhooks/eu", BODY)).status == 503)
    answer = web.exchange(post("/webhooks/eu", BODY))
    assert (answer.headers["retry-after"], answer.body) == ("600", b"{}")
    budgets.resume("eu")
    until(lambda: web.exchange(post("/webhooks/eu", BODY)).status == 200)


def test_webhooks_are_accepted_while_calls_to_the_vendor_are_paused(web: Web, state: redis.Redis) -> None:
    budgets = Budgets(state)
    # Both at once: as soon as the pause of the one is seen, that of the other would be.
    budgets.pause_until("eu", math.inf, "credentials refused")
    budgets.pause("closed")
    until(lambda: web.exchange(post(f"/webhooks/closed/{TOKEN}", BODY)).status == 503)
    assert web.exchange(post("/webhooks/eu", BODY)).status == 200


@pytest.mark.parametrize("source", ["paused", "deaf"])
def test_a_paused_source_asks_the_vendor_to_send_again_later(web: Web, state: redis.Redis, source: str) -> None:
    answer = web.exchange(post(f"/webhooks/{source}", BODY))
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) > 0
    assert journal_attempts(state) == []


@pytest.mark.parametrize("sent", [0, 1, len(BODY) - 1])
def test_a_body_shorter_than_its_length_is_refused(web: Web, state: redis.Redis, sent: int) -> None:
    head, _, body = post("/webhooks/eu", BODY).partition(b"\r\n\r\n")
    assert web.exchange(head + b"\r\n\r\n" + body[:sent], half_close=True).status == 400
    assert journal_attempts(state) == []


def test_bytes_beyond_the_length_are_ignored(web: Web) -> None:
    assert web.exchange(post("/webhooks/eu", BODY, Content_Length=str(len(BODY) - 1))).status == 401


def test_a_body_that_never_arrives_times_out(web: Web) -> None:
    head, _, body = post("/webhooks/eu", BODY).partition(b"\r\n\r\n")
    assert web.exchange(head + b"\r\n\r\n" + body[:10]).status == 408


def test_a_body_that_arrives_byte_by_byte_times_out(web: Web) -> None:
    head, _, body = post("/webhooks/eu", BODY).partition(b"\r\n\r\n")
    with web.connect() as connection:
        connection.sendall(head + b"\r\n\r\n")
        connection.settimeout(0.05)
        received = b""
        for byte in body:
            try:
                connection.sendall(bytes([byte]))
                received = connection.recv(1024)
            except TimeoutError:
                continue
            break
        assert received.startswith(b"HTTP/1.1 408 ")


def test_a_sender_that_disconnects_affects_no_other(web: Web) -> None:
    head, _, body = post("/webhooks/eu", BODY).partition(b"\r\n\r\n")
    for _ in range(20):
        with web.connect() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            connection.sendall(head + b"\r\n\r\n" + body[:10])
    assert web.exchange(post("/webhooks/eu", BODY)).outcome == "published"


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET /livez HTTP/1.1\r\nX: " + b"a" * 9000 + b"\r\n\r\n", 431),
        (b"GET /livez HTTP/1.1\r\n" + b"X: a\r\n" * 101 + b"\r\n", 431),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (b"CANARY-line\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nCANARY header\r\n\r\n", 400),
        (b"POST /webhooks/eu HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        (b"POST /webhooks/eu HTTP/1.1\r\nExpect: CANARY\r\nContent-Length: 2\r\n\r\n{}", 417),
        (b"GET /livez HTTP/7.5\r\n\r\n", 400),
    ],
)
def test_a_malformed_request_is_refused_without_repeating_it(web: Web, raw: bytes, status: int) -> None:
    answer = web.exchange(raw)
    assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")
    assert json.loads(answer.body)["status"] == status
    assert "CANARY" not in web.log.read_text()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=2000), signed=st.booleans())
def test_any_body_gets_an_answer_of_the_table(web: Web, body: bytes, signed: bool) -> None:
    headers = {} if signed else {"X_Classmarker_Hmac_Sha256": "AAAA"}
    answer = web.exchange(post("/webhooks/eu", body, **headers))
    assert (answer.status, answer.body != b"{}") == ((200, True) if signed else (401, False))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 200), noise=st.binary(min_size=1, max_size=60))
def test_any_bytes_get_an_answer_of_the_table(web: Web, place: int, noise: bytes) -> None:
    request = post("/webhooks/eu", b"{}")
    with web.connect() as connection:
        connection.sendall(request[:place] + noise + request[place:])
        connection.shutdown(socket.SHUT_WR)
        received = connection.makefile("rb").read()
    # Half a request head at the end of the stream gets no answer at all.
    assert not received or int(received[9:12]) in ALLOWED


def test_none_of_these_requests_logged_an_error(web: Web) -> None:
    until(lambda: web.get("/livez").status == 200)
    lines = [json.loads(line) for line in web.log.read_text().splitlines()]
    assert [line for line in lines if line["level"] == "error"] == []
