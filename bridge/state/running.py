"""The register of running processes: version, layouts, configuration; and requests to reload. One hash.

A process reports every few seconds. One that has not reported for a while has ended.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import redis

from bridge import __version__
from bridge.state import keys
from bridge.state.layout import LAYOUTS
from bridge.state.stored_json import record_or_none

__all__ = [
    "LOADED",
    "RESTARTING",
    "UNCHANGED",
    "Running",
    "RunningProcesses",
    "last_beats",
    "process_id",
    "versions_text",
]

#: Outcomes of a request; any other text is the reason why the new file was refused.
LOADED, UNCHANGED, RESTARTING = "loaded", "unchanged", "restarting"
#: A process that has not reported for this long has ended.
_SILENT_SECONDS = 15.0
#: The same while it starts again.
_RESTART_SECONDS = 180.0
_FORGET_SECONDS = 3600.0
_REQUEST = b"request"


def process_id(name: str, pid: int | None = None) -> str:
    """`web:host:4711`. `pid`: None for this process."""
    return f"{name}:{socket.gethostname()}:{pid or os.getpid()}"


def last_beats(client: redis.Redis, names: Collection[str]) -> list[bytes | redis.RedisError | None]:
    """The heartbeat of each part of the bridge, or why it is not known: on a cluster its server may be away.

    Raises the errors of redis-py.
    """
    pipe = client.pipeline(transaction=False)
    for name in names:
        pipe.get(keys.heartbeat(name))
    return pipe.execute(raise_on_error=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """One running process. Times are UNIX seconds."""

    process: str
    #: The beginning of the SHA-256 of its configuration file.
    digest: str = ""
    #: When it began to run with this version and this configuration.
    loaded_at: float = 0.0
    seen_at: float = 0.0
    #: Its version of the bridge; empty: it is of a version that did not report it yet.
    version: str = ""
    #: The layouts of the state that it can work with; empty: only the one that it started with.
    layouts: tuple[int, ...] = ()
    #: The number of the last request that it answered, and what it answered.
    request: int = 0
    outcome: str = LOADED

    @property
    def name(self) -> str:
        """The part of the bridge, web, worker, beat or dispatch; or the command, backfill or reconcile."""
        return self.process.partition(":")[0]


class RunningProcesses:
    """The register, over a client of the state server. All methods raise the errors of redis-py."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def report(self, process: str, digest: str, loaded_at: float, now: float) -> int:
        """Report that the process runs with this configuration. Returns the number of the last request."""
        members = {"digest": digest, "loaded_at": loaded_at, "seen_at": now}
        value = json.dumps({**members, "version": __version__, "layouts": LAYOUTS})
        pipe = self._client.pipeline(transaction=False)
        pipe.hset(keys.configurations(), f"running:{process}", value)
        pipe.hget(keys.configurations(), _REQUEST)
        return int(pipe.execute()[1] or 0)

    def answer(self, process: str, request: int, outcome: str) -> None:
        """Report what became of a request, or of a signal since that request.

        Several server processes of web pass the same request on: by the second time the file is unchanged, and that
        answer does not replace the first one.
        """
        if outcome == UNCHANGED and self._accepted(process) == request:
            return
        value = json.dumps({"request": request, "outcome": outcome})
        self._client.hset(keys.configurations(), f"answer:{process}", value)

    def _accepted(self, process: str) -> int:
        """The request that the process answered last, if it accepted the file; otherwise -1."""
        stored = cast("bytes | None", self._client.hget(keys.configurations(), f"answer:{process}"))
        answer = _answer(process, stored)
        return answer.request if stored is not None and answer.outcome in (LOADED, RESTARTING) else -1

    def leave(self, process: str) -> None:
        """Remove the process, because it ends."""
        self._client.hdel(keys.configurations(), f"running:{process}", f"answer:{process}")

    def last_request(self) -> int:
        """The number of the last request; 0 if there was none."""
        return int(cast("bytes | None", self._client.hget(keys.configurations(), _REQUEST)) or 0)

    def request(self) -> int:
        """Ask every process to load its configuration again. Returns the number of the request."""
        return int(self._client.hincrby(keys.configurations(), _REQUEST, 1))

    def read(self, now: float) -> list[Running]:
        """The processes that run now, by name. Forgets those that ended long ago."""
        stored = cast("dict[bytes, bytes]", self._client.hgetall(keys.configurations()))
        processes = []
        for process, text in _of(stored, "running:"):
            answer = _answer(process, stored.get(f"answer:{process}".encode()))
            place = f"{keys.configurations()} running:{process}"
            running = record_or_none(
                Running, text, place=place, process=process, request=answer.request, outcome=answer.outcome
            )
            if running is None:
                continue
            longest = _RESTART_SECONDS if running.outcome == RESTARTING else _SILENT_SECONDS
            if abs(now - running.seen_at) <= longest:
                processes.append(running)
            elif abs(now - running.seen_at) > _FORGET_SECONDS:
                self.leave(process)
        return sorted(processes, key=lambda running: running.process)


def versions_text(running: Sequence[Running]) -> str:
    """Which processes have which version: `0.1.0: beat:a:7, web:a:4; 0.2.0: worker:b:9`."""
    by_version: dict[str, list[str]] = {}
    for each in running:
        by_version.setdefault(each.version or _EARLIER, []).append(each.process)
    return "; ".join(f"{version}: {', '.join(by_version[version])}" for version in sorted(by_version))


#: Versions whose processes did not report theirs.
_EARLIER = "an earlier version"


@dataclass(frozen=True, slots=True)
class _Answer:
    request: int = 0
    outcome: str = LOADED


def _answer(process: str, stored: bytes | None) -> _Answer:
    place = f"{keys.configurations()} answer:{process}"
    return (None if stored is None else record_or_none(_Answer, stored, place=place)) or _Answer()


def _of(stored: dict[bytes, bytes], start: str) -> Iterator[tuple[str, bytes]]:
    for key, value in stored.items():
        name = key.decode(errors="replace")
        if name.startswith(start):
            yield name.removeprefix(start), value
