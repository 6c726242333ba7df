"""XREAD of streams in several slots of a cluster: one for each stream, all waiting together."""

from __future__ import annotations

import select
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, cast

import redis
from redis.exceptions import AskError, TryAgainError

from bridge.state.cluster.command_keys import encoded, slot_of
from bridge.state.cluster.slot_map import LOST, Address

if TYPE_CHECKING:
    from bridge.state.cluster.client import ClusterClient

__all__ = ["read_streams"]

#: How much longer than the node's own wait to wait for its answer, seconds.
_LATE_SECONDS = 0.5


def read_streams(cluster: ClusterClient, args: Sequence[Any], options: Mapping[str, Any]) -> list[Any]:
    """What XREAD answers, for streams of any slots. With BLOCK it waits until one of them has something.

    A node that is away hides its own streams only; its error is raised if no other node answers. Raises the errors of
    redis-py.
    """
    words = [encoded(word) for word in args]
    at = words.index(b"STREAMS") + 1
    half = (len(words) - at) // 2
    names, positions = words[at : at + half], words[at + half :]
    head = words[1:at]
    block = None
    if b"BLOCK" in head:
        place = head.index(b"BLOCK")
        block = int(head[place + 1]) / 1000
        head = head[:place] + head[place + 2 :]
    reads = {name: ("XREAD", *head, name, position) for name, position in zip(names, positions, strict=True)}
    streams = _read_now(cluster, reads, options)
    if streams or block is None:
        return streams
    return _read_later(cluster, reads, options, block)


def _read_now(cluster: ClusterClient, reads: Mapping[bytes, Sequence[Any]], options: Mapping[str, Any]) -> list[Any]:
    pipe = cluster.pipeline(transaction=False)
    for command in reads.values():
        pipe.execute_command(*command, **options)
    answers = pipe.execute(raise_on_error=False)
    errors = [answer for answer in answers if isinstance(answer, Exception)]
    for error in errors:
        if len(errors) == len(answers) or not isinstance(error, (*LOST, AskError, TryAgainError)):
            raise error
    return [stream for answer in answers if answer and not isinstance(answer, Exception) for stream in answer]


def _read_later(
    cluster: ClusterClient, reads: Mapping[bytes, Sequence[Any]], options: Mapping[str, Any], block: float
) -> list[Any]:
    """Wait on a connection for each stream, for at most `block` seconds (0: without end)."""
    version, errors, streams = cluster.map.version, list[redis.RedisError](), list[Any]()
    with ExitStack() as opened:
        waiting: dict[int, _Waiting] = {}
        poll = select.poll()
        for name, command in reads.items():
            address = cluster.map.primary(slot_of(name))
            read = _Waiting(cluster.node(address), address)
            opened.callback(read.end)
            try:
                poll.register(number := read.begin(("XREAD", "BLOCK", int(block * 1000), *command[1:])), select.POLLIN)
            except LOST as error:
                cluster.note_lost(version, address, error)
                errors.append(error)
            else:
                waiting[number] = read
        # A node whose answer is later than this counts as away.
        ready = poll.poll((block + _LATE_SECONDS) * 1000 if block else None) if waiting else []
        for number, _ in ready:
            read = waiting.pop(number)
            try:
                streams += read.answer(options)
            except (*LOST, AskError, TryAgainError) as error:
                cluster.note_lost(version, read.address, error)
                errors.append(error)
    if errors and len(errors) == len(reads):
        raise errors[0]
    return streams


class _Waiting:
    """A read that a node has not answered yet, on its own connection."""

    def __init__(self, node: Any, address: Address) -> None:
        self._node, self.address = node, address
        self._connection: Any = None
        self._answered = False

    def begin(self, command: Sequence[Any]) -> int:
        """Send it; returns the number of the socket."""
        self._connection = self._node.connection_pool.get_connection()
        self._connection.send_command(*command)
        return int(self._connection._sock.fileno())

    def answer(self, options: Mapping[str, Any]) -> list[Any]:
        """Its streams."""
        streams = self._node.parse_response(self._connection, "XREAD", **options)
        self._answered = True
        return cast("list[Any]", streams or [])

    def end(self) -> None:
        """Give the connection back; an answer still to come would be taken for that of the next command."""
        if self._connection is None:
            return
        if not self._answered:
            self._connection.disconnect()
        self._node.connection_pool.release(self._connection)
