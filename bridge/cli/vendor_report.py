"""Runs the contract suites over one vendor in a process of its own, and reads what became of each test."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree.ElementTree import Element

from defusedxml.ElementTree import parse

from bridge.errors import clip

__all__ = ["GUIDE", "SECTIONS", "Failure", "Report", "run_suites"]

GUIDE = "docs/adding-a-vendor.md"
#: File of tests/contract -> the guide's section about what it checks; any other: the whole guide.
SECTIONS: Mapping[str, str] = {
    "test_announced_late": "pointer",
    "test_attempts": "identity",
    "test_faults": "errors",
    "test_folders": "fixtures",
    "test_names": "names",
    "test_odd_values": "odd-input",
    "test_parts": "parts",
    "test_polling": "streams",
    "test_published_before_deadline": "expectations",
    "test_published_once": "identity",
    "test_signatures": "signature",
    "test_simulators": "simulator",
    "test_sources_test": "errors",
    "test_spelling": "expectations",
}
#: pytest's exit code when tests ran and some failed; larger ones mean that it could not run them.
_SOME_FAILED = 1
_MESSAGE_LENGTH = 400
#: pytest's reason for skipping a test of what the vendor does not have, and ours.
_EMPTY, _NOTHING = "got empty parameter set", "about what this vendor does not have"
#: A line of a traceback: file, line, and the error on the innermost one.
_PLACE = re.compile(r"^(?P<file>[^\s:]+\.py):(?P<line>\d+): ", re.MULTILINE)
_SECTION = re.compile(rf"{re.escape(GUIDE)}#[a-z-]+")
#: The end of a message that names the section, which is shown as the remedy.
_SEE = re.compile(rf"[.;]? \((?:see )?{re.escape(GUIDE)}#[a-z-]+\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One kind of failure: the tests that failed with the same message."""

    #: The first test's name as a sentence, with its variants in brackets, and which others there are.
    what: str
    #: The test's name, for `-k`.
    test: str
    #: First line of the error.
    message: str
    #: The innermost line of the vendor's own code, otherwise of the test.
    place: str
    #: Where the guide says what to do.
    section: str


@dataclass(slots=True)
class Report:
    """The outcome of the suites."""

    passed: int = 0
    failed: int = 0
    #: Reason -> how many tests were skipped for it.
    skipped: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    #: Why the tests could not be run at all.
    problem: str | None = None

    @property
    def is_good(self) -> bool:
        """Something ran, and nothing failed."""
        return not self.failed and self.problem is None and self.passed > 0


def run_suites(root: Path, name: str, package: str) -> Report:
    """The report on the vendor `name`, whose files are in `package`. `root`: the checkout with the suites."""
    with TemporaryDirectory() as place:
        file = Path(place) / "report.xml"
        done = subprocess.run(  # noqa: S603 - the name is one of our vendors'
            [
                *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--vendor", name),
                *(f"--junitxml={file}", "tests/contract"),
            ],
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode > _SOME_FAILED or not file.exists():
            lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            errors = [line for line in lines if line.startswith(("E ", "ERROR"))] or lines[-1:]
            return Report(problem=f"the tests could not be run: {clip(' '.join(errors[:2]), _MESSAGE_LENGTH)}")
        return read_report(file, name, root, _folder(package))


def read_report(file: Path, name: str, root: Path, folder: Path) -> Report:
    """What pytest's JUnit report says about the vendor `name`. `folder`: its files."""
    report = Report()
    kinds: dict[str, list[tuple[str, Failure]]] = {}
    for case in parse(file).iter("testcase"):
        skipped = case.find("skipped")
        problems = [*case.findall("failure"), *case.findall("error")]
        if problems:
            report.failed += 1
            variant, failure = _failure(case, problems[0], name, root, folder)
            kinds.setdefault(failure.message, []).append((variant, failure))
        elif skipped is not None:
            reason = skipped.get("message", "").removeprefix(f"{name}: ")
            report.skipped[_NOTHING if reason.startswith(_EMPTY) else reason] += 1
        else:
            report.passed += 1
    report.failures = list(_merged(kinds))
    return report


def _failure(case: Element, problem: Element, name: str, root: Path, folder: Path) -> tuple[str, Failure]:
    """The variant and the failure of one test."""
    test, _, variant = case.get("name", "").rstrip("]").partition("[")
    text, module = problem.text or "", case.get("classname", "").rpartition(".")[2]
    # A message written by a suite begins with pytest's "Failed: " and the vendor's name.
    said = _SEE.sub("", (problem.get("message") or "failed").splitlines()[0]).removeprefix("Failed: ")
    message = clip(said.removeprefix(f"{name}: "), _MESSAGE_LENGTH)
    section = _SECTION.search(problem.get("message", "") + text)
    anchor = f"#{SECTIONS[module]}" if module in SECTIONS else ""
    return variant.removeprefix(name).lstrip("-"), Failure(
        what=test.removeprefix("test_").replace("_", " "),
        test=test,
        message=message,
        place=_place(text, root, folder) or f"tests/contract/{module}.py",
        section=section[0] if section else f"{GUIDE}{anchor}",
    )


def _merged(kinds: Mapping[str, list[tuple[str, Failure]]]) -> Iterator[Failure]:
    """One failure of each kind, with the variants of its first test."""
    for cases in kinds.values():
        _, first = cases[0]
        variants = ", ".join(variant for variant, failure in cases if variant and failure.test == first.test)
        what = f"{first.what} ({clip(variants, 120)})" if variants else first.what
        others = sorted({failure.test for _, failure in cases} - {first.test})
        named = "; ".join(other.removeprefix("test_").replace("_", " ") for other in others)
        yield replace(first, what=f"{what}, and {len(others)} more: {clip(named, 120)}" if others else what)


def _place(text: str, root: Path, folder: Path) -> str | None:
    """`file:line` of the innermost frame in the vendor's folder, otherwise of the innermost one in a test."""
    frames = [(root / frame["file"], frame["line"]) for frame in _PLACE.finditer(text)]
    own = [frame for frame in frames if folder in frame[0].resolve().parents]
    tests = [frame for frame in frames if frame[0].name.startswith("test_")]
    for file, line in (own or tests or frames)[-1:]:
        shown = file.resolve()
        return f"{shown.relative_to(root) if root in shown.parents else shown}:{line}"
    return None


def _folder(package: str) -> Path:
    module = import_module(package)
    return Path(module.__path__[0]).resolve()
