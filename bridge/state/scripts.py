"""The only loader of Lua: every script is a file next to the module that runs it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import redis
from redis.commands.core import Script

__all__ = ["READ_ONLY", "read", "register"]

#: SHA-1 of the scripts that only read: their answers need no confirmation by replicas.
READ_ONLY: set[str] = set()


@cache
def read(path: Path) -> str:
    """The text of a script, read once per process."""
    return path.read_text(encoding="utf-8")


def register(
    client: redis.Redis, module: str, *names: str, after: Path | tuple[Path, ...] = (), read_only: bool = False
) -> Script:
    """The script `<name>.lua` next to `module`, the caller's `__file__`; call it with `keys` and `args`.

    Several files make one script: the earlier files define the functions that the last one uses. `after`: files of
    such functions in other packages. `read_only`: it has no command that writes.
    """
    before = after if isinstance(after, tuple) else (after,)
    files = [*before, *(Path(module).with_name(f"{name}.lua") for name in names)]
    script = client.register_script("\n".join(map(read, files)))
    if read_only:
        READ_ONLY.add(script.sha)
    return script
