"""What a vendor and its bench can do. What one of them lacks is skipped, with the reason and the guide's section."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from bridge import registry
from bridge.errors import ConfigError, clip
from bridge.sdk.vendor import Vendor

__all__ = ["DECLARED", "GUIDE", "NOW", "Contract", "complaint", "contract_of", "missing", "section_of"]

#: The moment at which every contract test begins, UNIX seconds.
NOW = 1_795_000_000
GUIDE = "docs/adding-a-vendor.md"
#: What `Vendor(...)` declares; all other capabilities are members of the bench.
DECLARED = ("split", "verify", "recheck", "expect", "sittings", "polls")
#: Function, member or file -> section of the guide.
_SECTIONS: Mapping[str, str] = {
    "split": "webhooks",
    "webhook": "webhooks",
    "verify": "signature",
    "sign": "signature",
    "sign_at": "signature",
    "secret": "signature",
    "recheck": "recheck",
    "expect": "expectations",
    "expectation": "expectations",
    "spellings": "expectations",
    "grade": "grading",
    "revise": "revisions",
    "retake": "retakes",
    "sittings": "retakes",
    "normalise": "identity",
    "polls": "streams",
    "sweep": "streams",
    "fetch": "streams",
    "rewind": "streams",
    "start": "streams",
    "position": "streams",
    "begin": "streams",
    "complete": "streams",
    "hide": "streams",
    "show": "streams",
    "visible_after": "streams",
    "names_only": "names",
    "refusal": "names",
    "part": "parts",
    "part_ids": "parts",
    "part_name": "parts",
    "elsewhere": "webhooks",
    "restricted": "webhooks",
    "connect": "errors",
    "probe": "errors",
    "simulator.py": "simulator",
    "fixtures": "fixtures",
    "QUIRKS.md": "odd-input",
    "__init__.py": "the-files",
}


def section_of(name: str) -> str:
    """Where the guide says what to do about a function, a member of the bench, or a file."""
    return f"{GUIDE}#{_SECTIONS.get(name, 'contract')}"


def complaint(vendor: Vendor, fact: str, file: str, name: str) -> str:
    """One line about a vendor's own file. `name`: what the guide's section is about."""
    return f"{vendor.name}: {file}: {fact} (see {section_of(name)})"


def missing(vendor: Vendor, bench: Any, *names: str) -> str | None:
    """Why a suite that needs these capabilities is skipped, or None.

    `names`: what `Vendor` declares, members of the bench, or a file such as `simulator.py`.
    """
    for name in names:
        if name.endswith(".py"):
            if reason := _problem_of_file(vendor, name):
                return reason
            continue
        if name in DECLARED:
            is_there, file = bool(getattr(vendor, name)), "__init__.py"
        else:
            is_there, file = getattr(bench, name, None) is not None, "contract.py"
        if not is_there:
            return f"{vendor.name}: no `{name}` in {file} ({section_of(name)})"
    return None


def _problem_of_file(vendor: Vendor, name: str) -> str | None:
    if name == "contract.py":
        return contract_of(vendor).problem
    try:
        simulator = registry.simulator(vendor.name)
    except ConfigError as error:
        return str(error)
    return f"{vendor.name}: no {name} ({section_of(name)})" if simulator is None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """What a vendor's `contract.py` has. `problem`: why no suite can run that needs a bench."""

    problem: str | None = None
    #: The file is there and cannot be used.
    is_broken: bool = False
    #: Name -> what makes a bench from a clock, as the module has it.
    VARIANTS: Mapping[str, Callable[[Callable[[], float]], Any]] = field(default_factory=dict)
    #: One bench of each variant, only to look at.
    benches: Mapping[str, Any] = field(default_factory=dict)


def contract_of(vendor: Vendor) -> Contract:
    return _contract_of(vendor.name)


@cache
def _contract_of(name: str) -> Contract:
    where = section_of("contract.py")
    try:
        module: Any = registry.contract(name)
    except ConfigError as error:
        return Contract(problem=f"{error} (see {where})", is_broken=True)
    if module is None:
        return Contract(problem=f"{name}: no contract.py ({where})")
    variants = getattr(module, "VARIANTS", None)
    if not isinstance(variants, Mapping) or not variants or not all(map(callable, variants.values())):
        fact = "VARIANTS is no mapping of a name to a function that makes a bench from a clock"
        return Contract(problem=f"{name}: contract.py: {fact} (see {where})", is_broken=True)
    benches = {}
    for variant, build in variants.items():
        try:
            benches[variant] = build(lambda: float(NOW))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is reported, and stops no other vendor's tests
            fact = f"VARIANTS makes no bench {variant}: {type(error).__name__}: {clip(error, 200)}"
            return Contract(problem=f"{name}: contract.py: {fact} (see {where})", is_broken=True)
    return Contract(VARIANTS=variants, benches=benches)
