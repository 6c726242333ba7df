"""The four parts of a running bridge: how each is started, and which ones do not answer yet.

Restarts are in `bridge/runtime/supervisor.py`, what a part does in `bridge/cli/process_start.py`.
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
from bridge.net.timed_session import timed_session
from bridge.runtime.supervisor import Program
from bridge.settings import PREFIX
from bridge.state import keys

__all__ = ["PARTS", "Address", "programs", "silent_parts", "usable_port"]

#: Part -> arguments of `attempt-bridge`, in the order of stopping: receiving ends first, then planning, then work in
#: progress, then delivery. The Procfile and the compose file say the same.
PARTS: Mapping[str, tuple[str, ...]] = {
    "web": ("web",),
    "beat": ("beat",),
    "worker": ("worker",),
    "dispatch": ("dispatch",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the parts of a bridge find their configuration, state server and broker, and where web listens."""

    config: Path
    state_url: str = field(repr=False)
    broker_url: str = field(repr=False)
    host: str
    port: int

    @property
    def web_url(self) -> str:
        """The address of web for a client on this machine, even where web listens on all addresses."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - compared, not bound
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def programs(address: Address, environment: Mapping[str, str]) -> list[Program]:
    """The child processes of a bridge; `environment` is added to their settings."""
    settings = {
        f"{PREFIX}CONFIG": str(address.config.resolve()),
        f"{PREFIX}STATE": address.state_url,
        f"{PREFIX}BROKER": address.broker_url,
        f"{PREFIX}END_WITH_STDIN": "1",
        "PYTHONUNBUFFERED": "1",
    }
    listen = ("--host", address.host, "--port", str(address.port))
    return [
        Program(
            name=name,
            # -P: a file in the current directory must not shadow one of our modules.
            command=(sys.executable, "-P", "-m", "bridge", *arguments, *(listen if name == "web" else ())),
            environment={**environment, **settings},
        )
        for name, arguments in PARTS.items()
    ]


def silent_parts(
    address: Address, state: redis.Redis, *, since: float, parts: Iterable[str] = tuple(PARTS)
) -> list[str]:
    """The parts that do not answer yet: web on `/readyz`, others by a heartbeat since `since` (UNIX seconds)."""
    return [
        name for name in parts if not (_web_is_ready(address) if name == "web" else _has_heartbeat(state, name, since))
    ]


def usable_port(host: str, port: int) -> int:
    """`port` if web can listen there, or a free one for 0. Raises `BridgeError` with the remedy."""
    try:
        family, *_, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            # Like gunicorn: connections in TIME_WAIT from the last run do not count.
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(where)
            return int(trial.getsockname()[1])
    except OSError as error:
        raise BridgeError(
            f"cannot listen on {host}:{port}: {clip(error.strerror or error)}. Remedy: choose another port with --port",
            reason="port_in_use",
        ) from error


def _web_is_ready(address: Address) -> bool:
    try:
        # Not a plain session: a proxy from the environment must not be used for this machine.
        with timed_session() as session:
            return session.get(f"{address.web_url}/readyz", timeout=2).status_code == 200
    except requests.RequestException:
        return False


def _has_heartbeat(state: redis.Redis, name: str, since: float) -> bool:
    try:
        last = state.get(keys.heartbeat(name))
    except redis.RedisError:
        return False
    return isinstance(last, bytes) and float(last) >= since
