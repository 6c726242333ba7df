"""Checks of RabbitMQ: its nodes, alarms that block publishers, and whether the bridge's own queues can be used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from amqp import Message
from amqp.exceptions import AccessRefused, ChannelError, InternalError, NotFound, PreconditionFailed
from kombu.connection import Connection

from bridge.config.addresses import without_user
from bridge.config.queues import RECEIPTS, TICKS_ARGUMENTS
from bridge.errors import clip
from bridge.monitoring.server_checks import FAILURE, OK, WARNING, Finding
from bridge.net.broker_problems import broker_problem

__all__ = ["alarm", "judge_nodes", "own_queue", "queue_problem", "receipts_queue"]

#: No queue has this name, so what is published to it is dropped.
_NOWHERE = "attempt-bridge.doctor"
_ANSWER_SECONDS = 3.0
_DOWN = ("down or inaccessible", "is stopped", "no quorum", "timeout")


def judge_nodes(problems: Mapping[str, Exception | None]) -> Iterator[Finding]:
    """A finding for each of several nodes. `problems`: address -> why it cannot be used, None where it answers."""
    answering = None in problems.values()
    for node, error in problems.items():
        name = f"node {without_user(node)}"
        if error is None:
            yield Finding(name, OK, "answers")
        else:
            status = WARNING if answering else FAILURE
            yield Finding(name, status, *broker_problem(error), unreachable=not answering)


def alarm(connection: Connection, label: str, blocked: Sequence[str]) -> Iterator[Finding]:
    """A finding if an alarm (memory, disk) blocks publishers: RabbitMQ reports it only to connections that publish.

    `blocked` gets the reasons that RabbitMQ gives on this connection.
    """
    channel = connection.channel()
    channel.confirm_select()
    confirmed: list[int] = []
    channel.events["basic_ack"].add(lambda tag, _multiple: confirmed.append(tag))
    try:
        channel.basic_publish(Message(b""), routing_key=_NOWHERE)
        while not confirmed and not blocked:
            connection.drain_events(timeout=_ANSWER_SECONDS)
    except AccessRefused:
        # The bridge publishes nothing there.
        return
    except TimeoutError:
        yield Finding(label, WARNING, f"does not confirm a message within {_ANSWER_SECONDS:g} s", "check its load")
    if blocked:
        text = f"an alarm blocks publishers: {clip(blocked[0])}"
        yield Finding(label, FAILURE, text, "free memory or disk space at the broker")


def own_queue(connection: Connection, queue: str) -> Finding:
    """The finding about the queue of the worker. Creates nothing."""
    label = f'queue "{queue}"'
    try:
        declared = connection.channel().queue_declare(queue, passive=True)
        # It exists, so this creates nothing: the worker does the same when it starts.
        channel = connection.channel()
        channel.queue_declare(queue, durable=True, auto_delete=False, arguments=TICKS_ARGUMENTS)
        # A node declares the queue even while too few of its members run, but only a majority of them hands out a tick.
        if (tick := channel.basic_get(queue)) is not None:
            channel.basic_reject(tick.delivery_tag, requeue=True)
            channel.close()
    except ChannelError as error:
        return queue_problem(label, error)
    except (TimeoutError, InternalError):
        return Finding(
            label, FAILURE, "does not answer: too few of its members run", "start the nodes that are missing"
        )
    return Finding(label, OK, f"{declared.message_count} ticks, {declared.consumer_count} workers")


def receipts_queue(connection: Connection) -> Iterator[Finding]:
    """A warning if the queue of receipts is on one node of several. Creates nothing."""
    label = f'queue "{RECEIPTS}"'
    try:
        connection.channel().queue_declare(RECEIPTS, passive=True)
        quorum = {"x-queue-type": "quorum"}
        connection.channel().queue_declare(RECEIPTS, durable=True, auto_delete=False, arguments=quorum)
    except PreconditionFailed as error:
        if "x-queue-type" in str(error):
            text = "is on one node: while that is down, receipts are neither taken nor read, and events are sent again"
            remedy = "a virtual host with the default queue type quorum; none needed if receivers confirm over HTTP"
            yield Finding(label, WARNING, text, remedy)
    except ChannelError as error:
        # Missing: dispatch creates it where receivers can send receipts. Refused: this needs the right to configure it.
        if any(word in str(error) for word in _DOWN):
            yield queue_problem(label, error)


def queue_problem(label: str, error: ChannelError) -> Finding:
    """What is wrong with the queue."""
    text = clip(error, 200)
    if isinstance(error, AccessRefused):
        return Finding(label, FAILURE, f"the user lacks a permission: {text}", "rabbitmqctl set_permissions")
    if isinstance(error, PreconditionFailed):
        return Finding(label, FAILURE, f"exists with other arguments: {text}", "stop the worker and delete the queue")
    if isinstance(error, NotFound) and not any(word in text for word in _DOWN):
        return Finding(label, WARNING, "does not exist", "start the worker: it creates it")
    return Finding(label, FAILURE, f"cannot be used: {text}", "start the nodes that are missing")
