"""An event loop in its own thread, for calls that many other threads start."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["PushLoop", "in_thread"]

_T = TypeVar("_T")
_CLOSE_SECONDS = 1.0


class PushLoop:
    """Starts its thread with the first call. `call`, `spawn` and `close` may be called from any thread but its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        #: The loop itself keeps only weak references to its tasks.
        self._tasks: set[asyncio.Task[None]] = set()

    def call(self, function: Callable[..., object], *args: object) -> None:
        """Call a function in the thread of the loop, soon."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                # A daemon: a receiver that hangs must not delay the end of the process.
                self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name="push")
                self._thread.start()
            self._loop.call_soon_threadsafe(function, *args)

    def call_if_running(self, function: Callable[..., object]) -> None:
        """Call a function in the thread of the loop, soon; without a thread there is nothing to do."""
        with self._lock:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(function)

    def later(self, seconds: float, function: Callable[..., object]) -> None:
        """Call a function after some time; in the thread of the loop."""
        asyncio.get_running_loop().call_later(seconds, function)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine as a task; in the thread of the loop."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Cancel what still runs, and end the thread."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._cancel_all(), loop).result(_CLOSE_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_CLOSE_SECONDS)
        if not thread.is_alive():
            loop.close()

    async def _cancel_all(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def in_thread(function: Callable[[], _T]) -> asyncio.Future[_T]:
    """The result of a function that may block, called in a thread that does not delay the process's end."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_T] = loop.create_future()

    def settle(result: _T | None, error: Exception | None) -> None:
        if future.cancelled():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # a result whenever there is no error

    def run() -> None:
        result, failed = None, None
        try:
            result = function()
        except Exception as error:  # noqa: BLE001 - the caller gets it
            failed = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, result, failed)

    threading.Thread(target=run, daemon=True, name="blocking").start()
    return future
