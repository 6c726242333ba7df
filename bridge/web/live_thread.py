"""A thread that reads for all viewers of one web process, and runs while there are any."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable

from bridge.monitoring import logs
from bridge.web.viewers import CLOSING, Viewer

__all__ = ["LiveThread"]


class LiveThread(ABC):
    """The viewers, and their reader. `name`: of the thread. `is_current`: false once this process stops."""

    def __init__(self, name: str, is_current: Callable[[], bool]) -> None:
        self._name = name
        self._is_current = is_current
        self._viewers: set[Viewer] = set()
        self._runs = False
        self._lock = threading.Lock()

    @abstractmethod
    def _begin(self) -> None:
        """Set the position before the first step. Called with the lock held. Raises `StateUnavailable`."""

    @abstractmethod
    def _step(self) -> None:
        """Read once, and give the viewers what they want."""

    def _add(self, viewer: Viewer) -> None:
        """Add a viewer; the caller has the lock. Raises `StateUnavailable`."""
        if not self._runs:
            self._begin()
            self._runs = True
            threading.Thread(target=self._run, name=self._name, daemon=True).start()
        self._viewers.add(viewer)

    def leave(self, viewer: Viewer) -> None:
        """Remove a viewer."""
        with self._lock:
            self._viewers.discard(viewer)

    def _run(self) -> None:
        try:
            while self._goes_on():
                self._step()
        except Exception as error:  # noqa: BLE001 - viewers must end; they reconnect and continue where they were
            logs.log_unhandled(error, self._name)
            with self._lock:
                self._end_all()

    def _goes_on(self) -> bool:
        with self._lock:
            if self._viewers and self._is_current():
                return True
            self._end_all()
            return False

    def _end_all(self) -> None:
        self._runs = False
        for viewer in self._viewers:
            viewer.end(CLOSING)
        self._viewers.clear()
