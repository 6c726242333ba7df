"""The contract suites: every vendor folder that the registry finds, in every variant its `contract.py` declares.

`CONTRACT_VENDORS` in the environment names one more directory with vendor folders, for a vendor outside this tree.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest
import redis

from bridge import vendors as vendors_package
from bridge.registry import vendors
from bridge.sdk.vendor import Vendor
from tests.support.contract.stage import Clock, Stage, connect, contract_of, folder

if elsewhere := os.environ.get("CONTRACT_VENDORS"):
    vendors_package.__path__[:] = [elsewhere]

_VENDORS = list(vendors().values())
_VARIANTS = [(vendor, variant) for vendor in _VENDORS for variant in contract_of(vendor).VARIANTS]
_FIXTURES = [(vendor, path) for vendor in _VENDORS for path in sorted((folder(vendor) / "fixtures").glob("*.in.json"))]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--vendor", help="run the contract suites over this vendor alone")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """`--vendor`, which exists only where these suites are named on the command line."""
    name = config.getoption("--vendor", default=None)
    if name is not None:
        items[:] = [item for item in items if _vendor_of(item) == name]


def _vendor_of(item: pytest.Item) -> str | None:
    parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
    vendor = parameters.get("vendor") or next(iter(parameters.get("stage") or ()), None)
    return vendor.name if isinstance(vendor, Vendor) else None


def _streams(vendor: Vendor, kind: str) -> list[str]:
    """`sweep`: streams that read a period again; `polled`: all others; `stream`: those, or "" where there is none."""
    if kind == "sweep":
        return [name for name, poll in vendor.polls.items() if poll.sweep is not None]
    polled = [name for name, poll in vendor.polls.items() if poll.sweep is None]
    return polled if kind == "polled" else polled or [""]


def _is_meant(vendor: Vendor, names: list[str]) -> bool:
    if "named" in names:
        return hasattr(contract_of(vendor).Bench, "names_only")
    if "parted" in names:
        return hasattr(contract_of(vendor).Bench, "part")
    return not (("signed" in names and vendor.verify is None) or ("unsigned" in names and vendor.verify is not None))


def _marks(vendor: Vendor, variant: str) -> list[pytest.MarkDecorator]:
    """The fast tests run over the first variant of each vendor."""
    return [] if variant == next(iter(contract_of(vendor).VARIANTS)) else [pytest.mark.long]


def _spread(metafunc: pytest.Metafunc, name: str, values: Iterable[str]) -> None:
    """`stage`, its stream and `name`: every variant of a vendor and every value, but not all of their pairs."""
    names, chosen = metafunc.fixturenames, list(values)
    streamed = "stream" in names
    cases = []
    for vendor in _VENDORS:
        places = [
            (variant, stream)
            for variant in contract_of(vendor).VARIANTS
            for stream in (_streams(vendor, "stream") if streamed else [""])
            if _is_meant(vendor, names)
        ]
        for number in range(max(len(places), len(chosen)) if places else 0):
            (variant, stream), value = places[number % len(places)], chosen[number % len(chosen)]
            parameters = [(vendor, variant), *([stream] if streamed else []), value]
            cases.append(pytest.param(*parameters, id=f"{vendor.name}-{variant}-{stream}-{value}".replace("--", "-")))
    metafunc.parametrize(["stage", *(["stream"] if streamed else []), name], cases, indirect=["stage"])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`vendor`: each vendor; with `fixture_path`: each of their fixtures.

    `stage`: each variant of each vendor; with `stream`, `polled` or `sweep`: each of their streams of that kind.
    `signed`, `unsigned`: the stages of the vendors that sign, and of those that do not. `named`: the stages of the
    vendors that have calls which only supply names; `parted`: of those whose lists have parts. The mark
    `spread(name, values)` shares values out over the stages, where every pair of them would take minutes.
    """
    names = metafunc.fixturenames
    spread = metafunc.definition.get_closest_marker("spread")
    if spread is not None:
        _spread(metafunc, *spread.args)
        return
    kind = next((name for name in ("stream", "polled", "sweep") if name in names), None)
    if kind is not None:
        cases = [
            pytest.param(
                (vendor, variant),
                stream,
                id=f"{vendor.name}-{variant}-{stream}".rstrip("-"),
                marks=_marks(vendor, variant),
            )
            for vendor, variant in _VARIANTS
            for stream in _streams(vendor, kind)
            if _is_meant(vendor, names)
        ]
        metafunc.parametrize(("stage", kind), cases, indirect=["stage"])
    elif "stage" in names:
        chosen = [case for case in _VARIANTS if _is_meant(case[0], names)]
        cases = [pytest.param(case, id=f"{case[0].name}-{case[1]}", marks=_marks(*case)) for case in chosen]
        metafunc.parametrize("stage", cases, indirect=True)
    elif "fixture_path" in names:
        cases = [
            pytest.param(vendor, path, id=f"{vendor.name}-{path.name.removesuffix('.in.json')}")
            for vendor, path in _FIXTURES
        ]
        metafunc.parametrize(("vendor", "fixture_path"), cases)
    elif "vendor" in names:
        metafunc.parametrize("vendor", _VENDORS, ids=[vendor.name for vendor in _VENDORS])


@pytest.fixture
def stage(request: pytest.FixtureRequest) -> Stage:
    vendor, variant = request.param
    return connect(vendor, contract_of(vendor).VARIANTS[variant], Clock())


@pytest.fixture
def variant_state(request: pytest.FixtureRequest) -> redis.Redis:
    """A fake server for the first variant of each vendor, whose tests are fast ones; a real one for the others, for
    which the scripts of a fake one take half of the time."""
    if request.node.get_closest_marker("long") is None:
        return request.getfixturevalue("fake_state")
    return request.getfixturevalue("empty_state")()


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
