"""The client of a topic: writes batches, each message confirmed by all replicas in sync.

Idempotent: the brokers drop what librdkafka sends again after a lost answer, and the order within a partition is kept.
Confluent-kafka is an optional dependency, and only this module imports it.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from bridge import clock
from bridge.config.model import Subscription
from bridge.errors import BridgeError, ConfigError, Rejected, Retryable
from bridge.kafka.opening import Limits, Record, Topic, settings_of
from bridge.kafka.problems import away, misconfigured, problem_of, worst

__all__ = ["KafkaTopic"]

#: Otherwise librdkafka's own lines, which quote addresses, go to stderr.
_SILENT = logging.Logger("confluent_kafka", logging.CRITICAL + 1)  # noqa: LOG001 - belongs to no tree of loggers
#: More than a batch. `write` waits while the queue is full.
_QUEUE = {"queue.buffering.max.messages": 2000, "queue.buffering.max.kbytes": 65_536}
_PRODUCER = {
    "acks": "all",
    "enable.idempotence": True,
    # The partition that Java's producers choose for the same key.
    "partitioner": "murmur2_random",
    # Time to fill a batch; `flush` waits no longer.
    "linger.ms": 5,
    # A message that is larger than a batch is sent on its own, and the topic accepts or refuses it.
    "batch.size": 900_000,
    "message.max.bytes": 50_000_000,
    **_QUEUE,
}
#: How long the reports of messages that were given up may take.
_PURGE_SECONDS = 2.0

#: Where a message is, or why it is not there.
Outcome = str | BridgeError
_Client = TypeVar("_Client", Consumer, Producer)
_Report = Callable[[KafkaError | None, Any], None]


class KafkaTopic:
    """Connects on first use and after a failure. Not thread-safe."""

    def __init__(self, subscription: Subscription, limits: Limits) -> None:
        self._settings, self._topic = settings_of(subscription, limits), subscription.topic or ""
        self._limits = limits
        self._producer: Producer | None = None
        #: What librdkafka has reported about connections, the oldest first.
        self._faults: deque[KafkaError] = deque(maxlen=50)

    def check(self) -> Topic:
        """The topic, over a separate connection that creates nothing. Raises the errors of `problems`."""
        own = {"group.id": "attempt-bridge-check", "allow.auto.create.topics": False}
        consumer = self._make(Consumer, own)
        try:
            return self._describe(consumer)
        finally:
            consumer.close()

    def write(self, records: Sequence[Record], *, until: float) -> list[Outcome]:
        """One outcome per record, in order. Nothing is begun after `until` (monotonic seconds)."""
        try:
            return self._write_all(records, until)
        except BaseException:
            # What became of the messages under way is unknown.
            self.close()
            raise

    def _write_all(self, records: Sequence[Record], until: float) -> list[Outcome]:
        outcomes = self._write(records)
        refused = [number for number, each in enumerate(outcomes) if isinstance(each, Rejected)]
        if len(records) > 1:
            # Brokers refuse a batch for one message in it.
            for number in refused:
                if clock.monotonic() > until:
                    outcomes[number] = away("it is slow", "check the load of the brokers")
                else:
                    (outcomes[number],) = self._write([records[number]])
        return outcomes

    def close(self) -> None:
        """Drop the connection and what is not confirmed; the next use opens a new one."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()
            # The messages would never be freed if their reports were not read.
            self._serve(partial(producer.flush, _PURGE_SECONDS))

    def _write(self, records: Sequence[Record]) -> list[Outcome]:
        try:
            producer = self._open()
        except BridgeError as error:
            return [error] * len(records)
        ends = clock.monotonic() + self._limits.confirm + _PURGE_SECONDS
        outcomes: list[Outcome | None] = [None] * len(records)
        self._faults.clear()

        def report(number: int, error: KafkaError | None, message: Any) -> None:
            place = f"partition {message.partition()}, offset {message.offset()}"
            outcomes[number] = place if error is None else problem_of(error, self._topic)

        stopped: BridgeError | None = None
        for number, record in enumerate(records):
            problem = stopped or self._produce(producer, record, partial(report, number), ends)
            if problem is not None:
                outcomes[number] = problem
            if isinstance(problem, Retryable | ConfigError):
                stopped = problem
        failed = self._serve(lambda: producer.flush(max(ends - clock.monotonic(), 0.0)))
        if None in outcomes:
            producer.purge()
            self._serve(partial(producer.flush, _PURGE_SECONDS))
        late = failed or worst(self._faults, self._topic) or away("did not confirm in time", "check the brokers")
        if any(not isinstance(each, str | Rejected) for each in outcomes):
            self.close()
        # When an error has ended the producer, the reports say only that messages were given up.
        cause = next((each for each in (stopped, failed) if isinstance(each, ConfigError)), None)
        return [
            (cause or late) if each is None else cause if cause and isinstance(each, Retryable) else each
            for each in outcomes
        ]

    def _produce(self, producer: Producer, record: Record, report: _Report, ends: float) -> BridgeError | None:
        while True:
            try:
                producer.produce(
                    self._topic, record.value, key=record.key, headers=list(record.headers), on_delivery=report
                )
            except BufferError:
                if clock.monotonic() > ends:
                    return away("did not confirm in time", "check the load of the brokers")
                failed = self._serve(partial(producer.poll, 0.1))
            except KafkaException as error:
                # Only here does an error that has ended the producer have its code.
                return self._serve(partial(producer.poll, 0.0)) or problem_of(error.args[0], self._topic)
            else:
                return self._serve(partial(producer.poll, 0.0))
            if failed is not None:
                return failed

    def _serve(self, call: Callable[[], object]) -> BridgeError | None:
        """Let reports come in. An error that ends the producer is raised here, from within a report or without one."""
        try:
            call()
        except Exception as error:
            # SystemError if the error was set while a report was being called.
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, KafkaException):
                cause = cause.__cause__ or cause.__context__
            if cause is None:
                raise
            return problem_of(cause.args[0], self._topic)
        return None

    def _open(self) -> Producer:
        if self._producer is None:
            producer = self._make(Producer, {**_PRODUCER, "message.timeout.ms": round(self._limits.confirm * 1000)})
            self._describe(producer)
            self._producer = producer
        return self._producer

    def _make(self, kind: type[_Client], own: dict[str, Any]) -> _Client:
        self._faults.clear()
        try:
            return kind({**self._settings, **own, "error_cb": self._faults.append}, logger=_SILENT)
        except (KafkaException, ValueError) as error:
            raise misconfigured("a setting is refused", "check the files under `tls`") from error

    def _describe(self, client: Consumer | Producer) -> Topic:
        """Wait for the cluster. Raises the errors of `problems`."""
        try:
            metadata = client.list_topics(self._topic, timeout=self._limits.connect)
        except KafkaException as error:
            self._serve(partial(client.poll, 0))
            raise worst([*self._faults, error.args[0]], self._topic) or error from error
        topic = metadata.topics[self._topic]
        if topic.error is not None:
            raise problem_of(topic.error, self._topic)
        parts = topic.partitions.values()
        return Topic(
            brokers=len(metadata.brokers),
            partitions=len(parts),
            leaderless=sum(part.leader < 0 for part in parts),
            copies=min((len(part.replicas) for part in parts), default=0),
        )
