"""The output of a demo: a live table on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.live import Live

from bridge import clock
from bridge.sandbox.board import Figures, board

__all__ = ["Screen"]

_LINE_EVERY = 3.0


class Screen:
    """`say` prints a line, `show` the latest figures; a context manager that restores the terminal."""

    def __init__(self, console: Console, heading: str) -> None:
        self._console = console
        self._heading = heading
        self._live: Live | None = None
        self._next_line = 0.0

    def __enter__(self) -> Screen:
        self.say(self._heading)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, line: str) -> None:
        """Print a line, above the table if there is one."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def show(self, figures: Figures) -> None:
        """Show the latest figures; off a terminal only every few seconds."""
        if self._console.is_terminal:
            if self._live is None:
                self._live = Live(console=self._console, auto_refresh=False)
                self._live.start()
            self._live.update(board(figures), refresh=True)
        elif clock.monotonic() >= self._next_line:
            self._next_line = clock.monotonic() + _LINE_EVERY
            self.say(figures.line())
