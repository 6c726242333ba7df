"""What doctor says of a queue on a node of RabbitMQ that is down. The rest is tried at a real broker."""

from __future__ import annotations

import pytest
from amqp.exceptions import NotFound

from bridge.monitoring.rabbitmq_checks import queue_problem
from bridge.monitoring.server_checks import FAILURE, WARNING


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("NOT_FOUND - no queue 'attempt-bridge.ticks' in vhost '/'", WARNING),
        ("NOT_FOUND - home node 'rabbit@b' of durable queue 'x' in vhost '/' is down or inaccessible", FAILURE),
    ],
)
def test_a_queue_whose_node_is_down_is_not_a_queue_that_is_missing(text: str, status: str) -> None:
    assert queue_problem("queue", NotFound(text, (50, 10))).status == status
