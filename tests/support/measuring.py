"""Where coverage is measured: while the measured modules are imported, and in the tests of the measured packages.

Everything else would take twice its time, pytest and xdist themselves included.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pkgutil import walk_packages
from typing import Any

import coverage
import pytest

#: Packages whose tests measure coverage: those of `[tool.coverage.run]`, and what runs them. Pages call the API, whose
#: own tests cover what lies below it.
_MEASURED = tuple(
    f"tests/{package}/"
    for package in ("contract", "delivery", "erasure", "ingest", "journal", "polling", "vendors", "web", "workers")
)
_NOT_MEASURED = "tests/web/ui/"


def is_measured(item: pytest.Item) -> bool:
    """Whether this test measures coverage: none does that starts a process or takes long."""
    named = item.nodeid.startswith(_MEASURED) and not item.nodeid.startswith(_NOT_MEASURED)
    return named and not any(item.get_closest_marker(mark) for mark in ("process", "long"))


def begin(config: pytest.Config) -> None:
    """Import what is measured, then measure nothing. Does nothing without `--cov`."""
    controller = _controller(config)
    if controller is None:
        return
    if not _only_distributes(config):
        for pattern in controller.cov.get_option("run:include"):
            package = import_module(pattern.removesuffix("/*").replace("/", "."))
            for module in walk_packages(package.__path__, f"{package.__name__}."):
                import_module(module.name)
    controller.pause()
    # In a worker of xdist, pytest-cov has started another measurement before that of its controller, and no pause ends
    # it.
    while (other := coverage.Coverage.current()) is not None:
        other.stop()


@contextmanager
def measuring(item: pytest.Item) -> Iterator[None]:
    """Measure coverage while this is open, if `is_measured`."""
    controller = _controller(item.config) if is_measured(item) else None
    if controller is None:
        yield
        return
    controller.resume()
    # Of the main thread alone: in CPython 3.11 two threads that begin at once must not both set a trace function, and
    # the second one ends with an error.
    threading.settrace(None)  # type: ignore[arg-type]  # as CPython's own documentation has it
    try:
        yield
    finally:
        controller.pause()


def _controller(config: pytest.Config) -> Any:
    return getattr(config.pluginmanager.get_plugin("_cov"), "cov_controller", None)


def _only_distributes(config: pytest.Config) -> bool:
    """Whether the workers of xdist run the tests, and this is none of them."""
    return config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput")
