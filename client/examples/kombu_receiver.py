"""Messages of RabbitMQ or of a Redis queue, with kombu.

    DATABASE_URL=sqlite:///grades.sqlite3 BROKER=amqp://guest:guest@localhost:5672// python kombu_receiver.py

In bridge.yaml: {transport: kombu, exchange: attempts} or, on Redis, {transport: kombu, queue: warehouse}
Needs kombu and the extra sqlalchemy. The settings for TLS are in examples/kombu_subscriber.py of the bridge.
"""

import os

from kombu import Connection, Exchange, Queue
from kombu.mixins import ConsumerMixin
from sqlalchemy import create_engine, text

from attempt_bridge_client import Event, idempotent

engine = create_engine(os.environ["DATABASE_URL"])
SAVE = text(
    "INSERT INTO grades (attempt, passed) VALUES (:attempt, :passed) "
    "ON CONFLICT (attempt) DO UPDATE SET passed = excluded.passed"
)
exchange = Exchange("attempts", type="topic") if os.environ["BROKER"].startswith("amqp") else Exchange("")
queue = Queue("warehouse", exchange, routing_key="attempt.#" if exchange.name else "warehouse")


@idempotent(engine.begin)
def grade(event, connection):
    attempt, result = event.data.attempt, event.data.result
    passed = result.passed if attempt.status == "completed" else None
    connection.execute(SAVE, {"attempt": attempt.id, "passed": passed})


class Receiver(ConsumerMixin):
    def __init__(self, connection):
        self.connection = connection

    def get_consumers(self, consumer_class, channel):
        return [consumer_class([queue], callbacks=[self.receive], prefetch_count=50)]

    def receive(self, body, message):
        event = Event.from_json(message.body)
        if not event.bridgetest:
            grade(event)
        message.ack()


if __name__ == "__main__":
    with Connection(os.environ["BROKER"]) as opened:
        Receiver(opened).run()
