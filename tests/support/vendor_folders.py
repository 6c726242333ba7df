"""Vendor folders and packages that a test writes, found by the registry like any other."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bridge import registry
from bridge import vendors as vendors_package

__all__ = ["VendorFolders", "declaration", "vendor_folders"]


_POLLS = """{
        "rows": Poll(
            fetch=lambda client, cursor: Page(records=(), cursor=cursor, more=False),
            rewind=lambda cursor, seconds: cursor,
            start=lambda moment, until: str(moment),
            position=float,
        )
    }"""


def declaration(name: str = "fernhill", more: str = "", polls: str = _POLLS) -> str:
    """An `__init__.py` whose vendor lists one stream of nothing. `more`: further arguments of `Vendor`."""
    return f"""
from bridge.sdk.vendor import Credential, FactSheet, Option, Page, Poll, Quota, Vendor

VENDOR = Vendor(
    name="{name}",
    title="{name.title()}",
    base_url="https://api.{name}.example",
    quota=Quota(calls=60, per_seconds=60.0),
    credentials={{"api_key": Credential(help="the key of the API")}},
    sheet=FactSheet(identity="its id", look_back="all", quota="60 a minute", documented=("a fact",), ask=("what?",)),
    normalise=lambda record, now, options: None,
    connect=lambda source, calls: None,
    polls={polls},
    {more}
)
"""


class VendorFolders:
    """Writes below `root`, which is both a place of vendor folders and on the path of modules."""

    def __init__(self, root: Path) -> None:
        self.vendors, self.site = root / "vendors", root / "site"
        for place in (self.vendors, self.site):
            place.mkdir()

    def folder(self, name: str, files: dict[str, str]) -> Path:
        """A folder beside those of the bridge; the files by name."""
        return self._write(self.vendors / name, files)

    def installed(self, distribution: str, entry: str, module: str, files: dict[str, str] | None = None) -> Path:
        """An installed distribution with one entry point; without files its package is gone."""
        metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
        points = f"[{registry.ENTRY_POINT_GROUP}]\n{entry} = {module}\n"
        info = self.site / f"{distribution.replace('-', '_')}-1.0.dist-info"
        self._write(info, {"METADATA": metadata, "entry_points.txt": points})
        path = self.site / module
        return path if files is None else self._write(path, files)

    def _write(self, folder: Path, files: dict[str, str]) -> Path:
        folder.mkdir()
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        importlib.invalidate_caches()
        registry.forget()
        return folder


@contextmanager
def _written(root: Path) -> Iterator[VendorFolders]:
    folders, places, modules = VendorFolders(root), list(vendors_package.__path__), set(sys.modules)
    vendors_package.__path__.append(str(folders.vendors))
    sys.path.insert(0, str(folders.site))
    try:
        yield folders
    finally:
        sys.path.remove(str(folders.site))
        vendors_package.__path__[:] = places
        for name in set(sys.modules) - modules:
            file = getattr(sys.modules[name], "__file__", None)
            if file is not None and Path(file).is_relative_to(root):
                del sys.modules[name]
                vars(vendors_package).pop(name.rpartition(".")[2], None)
        registry.forget()


@pytest.fixture
def vendor_folders(tmp_path: Path) -> Iterator[VendorFolders]:
    with _written(tmp_path) as folders:
        yield folders
