"""A Kafka cluster of a test's own: librdkafka's mock speaks the protocol on real sockets, and fails on request."""

from __future__ import annotations

import ctypes
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import confluent_kafka
from confluent_kafka import Consumer, Message, TopicPartition

#: Numbers of requests and errors of the protocol.
PRODUCE, METADATA, INIT_PRODUCER_ID = 0, 3, 22
UNKNOWN_TOPIC, TOO_LARGE, NOT_ENOUGH_REPLICAS, TOPIC_DENIED, CLUSTER_DENIED, INVALID_RECORD = 3, 10, 19, 29, 31, 87
OUT_OF_ORDER, UNKNOWN_ERROR = 45, -1
_SASL_HANDSHAKE, _API_VERSIONS, _SASL_AUTHENTICATE = 17, 18, 36
_WRONG_PASSWORD, _UNSUPPORTED_VERSION = 58, 35

_POINTER, _INT = ctypes.c_void_p, ctypes.c_int


def _library() -> ctypes.CDLL:
    """The library that confluent-kafka has in its wheel."""
    package = Path(confluent_kafka.__file__).parent
    folders = (package.with_name("confluent_kafka.libs"), package / ".dylibs")
    (path,) = (path for folder in folders if folder.is_dir() for path in folder.glob("librdkafka*"))
    library = ctypes.CDLL(str(path))
    library.rd_kafka_conf_new.restype = _POINTER
    library.rd_kafka_conf_set.argtypes = (_POINTER, ctypes.c_char_p, ctypes.c_char_p, _POINTER, ctypes.c_size_t)
    library.rd_kafka_new.restype = _POINTER
    library.rd_kafka_new.argtypes = (_INT, _POINTER, ctypes.c_char_p, ctypes.c_size_t)
    library.rd_kafka_destroy.argtypes = (_POINTER,)
    library.rd_kafka_mock_cluster_new.restype = _POINTER
    library.rd_kafka_mock_cluster_new.argtypes = (_POINTER, _INT)
    library.rd_kafka_mock_cluster_destroy.argtypes = (_POINTER,)
    library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    library.rd_kafka_mock_cluster_bootstraps.argtypes = (_POINTER,)
    library.rd_kafka_mock_push_request_errors_array.argtypes = (
        _POINTER,
        ctypes.c_int16,
        ctypes.c_size_t,
        ctypes.POINTER(_INT),
    )
    library.rd_kafka_mock_clear_request_errors.argtypes = (_POINTER, ctypes.c_int16)
    library.rd_kafka_mock_topic_create.argtypes = (_POINTER, ctypes.c_char_p, _INT, _INT)
    library.rd_kafka_mock_topic_set_error.argtypes = (_POINTER, ctypes.c_char_p, _INT)
    library.rd_kafka_mock_broker_set_down.argtypes = (_POINTER, ctypes.c_int32)
    library.rd_kafka_mock_broker_set_up.argtypes = (_POINTER, ctypes.c_int32)
    library.rd_kafka_mock_broker_push_request_error_rtts.argtypes = (
        *(_POINTER, ctypes.c_int32, ctypes.c_int16, ctypes.c_size_t),
        *(_INT, _INT),
    )
    return library


class KafkaCluster:
    """Three brokers."""

    NODES = (1, 2, 3)

    def __init__(self) -> None:
        self._library = _library()
        settings, problem = self._library.rd_kafka_conf_new(), ctypes.create_string_buffer(256)
        for name, value in (("bootstrap.servers", "127.0.0.1:1"), ("log_level", "0")):
            self._library.rd_kafka_conf_set(settings, name.encode(), value.encode(), problem, 256)
        self._handle = self._library.rd_kafka_new(0, settings, problem, 256)
        self._cluster = self._library.rd_kafka_mock_cluster_new(self._handle, len(self.NODES))
        self.servers = tuple(self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode().split(","))

    def create(self, topic: str, partitions: int = 4, copies: int = 3) -> None:
        self._library.rd_kafka_mock_topic_create(self._cluster, topic.encode(), partitions, copies)

    def fail_topic(self, topic: str, code: int) -> None:
        """Let the cluster answer every question about this topic with an error; 0: no more."""
        self._library.rd_kafka_mock_topic_set_error(self._cluster, topic.encode(), code)

    def fail_next(self, request: int, *codes: int) -> None:
        """Let the next requests of this kind fail, each with its code; 0: it succeeds."""
        self._library.rd_kafka_mock_push_request_errors_array(
            self._cluster, request, len(codes), (_INT * len(codes))(*codes)
        )

    def down(self) -> None:
        for node in self.NODES:
            self._library.rd_kafka_mock_broker_set_down(self._cluster, node)

    def up(self) -> None:
        for node in self.NODES:
            self._library.rd_kafka_mock_broker_set_up(self._cluster, node)

    def hold_answer(self, request: int, milliseconds: int) -> None:
        """Do what the next request of this kind asks of each broker, and answer that late."""
        for node in self.NODES:
            self._library.rd_kafka_mock_broker_push_request_error_rtts(self._cluster, node, request, 1, 0, milliseconds)

    def forget_failures(self, request: int) -> None:
        self._library.rd_kafka_mock_clear_request_errors(self._cluster, request)

    def messages(self, topic: str) -> list[Message]:
        """Everything in a topic, partition by partition, read by a client that is not the bridge's."""
        consumer = Consumer(
            {"bootstrap.servers": ",".join(self.servers), "group.id": "reader", "enable.partition.eof": False}
        )
        messages: list[Message] = []
        try:
            for number in consumer.list_topics(topic, timeout=10).topics[topic].partitions:
                place = TopicPartition(topic, number, 0)
                _, end = consumer.get_watermark_offsets(place, timeout=10)
                consumer.assign([place])
                read = 0
                while read < end:
                    batch = consumer.consume(end - read, timeout=10)
                    assert batch, f"partition {number} ended at {read} of {end}"
                    read += len(batch)
                    messages += batch
        finally:
            consumer.close()
        return messages

    def close(self) -> None:
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._handle)


class RefusingBroker:
    """A broker that asks for SASL PLAIN and refuses everybody. `told`: what it was told, user and password included."""

    def __init__(self) -> None:
        self.told: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.server = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with suppress(OSError):  # closed by the test
            while True:
                client, _ = self._listener.accept()
                with client, suppress(OSError, struct.error):
                    while True:
                        client.sendall(self._answer(*self._request(client)))

    @staticmethod
    def _request(client: socket.socket) -> tuple[int, int, bytes, bytes]:
        (size,) = struct.unpack(">i", client.recv(4, socket.MSG_WAITALL))
        request = client.recv(size, socket.MSG_WAITALL)
        kind, version = struct.unpack(">hh", request[:4])
        (named,) = struct.unpack(">h", request[8:10])
        return kind, version, request[4:8], request[10 + max(named, 0) :]

    def _answer(self, kind: int, version: int, number: bytes, body: bytes) -> bytes:
        if kind == _API_VERSIONS:
            kinds = ((PRODUCE, 7), (METADATA, 4), (_SASL_HANDSHAKE, 1), (_API_VERSIONS, 0), (_SASL_AUTHENTICATE, 0))
            answer = struct.pack(">hi", _UNSUPPORTED_VERSION if version else 0, len(kinds))
            answer += b"".join(struct.pack(">hhh", each, 0, highest) for each, highest in kinds)
        elif kind == _SASL_HANDSHAKE:
            answer = struct.pack(">hi", 0, 1) + struct.pack(">h", 5) + b"PLAIN"
        else:
            self.told.append(body[4:])
            answer = struct.pack(">hhi", _WRONG_PASSWORD, -1, 0)
        return struct.pack(">i", 4 + len(answer)) + number + answer

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)


@contextmanager
def running_kafka() -> Iterator[KafkaCluster]:
    cluster = KafkaCluster()
    try:
        yield cluster
    finally:
        cluster.close()
