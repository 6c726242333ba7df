"""What `forked` imports before it forks: all that parts of the bridge, and programs of tests, begin with."""

from __future__ import annotations

import gc
from importlib import import_module

from bridge import registry
from bridge.runtime.processes import PARTS

__all__ = ["MODULES"]

MODULES = [*(f"bridge.cli.{part}" for part in PARTS), "workers.tasks", "tests.support.polling"]

for module in MODULES:
    import_module(module)
registry.vendors()
# A fork may have folders of its own.
registry.forget()
# It all stays: neither this process nor a fork of it need scan it.
gc.collect()
gc.freeze()
