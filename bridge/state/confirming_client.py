"""A client whose writes are confirmed by replicas before their answer is returned (`bridge.durability`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis
from redis.client import Pipeline

from bridge.state import keys, scripts

__all__ = ["Confirmation", "ConfirmingClient", "Unconfirmed", "is_write"]

_READ_NAMES = """
ACL AUTH BGREWRITEAOF CLIENT CLUSTER COMMAND CONFIG DBSIZE EVALSHA_RO EVAL_RO EXISTS GET HELLO HEXISTS HGET
HGETALL HKEYS HLEN HMGET HSCAN HVALS INFO KEYS LATENCY LINDEX LLEN LRANGE MEMORY MGET OBJECT PING PTTL ROLE SCAN
SCARD SCRIPT SELECT SISMEMBER SLOWLOG SMEMBERS SSCAN STRLEN TIME TTL TYPE WAIT WAITAOF XINFO XLEN XPENDING
XRANGE XREAD XREVRANGE ZCARD ZCOUNT ZRANGE ZRANGEBYLEX ZRANGEBYSCORE ZRANK ZREVRANGE ZREVRANGEBYSCORE ZSCAN
ZSCORE
"""
#: Commands that change nothing that replicas hold. Whatever is not listed here is confirmed.
_READS = frozenset(_READ_NAMES.split())
#: What a pipeline needs to load scripts.
_LOADING = ("SCRIPT EXISTS", "SCRIPT LOAD")

_Command = tuple[Any, ...]
#: A command and its options, as pipelines keep them.
_Staged = tuple[_Command, dict[str, Any]]


class Unconfirmed(redis.TimeoutError):
    """Replicas have not confirmed a write in time. It may be done, and may be lost with its server: repeat it."""


@dataclass(slots=True, kw_only=True)
class Confirmation:
    """How many replicas must confirm, and within how many seconds."""

    replicas: int
    within: float
    #: Called for each write that was not confirmed.
    on_unconfirmed: Callable[[], object] = field(default=lambda: None, compare=False)

    def commands(self, mark: str) -> list[_Command]:
        """What follows a write on its connection. `mark`: a key that the same server holds.

        WAIT waits for what its own connection wrote, and not for what a blocked read of a group wrote (Valkey 9). A
        command that finds its work done writes nothing, and what another connection wrote may not be confirmed yet.
        So the mark is written after all of it, and WAIT waits for the mark.
        """
        return [("SET", mark, ""), ("WAIT", self.replicas, max(1, int(self.within * 1000)))]

    def require(self, answers: Sequence[Any]) -> None:
        """Raise `Unconfirmed` unless the answers to `commands` show that enough replicas have everything."""
        refused = next((answer for answer in answers if isinstance(answer, redis.ResponseError)), None)
        if refused is None and answers[-1] >= self.replicas:
            return
        count = "none" if refused is not None else answers[-1]
        raise Unconfirmed(
            f"{count} of {self.replicas} replicas confirmed within {self.within * 1000:.0f} ms. Remedy: "
            "attempt-bridge doctor names the replicas; repeat the call, it is safe"
        ) from refused


class ConfirmingClient(redis.Redis):
    """`plain`, but every write is followed by WAIT in the same transmission, and their answers are read together.

    A connection that is lost in between repeats both, or neither, as `plain` repeats commands. Fewer confirmations
    raise `Unconfirmed` and drop the idle connections: the server may be an old primary that no replica follows.
    """

    def __init__(
        self, plain: redis.Redis, confirmation: Confirmation, mark: Callable[[], str] = lambda: keys.CONFIRMED
    ) -> None:
        """`mark`: gives the key of the mark, which on a cluster is in a slot that the server of `plain` holds."""
        super().__init__(connection_pool=plain.connection_pool)
        # `plain` closes the pool when it is deleted.
        self._plain = plain
        self.confirmation, self._mark = confirmation, mark

    def close(self) -> None:
        self._plain.close()

    def execute_command(self, *args: Any, **options: Any) -> Any:
        if not is_write(args):
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]  # redis-py's own
        pipe: Any = self._plain.pipeline(transaction=False)
        pipe.execute_command(*args, **options)
        for command in self.confirming_commands():
            pipe.execute_command(*command)
        answer, *confirmed = pipe.execute(raise_on_error=False)
        if isinstance(answer, redis.ResponseError):
            raise answer
        # A read of a group without new entries wrote nothing.
        if answer or args[0] != "XREADGROUP":
            self.require(confirmed)
        return answer

    def confirm(self) -> None:
        """Have replicas confirm everything that the server holds. Raises the errors of redis-py."""
        self.execute_command("SET", self._mark(), "")

    def confirming_commands(self) -> list[_Command]:
        """What follows a write on its connection."""
        return self.confirmation.commands(self._mark())

    def pipeline(self, transaction: bool = True, shard_hint: Any = None) -> Pipeline:
        return _ConfirmingPipeline(self, transaction, shard_hint)

    def require(self, answers: Sequence[Any]) -> None:
        """Raise `Unconfirmed` unless `answers`, those to the commands behind a write, confirm it."""
        try:
            self.confirmation.require(answers)
        except Unconfirmed:
            self.connection_pool.disconnect(inuse_connections=False)
            self.confirmation.on_unconfirmed()
            raise


class _ConfirmingPipeline(Pipeline):
    """One WAIT after all commands; in a transaction after EXEC, because inside it WAIT would return at once."""

    def __init__(self, client: ConfirmingClient, transaction: bool, shard_hint: Any) -> None:
        super().__init__(client.connection_pool, client.response_callbacks, transaction, shard_hint)
        self._client, self._is_transaction = client, transaction
        self._callbacks: Mapping[str, Any] = client.response_callbacks

    def execute_command(self, *args: Any, **options: Any) -> Any:
        if args[0] == "WATCH":
            raise NotImplementedError("WATCH is not confirmed: write a script instead")
        return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]  # redis-py's own

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        commands: list[_Staged] = self.command_stack
        if not any(is_write(args) for args, _ in commands):
            return super().execute(raise_on_error)
        confirming: list[_Staged] = [(command, {}) for command in self._client.confirming_commands()]
        if self._is_transaction:
            queued: list[_Staged] = [(("MULTI",), {}), *((args, {}) for args, _ in commands), (("EXEC",), {})]
            callbacks = {name: self._callbacks[name] for name in _LOADING}
            answers = self._sent([*queued, *confirming], callbacks)
            executed = answers[len(commands) + 1]
            if isinstance(executed, redis.ResponseError):
                self.raise_first_error(commands, answers[1 : len(commands) + 1])  # type: ignore[no-untyped-call]  # as below
                raise executed
            results = [self._result(answer, *command) for answer, command in zip(executed, commands, strict=True)]
        else:
            answers = self._sent([*commands, *confirming], self._callbacks)
            results = answers[: len(commands)]
        self._client.require(answers[-len(confirming) :])
        if raise_on_error:
            self.raise_first_error(commands, results)  # type: ignore[no-untyped-call]  # redis-py's own
        return results

    def _sent(self, commands: list[_Staged], callbacks: Mapping[str, Any]) -> list[Any]:
        """The answers to the commands, in one transmission."""
        pipe = Pipeline(self.connection_pool, callbacks, False, self.shard_hint)
        pipe.command_stack, pipe.scripts = commands, self.scripts
        self.reset()
        return list(pipe.execute(raise_on_error=False))

    def _result(self, answer: Any, args: _Command, options: dict[str, Any]) -> Any:
        callback = self._callbacks.get(args[0])
        if callback is None or isinstance(answer, Exception):
            return answer
        return callback(answer, **{name: value for name, value in options.items() if name != "keys"})


def is_write(args: _Command) -> bool:
    """Whether a command may change what replicas hold."""
    name = str(args[0])
    return name.partition(" ")[0] not in _READS and not (name == "EVALSHA" and args[1] in scripts.READ_ONLY)
