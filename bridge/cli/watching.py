"""`--watch` of all lists: the list is printed again and again until Ctrl-C."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from bridge import clock
from bridge.cli.exit_codes import NOTHING_MATCHED
from bridge.cli.output import iso, say
from bridge.errors import StateUnavailable

__all__ = ["watch_option"]

_DEFAULT_SECONDS = 2.0
_LEAST_SECONDS = 0.5


def watch_option(command: Callable[..., None]) -> Callable[..., None]:
    """`--watch`: repeats the command. Put it right above the function, below the other options.

    On a terminal, a table replaces the one before. An unreachable state server does not end the repetition.
    """

    @click.option(
        "--watch",
        type=click.FloatRange(min=_LEAST_SECONDS),
        is_flag=False,
        flag_value=_DEFAULT_SECONDS,
        metavar="[SECONDS]",
        help=f"Repeat the list until Ctrl-C, every {_DEFAULT_SECONDS:g} s or the given number of seconds.",
    )
    @wraps(command)
    def repeated(*arguments: Any, watch: float | None, **options: Any) -> None:
        if watch is None:
            command(*arguments, **options)
            return
        for_people = sys.stdout.isatty() and options.get("output") == "table"
        while True:
            if for_people:
                click.clear()
                say(f"{iso(clock.now())}, every {watch:g} s; Ctrl-C ends it")
            _once(command, arguments, options)
            sys.stdout.flush()
            time.sleep(watch)

    return repeated


def _once(command: Callable[..., None], arguments: Any, options: Any) -> None:
    try:
        command(*arguments, **options)
    except click.exceptions.Exit as end:
        if end.exit_code != NOTHING_MATCHED:
            raise
    except StateUnavailable as error:
        say(f"Error: {error}")
