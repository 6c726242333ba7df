"""Receives attempt events from a message broker with kombu: RabbitMQ (topic exchange) or Redis (plain queue).

    python kombu_subscriber.py --broker amqp://guest:guest@localhost:5672// --exchange attempts --binding 'attempt.#'
    python kombu_subscriber.py --broker redis://localhost:6379/1 --queue warehouse

In bridge.yaml: {transport: kombu, exchange: attempts, broker: "amqp://..."} or {transport: kombu, queue: warehouse}
"""

import argparse
import json
import ssl
from urllib.parse import urlsplit

from kombu import Connection, Exchange, Queue
from kombu.mixins import ConsumerMixin


class Subscriber(ConsumerMixin):
    def __init__(self, connection, queue):
        self.connection, self.queue = connection, queue

    def get_consumers(self, consumer_class, channel):
        return [consumer_class([self.queue], callbacks=[self.receive], prefetch_count=50)]

    def receive(self, body, message):
        event = json.loads(message.body)
        attempt = event["data"]["attempt"]
        line = {"received": event["id"], "type": event["type"], "attempt": attempt["id"]}
        if not event.get("bridgetest"):  # a test is about an invented attempt
            print(json.dumps(line | {"revision": attempt["revision"]}), flush=True)
        message.ack()  # after the work is done: an event may arrive twice, but is never lost


options = argparse.ArgumentParser()
options.add_argument("--broker", required=True)
options.add_argument("--queue", default="warehouse")
options.add_argument("--exchange", help="RabbitMQ only: the subscription's exchange")
options.add_argument("--binding", default="#", help="routing keys to receive, such as attempt.completed.* or attempt.#")
given = options.parse_args()
exchange = Exchange(given.exchange, type="topic", durable=True) if given.exchange else Exchange("")
queue = Queue(
    given.queue, exchange=exchange, routing_key=given.binding if given.exchange else given.queue, durable=True
)
# By default kombu verifies no certificate. Your own CA: rediss://...?ssl_ca_certs=/path; for amqps add ca_certs below.
verified = {
    "rediss": {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True},
    "amqps": {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": urlsplit(given.broker).hostname},
}.get(urlsplit(given.broker).scheme, False)
timeouts = {"socket_timeout": 10} if "redis" in given.broker else {}
with Connection(given.broker, ssl=verified, transport_options=timeouts) as opened:
    Subscriber(opened, queue).run()
