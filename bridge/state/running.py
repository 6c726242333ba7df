"""Which configuration each running process of the bridge has, and requests to load it again; in one hash."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass, fields
from typing import Any, cast

import redis

from bridge.state import keys

__all__ = ["LOADED", "RESTARTING", "UNCHANGED", "Running", "RunningProcesses", "process_id"]

#: Outcomes of a request; any other text says why the new file was refused.
LOADED, UNCHANGED, RESTARTING = "loaded", "unchanged", "restarting"
#: A process reports every few seconds; one that has not for this long has ended.
_SILENT_SECONDS = 15.0
#: Except while it starts again.
_RESTART_SECONDS = 180.0
_FORGET_SECONDS = 3600.0
_REQUEST = b"request"


def process_id(name: str, pid: int | None = None) -> str:
    """`web:host:4711`. `pid`: None for this process."""
    return f"{name}:{socket.gethostname()}:{pid or os.getpid()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """One running process. Times are UNIX seconds."""

    process: str
    #: Of its configuration: the beginning of the SHA-256 of the file.
    digest: str
    loaded_at: float
    seen_at: float
    #: The number of the last request that it answered, and what it answered.
    request: int = 0
    outcome: str = LOADED

    @property
    def name(self) -> str:
        """The part of the bridge: web, worker, beat or dispatch."""
        return self.process.partition(":")[0]


class RunningProcesses:
    """Over a client of the state server. All methods raise the errors of redis-py."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def report(self, process: str, digest: str, loaded_at: float, now: float) -> int:
        """Say that the process runs with this configuration. Returns the number of the last request."""
        value = json.dumps({"digest": digest, "loaded_at": loaded_at, "seen_at": now})
        pipe = self._client.pipeline(transaction=False)
        pipe.hset(keys.configurations(), f"running:{process}", value)
        pipe.hget(keys.configurations(), _REQUEST)
        return int(pipe.execute()[1] or 0)

    def answer(self, process: str, request: int, outcome: str) -> None:
        """Say what became of a request, or of a signal since that request.

        Several server processes of web pass one request on: to the second one the new file is unchanged, which does not
        replace what the first one was answered.
        """
        if outcome == UNCHANGED and self._accepted(process) == request:
            return
        value = json.dumps({"request": request, "outcome": outcome})
        self._client.hset(keys.configurations(), f"answer:{process}", value)

    def _accepted(self, process: str) -> int:
        """The request that the process answered last, if it accepted the file; otherwise -1."""
        stored = cast("bytes | None", self._client.hget(keys.configurations(), f"answer:{process}"))
        answer = _members(stored.decode()) if stored else {}
        return int(answer["request"]) if answer.get("outcome") in (LOADED, RESTARTING) else -1

    def leave(self, process: str) -> None:
        """The process ends."""
        self._client.hdel(keys.configurations(), f"running:{process}", f"answer:{process}")

    def last_request(self) -> int:
        """The number of the last request; 0 if there was none."""
        return int(cast("bytes | None", self._client.hget(keys.configurations(), _REQUEST)) or 0)

    def request(self) -> int:
        """Ask every process to load its configuration again. Returns the number of the request."""
        return int(self._client.hincrby(keys.configurations(), _REQUEST, 1))

    def read(self, now: float) -> list[Running]:
        """The processes that run now, by name. Forgets those that have long ended."""
        stored = cast("dict[bytes, bytes]", self._client.hgetall(keys.configurations()))
        answers = {key[len("answer:") :]: _members(value) for key, value in _texts(stored, "answer:")}
        found = []
        for key, value in _texts(stored, "running:"):
            process, members = key[len("running:") :], _members(value)
            running = Running(**{**members, **answers.get(process, {}), "process": process})
            longest = _RESTART_SECONDS if running.outcome == RESTARTING else _SILENT_SECONDS
            if abs(now - running.seen_at) <= longest:
                found.append(running)
            elif abs(now - running.seen_at) > _FORGET_SECONDS:
                self.leave(process)
        return sorted(found, key=lambda running: running.process)


_KNOWN = frozenset(member.name for member in fields(Running))


def _texts(stored: dict[bytes, bytes], start: str) -> list[tuple[str, str]]:
    return [(key.decode(), value.decode()) for key, value in stored.items() if key.startswith(start.encode())]


def _members(text: str) -> dict[str, Any]:
    """Without members that another version of the bridge has stored."""
    return {name: value for name, value in json.loads(text).items() if name in _KNOWN}
