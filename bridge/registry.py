"""Finds the vendors: folders of `bridge/vendors/`, and installed packages that an entry point names.

A vendor that cannot be loaded is left out, and the others work: `broken()` has one line for each that says why.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import cast

from bridge import vendors as vendors_package
from bridge.errors import ConfigError, clip
from bridge.sdk.declaration import declaration_problem
from bridge.sdk.vendor import Vendor

__all__ = ["ENTRY_POINT_GROUP", "broken", "contract", "forget", "package", "simulator", "vendors"]

#: Group of the entry points whose value is a package with `VENDOR`; the entry point has the vendor's name.
ENTRY_POINT_GROUP = "attempt_bridge.vendors"
_ROOT = Path(__file__).parents[1]
_CANNOT_IMPORT = re.compile(r"cannot import name '(\w+)'")


@dataclass(slots=True)
class _Registry:
    vendors: dict[str, Vendor] = field(default_factory=dict)
    #: Vendor -> import path of its package.
    packages: dict[str, str] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)


class _Problem(Exception):
    """What is wrong with a vendor, without its name."""


def vendors() -> Mapping[str, Vendor]:
    """The vendors that can be loaded, by name, in alphabetical order. A vendor's folder has `_` for `-`."""
    return MappingProxyType(_find().vendors)


def broken() -> Mapping[str, str]:
    """Vendor -> one line that says why it was left out: its name, the file, the fact, and the remedy."""
    return MappingProxyType(_find().broken)


def package(name: str) -> str:
    """The import path of a vendor's package; its fixtures and `QUIRKS.md` are next to it. Raises `KeyError`."""
    return _find().packages[name]


def simulator(name: str) -> ModuleType | None:
    """A vendor's module `simulator`, or None if it has none. Raises `ConfigError` if it cannot be loaded."""
    return _module(name, "simulator")


def contract(name: str) -> ModuleType | None:
    """A vendor's module `contract`, or None if it has none. Raises `ConfigError` if it cannot be loaded."""
    return _module(name, "contract")


def forget() -> None:
    """Let the next call look for vendors again. What was imported stays imported."""
    _find.cache_clear()


@cache
def _find() -> _Registry:
    registry = _Registry()
    for path in sorted(_places(), key=lambda each: each.name):
        name = path.stem.replace("_", "-")
        _add(registry, name, f"{vendors_package.__name__}.{path.stem}", partial(_check_folder, path))
    points = sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name)
    for name, group in groupby(points, key=lambda point: point.name):
        _add_installed(registry, name, list(group))
    registry.vendors = dict(sorted(registry.vendors.items()))
    return registry


def _places() -> Iterator[Path]:
    """What is in `bridge/vendors/`, without caches and folders in which only an earlier version's cache is left."""
    for place in vendors_package.__path__:
        for path in Path(place).iterdir():
            has_files = path.is_dir() and any(item.name != "__pycache__" for item in path.iterdir())
            if path.name[0] not in "._" and (has_files or path.suffix == ".py"):
                yield path


def _check_folder(path: Path) -> None:
    if not path.is_dir():
        raise _Problem(f"{_shown(path)}: is not a folder. Remedy: rename it to {path.stem}/__init__.py")
    if not (path / "__init__.py").is_file():
        raise _Problem(f"{_shown(path)}: has no __init__.py. Remedy: write it, with VENDOR = Vendor(...)")


def _add(registry: _Registry, name: str, module: str, check: Callable[[], object]) -> None:
    try:
        check()
        registry.vendors[name] = _load(module, name)
        registry.packages[name] = module
    except _Problem as problem:
        registry.broken[name] = f"vendor {name}: {problem}"


def _add_installed(registry: _Registry, name: str, points: Sequence[EntryPoint]) -> None:
    """Add a vendor from an installed package. A folder of the bridge with the same name takes precedence."""
    origin = " and ".join(sorted({f"{point.dist.name} {point.dist.version}" for point in points if point.dist}))
    module = points[0].value.partition(":")[0].strip()

    def check() -> None:
        if name in registry.vendors:
            raise _Problem(f"{origin} provides it too, and is not used. Remedy: give one of them another name")
        if len({point.value for point in points}) > 1:
            raise _Problem(f"{origin} both provide it, and neither is used. Remedy: uninstall one")
        if not _exists(module):
            raise _Problem(f"{origin}: there is no package {module}. Remedy: install it again, or uninstall it")

    # A broken folder is reported first.
    if name not in registry.broken:
        _add(registry, name, module, check)


def _exists(module: str) -> bool:
    """Whether a module can be found. One whose parent fails to load counts as found: loading it reports why."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError as error:
        return not f"{module}.".startswith(f"{error.name}.")
    except Exception:  # noqa: BLE001 - the parent's own code; it is reported when it is loaded
        return True


def _load(module: str, name: str) -> Vendor:
    """The `VENDOR` of a package. Raises `_Problem`."""
    loaded = _imported(module, module)
    place, vendor = _shown(Path(str(loaded.__file__))), getattr(loaded, "VENDOR", None)
    if vendor is None:
        raise _Problem(f"{place}: has no VENDOR. Remedy: VENDOR = Vendor(...), see docs/adding-a-vendor.md")
    if problem := declaration_problem(vendor):
        raise _Problem(f"{place}: {problem}")
    if vendor.name != name:
        raise _Problem(f'{place}: name is "{vendor.name}". Remedy: name="{name}", as the folder or entry point says')
    return cast("Vendor", vendor)


def _module(name: str, file: str) -> ModuleType | None:
    module = f"{package(name)}.{file}"
    if find_spec(module) is None:
        return None
    try:
        return _imported(module, package(name))
    except _Problem as problem:
        raise ConfigError(f"vendor {name}: {problem}") from problem


def _imported(module: str, home: str) -> ModuleType:
    """A module of the vendor whose package is `home`. Raises `_Problem`."""
    try:
        return import_module(module)
    except (Exception, SystemExit) as error:
        # Whatever a vendor's code does, the other vendors work.
        raise _Problem(_explained(error, _folder_of(home), home)) from error


def _folder_of(module: str) -> Path:
    try:
        spec = find_spec(module)
    except Exception:  # noqa: BLE001 - the parent's own code, which is what is being reported
        spec = None
    return Path(spec.origin).parent if spec and spec.origin else _ROOT


def _explained(error: BaseException, folder: Path, home: str) -> str:
    """File and line of a vendor's own code that failed to load, the fact, and the remedy."""
    text, remedy = str(error), "correct the file"
    own = [
        (Path(frame.f_code.co_filename), line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if Path(frame.f_code.co_filename).is_relative_to(folder)
    ]
    file, line = own[-1] if own else (folder, None)
    if isinstance(error, SyntaxError):
        file, line, text = Path(error.filename or file), error.lineno, error.msg
    if isinstance(error, ImportError) and error.name == home and (missing := _CANNOT_IMPORT.match(text)):
        if not (folder / f"{missing[1]}.py").exists():
            text, remedy = f"there is no {missing[1]}.py", f"write {missing[1]}.py, or correct the import"
    elif isinstance(error, ModuleNotFoundError) and error.name:
        library = error.name.partition(".")[0]
        if library not in ("bridge", home.partition(".")[0]):
            remedy = f"install {library}, or correct the import"
    place = _shown(file) if line is None else f"{_shown(file)}, line {line}"
    # The sdk's own errors have a remedy.
    fact = clip(text, 200) if ". Remedy: " in text else f"{clip(text, 200)}. Remedy: {remedy}"
    return f"{place}: {type(error).__name__}: {fact}"


def _shown(path: Path) -> str:
    """From the root of the bridge, if it is there."""
    return str(path.relative_to(_ROOT) if path.is_relative_to(_ROOT) else path)
