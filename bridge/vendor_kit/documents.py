"""The documents of a checkout that have generated parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

from bridge import registry
from bridge.sdk.vendor import Vendor
from bridge.vendor_kit import markers
from bridge.vendor_kit.capacity_table import capacity_table
from bridge.vendor_kit.members import contract
from bridge.vendor_kit.new_vendor import NewVendor
from bridge.vendor_kit.overview import overview, titles
from bridge.vendor_kit.sections import sections

__all__ = ["DOCUMENTS", "EXAMPLE", "renewed", "write"]

README, VENDORS, CONTRACT = "README.md", "docs/vendors.md", "docs/vendor-contract.md"
GUIDE, CAPACITY = "docs/adding-a-vendor.md", "docs/capacity.md"
DOCUMENTS = (README, VENDORS, CONTRACT, GUIDE, CAPACITY)
#: The vendor that the guide is about: `vendors new` under this name.
EXAMPLE = NewVendor("oakbridge")
_OVERVIEW = "overview"


def write(root: Path) -> None:
    """Regenerate the generated parts of every document below `root`. Raises `ConfigError` if one has no place."""
    vendors = _of_the_tree()
    for name in DOCUMENTS:
        file = root / name
        file.write_text(renewed(name, file.read_text(encoding="utf-8"), vendors), encoding="utf-8")


def renewed(name: str, text: str, vendors: Mapping[str, Vendor] | None = None) -> str:
    """The text of the document `name` with its generated parts regenerated. Raises `ConfigError`.

    `vendors`: those in bridge/vendors unless others are given.
    """
    known = _of_the_tree() if vendors is None else vendors
    if name == README:
        return markers.replaced(text, "titles", titles(known))
    if name == GUIDE:
        return markers.replaced(text, "smallest", "\n".join(_blocks(EXAMPLE.files())))
    if name == CAPACITY:
        return markers.replaced(text, "capacity", capacity_table())
    if name == CONTRACT:
        return markers.replaced(text, "contract", contract())
    simulated = {vendor for vendor in known if find_spec(f"{registry.package(vendor)}.simulator") is not None}
    text = markers.replaced(text, _OVERVIEW, overview(known))
    return sections(text, known, simulated, other=_OVERVIEW)


def _blocks(files: Mapping[str, str]) -> Iterator[str]:
    """Each file under its name."""
    for path, text in files.items():
        language = {"py": "python", "md": "markdown"}.get(path.rpartition(".")[2], "json")
        yield f"#### {path}\n\n```{language}\n{text}```\n"


def _of_the_tree() -> Mapping[str, Vendor]:
    """Without vendors from other packages: the documents are those of the repository."""
    vendors = registry.vendors()
    return {name: vendor for name, vendor in vendors.items() if registry.package(name).startswith("bridge.vendors.")}
