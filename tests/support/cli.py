"""A command of `attempt-bridge` in the process of the test."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bridge import cli

__all__ = ["Run", "runner"]

#: Runs a command: (exit code, what it has printed, its errors).
Run = Callable[..., tuple[int, str, str]]


def runner(capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs commands; what was printed before is dropped."""

    def call(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = cli.run(arguments)
        return code, *capfd.readouterr()

    return call
