"""Delivery over AMQP: events of the journal into a quorum queue of a local RabbitMQ by the dispatcher, each confirmed
and settled; and bare py-amqp with pipelined confirms (100 under way) and with one confirm after another, same queue."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import amqp

from benchmarks.common import free_port, header, program, ratios, rounds, server, spread, table, verdict, wait_for
from benchmarks.dispatch import publish
from benchmarks.receive import config
from bridge import services as composition
from tests.support.rabbitmq import NodeNames, node_environment
from workers.dispatch.process import Dispatcher

WINDOW = 100


@contextmanager
def rabbitmq() -> Iterator[int]:
    """The port of a broker of our own."""
    home, port, names = Path(tempfile.mkdtemp(prefix="bench-")), free_port(), NodeNames()
    (home / "rabbitmq.conf").write_text(f"listeners.tcp.default = 127.0.0.1:{port}\n")
    (home / "plugins").write_text("[].\n")
    environment = node_environment(home, f"bench{port}@localhost", free_port(), names.port)
    path = shutil.which("rabbitmq-server", path=f"/usr/lib/rabbitmq/bin:{os.environ['PATH']}")
    if path is None:
        raise SystemExit("rabbitmq-server is not installed")
    try:
        with program(path, env=environment):
            wait_for(lambda: _connected(port).close() or True, 60)
            yield port
    finally:
        names.close()
        shutil.rmtree(home, ignore_errors=True)


def _connected(port: int) -> amqp.Connection:
    connection = amqp.Connection(f"127.0.0.1:{port}", "guest", "guest")
    connection.connect()
    return connection


def send(connection: amqp.Connection, bodies: Sequence[bytes], window: int) -> None:
    """Publish persistently with at most `window` messages that are not confirmed."""
    channel, waiting = connection.channel(), set()

    def acked(tag: int, multiple: bool) -> None:
        waiting.difference_update([each for each in waiting if each <= tag] if multiple else [tag])

    channel.confirm_select()
    channel.events["basic_ack"].add(acked)
    for tag, body in enumerate(bodies, 1):
        while len(waiting) >= window:
            connection.drain_events(timeout=10)
        waiting.add(tag)
        channel._basic_publish(amqp.Message(body, delivery_mode=2), routing_key="attempts", mandatory=True)
    while waiting:
        connection.drain_events(timeout=10)
    channel.close()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--events", type=int, default=4000, help="in each round")
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args()
    header("dispatch to a quorum queue on RabbitMQ", "amqp", "kombu", "redis")
    with server() as address, rabbitmq() as port:
        broker = f"amqp://guest:guest@127.0.0.1:{port}//"
        subscription = f"{{warehouse: {{transport: kombu, exchange: attempts, broker: '{broker}'}}}}"
        path = config(Path(tempfile.mkdtemp(prefix="bench-")), address, subscription)
        services = composition.load(config_path=path)
        connection = _connected(port)
        channel = connection.channel()
        channel.exchange_declare("attempts", "topic", durable=True, auto_delete=False)
        channel.queue_declare("attempts", durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"})
        channel.queue_bind("attempts", "attempts", "#")
        dispatcher = Dispatcher(services)
        dispatcher.step_all(services.now, random.random)
        events: list[bytes] = []
        first, slow = 10_000_000, list[float]()

        def ours() -> float:
            nonlocal first, events
            events = publish(services, first, given.events)
            first += given.events
            wanted, started = given.events, time.perf_counter()
            while wanted > 0:
                wait = dispatcher.step_all(services.now, random.random)
                wanted = 0 if wait else wanted
            rate = given.events / (time.perf_counter() - started)
            if channel.queue_purge("attempts") != given.events:
                raise SystemExit("not every event is in the queue, once")
            return rate

        def bare() -> float:
            rates = []
            for window, bodies in ((WINDOW, events), (1, events[: len(events) // 8])):
                started = time.perf_counter()
                send(connection, bodies, window)
                rates.append(len(bodies) / (time.perf_counter() - started))
                channel.queue_purge("attempts")
            slow.append(rates[1])
            return rates[0]

        mine, theirs = rounds(given.rounds, ours, bare)
        connection.close()
        for lane in dispatcher.lanes:
            lane.transport.close()
    table(
        ["events/s, median (all rounds)", ""],
        [
            ["dispatch: journal to queue, each confirmed, settled", spread(mine)],
            [f"bare py-amqp, {WINDOW} under way", spread(theirs)],
            ["bare py-amqp, one confirm after another", spread(slow)],
        ],
    )
    verdict("dispatch / bare", ratios(mine, theirs), 0.5)
    verdict("events/s", sorted(mine)[len(mine) // 2], 5000, unit="/s")


if __name__ == "__main__":
    main()
