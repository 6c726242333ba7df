"""Real worker, beat and dispatch over queues that are full of junk: they go on, say so, and leave nothing behind."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from typing import Any

import amqp
import pytest
import redis
from celery import Celery
from kombu import Exchange, Queue

from bridge.config import queues
from bridge.state import keys
from tests.support.junk import BODY, ENTRIES, EVENT, MESSAGES, entry
from tests.support.polling import journal
from tests.support.receipts import await_receipts
from tests.support.servers import Server
from tests.support.workers import stop, wait_for

pytestmark = pytest.mark.usefixtures("starts_processes")

PARTS = ("worker", "beat", "dispatch")
LEGACY = "1e0b4a3c-9d5a-5b5e-8a51-3c1f0d7a9e22"


@pytest.fixture
def state(own_server: Server) -> Iterator[redis.Redis]:
    client = own_server.client()
    yield client
    client.close()


@pytest.fixture
def broker(own_server: Server) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(own_server.broker_url)
    yield client
    client.close()


def confirm(broker_url: str) -> None:
    """A stock Celery of another service sends its receipts; one of them still to the worker's queue."""
    with Celery("gradebook", broker=broker_url, set_as_current=False) as app:
        app.send_task("bridge.receipt", args=["gradebook", EVENT], queue=queues.RECEIPTS)
        name = queues.worker_queue(broker_url)
        arguments = None if name == queues.WORKER else queues.TICKS_ARGUMENTS
        ticks = Queue(name, Exchange(""), routing_key=name, queue_arguments=arguments)
        app.send_task("bridge.receipt", kwargs={"subscription": "gradebook", "event_id": LEGACY}, queue=ticks)


def refused(state: redis.Redis, queue: str) -> int:
    counts = {field.decode(): int(count) for field, count in state.hgetall(keys.refused()).items()}
    return sum(count for field, count in counts.items() if field.startswith(f"{queue}|"))


def works(state: redis.Redis, vendor: Any, *processes: Any) -> None:
    """A tick of beat becomes a poll, and both receipts arrive."""
    number = len(vendor.rows) + 1
    vendor.rows.append({"id": f"{number}", "finished": int(time.time()), "score": 10, "graded": True})
    wait_for(lambda: ("attempt.completed", f"a:{number}") in journal(state), *processes)
    wait_for(lambda: state.hget(keys.subscription_state("gradebook"), "receipts") == b"2", *processes)
    assert state.hmget(keys.deliveries("gradebook"), [EVENT, LEGACY]) == [None, None]


def lines_about(process: Any, event: str) -> int:
    return process.log.read_text().count(event)


def test_junk_on_redis_ends_nobody_and_is_counted_and_gone(
    start_part: Any,
    own_server: Server,
    vendor: Any,
    state: redis.Redis,
    broker: redis.Redis,
) -> None:
    for queue in queues.OWN:
        broker.lpush(queue, *ENTRIES)
        broker.lpush(f"{queue}\x06\x163", *ENTRIES[:5])
    # What kombu kept of a worker that died of it, as the version before wrote it; and what kombu itself cannot read.
    poison = json.loads(
        entry({"lang": "js", "task": "bridge.receipt", "id": "1"}, b'{"a": 1}', "application/json", "utf-8")
    )
    notes = [json.dumps([poison, "", queues.WORKER]), "not json", "[]", json.dumps([{"headers": None}, "", "x"])]
    broker.hset("unacked", mapping={f"dead-{number}": note for number, note in enumerate(notes)})
    broker.zadd("unacked_index", {f"dead-{number}": 1.0 for number in range(len(notes))})
    await_receipts(state, EVENT, LEGACY)
    processes = [start_part(part) for part in PARTS]
    confirm(own_server.broker_url)
    works(state, vendor, *processes)
    wait_for(lambda: broker.hlen("unacked") == 0 == broker.zcard("unacked_index"), *processes)
    wait_for(lambda: refused(state, queues.WORKER) == len(ENTRIES) + 5 + len(notes), *processes)
    wait_for(lambda: refused(state, queues.RECEIPTS) == len(ENTRIES) + 5, *processes)
    # Beat first: its last ticks are taken.
    stop(processes[1])
    wait_for(lambda: [broker.llen(queue) for queue in queues.OWN] == [0, 0], processes[0], processes[2])
    stop(processes[0])
    stop(processes[2])
    # Each of these lines stands for five seconds, however much came.
    assert 1 <= lines_about(processes[0], "messages_refused") < 10
    assert 1 <= lines_about(processes[2], "messages_refused") < 10
    assert lines_about(processes[0], "receipt_in_deprecated_queue") == 1
    for process in processes:
        assert not any(
            word in process.log.read_text() for word in ("Traceback", "os.system", "not json", "unrecoverable")
        )
    assert broker.hlen("unacked") == 0


def test_the_one_message_that_ended_the_bridge_for_good_ends_nothing(
    start_part: Any,
    own_server: Server,
    vendor: Any,
    state: redis.Redis,
    broker: redis.Redis,
) -> None:
    await_receipts(state, EVENT, LEGACY)
    processes = [start_part(part) for part in PARTS]
    body = json.dumps({"subscription": "gradebook", "event_id": "x"}).encode()
    message = ({"lang": "js", "task": "bridge.receipt", "id": "1"}, body, "application/json", "utf-8")
    for queue in queues.OWN:
        broker.lpush(queue, entry(*message))
        wait_for(lambda queue=queue: refused(state, queue) == 1, *processes)
    confirm(own_server.broker_url)
    works(state, vendor, *processes)
    assert state.hgetall(keys.refused()) == {f"{queue}|bad_event_id".encode(): b"1" for queue in queues.OWN}


def test_a_receipt_waits_for_the_state_server_and_is_put_back_by_a_process_that_ends(
    start_part: Any,
    own_server: Server,
    state: redis.Redis,
    tmp_path: Any,
) -> None:
    other = Server(tmp_path / "broker")
    try:
        await_receipts(state, EVENT, LEGACY)
        dispatch = start_part("dispatch", broker=other.url)
        wait_for(lambda: "dispatch_started" in dispatch.log.read_text(), dispatch)
        own_server.kill9()
        raw = json.dumps({"subscription": "gradebook", "event_id": EVENT})
        with other.client() as client:
            client.lpush(queues.RECEIPTS, raw)
            wait_for(lambda: "receipts_state_unavailable" in dispatch.log.read_text(), dispatch)
            assert client.llen(queues.RECEIPTS) == 0
            stop(dispatch)
            assert client.lrange(queues.RECEIPTS, 0, -1) == [raw.encode()]
            own_server.start()
            dispatch = start_part("dispatch", broker=other.url)
            wait_for(lambda: state.hget(keys.subscription_state("gradebook"), "receipts") == b"1", dispatch)
            own_server.kill9()
            client.lpush(queues.RECEIPTS, raw.replace(EVENT, LEGACY))
            wait_for(lambda: "receipts_state_unavailable" in dispatch.log.read_text(), dispatch)
            own_server.start()
            wait_for(lambda: state.hget(keys.subscription_state("gradebook"), "receipts") == b"2", dispatch)
    finally:
        other.close()


@pytest.fixture
def channel(rabbitmq: str) -> Iterator[amqp.Channel]:
    host, port = rabbitmq.rpartition("@")[2].rstrip("/").split(":")
    with amqp.Connection(f"{host}:{port}") as connection:
        yield connection.channel()


def _table(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


def _deep(levels: int) -> bytes:
    content = b""
    for _ in range(levels):
        content = b"\x01aF" + _table(content)
    return _table(content)


#: Properties that RabbitMQ passes on and py-amqp does not survive: a time far beyond the year 9999, a content type that
#: is no UTF-8, tables within tables.
UNREADABLE = [
    struct.pack(">H", 0x2000) + _table(b"\x01aT" + struct.pack(">Q", 2**60)),
    struct.pack(">H", 0x8000) + b"\x02\xff\xfe",
    struct.pack(">H", 0x2000) + _deep(3000),
]


def publish_what_no_python_can_read(channel: amqp.Channel, queue: str) -> None:
    """Messages with properties that py-amqp would not write."""
    for properties in UNREADABLE:
        message = amqp.Message(BODY)
        message._serialize_properties = lambda properties=properties: properties  # type: ignore[method-assign]
        channel.basic_publish(message, routing_key=queue)


def test_junk_on_rabbitmq_ends_nobody_and_is_counted_and_gone(
    start_part: Any,
    rabbitmq: str,
    channel: amqp.Channel,
    vendor: Any,
    state: redis.Redis,
) -> None:
    messages = [
        (headers if isinstance(headers, dict) else {}, body, kind, encoding)
        for headers, body, kind, encoding in MESSAGES
    ]
    ticks = queues.worker_queue(rabbitmq)
    for queue, arguments in ((ticks, queues.TICKS_ARGUMENTS), (queues.RECEIPTS, {})):
        channel.queue_declare(queue, durable=True, auto_delete=False, arguments=arguments)
        for headers, body, kind, encoding in messages:
            content = {name: value for name, value in (("content_type", kind), ("content_encoding", encoding)) if value}
            channel.basic_publish(amqp.Message(body, application_headers=headers, **content), routing_key=queue)
        publish_what_no_python_can_read(channel, queue)
    await_receipts(state, EVENT, LEGACY)
    processes = [start_part(part, broker=rabbitmq) for part in PARTS]
    confirm(rabbitmq)
    works(state, vendor, *processes)
    wait_for(lambda: refused(state, queues.WORKER) == len(messages) + len(UNREADABLE), *processes)
    wait_for(lambda: refused(state, queues.RECEIPTS) == len(messages) + len(UNREADABLE), *processes)
    stop(processes[1])
    # Celery would declare 28 queues more for delays.
    with pytest.raises(amqp.NotFound):
        channel.connection.channel().queue_declare("celery_delayed_0", passive=True)
    for queue in (ticks, queues.RECEIPTS):
        wait_for(lambda queue=queue: channel.queue_declare(queue, passive=True).message_count == 0, processes[0])
    stop(processes[0])
    stop(processes[2])
    for process in processes:
        assert not any(word in process.log.read_text() for word in ("Traceback", "os.system", "unrecoverable"))
    assert [channel.queue_declare(queue, passive=True).message_count for queue in (ticks, queues.RECEIPTS)] == [0, 0]
