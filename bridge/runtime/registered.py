"""Commands that read for hours beside the bridge are in the register of processes: an upgrade waits for them, too."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import redis

from bridge.services import Services
from bridge.state.running import RunningProcesses, process_id
from bridge.state.upgrade import register

__all__ = ["registered"]

_REPORT_SECONDS = 2.0


@contextmanager
def registered(services: Services, name: str) -> Iterator[None]:
    """The command is in the register while the block runs. Raises `StateUnavailable` while an upgrade is made."""
    process, begun, ended = process_id(name), services.now(), threading.Event()
    digest = services.config.digest
    register(services.state, process, digest, begun)

    def report() -> None:
        while not ended.wait(_REPORT_SECONDS):
            # The command itself says that the state server is away.
            with suppress(redis.RedisError):
                RunningProcesses(services.state).report(process, digest, begun, services.now())

    thread = threading.Thread(target=report, daemon=True, name="register")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with suppress(redis.RedisError):
            RunningProcesses(services.state).leave(process)
