"""Puts commands that read for hours while the bridge runs into the register of processes, so that an upgrade waits."""

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
    """Keep the command in the register while the block runs. Raises `StateUnavailable` during an upgrade."""
    process, begun, ended = process_id(name), services.now(), threading.Event()
    digest = services.config.digest
    register(services.state, process, digest, begun)

    def report() -> None:
        while not ended.wait(_REPORT_SECONDS):
            # The command itself reports that the state server is away.
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
