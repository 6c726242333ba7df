"""For tests with real processes: services over a real server, child programs whose lines can be waited for."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from bridge.config.model import BridgeConfig, Config, Subscription
from bridge.services import Services, clients_of
from bridge.settings import Settings
from tests.support.forked import AnyProcess, Forked
from tests.support.servers import Server
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
DEADLINE = 60.0


def services(
    server: Server, *subscriptions: Subscription, partitions: int = 1, state_url: str | None = None
) -> Services:
    """Everything dispatch needs, without a file."""
    bridge = BridgeConfig(name="acme", public_url="https://bridge.example.test", partitions=partitions)
    config = Config(
        path=Path("bridge.yaml"),
        bridge=bridge,
        sources={},
        subscriptions={subscription.name: subscription for subscription in subscriptions},
    )
    return Services(
        settings=Settings(),
        config=config,
        vendors={},
        state_url=state_url or server.url,
        broker_url=server.broker_url,
        clients=clients_of(state_url or server.url),
    )


class Child:
    """A child program; what it prints is read as it comes, so that it never blocks."""

    def __init__(self, start: Callable[..., AnyProcess], cwd: Path | None, environment: Mapping[str, str]) -> None:
        self.lines: queue.Queue[str] = queue.Queue()
        self.errors: list[str] = []
        (out, out_end), (err, err_end) = os.pipe(), os.pipe()
        with open(out_end, "wb") as stdout, open(err_end, "wb") as stderr:
            env = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **environment}
            self.process = start(cwd=cwd, env=env, stdout=stdout, stderr=stderr)
        self._readers = [
            threading.Thread(target=self._read, args=(out, self.lines.put), daemon=True),
            threading.Thread(target=self._read, args=(err, self.errors.append), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @classmethod
    def python(cls, *args: str, cwd: Path | None = None, **environment: str) -> Child:
        """A Python program with an interpreter of its own."""
        return cls(partial(subprocess.Popen, [sys.executable, *args]), cwd, environment)

    @classmethod
    def forked(cls, *args: str, cwd: Path | None = None, **environment: str) -> Child:
        """The same for one that imports much of the bridge, see `Forked`."""
        return cls(partial(Forked, args), cwd, environment)

    @staticmethod
    def _read(descriptor: int, put: Callable[[str], None]) -> None:
        with open(descriptor, encoding="utf-8") as stream:
            for line in stream:
                put(line.rstrip("\n"))

    def received(self, count: int) -> list[dict[str, Any]]:
        """The next `count` JSON lines."""
        result, deadline = [], time.monotonic() + DEADLINE
        while len(result) < count:
            try:
                line = self.lines.get(timeout=max(0.01, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"{len(result)} of {count} lines\n" + "\n".join(self.errors[-30:])) from None
            # A Celery worker prints a banner before anything else.
            if line.startswith("{"):
                result.append(json.loads(line))
        return result

    def printed_an_event(self) -> bool:
        """Whether a JSON line waits to be read."""
        return any(line.startswith("{") for line in list(self.lines.queue))

    def wait_for_error(self, text: str) -> str:
        """The first line on stderr that contains `text`."""
        return until(lambda: next((line for line in self.errors if text in line), None))

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for reader in self._readers:
            reader.join(5)
        return self.process.returncode
