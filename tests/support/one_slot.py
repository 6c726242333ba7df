"""Scripts and transactions of the bridge that touch keys of several hash tags fail: on a cluster they could not run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast
from unittest.mock import patch

import redis
from redis.commands.core import Script
from redis.crc import key_slot

__all__ = ["SeveralSlots", "keys_of", "one_slot_each"]

#: Commands that take keys alone; all others of the bridge's transactions have their key behind the command.
_OF_KEYS = (b"DEL", b"UNLINK", b"EXISTS", b"MGET", b"RENAME", b"RENAMENX", b"TOUCH")


class SeveralSlots(AssertionError):
    """Keys of one script or transaction have different slots."""


def check(names: Iterable[bytes | str], what: str) -> None:
    """Raises `SeveralSlots`. Only the bridge's own keys count."""
    ours = {name if isinstance(name, bytes) else name.encode() for name in names}
    ours = {name for name in ours if name.startswith((b"ab:", b"{ab:"))}
    if len({key_slot(name) for name in ours}) > 1:
        raise SeveralSlots(f"{what}: {sorted(ours)}")


def keys_of(command: Sequence[Any]) -> list[bytes | str]:
    """The keys of a command of a transaction."""
    name = command[0].encode() if isinstance(command[0], str) else command[0]
    if name in (b"EVALSHA", b"EVAL"):
        return list(command[3 : 3 + int(command[2])])
    return list(command[1:] if name in _OF_KEYS else command[1:2])


@contextmanager
def one_slot_each() -> Iterator[None]:
    """While this is open, every script and transaction of this process is checked before it is sent."""
    call, execute = Script.__call__, redis.client.Pipeline.execute

    def checked_call(self: Script, keys: Sequence[Any] = (), args: Sequence[Any] = (), client: Any = None) -> Any:
        check(keys, "script")
        return call(self, keys, args, client)

    def checked_execute(self: Any, raise_on_error: bool = True) -> Any:
        if self.transaction or self.explicit_transaction:
            commands = [cast("tuple[Any, ...]", args) for args, _ in self.command_stack]
            check([key for command in commands for key in keys_of(command)], "transaction")
        return execute(self, raise_on_error)

    with (
        patch.object(Script, "__call__", checked_call),
        patch.object(redis.client.Pipeline, "execute", checked_execute),
    ):
        yield
