"""The contract suites: every vendor that the registry finds, in every variant its `contract.py` declares.

`--vendor NAME` tries one vendor alone. `CONTRACT_VENDORS` in the environment names a directory with vendor folders
outside of this tree, which are tried instead of those of the bridge.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis

from bridge import registry
from bridge import vendors as vendors_package
from bridge.sdk.vendor import Vendor
from tests.support.contract.capabilities import missing, section_of
from tests.support.contract.stage import Clock, Stage, connect, contract_of, folder

if elsewhere := os.environ.get("CONTRACT_VENDORS"):
    vendors_package.__path__[:] = [elsewhere]
    registry.forget()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--vendor", help="run the contract suites over this vendor alone")


class Case(NamedTuple):
    """A vendor in a variant. `reason`: why it is skipped; the variant is empty then."""

    vendor: Vendor
    variant: str
    reason: str | None = None

    @property
    def marks(self) -> list[pytest.MarkDecorator]:
        """The fast tests run over the first variant of each vendor."""
        if self.reason is not None:
            return [pytest.mark.skip(reason=self.reason)]
        return [] if self.variant == next(iter(contract_of(self.vendor).VARIANTS)) else [pytest.mark.long]

    def name(self, *more: str) -> str:
        return "-".join(part for part in (self.vendor.name, self.variant, *more) if part)


def _names(config: pytest.Config) -> list[str]:
    """The vendors to try, those that cannot be loaded included."""
    known, chosen = sorted({*registry.vendors(), *registry.broken()}), config.getoption("vendor", None)
    if chosen is not None and chosen not in known:
        raise pytest.UsageError(f'--vendor: "{chosen}" is not a vendor. Known: {", ".join(known)}')
    return known if chosen is None else [chosen]


def _vendors(config: pytest.Config) -> list[Vendor]:
    return [registry.vendors()[name] for name in _names(config) if name in registry.vendors()]


def _needs(metafunc: pytest.Metafunc) -> list[str]:
    needed = [name for mark in metafunc.definition.iter_markers("needs") for name in mark.args]
    return ["split", *needed] if {"signed", "unsigned"} & set(metafunc.fixturenames) else needed


def _cases(metafunc: pytest.Metafunc) -> Iterator[Case]:
    """Each variant of each vendor; one skipped case of a vendor that lacks what the test needs."""
    needed = _needs(metafunc)
    for vendor in _vendors(metafunc.config):
        contract = contract_of(vendor)
        bench = next(iter(contract.benches.values()), None)
        reason = contract.problem or missing(vendor, bench, *needed)
        if reason is not None:
            yield Case(vendor, "", reason)
        elif _is_meant(vendor, bench, metafunc.fixturenames):
            yield from (Case(vendor, variant) for variant in contract.VARIANTS)


def _is_meant(vendor: Vendor, bench: Any, names: list[str]) -> bool:
    if "named" in names:
        return missing(vendor, bench, "names_only") is None
    if "parted" in names:
        return missing(vendor, bench, "part") is None
    return not (("signed" in names and vendor.verify is None) or ("unsigned" in names and vendor.verify is not None))


def _streams(vendor: Vendor, kind: str) -> list[str]:
    """`sweep`: streams that read a period again; `polled`: all others; `stream`: those, or "" where there is none."""
    if kind == "sweep":
        return [name for name, poll in vendor.polls.items() if poll.sweep is not None]
    polled = [name for name, poll in vendor.polls.items() if poll.sweep is None]
    return polled if kind == "polled" else polled or [""]


def _spread(metafunc: pytest.Metafunc, name: str, values: Iterable[str]) -> None:
    """`stage`, its stream and `name`: every variant of a vendor and every value, but not all of their pairs."""
    chosen, streamed = list(values), "stream" in metafunc.fixturenames
    places: dict[str, list[tuple[Case, str]]] = {}
    for case in _cases(metafunc):
        streams = _streams(case.vendor, "stream") if streamed else [""]
        places.setdefault(case.vendor.name, []).extend((case, stream) for stream in streams)
    parameters = []
    for variants in places.values():
        for number in range(1 if variants[0][0].reason else max(len(variants), len(chosen))):
            (case, stream), value = variants[number % len(variants)], chosen[number % len(chosen)]
            marks = case.marks if case.reason else []
            ident = f"{case.vendor.name}-{case.variant}-{stream}-{value}".replace("--", "-")
            parameters.append(pytest.param(case, *([stream] if streamed else []), value, id=ident, marks=marks))
    _parametrize_stage(metafunc, [*(["stream"] if streamed else []), name], parameters)


#: Fixture -> what a vendor needs for it, and where that is declared.
_OF_FIXTURES = {
    "named": ("names_only", "contract.py"),
    "parted": ("part", "contract.py"),
    "signed": ("verify", "__init__.py"),
    "sweep": ("sweep", "__init__.py"),
    "polled": ("polls", "__init__.py"),
}


def _parametrize_stage(metafunc: pytest.Metafunc, more: list[str], parameters: list[Any]) -> None:
    """`stage` and `more`; where no vendor is meant, one skipped case says why."""
    if not parameters:
        who = ", ".join(vendor.name for vendor in _vendors(metafunc.config))
        missing = [(name, file) for fixture, (name, file) in _OF_FIXTURES.items() if fixture in metafunc.fixturenames]
        if not who:
            reason = f"{', '.join(_names(metafunc.config)) or 'no vendor'}: cannot be loaded"
        elif missing:
            reason = f"{who}: no `{missing[0][0]}` in {missing[0][1]} ({section_of(missing[0][0])})"
        else:
            reason = f"{who}: tests for unsigned webhooks; not needed here ({section_of('verify')})"
        parameters = [pytest.param(*[None] * (1 + len(more)), id="none", marks=pytest.mark.skip(reason=reason))]
    metafunc.parametrize(["stage", *more], parameters, indirect=["stage"])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`vendor`: each vendor; with `fixture_path`: each of their fixtures. `vendor_name`: also those that are broken.

    `stage`: each variant of each vendor; with `stream`, `polled` or `sweep`: each of their streams of that kind.
    `signed`, `unsigned`: the stages of the vendors that sign, and of those that do not. `named`: the stages of the
    vendors that have calls which only supply names; `parted`: of those whose lists have parts. The mark `needs(name,
    ...)` skips a vendor that lacks a capability. The mark `spread(name, values)` shares values out over the stages,
    where every pair of them would take minutes.
    """
    names, config = metafunc.fixturenames, metafunc.config
    spread = metafunc.definition.get_closest_marker("spread")
    kind = next((name for name in ("stream", "polled", "sweep") if name in names), None)
    if spread is not None:
        _spread(metafunc, *spread.args)
    elif kind is not None:
        pairs = [(case, stream) for case in _cases(metafunc) for stream in _streams(case.vendor, kind)]
        parameters = [pytest.param(case, stream, id=case.name(stream), marks=case.marks) for case, stream in pairs]
        _parametrize_stage(metafunc, [kind], parameters)
    elif "stage" in names:
        cases = [pytest.param(case, id=case.name(), marks=case.marks) for case in _cases(metafunc)]
        _parametrize_stage(metafunc, [], cases)
    elif "fixture_path" in names:
        fixtures = [
            pytest.param(vendor, path, id=f"{vendor.name}-{path.name.removesuffix('.in.json')}")
            for vendor in _vendors(config)
            for path in sorted((folder(vendor) / "fixtures").glob("*.in.json"))
        ]
        metafunc.parametrize(("vendor", "fixture_path"), fixtures)
    elif "vendor" in names:
        metafunc.parametrize("vendor", [_whole(vendor, _needs(metafunc)) for vendor in _vendors(config)])
    elif "vendor_name" in names:
        metafunc.parametrize("vendor_name", _names(config))


def _whole(vendor: Vendor, needed: list[str]) -> Any:
    """A vendor whose folder is looked at, or whose simulator runs by itself."""
    bench = next(iter(contract_of(vendor).benches.values()), None) if needed else None
    reason = missing(vendor, bench, *needed)
    return pytest.param(vendor, id=vendor.name, marks=[] if reason is None else [pytest.mark.skip(reason=reason)])


@pytest.fixture
def stage(request: pytest.FixtureRequest) -> Stage:
    case: Case = request.param
    return connect(case.vendor, contract_of(case.vendor).VARIANTS[case.variant], Clock())


@pytest.fixture
def variant_state(empty_state: Callable[[], redis.Redis]) -> redis.Redis:
    return empty_state()


@pytest.fixture
def signed(stage: Stage) -> Stage:
    return stage


@pytest.fixture
def named(stage: Stage) -> Stage:
    return stage


@pytest.fixture
def parted(stage: Stage) -> Stage:
    return stage


@pytest.fixture
def unsigned(stage: Stage) -> Stage:
    return stage


@pytest.fixture
def vendor_folder(vendor: Vendor) -> Path:
    return folder(vendor)
