"""Logging of one test does not reach the next one, although modules keep their loggers."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import structlog

__all__ = ["follow_each_configuration", "logging_of_its_own"]


def follow_each_configuration() -> None:
    """From now on a logger that was used under one configuration follows the next one; in production it does not."""
    structlog.configure = partial(_configure, structlog.configure)


def _configure(configure: Any, *arguments: Any, **options: Any) -> None:
    configure(*arguments, **options | {"cache_logger_on_first_use": False})


@contextmanager
def logging_of_its_own() -> Iterator[None]:
    """Afterwards loggers are configured as before: commands that run in the process of a test configure them."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        if structlog.is_configured():
            structlog.reset_defaults()
