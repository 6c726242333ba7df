"""The registry finds vendors in folders and packages; one that is missing or broken is one line and stops nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import click
import pytest

from bridge import cli, registry
from bridge.cli.process_start import start_process
from bridge.errors import ConfigError
from bridge.monitoring.doctor import WARNING, examine
from bridge.sandbox.conditions import Conditions
from bridge.sandbox.vendors import open_vendors
from bridge.services import load
from tests.support.servers import Server
from tests.support.vendor_folders import VendorFolders, declaration, vendor_folders
from tests.support.web import captured_logs

__all__ = ["vendor_folders"]

OURS = {"cirrus", "classmarker", "coremetrix", "mettl", "thought-industries"}
FILE = "bridge.yaml"
BRIDGE = "demo: true\nbridge: {name: acme}\n"
SOURCE = "sources:\n  eu: {vendor: fernhill, credentials: {api_key: k}}\n"


def line_about(name: str) -> str:
    """What is said of a broken vendor, from its file on; the vendors of the bridge are all there."""
    assert set(registry.vendors()) >= OURS
    assert set(registry.broken()) == {name}
    line = registry.broken()[name]
    assert "\n" not in line
    start, _, rest = line.partition(": ")
    assert start == f"vendor {name}"
    return rest


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"__init__.py": "VENDOR = Vendor(\n"},
            "/fernhill/__init__.py, line 1: SyntaxError: '(' was never closed. Remedy: correct the file",
        ),
        (
            {"__init__.py": "from bridge.vendors.fernhill import adapter\n", "adapter.py": "\nSTATES = OPEN\n"},
            "/fernhill/adapter.py, line 2: NameError: name 'OPEN' is not defined. Remedy: correct the file",
        ),
        (
            {"__init__.py": "\nfrom bridge.vendors.fernhill import adapter\n"},
            "/fernhill/__init__.py, line 2: ImportError: there is no adapter.py. Remedy: write adapter.py, or",
        ),
        (
            {"__init__.py": "import nothing_like_it.at_all\n"},
            "/fernhill/__init__.py, line 1: ModuleNotFoundError: No module named 'nothing_like_it'. "
            "Remedy: install nothing_like_it, or correct the import",
        ),
        (
            {"__init__.py": "import bridge.sdk.feilds\n"},
            "line 1: ModuleNotFoundError: No module named 'bridge.sdk.feilds'. Remedy: correct the file",
        ),
        ({"__init__.py": "raise SystemExit('no')\n"}, "/fernhill/__init__.py, line 1: SystemExit: no. Remedy:"),
        ({"__init__.py": ""}, "/fernhill/__init__.py: has no VENDOR. Remedy: VENDOR = Vendor(...), see docs/"),
        ({"__init__.py": "VENDOR = {}\n"}, "/fernhill/__init__.py: VENDOR is of type dict. Remedy: VENDOR = Vendor("),
        (
            {"__init__.py": "from bridge.sdk.vendor import Vendor\nVENDOR = Vendor(\n  name='fernhill',\n)\n"},
            "/fernhill/__init__.py, line 2: TypeError: Vendor.__init__() missing 7 required keyword-only arguments",
        ),
        (
            {"__init__.py": declaration("fern-hill")},
            '/fernhill/__init__.py: name is "fern-hill". Remedy: name="fernhill", as the folder or entry point says',
        ),
        ({"__init__.py": declaration(more="options=None,")}, "options is of type NoneType. Remedy: make it a mapping"),
        (
            {"__init__.py": declaration(more="options={'a': Option(help='b', required=True, default='c')},")},
            ': ValueError: option "b": is required, so it has no default. Remedy: leave out one of them',
        ),
        ({"__init__.py": declaration(more="split=True,")}, "split is of type bool. Remedy: make it a function, or"),
        ({"__init__.py": declaration(more="verify=print,")}, "verify is declared, but split is not. Remedy: remove"),
        (
            {"__init__.py": declaration(more="split=print, verify=print,")},
            "secret_credential is None. Remedy: name the credential that verify checks against",
        ),
        ({"__init__.py": declaration(more="expect=print,")}, "expect is declared, but recheck is not. Remedy: remove"),
        (
            {"__init__.py": declaration(polls="{}")},
            "nothing can be read. Remedy: add polls, split, or recheck with expect",
        ),
        (
            {"__init__.py": declaration().replace("per_seconds=60.0", "per_seconds=86400.0, resets_at='25:00'")},
            'quota: resets_at is "25:00". Remedy: write a time of day in UTC, such as "13:30"',
        ),
        (
            {"__init__.py": declaration().replace("calls=60", "calls=0")},
            "quota: calls and per_seconds must be above 0. Remedy: write what the vendor allows",
        ),
        (
            {"__init__.py": declaration().replace("position=float", "position=7")},
            'polls["rows"].position is not a function. Remedy: make it one',
        ),
        ({"client.py": ""}, "/fernhill: has no __init__.py. Remedy: write it, with VENDOR = Vendor(...)"),
    ],
    ids=range(21),
)
def test_a_broken_folder_is_one_line_with_file_and_remedy_and_stops_no_other_vendor(
    vendor_folders: VendorFolders, files: dict[str, str], said: str
) -> None:
    vendor_folders.folder("fernhill", files)

    assert said in line_about("fernhill")


def test_a_file_instead_of_a_folder_is_said_to_be_one(vendor_folders: VendorFolders) -> None:
    (vendor_folders.vendors / "fernhill.py").write_text(declaration())

    assert "fernhill.py: is not a folder. Remedy: rename it to fernhill/__init__.py" in line_about("fernhill")


def test_a_folder_of_which_only_the_cache_is_left_is_no_vendor(vendor_folders: VendorFolders) -> None:
    vendor_folders.folder("fernhill", {"__pycache__/adapter.pyc": ""})

    assert registry.broken() == {}


def test_the_smallest_folder_has_neither_simulator_nor_contract(vendor_folders: VendorFolders) -> None:
    vendor_folders.folder("fern_hill", {"__init__.py": declaration("fern-hill")})

    assert list(registry.vendors()) == sorted({*OURS, "fern-hill"})
    assert registry.broken() == {}
    assert registry.package("fern-hill") == "bridge.vendors.fern_hill"
    assert registry.simulator("fern-hill") is None
    assert registry.contract("fern-hill") is None
    simulator = registry.simulator("thought-industries")
    assert simulator is not None
    assert simulator.__name__ == "bridge.vendors.thought_industries.simulator"


@pytest.mark.parametrize("file", ["simulator", "contract"])
def test_a_simulator_or_contract_that_cannot_be_loaded_is_one_line(vendor_folders: VendorFolders, file: str) -> None:
    vendor_folders.folder("fernhill", {"__init__.py": declaration(), f"{file}.py": "\n\nraise ValueError('not yet')\n"})

    with pytest.raises(ConfigError, match=rf"vendor fernhill: .*/{file}.py, line 3: ValueError: not yet. Remedy: c"):
        getattr(registry, file)("fernhill")
    assert "fernhill" in registry.vendors()


def test_a_vendor_may_come_from_an_installed_package(vendor_folders: VendorFolders) -> None:
    folder = vendor_folders.installed(
        "acme-fernhill", "fernhill", "acme_fernhill", {"__init__.py": declaration(), "contract.py": "VARIANTS = {}\n"}
    )

    assert registry.vendors()["fernhill"].title == "Fernhill"
    assert registry.broken() == {}
    assert registry.package("fernhill") == "acme_fernhill"
    assert Path(str(import_module(registry.package("fernhill")).__file__)).parent == folder
    contract = registry.contract("fernhill")
    assert contract is not None
    assert contract.__name__ == "acme_fernhill.contract"
    assert registry.simulator("fernhill") is None


def test_an_entry_point_whose_package_is_gone_is_one_line(vendor_folders: VendorFolders) -> None:
    vendor_folders.installed("acme-fernhill", "fernhill", "acme_fernhill.of.ours")

    assert line_about("fernhill") == (
        "acme-fernhill 1.0: there is no package acme_fernhill.of.ours. Remedy: install it again, or uninstall it"
    )


def test_an_installed_package_that_is_broken_is_one_line(vendor_folders: VendorFolders) -> None:
    vendor_folders.installed("acme-fernhill", "fernhill", "acme_fernhill", {"__init__.py": "\nimport missing_part\n"})

    line = line_about("fernhill")
    assert "acme_fernhill/__init__.py, line 2: ModuleNotFoundError" in line
    assert line.endswith("Remedy: install missing_part, or correct the import")


def test_the_name_of_an_entry_point_is_that_of_its_vendor(vendor_folders: VendorFolders) -> None:
    vendor_folders.installed("acme-fernhill", "fern", "acme_fernhill", {"__init__.py": declaration()})

    assert 'name is "fernhill". Remedy: name="fern", as the folder or entry point says' in line_about("fern")


def test_of_two_vendors_of_one_name_the_folder_of_the_bridge_is_used(vendor_folders: VendorFolders) -> None:
    vendor_folders.installed("acme-exams", "cirrus", "acme_exams", {"__init__.py": declaration("cirrus")})

    told = "acme-exams 1.0 provides it too, and is not used. Remedy: give one of them another name"
    assert line_about("cirrus") == told
    assert registry.package("cirrus") == "bridge.vendors.cirrus"


def test_of_two_packages_with_one_name_none_is_used(vendor_folders: VendorFolders) -> None:
    for maker in ("acme", "zeta"):
        vendor_folders.installed(f"{maker}-exams", "fernhill", f"{maker}_exams", {"__init__.py": declaration()})

    assert (
        line_about("fernhill")
        == "acme-exams 1.0 and zeta-exams 1.0 both provide it, and neither is used. Remedy: uninstall one"
    )
    assert "fernhill" not in registry.vendors()


# What the bridge makes of it -----------------------------------------------------------------------------------------


def test_a_source_of_a_broken_vendor_is_one_line_of_the_configuration(
    vendor_folders: VendorFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    vendor_folders.folder("fernhill", {"__init__.py": "VENDOR = 7\n"})
    (tmp_path / FILE).write_text(
        BRIDGE + SOURCE + "subscriptions:\n  s: {transport: celery, task: t, queue: q, filter: {vendor: fernhill}}\n"
    )
    monkeypatch.chdir(tmp_path)

    assert cli.run(("config", "check")) == 78
    line = registry.broken()["fernhill"]
    assert f"bridge.yaml:4: sources.eu.vendor: {line}\n" in capfd.readouterr().err
    assert cli.run(("trigger", "fernhill")) == 78


def test_a_broken_vendor_that_no_source_uses_is_a_finding_of_the_doctor_and_a_line_at_the_start(
    vendor_folders: VendorFolders,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    server: Server,
    capfd: pytest.CaptureFixture[str],
) -> None:
    vendor_folders.folder("fernhill", {"__init__.py": "VENDOR = 7\n"})
    (tmp_path / FILE).write_text(BRIDGE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ATTEMPT_BRIDGE_STATE", server.url)
    monkeypatch.setenv("ATTEMPT_BRIDGE_BROKER", server.broker_url)

    findings = {finding.name: finding for finding in examine(load(), outward=False)}
    assert findings["vendor fernhill"].status == WARNING
    assert findings["vendor fernhill"].text.endswith("/fernhill/__init__.py: VENDOR is of type int")
    assert findings["vendor fernhill"].remedy == "VENDOR = Vendor(...) of bridge.sdk.vendor"
    with click.Context(cli.cli), captured_logs():
        start_process("web")
    logged = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [(each["vendor"], each["problem"]) for each in logged if each["event"] == "vendor_left_out"] == [
        ("fernhill", registry.broken()["fernhill"])
    ]
    assert cli.run(("config", "check")) == 0
    assert cli.run(("trigger", "fernhill")) == 2
    assert capfd.readouterr().err.count(registry.broken()["fernhill"]) == 2


def test_trigger_says_that_it_cannot_sign_without_a_contract(
    vendor_folders: VendorFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    signing = "split=lambda body, options: (), verify=print, secret_credential='api_key',"
    folder = vendor_folders.folder("fernhill", {"__init__.py": declaration(more=signing)})
    (tmp_path / FILE).write_text(BRIDGE + SOURCE)
    monkeypatch.chdir(tmp_path)

    assert cli.run(("trigger", "fernhill")) == 1
    assert "Fernhill has no sample: fixtures/ has no webhook. Remedy: write one" in capfd.readouterr().err
    (folder / "fixtures").mkdir()
    (folder / "fixtures" / "webhook_done.in.json").write_text('{"now": 0, "webhook": {}}')
    assert cli.run(("trigger", "fernhill")) == 1
    assert "its folder has no contract.py that could sign one. Remedy: write it" in capfd.readouterr().err


def test_a_demo_leaves_vendors_without_a_working_simulator_out_and_says_so(vendor_folders: VendorFolders) -> None:
    simulators = {"plain": {}, "broken": {"simulator.py": "x = 1 / 0\n"}, "empty": {"simulator.py": ""}}
    for name, files in simulators.items():
        vendor_folders.folder(name, {"__init__.py": declaration(name), **files})
    lines: list[str] = []
    conditions = Conditions(vendors=(*simulators, "cirrus"))

    with open_vendors(conditions, run=1, left_out=lines.append) as vendors:
        assert list(vendors) == ["cirrus"]
    plain, broken, empty = lines
    assert plain == (
        "vendor plain: not simulated: its folder has no simulator.py. Remedy: write it, or leave the vendor out with "
        "--vendors"
    )
    assert broken.startswith("vendor broken: ")
    assert "simulator.py, line 1: ZeroDivisionError: division by zero. Remedy: correct the file" in broken
    assert empty.startswith("vendor empty: sandbox() of simulator.py fails: AttributeError: ")
    alone = open_vendors(replace(conditions, vendors=("plain",)), run=1, left_out=lines.append)
    with pytest.raises(ConfigError, match=r"^vendor plain: not simulated"), alone:
        pass
