"""The four parts of a running bridge: how each is started and when all of them answer.

How processes are kept alive is in `bridge/runtime/supervisor.py`, what a part does in `bridge/cli/processes.py`.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import redis
import requests

from bridge.errors import BridgeError, clip
from bridge.runtime.supervisor import Program
from bridge.settings import PREFIX
from bridge.state import keys

__all__ = ["PARTS", "Address", "programs", "silent_parts", "usable_port"]

#: Part -> arguments of `attempt-bridge`, in the order of stopping: first nothing new comes in, then nothing new is
#: planned, then what was begun is finished, and deliveries go on to the last. Procfile and compose file say the same.
PARTS: Mapping[str, tuple[str, ...]] = {
    "web": ("web",),
    "beat": ("beat",),
    "worker": ("worker",),
    "dispatch": ("dispatch",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the parts of one bridge find their configuration, state and broker, and where web listens."""

    config: Path
    state_url: str = field(repr=False)
    broker_url: str = field(repr=False)
    host: str
    port: int

    @property
    def web_url(self) -> str:
        """What a client on this machine asks, also where web listens on all addresses."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def programs(address: Address, environment: Mapping[str, str]) -> list[Program]:
    """The child processes of a bridge; `environment` is what they get besides their settings."""
    settings = {
        f"{PREFIX}CONFIG": str(address.config.resolve()),
        f"{PREFIX}STATE": address.state_url,
        f"{PREFIX}BROKER": address.broker_url,
        "PYTHONUNBUFFERED": "1",
    }
    listen = ("--host", address.host, "--port", str(address.port))
    return [
        Program(
            name=name,
            # -P: a file in the current directory must not take the place of a module of ours.
            command=(sys.executable, "-P", "-m", "bridge", *arguments, *(listen if name == "web" else ())),
            environment={**environment, **settings},
        )
        for name, arguments in PARTS.items()
    ]


def silent_parts(
    address: Address, state: redis.Redis, *, since: float, parts: Iterable[str] = tuple(PARTS)
) -> list[str]:
    """The parts that do not answer yet: web on `/readyz`, others by a heartbeat since `since` (UNIX seconds)."""
    return [name for name in parts if not (_web_answers(address) if name == "web" else _beats(state, name, since))]


def usable_port(host: str, port: int) -> int:
    """`port` if web can listen there, or a free one for 0. Raises `BridgeError` with the remedy."""
    try:
        family, *_, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            # As gunicorn does it: connections that the last run left in TIME_WAIT do not count.
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(where)
            return int(trial.getsockname()[1])
    except OSError as error:
        raise BridgeError(
            f"cannot listen on {host}:{port}: {clip(error.strerror or error)}. Remedy: give another one with --port",
            reason="port_in_use",
        ) from error


def _web_answers(address: Address) -> bool:
    try:
        # An own session: a proxy of the environment must not stand between us and this machine.
        with requests.Session() as session:
            session.trust_env = False
            return session.get(f"{address.web_url}/readyz", timeout=2).status_code == 200
    except requests.RequestException:
        return False


def _beats(state: redis.Redis, name: str, since: float) -> bool:
    try:
        last = state.get(keys.heartbeat(name))
    except redis.RedisError:
        return False
    return isinstance(last, bytes) and float(last) >= since
