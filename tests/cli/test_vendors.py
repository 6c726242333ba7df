"""`vendors list`, `check` and `new`. What `new` writes passes `check`: tests/test_worked_example.py."""

from __future__ import annotations

import json
import subprocess
import tomllib
from pathlib import Path

import pytest

import bridge
from bridge import cli, registry
from bridge.cli.vendor_report import SECTIONS, Failure, read_report
from bridge.vendor_kit.new_vendor import NewVendor, name_problem
from tests.support.vendor_folders import VendorFolders, declaration, vendor_folders

__all__ = ["vendor_folders"]

ROOT = Path(__file__).parents[2]


class Shell:
    """Runs command lines in this process, in an empty directory."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self.capfd = capfd

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        self.capfd.readouterr()
        code = cli.run(arguments)
        out, err = self.capfd.readouterr()
        return code, out, err


@pytest.fixture
def shell(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(capfd)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A bridge that runs from a wheel: no tests beside it."""
    monkeypatch.setattr(bridge, "__file__", str(tmp_path / "site-packages/bridge/__init__.py"))


# list ----------------------------------------------------------------------------------------------------------------


def test_the_list_says_what_each_vendor_can_do(shell: Shell) -> None:
    code, out, _ = shell("vendors", "list", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert code == 0
    assert list(rows) == list(registry.vendors())
    assert rows["classmarker"] == {
        "name": "classmarker",
        "title": "ClassMarker",
        "webhook": "signed",
        "streams": ["groups", "links"],
        "recheck": True,
        "expectations": True,
        "sittings": False,
        "simulated": True,
        "origin": "bridge",
        "problem": None,
    }
    assert (rows["cirrus"]["webhook"], rows["cirrus"]["streams"]) == ("token", [])
    assert rows["mettl"]["sittings"]


def test_the_list_is_a_table_for_people(shell: Shell) -> None:
    lines = shell("vendors", "list")[1].splitlines()
    assert lines[0].split() == [
        *("NAME", "TITLE", "WEBHOOK", "STREAMS", "RECHECK", "EXPECTATIONS", "SITTINGS", "SIMULATED", "ORIGIN"),
    ]
    assert lines[2].split() == [
        "classmarker",
        "ClassMarker",
        "signed",
        "groups,",
        "links",
        *("yes", "yes", "no", "yes"),
        "bridge",
    ]


def test_the_list_has_vendors_in_packages_and_the_line_of_a_broken_one(
    shell: Shell, vendor_folders: VendorFolders
) -> None:
    vendor_folders.installed("acme-fernhill", "fernhill", "acme_fernhill", {"__init__.py": declaration()})
    vendor_folders.folder("tideway", {"__init__.py": "VENDOR = None.name"})
    code, out, err = shell("vendors", "list", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert code == 0
    assert {name: rows["fernhill"][name] for name in ("webhook", "streams", "recheck", "simulated", "origin")} == {
        "webhook": "none",
        "streams": ["rows"],
        "recheck": False,
        "simulated": False,
        "origin": "acme_fernhill",
    }
    assert rows["tideway"]["problem"] == err.strip()
    assert err.startswith("vendor tideway: ")
    assert "line 1: AttributeError" in err
    assert "tideway" in shell("vendors", "list")[1]


def test_a_broken_vendor_fails_the_check_with_its_line_and_its_name_is_taken(
    shell: Shell, vendor_folders: VendorFolders
) -> None:
    vendor_folders.folder("tideway", {"__init__.py": "VENDOR = None.name"})
    code, out, _ = shell("vendors", "check", "tideway")
    assert code == 1
    assert out.startswith("[-] vendor tideway: ")
    code, _, err = shell("vendors", "new", "tideway")
    assert code == 2
    assert err.startswith("Error: the name is taken: vendor tideway: ")


# check ---------------------------------------------------------------------------------------------------------------


def test_a_name_that_does_not_exist_is_answered_with_a_similar_one(shell: Shell) -> None:
    assert shell("vendors", "check", "clasmarker") == (
        2,
        "",
        'Error: unknown vendor: "clasmarker". Did you mean "classmarker"? See attempt-bridge vendors check --help\n',
    )


@pytest.mark.usefixtures("installed")
def test_without_a_checkout_nothing_is_checked(shell: Shell) -> None:
    code, out, err = shell("vendors", "check", "classmarker")
    assert (code, out) == (2, "")
    assert err.startswith(
        "Error: vendors check runs the tests of the repository, which an installed bridge does not have"
    )
    assert err.count("\n") == 1


def test_without_pytest_the_remedy_is_named(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.cli.vendors.find_spec", lambda name: None)
    code, _, err = shell("vendors", "check", "classmarker")
    assert code == 2
    assert err.startswith("Error: pytest is not installed. Remedy: scripts/setup --dev.")


REPORT = """<?xml version="1.0" encoding="utf-8"?>
<testsuites><testsuite name="pytest" tests="5">
<testcase classname="tests.contract.test_folders" name="test_a_fixture_becomes_what_stands_beside_it[north-page]">
<failure message="AssertionError: assert {1} == {2}&#10;  more">def test_it():
&gt;       assert read() == expected
E       AssertionError: assert {1} == {2}

tests/contract/test_folders.py:43: AssertionError</failure></testcase>
<testcase classname="tests.contract.test_polling" name="test_paging[north-a]">
<failure message="KeyError: 'id' (see docs/adding-a-vendor.md#streams)">
tests/contract/test_polling.py:12: in test_paging
    read()
PLACE/north/client.py:7: in page
    row["id"]
tests/support/contract/wire.py:3: KeyError</failure></testcase>
<testcase classname="tests.contract.test_polling" name="test_paging[north-b]">
<failure message="KeyError: 'id' (see docs/adding-a-vendor.md#streams)">PLACE/north/client.py:7: KeyError</failure>
</testcase>
<testcase classname="tests.contract.test_attempts" name="test_grading[north-a]">
<skipped type="pytest.skip" message="north: no `grade` in contract.py (docs/adding-a-vendor.md#grading)"/></testcase>
<testcase classname="tests.contract.test_parts" name="test_parts[NOTSET]">
<skipped type="pytest.skip" message="got empty parameter set for (stage)"/></testcase>
<testcase classname="tests.contract.test_attempts" name="test_order[north-a]">
<failure message="Failed: north: __init__.py: `normalise` raises KeyError (see docs/adding-a-vendor.md#identity)">
tests/support/contract/checked.py:3: Failed</failure></testcase>
<testcase classname="tests.contract.test_faults" name="test_kills[north-a]">
<failure message="Failed: north: __init__.py: `normalise` raises KeyError (see docs/adding-a-vendor.md#identity)">
tests/support/contract/checked.py:3: Failed</failure></testcase>
<testcase classname="tests.contract.test_attempts" name="test_ids[north-a]"/>
</testsuite></testsuites>
"""


def test_a_report_names_test_error_place_and_section(tmp_path: Path) -> None:
    (tmp_path / "report.xml").write_text(REPORT.replace("PLACE", str(tmp_path)))
    report = read_report(tmp_path / "report.xml", "north", ROOT, tmp_path / "north")
    assert (report.passed, report.failed, report.is_good) == (1, 5, False)
    assert report.skipped == {
        "no `grade` in contract.py (docs/adding-a-vendor.md#grading)": 1,
        "about what this vendor does not have": 1,
    }
    assert report.failures == [
        Failure(
            what="a fixture becomes what stands beside it (page)",
            test="test_a_fixture_becomes_what_stands_beside_it",
            message="AssertionError: assert {1} == {2}",
            place="tests/contract/test_folders.py:43",
            section="docs/adding-a-vendor.md#fixtures",
        ),
        Failure(
            what="paging (a, b)",
            test="test_paging",
            message="KeyError: 'id'",
            place=f"{tmp_path}/north/client.py:7",
            section="docs/adding-a-vendor.md#streams",
        ),
        Failure(
            what="order (a), and 1 more: kills",
            test="test_order",
            message="__init__.py: `normalise` raises KeyError",
            place="tests/support/contract/checked.py:3",
            section="docs/adding-a-vendor.md#identity",
        ),
    ]


@pytest.mark.usefixtures("starts_processes")
def test_a_check_ends_with_1_and_a_line_for_each_failure(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With a small suite in the place of ours."""
    suites = tmp_path / "tests/contract"
    suites.mkdir(parents=True)
    monkeypatch.setattr(bridge, "__file__", str(tmp_path / "bridge/__init__.py"))
    plugins = ("schemathesis", "hypothesispytest", "xdist", "cov")
    (tmp_path / "pytest.ini").write_text(f"[pytest]\naddopts = {' '.join(f'-p no:{name}' for name in plugins)}\n")
    (suites / "conftest.py").write_text("def pytest_addoption(parser): parser.addoption('--vendor')\n")
    (suites / "test_polling.py").write_text("def test_one(): pass\ndef test_a_page_is_read(): assert 1 == 2\n")

    code, out, err = shell("vendors", "check", "mettl")

    assert code == 1
    assert out.splitlines() == [
        "[-] a page is read: assert 1 == 2. tests/contract/test_polling.py:2. Remedy: see "
        "docs/adding-a-vendor.md#streams",
        "[-] mettl: 1 passed, 1 failed, 0 skipped",
    ]
    assert "--vendor mettl -k test_a_page_is_read" in err


def test_a_check_says_why_the_tests_could_not_be_run(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = subprocess.CompletedProcess((), 4, "collecting\nE   RuntimeError: no tests today\n", "")
    monkeypatch.setattr("bridge.cli.vendor_report.subprocess.run", lambda *_, **__: ended)

    code, out, _ = shell("vendors", "check", "mettl")

    assert code == 1
    assert out == "[-] mettl: the tests could not be run: E RuntimeError: no tests today\n"


def test_every_section_that_a_failure_leads_to_is_one_of_a_suite(shell: Shell) -> None:
    assert set(SECTIONS) <= {path.stem for path in (ROOT / "tests/contract").glob("test_*.py")}


# new -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["North", "north_bay", "-north", "north-", "north--bay", "1north", "n" * 41, "class"])
def test_a_name_that_no_vendor_can_have_is_refused(shell: Shell, name: str) -> None:
    code, _, err = shell("vendors", "new", "--", name)
    assert code == 2
    assert ". Remedy: " in err
    assert name_problem("north-bay-2") is None


def test_the_name_of_another_vendor_is_refused(shell: Shell) -> None:
    code, _, err = shell("vendors", "new", "mettl")
    assert code == 2
    assert "the name is taken, by bridge.vendors.mettl. Remedy: choose another name" in err


def test_a_new_vendor_is_written_into_the_checkout(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bridge, "__file__", str(tmp_path / "bridge/__init__.py"))
    (tmp_path / "tests/contract").mkdir(parents=True)
    (tmp_path / "tests/contract/conftest.py").touch()
    code, out, err = shell("vendors", "new", "north-bay")
    folder = tmp_path / "bridge/vendors/north_bay"
    assert (code, out) == (0, f"{folder}\n")
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*.*")} == set(NewVendor("north-bay").files())
    assert 'name="north-bay"' in (folder / "__init__.py").read_text()
    assert "1. attempt-bridge vendors check north-bay" in err
    assert "scripts/docs" in err

    (folder / "QUIRKS.md").write_text("mine")
    code, _, err = shell("vendors", "new", "north-bay")
    assert code == 1
    assert f"Error: {folder} exists. Remedy: choose another name or --into\n" in err
    assert (folder / "QUIRKS.md").read_text() == "mine"


@pytest.mark.parametrize("arguments", [("--package",), ("--into", ".")])
def test_a_new_vendor_may_be_a_package_that_the_bridge_finds_by_its_entry_point(
    shell: Shell, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    code, _, err = shell("vendors", "new", "north-bay", *arguments)
    place = tmp_path / "attempt-bridge-north-bay"
    project = tomllib.loads((place / "pyproject.toml").read_text())
    assert code == 0
    assert project["project"]["entry-points"] == {"attempt_bridge.vendors": {"north-bay": "attempt_bridge_north_bay"}}
    assert (place / "attempt_bridge_north_bay/fixtures/results.in.json").is_file()
    assert err.startswith("1. pip install --editable attempt-bridge-north-bay")
    assert "scripts/docs" not in err


@pytest.mark.usefixtures("installed")
def test_an_installed_bridge_writes_a_package(shell: Shell, tmp_path: Path) -> None:
    assert shell("vendors", "new", "north-bay")[0] == 0
    assert (tmp_path / "attempt-bridge-north-bay/pyproject.toml").is_file()


def test_a_directory_that_cannot_be_written_is_named(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, _, err = shell("vendors", "new", "north-bay", "--into", "file/inside")
    assert code == 1
    assert "Remedy: choose another directory with --into" in err
