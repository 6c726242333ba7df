"""For tests with real processes: services over a real server, child programs whose lines can be waited for."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from bridge.config.model import BridgeConfig, Config, Subscription
from bridge.services import Services, clients_of
from bridge.settings import Settings
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

    def __init__(self, *args: str, cwd: Path | None = None, **environment: str) -> None:
        self.process = subprocess.Popen(
            args,
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: queue.Queue[str] = queue.Queue()
        self.errors: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.lines.put), daemon=True),
            threading.Thread(target=self._read, args=(self.process.stderr, self.errors.append), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @classmethod
    def python(cls, *args: str, cwd: Path | None = None, **environment: str) -> Child:
        return cls(sys.executable, *args, cwd=cwd, **environment)

    @staticmethod
    def _read(stream: Any, put: Any) -> None:
        for line in stream:
            put(line.rstrip("\n"))
        stream.close()

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
