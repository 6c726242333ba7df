"""`/api/v1/receipts`: who may confirm what; confirming again, too late, what was never sent; as strict as the queue."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient

from bridge import clock
from bridge.config.model import RetryPolicy
from bridge.delivery.history import History
from bridge.errors import StateUnavailable, Unreadable
from bridge.services import Services
from bridge.state import keys
from bridge.web import create_app
from schemas.event import event_id
from tests.support.dispatch import SOURCE, Receiver, at, even, lane, publish, refuse, scheduled
from tests.support.watches_api import TOKENS, OpenGate, build
from workers.inbound.messages import Envelope, read_receipt

URL = "/api/v1/receipts"
RECEIVER = "receiver-token"
UNSENT = event_id(f"/acme/sources/{SOURCE}", "a99", "attempt.completed", 1)
SUBSCRIPTIONS = """
subscriptions:
  books: {transport: celery, task: t, queue: q, receipts: {required: true}, retry: {schedule: [1h]}}
  crm: {transport: kombu, queue: c, retry: {schedule: [1h]}}
"""


def access() -> str:
    digests = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in (*TOKENS.items(), ("r", RECEIVER))}
    entries = [f"{{name: {role}, role: {role}, sha256: {digests[role]}}}" for role in TOKENS]
    entries.append(f"{{name: shelf, role: receiver, subscription: books, sha256: {digests['r']}}}")
    return f"access: {{tokens: [{', '.join(entries)}]}}\n"


@pytest.fixture
def services(state: redis.Redis, tmp_path: Path) -> Services:
    return build(state, tmp_path, access=access() + SUBSCRIPTIONS)


@pytest.fixture
def receiver(services: Services) -> FlaskClient:
    made = create_app(services, gate=OpenGate()).test_client()  # type: ignore[arg-type]
    made.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {RECEIVER}"
    return made


def operator(client: FlaskClient) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS['operator']}"}


def sent(services: Services, *numbers: int, name: str = "books", transport: Any = None) -> list[str]:
    """Events that were handed over to the subscription; their ids."""
    ids = publish(services.state, *numbers)
    subscription = services.config.subscriptions[name]
    lane(services.state, transport or Receiver(), subscription=subscription).step(at(clock.now()), even)
    return ids


def body(event: str, name: str = "books") -> dict[str, str]:
    return {"subscription": name, "event_id": event}


def test_a_receipt_ends_the_delivery_and_its_copies_get_the_same_answer(
    receiver: FlaskClient, services: Services
) -> None:
    (event,) = sent(services, 1)
    assert [delivery.id for delivery in scheduled(services.state, "books")] == [event]
    answers = [receiver.post(URL, json=body(text)) for text in (event, event.upper(), event)]
    assert [(answer.status_code, answer.json) for answer in answers] == [(200, {**body(event), "given_up": False})] * 3
    assert scheduled(services.state, "books") == []
    settled = History(services.state).settled("books", event)
    assert settled is not None
    assert settled.outcome == "confirmed"
    counters: Any = services.state.hgetall(keys.subscription_state("books"))
    assert counters[b"receipts"] == b"1"
    # Of receivers, the audit has nothing: there is one receipt for each event.
    assert receiver.get("/api/v1/audit", headers=operator(receiver)).json["audit"] == []


def test_a_receipt_of_a_fast_receiver_comes_before_its_send_returns(receiver: FlaskClient, services: Services) -> None:
    answers: list[int] = []

    def confirm(sending: Any) -> None:
        answers.append(receiver.post(URL, json=body(sending.id)).status_code)

    sent(services, 1, transport=Receiver(confirm))
    assert answers == [200]
    assert scheduled(services.state, "books") == []


def test_a_receipt_that_comes_too_late_says_so_every_time(receiver: FlaskClient, services: Services) -> None:
    policy = RetryPolicy(schedule=())
    object.__setattr__(services.config.subscriptions["books"], "retry", policy)
    (event,) = sent(services, 1, transport=Receiver(refuse))
    assert len(list(services.deliveries.dead_letters("books"))) == 1
    for _ in range(2):
        assert receiver.post(URL, json=body(event)).json == {**body(event), "given_up": True}
    assert len(list(services.deliveries.dead_letters("books"))) == 1


def test_what_was_never_sent_is_not_found(receiver: FlaskClient, services: Services) -> None:
    (waiting,) = publish(services.state, 7)
    for event in (UNSENT, waiting):
        answer = receiver.post(URL, json=body(event))
        assert (answer.status_code, answer.json["problems"]) == (
            404,
            [{"path": "event_id", "message": "never sent to books"}],
        )


def test_where_no_receipt_is_awaited_one_is_taken_during_the_first_try_and_after_it(
    receiver: FlaskClient, services: Services
) -> None:
    answers: list[int] = []
    (event,) = publish(services.state, 1)
    now = services.now()
    index = f"{keys.event_ids(0)}:{int(now // 86_400)}:{event[:2]}"
    milliseconds, number = (int(part) for part in services.state.xrange(keys.journal(0))[0][0].split(b"-"))
    services.state.hset(index, event[2:18], milliseconds.to_bytes(6, "big") + number.to_bytes(2, "big"))

    def confirm(sending: Any) -> None:
        answers.append(receiver.post(URL, json=body(sending.id, "crm"), headers=operator(receiver)).status_code)

    crm = services.config.subscriptions["crm"]
    before = receiver.post(URL, json=body(event, "crm"), headers=operator(receiver))
    lane(services.state, Receiver(confirm), subscription=crm).step(at(now), even)
    after = receiver.post(URL, json=body(event, "crm"), headers=operator(receiver))
    assert (before.status_code, answers, after.status_code) == (404, [200], 200)


def test_many_receipts_are_taken_together_or_none_is(receiver: FlaskClient, services: Services) -> None:
    first, second = sent(services, 1, 2)
    answer = receiver.post(f"{URL}/batch", json={"receipts": [body(first), body(UNSENT), body(second)]})
    assert (answer.status_code, answer.json["problems"]) == (
        404,
        [{"path": "receipts.1.event_id", "message": "never sent to books"}],
    )
    answer = receiver.post(f"{URL}/batch", json={"receipts": [body(first), body("no")]})
    assert (answer.status_code, answer.json["problems"]) == (
        422,
        [{"path": "receipts.1.event_id", "message": "is not a UUID"}],
    )
    assert len(scheduled(services.state, "books")) == 2
    both = {"receipts": [body(first), body(second)]}
    for _ in range(2):
        answer = receiver.post(f"{URL}/batch", json=both)
        assert [row["given_up"] for row in answer.json["receipts"]] == [False, False]
    assert scheduled(services.state, "books") == []
    assert receiver.post(f"{URL}/batch", json={"receipts": [body(first)] * 101}).status_code == 422


@pytest.mark.parametrize(
    "document",
    [
        {"subscription": "books"},
        {**body(UNSENT), "more": 1},
        {"subscription": "books", "event_id": 7},
        {"subscription": "books", "event_id": f"{UNSENT}\n"},
        {"subscription": "books", "event_id": UNSENT.replace("-", "")},
        {"subscription": ["books"], "event_id": UNSENT},
        body(UNSENT, "boks"),
    ],
    ids=str,
)
def test_what_the_queue_refuses_is_refused(receiver: FlaskClient, services: Services, document: Any) -> None:
    answer = receiver.post(URL, json=document, headers=operator(receiver))
    assert answer.status_code == 422
    assert len(answer.json["problems"]) == 1
    with pytest.raises(Unreadable):
        read_receipt(Envelope(None, json.dumps(document).encode()), services.config.subscriptions)


def test_a_receiver_confirms_its_own_subscription_and_does_nothing_else(
    receiver: FlaskClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("crm", "boks"):
        answer = receiver.post(URL, json=body(UNSENT, name))
        assert (answer.status_code, answer.json["detail"]) == (
            403,
            f"token shelf is not for subscription {name}. Remedy: use its own token",
        )
    rules = [rule for rule in receiver.application.url_map.iter_rules() if rule.rule.startswith("/api/")]
    tried = 0
    for rule in rules:
        if rule.rule in (URL, f"{URL}/batch", "/api/v1/session"):
            continue
        address = re.sub("<[^>]+>", "x", rule.rule)
        for method in (rule.methods or set()) - {"OPTIONS"}:
            assert receiver.open(address, method=method, json={}).status_code == 403, (method, address)
            tried += 1
    assert tried > 50
    assert receiver.get("/metrics").status_code == 403
    assert receiver.get("/api/v1/session").status_code == 403
    answer = receiver.post("/api/v1/session", json={"token": RECEIVER})
    assert (answer.status_code, "Set-Cookie" in answer.headers) == (403, False)

    def down(*_: Any, **__: Any) -> Any:
        raise StateUnavailable("redis://secret.example.test does not answer")

    monkeypatch.setattr(OpenGate, "failure", "redis://secret.example.test does not answer")
    for token, hidden in ((RECEIVER, True), (TOKENS["viewer"], False)):
        answer = receiver.get("/readyz", headers={"Authorization": f"Bearer {token}"})
        assert (answer.status_code, "secret" not in answer.text) == (503, hidden)
    monkeypatch.setattr(services.deliveries, "record_receipt", down)
    answer = receiver.post(URL, json=body(UNSENT))
    assert (answer.status_code, "secret" in answer.text) == (503, False)


def test_viewers_confirm_nothing_and_an_operator_who_does_is_in_the_audit(
    receiver: FlaskClient, services: Services
) -> None:
    (event,) = sent(services, 1)
    answer = receiver.post(URL, json=body(event), headers={"Authorization": f"Bearer {TOKENS['viewer']}"})
    assert answer.status_code == 403
    assert receiver.post(URL, json=body(event), headers={"Authorization": "Bearer x"}).status_code == 401
    assert receiver.post(URL, json=body(event), headers=operator(receiver)).status_code == 200
    (entry,) = receiver.get("/api/v1/audit", headers=operator(receiver)).json["audit"]
    assert (entry["actor"], entry["action"], entry["target"]) == ("operator", "confirmEvent", f"delivery books/{event}")
