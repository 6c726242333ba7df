"""Writes lines to a stream that may be full, slow or closed: never blocks its caller, never raises.

Whatever prints for as long as a process lives goes through here: a full disk under the log, a closed pipe or a reader
that has stopped reading must neither end nor block any part of the bridge.
"""

from __future__ import annotations

import atexit
import os

# By name, before gevent replaces them: the thread must be a native one, or a full pipe would stop every greenlet.
from _thread import allocate_lock, start_new_thread
from collections import deque
from collections.abc import Callable
from time import sleep
from typing import Protocol, TextIO

from bridge.clock import monotonic

__all__ = ["LineStream", "LineWriter", "drain_writers", "line_writer"]

#: What may wait for a slow reader; lines beyond that are lost and counted.
_MOST_BYTES = 1_000_000
#: How long the exit waits for lines that are still queued.
_DRAIN_SECONDS = 2.0


class LineStream(Protocol):
    """The part of a text stream that writers of logs use."""

    def write(self, text: str, /) -> int: ...
    def flush(self) -> None: ...
    def isatty(self) -> bool: ...


def _lines_lost(count: int) -> str:
    return f"{count} lines could not be written\n"


class LineWriter:
    """A stream over a file descriptor; its own thread writes, in the order of the calls.

    Lines that cannot be written, or that find `most_bytes` waiting, are lost. Their number is written, as
    `lost_line` of that number, as soon as writing works again.
    """

    def __init__(
        self,
        descriptor: int,
        *,
        lost_line: Callable[[int], str] = _lines_lost,
        most_bytes: int = _MOST_BYTES,
    ) -> None:
        self._descriptor = descriptor
        self._lost_line = lost_line
        self._most_bytes = most_bytes
        self._start()
        os.register_at_fork(after_in_child=self._start)
        atexit.register(self.drain)

    def write(self, text: str, /) -> int:
        """Queue `text`, usually a whole line."""
        data = text.encode("utf-8", "backslashreplace")
        with self._lock:
            if self._waiting + len(data) > self._most_bytes:
                self._lost += 1
                return len(text)
            self._lines.append(data)
            self._waiting += len(data)
        self._wake()
        return len(text)

    def flush(self) -> None:
        """Does nothing: the thread writes at once."""

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def drain(self, seconds: float = _DRAIN_SECONDS) -> None:
        """Wait until everything is written, but not longer than `seconds`."""
        deadline = monotonic() + seconds
        while self._waiting and monotonic() < deadline:
            sleep(0.002)

    def _start(self) -> None:
        # Also after a fork: the thread stayed in the parent, which writes what waited.
        self._lines: deque[bytes] = deque()
        self._waiting = 0
        self._lost = 0
        self._torn = False
        self._lock = allocate_lock()
        #: Held while there is nothing to write.
        self._idle = allocate_lock()
        self._idle.acquire()
        start_new_thread(self._run, ())

    def _wake(self) -> None:
        try:
            self._idle.release()
        except RuntimeError:
            return  # the thread has been woken already

    def _run(self) -> None:
        while True:
            self._idle.acquire()
            while self._lines:
                data = self._lines[0]
                written = self._write_lost() and self._put(data)
                with self._lock:
                    self._lines.popleft()
                    self._waiting -= len(data)
                    self._lost += not written

    def _write_lost(self) -> bool:
        """Report the lines that were lost, if any; whether that worked."""
        with self._lock:
            lost = self._lost
        if not lost:
            return True
        if not self._put(self._lost_line(lost).encode()):
            return False
        with self._lock:
            self._lost -= lost
        return True

    def _put(self, data: bytes) -> bool:
        """Write all of `data`; whether that worked."""
        rest = b"\n" + data if self._torn else data
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                sleep(0.05)  # somebody has made the descriptor non-blocking
            except OSError:
                self._torn = self._torn or len(rest) < len(data)
                return False
        self._torn = False
        return True


def line_writer(stream: TextIO | None, lost_line: Callable[[int], str] = _lines_lost) -> LineStream:
    """The writer for `sys.stdout` or `sys.stderr`, one per process; others, as in tests, are returned as they are.

    `lost_line`: what to write about a number of lost lines.
    """
    if stream is None or stream.closed:
        return _Nowhere()
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        return stream
    if descriptor not in (1, 2):
        return stream
    if descriptor not in _writers:
        _writers[descriptor] = LineWriter(descriptor, lost_line=lost_line)
    return _writers[descriptor]


def drain_writers() -> None:
    """Wait briefly until queued lines are written: for a process that ends without its exit handlers."""
    for writer in _writers.values():
        writer.drain()


class _Nowhere:
    """For a process that was started with the stream closed."""

    def write(self, text: str, /) -> int:
        return len(text)

    def flush(self) -> None:
        """Nothing was written."""

    def isatty(self) -> bool:
        return False


_writers: dict[int, LineWriter] = {}
