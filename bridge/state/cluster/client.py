"""A client of a cluster with the methods of `redis.Redis`: each command goes to the node that holds its key.

It knows where keys are without asking a node, so a node that hangs delays only callers that need its keys. What runs
on one node, such as scripts, transactions and reads of consumer groups, goes through a plain client of that node.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar
from zlib import crc32

import redis
from redis.backoff import NoBackoff
from redis.commands.core import Script
from redis.exceptions import AskError, MaxConnectionsError, MovedError, NoScriptError, TryAgainError
from redis.retry import Retry

from bridge import clock
from bridge.state.cluster.command_keys import encoded, first_key, slot_of
from bridge.state.cluster.pipeline import ClusterPipeline
from bridge.state.cluster.reading import read_streams
from bridge.state.cluster.slot_map import LOST, Address, SlotMap

__all__ = ["ClusterClient"]

#: A command that nodes refuse because slots are moving is sent again for this long, seconds.
DEADLINE_SECONDS = 2.0
_PAUSE_SECONDS = 0.02
#: Time-out of asking a node for the map of slots.
_MAP_SECONDS = 0.5
#: Most redirections of one command; a consistent cluster needs one or two.
_REDIRECTIONS = 5
_T = TypeVar("_T")


class ClusterClient(redis.Redis):
    """A client of all primaries of a cluster. Thread-safe; it connects on first use.

    Keys of several slots cannot be in one command, script or transaction, but they can be in one pipeline without
    transaction, and in one XREAD. A command without a key is answered by any primary.
    """

    def __init__(
        self,
        hosts: Sequence[Address],
        node_options: Mapping[str, Any],
        *,
        retries: int = 1,
        node_class: Callable[..., redis.Redis] = redis.Redis,
    ) -> None:
        """`hosts`: some nodes. `node_options`: of the client of each node, without host and retries.

        `retries`: how often a command whose reply was lost is repeated. One that a node has refused is always repeated.
        """
        self._options = {**node_options, "retry": Retry(NoBackoff(), 0)}
        super().__init__(host=hosts[0][0], port=hosts[0][1], **self._options)
        #: Makes the client of a node; set it before the first command.
        self.node_class = node_class
        self.retries = retries
        self._nodes: dict[Address, redis.Redis] = {}
        self.map = SlotMap(hosts, self._map_client)
        #: Nodes that are known to be away, and why: nothing is sent to them.
        self.away: Mapping[Address, str] = {}
        #: Called when a node did not answer.
        self.on_lost: Callable[[Address, Exception], object] = lambda address, error: None
        #: SHA-1 -> text of each script that was registered here.
        self._texts: dict[str, str] = {}

    def at(self, key: bytes | str) -> redis.Redis:
        """The client of the node that holds a key. Raises the errors of redis-py."""
        return self.node(self.map.primary(slot_of(encoded(key))))

    def primaries(self) -> list[redis.Redis]:
        """The clients of all primaries, in the order of their slots. Raises the errors of redis-py."""
        return [self.node(address) for address in self.map.primaries()]

    def node(self, address: Address) -> redis.Redis:
        """The client of one node."""
        node = self._nodes.get(address)
        if node is None:
            host, port = address
            # Two threads may each make one at the same time; both work, and one is kept.
            node = self._nodes.setdefault(address, self.node_class(host=host, port=port, **self._options))
        return node

    def _map_client(self, address: Address) -> redis.Redis:
        short = {"socket_timeout": _MAP_SECONDS, "socket_connect_timeout": _MAP_SECONDS}
        return redis.Redis(host=address[0], port=address[1], **{**self._options, **short})

    def reach(self, address: Address) -> redis.Redis:
        """The client of one node. Raises `redis.ConnectionError` if it is known to be away."""
        if problem := self.away.get(address):
            raise redis.ConnectionError(f"{address[0]}:{address[1]} is away: {problem}")
        return self.node(address)

    def close(self) -> None:
        for client in list(self._nodes.values()):
            client.close()
        super().close()

    def register_script(self, script: Any) -> Script:
        registered = super().register_script(script)
        self._texts[registered.sha] = script
        return registered

    def mget(self, keys: Any, *args: Any) -> list[Any]:
        pipe = self.pipeline(transaction=False)
        for key in [*([keys] if isinstance(keys, str | bytes) else keys), *args]:
            pipe.get(key)
        return pipe.execute()

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> ClusterPipeline:
        return ClusterPipeline(self, transaction)

    def execute_command(self, *args: Any, **options: Any) -> Any:
        name = args[0]
        if name == "SCAN":
            return self._scan(args, options)
        if name == "XREAD":
            return read_streams(self, args, options)
        key = first_key(args)
        if key is None:
            return self._anywhere(args, options)
        return self.call(
            key,
            partial(self.run, args=args, options=options),
            ask=partial(self.run_asking, args=args, options=options),
        )

    def call(
        self, key: bytes, send: Callable[[redis.Redis], _T], *, ask: Callable[[redis.Redis], _T] | None = None
    ) -> _T:
        """What `send` returns for the client of the node that holds the key.

        Called again where that node refuses because it does not, or no longer, hold the slot, and after a lost reply as
        often as this client may retry. `ask`: the same for the node that the slot is moving to; without it, this waits
        for the end of the move. Raises the errors of redis-py.
        """
        deadline, repeated, redirected = clock.monotonic() + DEADLINE_SECONDS, 0, 0
        while True:
            address = self.map.primary(slot_of(key))
            version = self.map.version
            node = self.reach(address)
            try:
                return send(node)
            except MovedError as error:
                redirected += 1
                if redirected > _REDIRECTIONS:
                    raise
                self.map.refresh(version, first=_named(error, address))
            except AskError as error:
                if ask is not None:
                    return ask(self.node(_named(error, address)))
                _pause(deadline, error)
            except TryAgainError as error:
                _pause(deadline, error)
            except LOST as error:
                repeated += 1
                if repeated > self.retries or clock.monotonic() >= deadline:
                    self.note_lost(version, address, error)
                    raise
                self.map.refresh(version, suspect=address)

    def note_lost(self, version: int, address: Address, error: Exception) -> None:
        """A node did not answer: read the map again, so that the next command finds the node that replaces it."""
        if address in self.away or isinstance(error, MaxConnectionsError):
            return
        self.on_lost(address, error)
        # Of the two errors, the caller's explains what happened.
        with suppress(redis.RedisError):
            self.map.refresh(version, suspect=address)

    def run(self, node: Any, args: Sequence[Any], options: Mapping[str, Any]) -> Any:
        """Send one command to a node, with its text if the node lacks the script. Raises the errors of redis-py."""
        try:
            return node.execute_command(*args, **options)
        except NoScriptError:
            if args[1] not in self._texts:
                raise
            return node.execute_command("EVAL", self._texts[args[1]], *args[2:], **options)

    def run_asking(self, node: redis.Redis, args: Sequence[Any], options: Mapping[str, Any]) -> Any:
        """Like `run`, for a node that is getting the slot."""
        try:
            return _asking(node, args, options)
        except NoScriptError:
            if args[1] not in self._texts:
                raise
            return _asking(node, ("EVAL", self._texts[args[1]], *args[2:]), options)

    def _anywhere(self, args: Sequence[Any], options: Mapping[str, Any]) -> Any:
        nodes, version = self.map.primaries(), self.map.version
        for address in nodes[:-1]:
            try:
                return self.run(self.reach(address), args, options)
            except LOST as error:
                self.note_lost(version, address, error)
        return self.run(self.reach(nodes[-1]), args, options)

    def _scan(self, args: Sequence[Any], options: Mapping[str, Any]) -> tuple[int, list[Any]]:
        """SCAN over all primaries. The cursor holds the node and the map; if slots have moved, the scan starts over."""
        nodes = self.map.primaries()
        layout = crc32(repr(self.map.ranges()).encode())
        inner, number, known = _split_cursor(int(args[1]))
        if known != layout:
            inner, number = 0, 0
        command = (args[0], inner, *args[2:])
        inner, names = self.run(self.node(nodes[number]), command, options)
        if not inner:
            number += 1
        if number == len(nodes):
            return 0, names
        return (inner << 16 | number) << 32 | layout, names


def _split_cursor(cursor: int) -> tuple[int, int, int]:
    """(cursor of the node, its number, checksum of the map)."""
    return cursor >> 48, cursor >> 32 & 0xFFFF, cursor & 0xFFFFFFFF


def _named(error: AskError, asked: Address) -> Address:
    """The node that a redirection names; an empty host means the host of the node that answered."""
    return error.host or asked[0], int(error.port)


def _asking(node: redis.Redis, args: Sequence[Any], options: Mapping[str, Any]) -> Any:
    pipe: Any = node.pipeline(transaction=False)
    pipe.execute_command("ASKING")
    pipe.execute_command(*args, **options)
    answer = pipe.execute(raise_on_error=False)[1]
    if isinstance(answer, Exception):
        raise answer
    return answer


def _pause(deadline: float, error: redis.RedisError) -> None:
    """Wait a moment for a slot that is moving; after the deadline, raise the error."""
    if clock.monotonic() >= deadline:
        raise error
    time.sleep(_PAUSE_SECONDS)
