"""`ETag` for what is read again, `Idempotency-Key` for what is sent again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient

from bridge.errors import StateUnavailable
from bridge.services import Services
from bridge.web import create_app
from tests.support.watches_api import LINK, TOKENS, OpenGate, access_of, build

WATCHES, AUDIT = "/api/v1/watches", "/api/v1/audit"
KEY = {"Idempotency-Key": "4c1f8a52-order-7"}


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gevent.sleep", lambda seconds: None)


def test_what_has_not_changed_is_not_sent_again(api: FlaskClient) -> None:
    first = api.get(WATCHES)
    tag = {"If-None-Match": first.headers["ETag"]}
    again = api.get(WATCHES, headers=tag)
    assert (again.status_code, again.data) == (304, b"")
    assert (first.headers["Cache-Control"], first.headers["Vary"]) == ("private, no-cache", "Authorization, Cookie")
    api.post(WATCHES, json=LINK)
    changed = api.get(WATCHES, headers=tag)
    assert (changed.status_code, changed.json["total"]) == (200, 1)
    assert changed.headers["ETag"] != first.headers["ETag"]


def test_an_error_has_no_tag_and_a_stranger_gets_no_304(api: FlaskClient) -> None:
    tag = api.get(WATCHES).headers["ETag"]
    assert "ETag" not in api.get(f"{WATCHES}/none").headers
    refused = api.get(WATCHES, headers={"If-None-Match": tag, "Authorization": "Bearer wrong"})
    assert refused.status_code == 401


def test_a_call_that_is_repeated_with_its_key_is_done_once(
    api: FlaskClient, services: Services, state: redis.Redis
) -> None:
    document = LINK | {"due": "2050-01-01", "deadline": "2051-01-01"}
    first = api.post(WATCHES, json=document, headers=KEY)
    api.delete(f"{WATCHES}/{first.json['id']}")
    again = api.post(WATCHES, json=document, headers=KEY)
    assert (again.status_code, again.json, again.content_type) == (201, first.json, first.content_type)
    assert (first.headers.get("Idempotency-Replayed"), again.headers["Idempotency-Replayed"]) == (None, "true")
    assert services.expectations.list("eu") == ()
    assert [row["action"] for row in api.get(AUDIT).json["audit"]] == ["cancelWatch", "addWatch"]
    (key,) = state.keys("ab:call:*")
    assert 86_000 < state.ttl(key) <= 86_400
    # Without a key, or with another one, it is another call.
    assert api.post(WATCHES, json=document, headers={"Idempotency-Key": "other"}).status_code == 201
    assert len(services.expectations.list("eu")) == 1


@pytest.mark.parametrize(
    ("address", "change"), [(WATCHES, {"label": "HR-8"}), (f"{WATCHES}?x=1", {}), (f"{WATCHES}/cancel", {})]
)
def test_a_key_that_was_used_for_another_call_is_refused(
    api: FlaskClient, address: str, change: dict[str, str]
) -> None:
    api.post(WATCHES, json=LINK, headers=KEY)
    answer = api.post(address, json=LINK | change, headers=KEY)
    assert answer.status_code == 422
    assert answer.json["detail"].startswith("Idempotency-Key: used for another call before. Remedy: send a new key")


@pytest.mark.parametrize("junk", ["", "[]", "{}", "not JSON", '{"status":201}'])
def test_a_key_whose_record_nobody_can_read_is_refused(api: FlaskClient, state: redis.Redis, junk: str) -> None:
    api.post(WATCHES, json=LINK, headers=KEY)
    (name,) = state.keys("ab:call:*")
    state.set(name, junk, keepttl=True)
    assert api.post(WATCHES, json=LINK, headers=KEY).status_code == 422


def test_a_call_that_was_refused_or_failed_may_be_made_again_with_its_key(
    api: FlaskClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert api.post(WATCHES, json=LINK | {"source": "zz"}, headers=KEY).status_code == 422

    def away(*_: Any, **__: Any) -> Any:
        raise StateUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr("bridge.watch_registration.register", away)
        assert api.post(WATCHES, json=LINK, headers=KEY).status_code == 503
    assert api.post(WATCHES, json=LINK, headers=KEY).status_code == 201
    assert len(services.expectations.list("eu")) == 1


def test_a_call_beside_the_first_one_waits_for_nothing(api: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def meanwhile(seconds: float) -> None:
        seen.append(api.application.test_client().post(WATCHES, json=LINK, headers=KEY | bearer).status_code)

    bearer = {"Authorization": "Bearer op-token"}
    monkeypatch.setattr("gevent.sleep", meanwhile)
    assert api.post(WATCHES, json=LINK, headers=KEY).status_code == 201
    assert seen == [409]


def test_keys_of_two_callers_are_two(state: redis.Redis, tmp_path: Path) -> None:
    access = access_of(TOKENS).replace("role: viewer", "role: operator")
    api = create_app(build(state, tmp_path, access=access), gate=OpenGate()).test_client()  # type: ignore[arg-type]
    for token, label in (("op-token", "one"), ("view-token", "two")):
        headers = KEY | {"Authorization": f"Bearer {token}"}
        assert api.post(WATCHES, json=LINK | {"label": label}, headers=headers).json["label"] == label


@pytest.mark.parametrize("key", ["", "a\x01b", "x" * 201])
def test_a_key_that_is_none_is_refused(api: FlaskClient, key: str) -> None:
    answer = api.post(WATCHES, json=LINK, headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.json["problems"][0]["path"]) == (422, "Idempotency-Key")


def test_the_body_is_read_as_strictly_with_a_key(api: FlaskClient) -> None:
    big = b'"' + b"a" * 256 * 1024 + b'"'
    assert api.post(WATCHES, data=big, content_type="application/json", headers=KEY).status_code == 413
    assert api.post(WATCHES, data=b"{", content_type="application/json", headers=KEY).status_code == 400
