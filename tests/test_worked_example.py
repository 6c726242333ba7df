"""Both vendors of docs/adding-a-vendor.md, in a copy of the repository: they pass their checks, no other test fails
over them, and each suite sees the fault that it is for."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bridge.vendor_kit.documents import EXAMPLE

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "adding-a-vendor.md"
_BLOCK = re.compile(r"^### ([^\n]+)\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: No part of the repository, or not needed by any test that runs here.
_LEFT_OUT = {".git", ".venv", ".hypothesis", "data", "dist"}
#: All files of the smallest vendor, its fixtures and QUIRKS.md included.
MOST_LINES = 135

#: A simulated day of the vendor that has a simulator, and which of two secrets signed: what rotation shows to the
#: operator.
_TESTS_OF_FERNHILL = """
from bridge.vendors.fernhill import adapter, simulator
from tests.simulation.world import LEFT_OUT, Plan, World

def test_a_simulated_day_of_fernhill():
    verdict = World(1, ["fernhill"], plan=Plan(attempts=6, days=1.0)).run()
    assert (verdict.lines(), verdict.attempts) == ([], {"fernhill": 6})
    assert "oakbridge" in LEFT_OUT

def test_the_secret_of_fernhill_that_signed_is_named():
    headers = simulator.Simulator(1, lambda: 7.0).sign(b"raw", "old", 7.0)
    assert adapter.verify(b"raw", headers, ("new", "old"), 7.0) == 2
"""

pytestmark = pytest.mark.usefixtures("starts_processes")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with Fernhill in it."""
    place = tmp_path_factory.mktemp("worked") / "checkout"
    shutil.copytree(ROOT, place, ignore=lambda folder, _: _LEFT_OUT if folder == str(ROOT) else ())
    _write_fernhill(place / "bridge/vendors/fernhill")
    return place


def _write_fernhill(folder: Path) -> None:
    for name, text in _BLOCK.findall(DOCUMENT.read_text(encoding="utf-8")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def run(place: Path, *arguments: str, code: int = 0, **environment: str) -> str:
    """The output of `python -m ...` in that directory."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=place,
        # What Hypothesis remembers of our modules is that of their copies too; to find it again takes seconds.
        env=os.environ | {"HYPOTHESIS_STORAGE_DIRECTORY": str(ROOT / ".hypothesis")} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, (done.stdout + done.stderr)[-6_000:]
    return done.stdout


def outcomes(report: Path) -> Iterator[tuple[str, str, bool]]:
    """Module and name of each test in a report of pytest's, and whether it passed."""
    for case in ElementTree.parse(report).iter("testcase"):
        yield case.get("classname", ""), case.get("name", ""), len(case) == 0


def test_what_vendors_new_writes_passes_its_check_at_once_and_is_small(
    checkout: Path, record_property: pytest.RecordProperty
) -> None:
    place = run(checkout, "bridge", "vendors", "new", EXAMPLE.name).strip()
    said = run(checkout, "bridge", "vendors", "check", EXAMPLE.name)

    passed = int(re.findall(r"^\[\+\] oakbridge: (\d+) passed, 0 failed", said, re.M)[0])
    assert passed > 30
    assert "no `split` in __init__.py" in said
    texts = [path.read_text() for path in Path(place).rglob("*") if path.suffix in (".py", ".json", ".md")]
    lines = sum(len(text.splitlines()) for text in texts)
    record_property("lines of the smallest vendor", lines)
    print(f"the smallest vendor: {lines} lines in {len(texts)} files, {passed} contract tests")
    assert lines <= MOST_LINES


def test_the_whole_example_passes_its_check_and_no_other_test_fails_over_added_vendors(checkout: Path) -> None:
    if not (checkout / "bridge/vendors/oakbridge").exists():
        EXAMPLE.write(checkout / "bridge/vendors")
    run(checkout, "bridge.vendor_kit")
    assert "Not simulated" in (checkout / "docs/vendors.md").read_text().partition("\n## Oakbridge\n")[2]
    (checkout / "tests/test_fernhill.py").write_text(_TESTS_OF_FERNHILL)
    suites = (
        "contract",
        "test_fernhill.py",
        "test_docs.py",
        "test_vendor_docs.py",
        "vendors/test_rows.py",
        "ingest/test_sample_marks.py",
        "cli/test_cli.py",
    )
    chosen = "test_docs or test_vendor_docs or test_rows or fernhill or oakbridge or names_every"
    report = checkout.parent / "report.xml"
    arguments = ("-q", "-p", "no:cacheprovider", f"--junitxml={report}", "--vendor", "fernhill", "-k", chosen)
    run(checkout, "pytest", *arguments, *(f"tests/{suite}" for suite in suites))

    passed = [(module, name) for module, name, has_passed in outcomes(report) if has_passed]
    assert sum(module.startswith("tests.contract.") for module, _ in passed) > 100
    assert sum(module == "tests.test_fernhill" for module, _ in passed) == 2


def test_a_vendor_may_live_in_a_package_that_is_built_and_installed_by_itself(tmp_path: Path) -> None:
    run(ROOT, "bridge", "vendors", "new", "--package", "north-bay", "--into", str(tmp_path))
    run(tmp_path / "attempt-bridge-north-bay", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path))
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")

    rows = json.loads(run(ROOT, "bridge", "vendors", "list", "--json", PYTHONPATH=str(tmp_path / "site")))
    (row,) = [row for row in rows if row["name"] == "north-bay"]
    assert (row["title"], row["origin"], row["problem"]) == ("North Bay", "attempt_bridge_north_bay", None)
    fixture = str(tmp_path / "site/attempt_bridge_north_bay/fixtures/results.in.json")
    read = run(ROOT, "tests.support.contract.reading", "north-bay", fixture, PYTHONPATH=str(tmp_path / "site"))
    assert json.loads(read) == json.loads(Path(fixture.replace(".in.", ".out.")).read_text())


# Faults --------------------------------------------------------------------------------------------------------------

#: Fault -> file, what is right, what is wrong, and the test that must see it.
FAULTS = {
    "shared-id": (
        "adapter.py",
        'attempt_id=row["id"]',
        'attempt_id=person["id"]',
        "test_a_retake_is_another_attempt",
    ),
    "no-signature": (
        "adapter.py",
        'require_signature(sent_at.encode() + b"." + raw, bytes.fromhex(signature), secrets)',
        "1",
        "test_one_changed_byte_anywhere_is_refused",
    ),
    "no-window": (
        "adapter.py",
        "> TOLERANCE_SECONDS:\n        raise",
        "> 1e9:\n        raise",
        "test_a_signed_time_far_from_ours_is_refused_and_one_of_now_is_not",
    ),
    "one-page": (
        "client.py",
        'more=bool(loaded["more"])',
        "more=False",
        "test_results_of_one_second_across_a_page_border_are_all_read",
    ),
    "no-overlap": (
        "client.py",
        "start(position(cursor) - max(overlap_seconds, _MIN_OVERLAP_SECONDS))",
        "cursor",
        "test_a_row_that_the_api_shows_late_is_read_by_the_next_round",
    ),
    "forgotten": (
        "adapter.py",
        "watch=None if marked else _watch(row)",
        "watch=None",
        "test_an_ungraded_attempt_is_watched_until_the_recheck_finds_it_graded",
    ),
    "loops": (
        "client.py",
        "if page.more and page.cursor == cursor:",
        "if False:",
        "test_an_api_that_ignores_what_it_is_asked_for_does_not_keep_a_round_for_ever",
    ),
    "guessed-word": (
        "adapter.py",
        'STATES.get(row["state"])',
        'STATES.get(row["state"], "completed")',
        "test_a_fixture_becomes_what_stands_beside_it",
    ),
}


def test_every_fault_in_the_example_is_seen(tmp_path: Path) -> None:
    """One folder for each fault, and one run over all of them."""
    for fault, (file, right, wrong, _) in FAULTS.items():
        folder = tmp_path / "vendors" / fault.replace("-", "_")
        _write_fernhill(folder)
        for path in folder.rglob("*.py"):
            text = path.read_text().replace("bridge.vendors.fernhill", f"bridge.vendors.{folder.name}")
            path.write_text(text.replace('name="fernhill"', f'name="{fault}"'))
        text = (folder / file).read_text()
        assert right in text
        (folder / file).write_text(text.replace(right, wrong))
    report = tmp_path / "report.xml"
    chosen = sorted({test for _, _, _, test in FAULTS.values()})
    suites = [
        path for path in (ROOT / "tests/contract").glob("test_*.py") if any(n in path.read_text() for n in chosen)
    ]
    arguments = ("-q", "--tb=line", "-p", "no:cacheprovider", f"--junitxml={report}", "-k", " or ".join(chosen))
    run(ROOT, "pytest", *arguments, *map(str, suites), code=1, CONTRACT_VENDORS=str(tmp_path / "vendors"))

    failed = [name for _, name, has_passed in outcomes(report) if not has_passed]
    for fault, (_, _, _, test) in FAULTS.items():
        assert any(name.startswith(f"{test}[{fault}") for name in failed), fault
