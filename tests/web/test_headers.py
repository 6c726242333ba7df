"""What is stored of a request's headers is bounded, whoever sent it, and holds no secret."""

from __future__ import annotations

import json

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from bridge.journal import requests
from bridge.journal.requests import RequestStore
from bridge.state import keys
from bridge.web.headers import KEPT_BYTES, KEPT_NAMES, read_headers
from tests.support.partitions import entries

LATIN = st.text(st.characters(max_codepoint=255), max_size=9000)
TOKEN = "s3cret-Token_of-the-address"


def environ(headers: dict[str, str]) -> dict[str, str]:
    return {
        ("" if name.startswith("content") else "HTTP_") + name.upper().replace("-", "_"): value
        for name, value in headers.items()
    }


@given(st.dictionaries(st.text("abcxyz-", max_size=60).map("x-{}".format), LATIN, max_size=96))
def test_whatever_is_sent_number_and_bytes_of_what_is_kept_are_bounded(sent: dict[str, str]) -> None:
    sent = {**sent, "content-type": "application/json", "user-agent": "vendor/1"}
    headers, kept = read_headers(environ(sent), "")
    assert headers == sent
    assert len(kept) <= KEPT_NAMES
    assert len(json.dumps(kept, separators=(",", ":"))) <= KEPT_BYTES + 2
    assert kept["content-type"] == "application/json"
    assert kept["user-agent"] == "vendor/1"


@pytest.mark.parametrize("value", ["x" * 8100, "\xff" * 8100, '"' * 8100, "\\" * 8100])
def test_96_long_headers_keep_4_kb_and_the_names_that_matter(value: str) -> None:
    sent = {f"x-{'n' * 8000}-{number}" if number % 2 else f"x-{number}": value for number in range(96)}
    _, kept = read_headers(environ({**sent, "user-agent": value}), "")
    assert len(json.dumps(kept)) <= KEPT_BYTES + 200
    assert "user-agent" in kept


def test_many_short_headers_keep_the_first_ones() -> None:
    _, kept = read_headers(environ({f"x-{number}": "1" for number in range(96)}), "")
    assert list(kept) == [f"x-{number}" for number in range(KEPT_NAMES)]


@pytest.mark.parametrize(
    "name",
    ["x-original-uri", "x-forwarded-uri", "x-original-url", "x-rewrite-url", "x-envoy-original-path", "x-request-path",
     "x-forwarded-path", "x-auth", "x-session-id"],
)  # fmt: skip
def test_a_header_that_may_hold_the_address_or_a_secret_is_not_stored(name: str) -> None:
    headers, kept = read_headers(environ({name: "/webhooks/eu/other", "x-request-id": "1"}), "")
    assert (headers[name], kept) == ("/webhooks/eu/other", {"x-request-id": "1"})


@pytest.mark.parametrize("value", [f"POST /webhooks/eu/{TOKEN}", f"/webhooks/eu/{TOKEN.replace('-', '%2D')}?a=b"])
@pytest.mark.parametrize("name", ["x-trace", "user-agent"])
def test_a_header_that_repeats_the_token_is_not_stored_whatever_its_name(name: str, value: str) -> None:
    _, kept = read_headers(environ({name: value, "x-request-id": "1"}), TOKEN)
    assert kept == {"x-request-id": "1"}


def test_a_refused_request_takes_at_most_8_kb_whatever_the_caller_hands_over(state: redis.Redis) -> None:
    RequestStore(state).reject(
        request_id="1",
        source="eu",
        received_at=1.0,
        reason="stale",
        headers={f"x-{number}": "\xff" * 8100 for number in range(96)},
        body=b"b" * 300_000,
    )
    ((_, fields),) = entries(state, keys.rejected)
    assert sum(len(name) + len(value) for name, value in fields.items()) < requests.REJECTED_BYTES
