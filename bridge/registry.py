"""Finds the vendor folders: every package in `bridge/vendors/` that exports `VENDOR`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType

from bridge import vendors as vendors_package
from bridge.sdk.vendor import Vendor

__all__ = ["vendors"]


@cache
def vendors() -> Mapping[str, Vendor]:
    """All vendors by name, in alphabetical order. A folder's name is its vendor's name with `_` for `-`."""
    by_name = {}
    for module in sorted(iter_modules(vendors_package.__path__), key=lambda entry: entry.name):
        vendor: Vendor = import_module(f"{vendors_package.__name__}.{module.name}").VENDOR
        by_name[vendor.name] = vendor
    return MappingProxyType(by_name)
