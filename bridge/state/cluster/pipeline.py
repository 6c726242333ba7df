"""Pipelines over a cluster: one for each node that holds keys of it, and the results in the order of the commands."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import redis
from redis.client import Pipeline
from redis.exceptions import AskError, TryAgainError, WatchError

from bridge.state.cluster.command_keys import first_key, slot_of
from bridge.state.cluster.slot_map import LOST

if TYPE_CHECKING:
    from bridge.state.cluster.client import ClusterClient
    from bridge.state.cluster.slot_map import Address

__all__ = ["ClusterPipeline"]

_Command = tuple[tuple[Any, ...], dict[str, Any]]


class ClusterPipeline(Pipeline):
    """Like redis-py's, with two differences.

    All keys of a transaction have one slot. Without a transaction, `execute(raise_on_error=False)` returns the error of
    a node that is away as the result of each of its commands; those of the other nodes have been executed.
    """

    def __init__(self, cluster: ClusterClient, transaction: bool) -> None:
        super().__init__(cluster.connection_pool, cluster.response_callbacks, transaction, None)
        self._cluster = cluster
        #: The pipeline of the node whose keys are watched.
        self._watched: Any = None
        self._is_transaction = transaction

    def execute_command(self, *args: Any, **options: Any) -> Any:
        if args[0] == "WATCH" and self._watched is None:
            key = _key_of([(args, options)])
            return self._cluster.call(key, partial(self._watch, args=args))
        if self._watched is not None:
            answer = self._watched.execute_command(*args, **options)
            return self if answer is self._watched else answer
        self.command_stack.append((args, options))
        return self

    def multi(self) -> None:
        if self._watched is None:
            super().multi()
        else:
            self._watched.multi()

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Execute all commands. Raises the errors of redis-py."""
        try:
            if self._watched is not None:
                return self._execute_watched(self._watched, raise_on_error)
            if not self.command_stack:
                return []
            if self._is_transaction or self.explicit_transaction:
                run = partial(self._run, commands=list(self.command_stack), transaction=True, strict=raise_on_error)
                return self._cluster.call(_key_of(self.command_stack), run)
            return self._execute_everywhere(list(self.command_stack), raise_on_error)
        finally:
            self.reset()

    def reset(self) -> None:  # type: ignore[override]  # as redis-py's own
        # `Pipeline.__del__` calls it, perhaps for an object that was never fully constructed.
        if getattr(self, "_watched", None) is not None:
            self._watched.reset()
        self._watched = None
        super().reset()

    def _watch(self, node: redis.Redis, args: Sequence[Any]) -> Any:
        pipe: Any = node.pipeline(transaction=True)
        answer = pipe.execute_command(*args)
        self._watched = pipe
        return answer

    def _execute_watched(self, pipe: Any, raise_on_error: bool) -> list[Any]:
        pipe.scripts |= self.scripts
        try:
            return list(pipe.execute(raise_on_error))
        except AskError as error:
            # Nothing was done; a caller that retries after this error watches the keys where they are now.
            self._cluster.map.refresh(self._cluster.map.version)
            raise WatchError("the slot of the keys moved while they were watched") from error

    def _execute_everywhere(self, commands: list[_Command], raise_on_error: bool) -> list[Any]:
        results: list[Any] = [None] * len(commands)
        waiting, lost = list(range(len(commands))), 0
        while waiting:
            version = self._cluster.map.version
            failed: dict[int, Exception] = {}
            for address, numbers in self._by_node(commands, waiting).items():
                try:
                    answers = self._run(self._cluster.reach(address), [commands[number] for number in numbers])
                except LOST as error:
                    self._cluster.note_lost(version, address, error)
                    failed |= dict.fromkeys(numbers, error)
                else:
                    results[:] = _with(results, numbers, answers)
            lost += 1
            if lost > self._cluster.retries:
                results[:] = _with(results, list(failed), list(failed.values()))
                failed = {}
            waiting = list(failed)
        for number, (args, options) in enumerate(commands):
            if isinstance(results[number], AskError | TryAgainError):
                results[number] = self._again(args, options)
        if raise_on_error:
            _raise_first(self, commands, results)
        return results

    def _by_node(self, commands: Sequence[_Command], numbers: Sequence[int]) -> dict[Address, list[int]]:
        """The commands of each node; one without a key is sent along with another one."""
        keys = {number: first_key(commands[number][0]) for number in numbers}
        some = next((key for key in keys.values() if key is not None), b"")
        grouped: dict[Address, list[int]] = defaultdict(list)
        for number, key in keys.items():
            grouped[self._cluster.map.primary(slot_of(some if key is None else key))].append(number)
        return grouped

    def _run(
        self, node: redis.Redis, commands: Sequence[_Command], *, transaction: bool = False, strict: bool = False
    ) -> list[Any]:
        pipe = node.pipeline(transaction=transaction)
        pipe.command_stack, pipe.scripts = list(commands), set(self.scripts)
        return pipe.execute(raise_on_error=strict)

    def _again(self, args: Sequence[Any], options: dict[str, Any]) -> Any:
        """Send a command again that a node has refused because slots are moving."""
        try:
            return self._cluster.execute_command(*args, **options)
        except redis.RedisError as error:
            return error


def _key_of(commands: Sequence[_Command]) -> bytes:
    return next((key for key in (first_key(args) for args, _ in commands) if key is not None), b"")


def _with(results: Sequence[Any], numbers: Sequence[int], answers: Sequence[Any]) -> list[Any]:
    placed = dict(zip(numbers, answers, strict=True))
    return [placed.get(number, result) for number, result in enumerate(results)]


def _raise_first(pipe: Any, commands: Sequence[_Command], results: Sequence[Any]) -> None:
    for number, result in enumerate(results):
        if isinstance(result, redis.ResponseError):
            pipe.annotate_exception(result, number + 1, commands[number][0])
        if isinstance(result, Exception):
            raise result
