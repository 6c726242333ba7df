"""What the bridge reads from queues that others can write to: nothing but the two forms of a receipt, and ticks."""

from __future__ import annotations

import base64
import inspect
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.worker.request import Request
from hypothesis import given, settings
from hypothesis import strategies as st
from kombu.transport.virtual import Message

from bridge.delivery.receipts import Receipt
from bridge.errors import Unreadable
from tests.support.junk import BODY, ENTRIES, EVENT, HEADERS, entry
from workers.app import QUEUE
from workers.inbound.messages import (
    MAX_ENTRY_BYTES,
    Envelope,
    TaskMessage,
    build_entry,
    parse_entry,
    read_receipt,
    read_receipt_entry,
    read_task,
)
from workers.tasks import ARGUMENTS, Tasks

KNOWN = {"gradebook"}
RECEIPT = Receipt("gradebook", EVENT)
REASONS = {
    *("bad_arguments", "bad_body", "bad_content_type", "bad_event_id", "bad_header", "bad_text", "duplicate_name"),
    *("no_envelope", "not_json", "not_utf8", "number_too_large", "too_deep", "too_large"),
    *("unknown_subscription", "unknown_task"),
}


def stock(*args: Any, **kwargs: Any) -> Envelope:
    """As another service's Celery sends a receipt."""
    sent = Celery("gradebook", set_as_current=False).amqp.as_task_v2("7", "bridge.receipt", args, kwargs)
    return Envelope(sent.headers, json.dumps(sent.body).encode(), "application/json", "utf-8")


@pytest.mark.parametrize(
    "message",
    [
        stock("gradebook", EVENT),
        stock(subscription="gradebook", event_id=EVENT),
        stock("gradebook", event_id=EVENT.upper()),
        Envelope(None, json.dumps({"subscription": "gradebook", "event_id": EVENT}).encode()),
    ],
)
def test_a_stock_task_and_a_plain_object_are_receipts(message: Envelope) -> None:
    assert read_receipt(message, KNOWN) == RECEIPT
    assert read_receipt_entry(entry(message.headers, message.body, "application/json", "utf-8"), KNOWN) == RECEIPT


def test_a_json_object_pushed_onto_the_list_by_hand_is_a_receipt() -> None:
    assert read_receipt_entry(json.dumps({"subscription": "gradebook", "event_id": EVENT}).encode(), KNOWN) == RECEIPT


@pytest.mark.parametrize("junk", ENTRIES, ids=range(len(ENTRIES)))
def test_junk_is_refused_by_both_readers_for_a_reason_from_the_list(junk: bytes) -> None:
    for read in (lambda: read_receipt_entry(junk, KNOWN), lambda: read_task(parse_entry(junk), ARGUMENTS, KNOWN)):
        with pytest.raises(Unreadable) as caught:
            read()
        assert caught.value.reason in REASONS


def test_the_table_of_tasks_is_what_the_worker_has() -> None:
    registered: dict[str, Any] = {}
    app = SimpleNamespace(task=lambda name, shared: lambda run: registered.setdefault(name, run))
    Tasks(app, SimpleNamespace(), lambda: False)  # type: ignore[arg-type]
    methods = {name: inspect.getclosurevars(run).nonlocals["method"] for name, run in registered.items()}
    assert {name: len(inspect.signature(method).parameters) for name, method in methods.items()} == ARGUMENTS


def test_only_task_id_arguments_and_expiry_of_a_message_reach_celery() -> None:
    odd = {"callbacks": [{"task": "os.system"}], "chain": [{"task": "os.system"}], "retries": "x", "stamps": 7}
    headers = (
        HEADERS | odd | {"task": "bridge.poll", "shadow": [1], "root_id": {}, "expires": "2030-01-01T01:00:00+01:00"}
    )
    body = json.dumps([["eu"], {}, odd]).encode()
    result = read_task(Envelope(headers, body), ARGUMENTS, KNOWN)
    assert (result.task, result.id, result.args, result.expires) == (
        "bridge.poll",
        "1",
        ("eu",),
        "2030-01-01T00:00:00+00:00",
    )
    assert json.loads(result.body()) == [["eu"], {}, dict.fromkeys(("callbacks", "errbacks", "chain", "chord"))]
    assert not odd.keys() & result.headers().keys() - {"retries"}
    assert result.headers()["retries"] == 0


def as_celery_takes_it(app: Celery, raw: bytes) -> Request:
    """The steps of kombu and Celery between the list and the pool."""
    channel = SimpleNamespace(decode_body=lambda body, encoding: base64.b64decode(body))
    message = Message(json.loads(raw), channel=channel)
    assert not message.errors
    message.accept = {"application/json"}
    request = Request(message, app=app)
    assert request.revoked() in (False, True, None)
    return request


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)
ODD = JSON | st.sampled_from(
    [*ARGUMENTS, EVENT, "gradebook", "2030-01-01T00:00:00+00:00", "base64", "application/json"]
)
NAMES = ("lang", "task", "id", "eta", "expires", "timelimit", "retries", "argsrepr", "compression", "shadow", "stamps")
#: Mostly right, so that what is wrong is looked at by every step.
ALL_HEADERS = st.builds(
    lambda task, odd: HEADERS | {"task": task} | odd,
    st.sampled_from([*ARGUMENTS]),
    st.dictionaries(st.sampled_from(NAMES), ODD, max_size=2),
)
ARGS = st.lists(ODD, max_size=3)
BODIES = st.one_of(
    st.builds(lambda *parts: json.dumps(parts).encode(), ARGS, st.just({}) | ODD, ODD),
    st.builds(lambda body: json.dumps(body).encode(), ODD),
    st.fixed_dictionaries({"subscription": ODD, "event_id": ODD}).map(lambda body: json.dumps(body).encode()),
    st.binary(max_size=64),
    st.just(BODY),
)
PROPERTIES = st.dictionaries(
    st.sampled_from(["body_encoding", "delivery_tag", "delivery_info", "priority"]), ODD, max_size=1
)
FUZZED = st.one_of(
    st.binary(max_size=200),
    JSON.map(lambda document: json.dumps(document).encode()),
    st.builds(
        lambda headers, body, kind, encoding, properties: entry(headers, body, kind, encoding, **properties),
        ALL_HEADERS | ODD,
        BODIES,
        st.just("application/json") | ODD,
        st.just("utf-8") | ODD,
        st.just({}) | PROPERTIES,
    ),
)


def outcome(read: Callable[[], Any]) -> Any:
    """What was read, or the reason why not."""
    try:
        return read()
    except Unreadable as error:
        return error.reason


@pytest.mark.long
@settings(max_examples=3 * settings.default.max_examples)
@given(FUZZED)
def test_any_message_is_a_receipt_or_refused(raw: bytes) -> None:
    assert outcome(lambda: read_receipt_entry(raw, KNOWN)) in {RECEIPT, *REASONS}


APP = Celery("test", set_as_current=False)


def nothing(*args: str) -> None:
    """A task as `workers.tasks` registers them."""


for each in ARGUMENTS:
    APP.task(name=each, shared=False, lazy=False)(nothing)


@pytest.mark.long
@settings(max_examples=3 * settings.default.max_examples)
@given(FUZZED)
def test_any_message_is_a_task_that_celery_accepts_or_refused(raw: bytes) -> None:
    result = outcome(lambda: read_task(parse_entry(raw), ARGUMENTS, KNOWN))
    if not isinstance(result, TaskMessage):
        assert result in REASONS
    else:
        request = as_celery_takes_it(APP, build_entry(result, "tag"))
        assert (request.name, request.id, tuple(request.args)) == (result.task, result.id, result.args)


def test_a_tick_of_beat_passes() -> None:
    app = Celery("attempt-bridge", set_as_current=False)
    sent = app.amqp.as_task_v2("7", "bridge.poll", ("eu",), {}, expires=10.0)
    raw = entry(sent.headers, json.dumps(sent.body).encode(), "application/json", "utf-8")
    result = read_task(parse_entry(raw), ARGUMENTS, KNOWN)
    assert (result.task, result.args) == ("bridge.poll", ("eu",))
    assert result.expires is not None
    assert len(build_entry(result, "tag")) < MAX_ENTRY_BYTES
    assert json.loads(build_entry(result, "tag"))["properties"]["delivery_info"]["routing_key"] == QUEUE
