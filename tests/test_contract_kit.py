"""What the contract suites say of a half-written folder: vendor, file, fact and the guide's section, in one line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from bridge import registry
from bridge.sdk.vendor import Ignored, Resume, Vendor
from bridge.vendor_kit.new_vendor import NewVendor
from tests.contract.test_odd_values import judge, marked, run_at, spelled
from tests.support.contract import capabilities
from tests.support.contract.capabilities import contract_of, missing, section_of
from tests.support.contract.checked import CheckedBench, checked_vendor
from tests.support.contract.reading import case_problem, read_fixture
from tests.support.contract.stage import Clock, connect, folder, require
from tests.support.vendor_folders import VendorFolders, declaration, vendor_folders

__all__ = ["vendor_folders"]

ROOT = Path(__file__).parents[1]
GUIDE = "docs/adding-a-vendor.md"
#: Of `declaration`: whatever a vendor may have, all of it wrong.
HALF = "split=lambda body, options: body['event'], expect=lambda reference, options: None, recheck=lambda *_: None,"


@pytest.fixture(autouse=True)
def _looked_at_anew() -> Any:
    capabilities._contract_of.cache_clear()
    yield
    capabilities._contract_of.cache_clear()


@pytest.fixture
def oakbridge(vendor_folders: VendorFolders) -> Vendor:
    """The smallest vendor, as `vendors new` writes it."""
    vendor_folders.folder("oakbridge", NewVendor("oakbridge").files())
    return registry.vendors()["oakbridge"]


def said(function: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(pytest.fail.Exception) as caught:
        function(*arguments, **options)
    line = str(caught.value.msg)
    assert "\n" not in line
    return line


def test_every_section_that_a_reason_names_is_in_the_guide() -> None:
    headings = re.findall(r"^#+ (.+)$", (ROOT / GUIDE).read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    named = {section_of(name).partition("#")[2] for name in (*capabilities._SECTIONS, "finish")}

    assert named - anchors == set()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "fernhill: no contract.py (docs/adding-a-vendor.md#contract)"),
        ("VARIANTS = 1 / 0\n", "contract.py, line 1: ZeroDivisionError: division by zero. Remedy: correct the file"),
        ("", "fernhill: contract.py: VARIANTS is no mapping of a name to a function that makes a bench"),
        ("VARIANTS = {'plain': 7}\n", "fernhill: contract.py: VARIANTS is no mapping of a name to a function"),
        (
            "VARIANTS = {'plain': lambda now: now.nothing}\n",
            "fernhill: contract.py: VARIANTS makes no bench plain: AttributeError: ",
        ),
    ],
)
def test_a_contract_that_is_absent_or_broken_is_one_line(
    vendor_folders: VendorFolders, text: str | None, problem: str
) -> None:
    vendor_folders.folder("fernhill", {"__init__.py": declaration()} | ({} if text is None else {"contract.py": text}))

    contract = contract_of(registry.vendors()["fernhill"])

    assert problem in str(contract.problem)
    assert str(contract.problem).count("docs/adding-a-vendor.md#contract") == 1
    assert contract.is_broken is (text is not None)
    assert not contract.VARIANTS


def test_what_a_vendor_or_its_bench_lacks_is_the_reason_of_a_skip(oakbridge: Vendor) -> None:
    bench = next(iter(contract_of(oakbridge).benches.values()))

    assert missing(oakbridge, bench, "polls", "retake", "contract.py") is None
    assert missing(oakbridge, bench, "split") == f"oakbridge: no `split` in __init__.py ({GUIDE}#webhooks)"
    assert missing(oakbridge, bench, "retake", "grade") == f"oakbridge: no `grade` in contract.py ({GUIDE}#grading)"
    assert missing(oakbridge, bench, "simulator.py") == f"oakbridge: no simulator.py ({GUIDE}#simulator)"
    stage = connect(oakbridge, contract_of(oakbridge).VARIANTS["documented"], Clock())
    with pytest.raises(pytest.skip.Exception, match=r"oakbridge: no `revise` in contract\.py"):
        require(stage, "retake", "revise")


def test_a_bench_that_lacks_a_verb_or_breaks_in_it_is_one_line(oakbridge: Vendor) -> None:
    class Half:
        words = ("a",)

        def finish(self) -> None: ...

        def grade(self, attempt_id: str) -> None:
            {}[attempt_id]

    bench = CheckedBench(oakbridge, Half())

    assert said(lambda: bench.revise) == f"oakbridge: contract.py: the bench has no `revise` (see {GUIDE}#revisions)"
    assert getattr(bench, "one_path_only", ()) == ()
    assert bench.words == ("a",)
    assert (
        said(bench.finish)
        == f"oakbridge: contract.py: `finish` returns None, and not an attempt id (see {GUIDE}#contract)"
    )
    assert said(bench.grade, "7").startswith("oakbridge: contract.py: `grade` raises KeyError: '7', in ")


def test_a_function_of_a_vendor_that_raises_or_returns_what_it_may_not_is_one_line(
    vendor_folders: VendorFolders,
) -> None:
    vendor_folders.folder("fernhill", {"__init__.py": declaration(more=HALF)})
    vendor = checked_vendor(registry.vendors()["fernhill"])
    assert vendor.split is not None
    assert vendor.expect is not None
    assert vendor.recheck is not None

    line = said(vendor.split, {}, {})
    assert re.fullmatch(
        r"fernhill: __init__.py: `split` raises KeyError: 'event', in __init__.py, line \d+ \(see .+\)", line
    )
    assert said(vendor.split, {"event": "x"}, {}).startswith(
        "fernhill: __init__.py: `split` returns a str, and not Records, Pointers and Consents, or Ignored (see "
    )
    assert "`expect` returns None, and not a Pointer" in said(vendor.expect, {}, {})
    assert "`recheck` returns None, and not Records, Pointers and a Resume" in said(vendor.recheck, None, {})
    assert "`normalise` returns None, and not a NormalisedAttempt" in said(vendor.normalise, None, 0.0, {})
    assert "`connect` returns None, and not a client" in said(vendor.connect, None, None)
    assert "`position` raises ValueError: could not" in said(vendor.polls["rows"].position, "x")


def test_a_webhook_that_split_ignores_and_a_pointer_that_nothing_reads_are_one_line(oakbridge: Vendor) -> None:
    stage = connect(oakbridge, contract_of(oakbridge).VARIANTS["documented"], Clock())
    attempt_id = stage.finish("results", stage.clock.now - 60)
    stage.bench._bench.webhook = lambda attempt_id: (b"{}", {})

    def by_webhook(split: Any) -> str:
        object.__setattr__(stage.vendor, "split", split)
        return said(stage.by_webhook, attempt_id)

    assert by_webhook(lambda *_: Ignored("verify")) == (
        f'oakbridge: adapter.py: `split` ignores the webhook about {attempt_id}, as "verify" (see {GUIDE}#webhooks)'
    )
    assert f"attempt {attempt_id} is not in what `normalise` read: nothing" in by_webhook(lambda *_: ())
    assert "there is a Pointer, and no `recheck` that reads it" in said(stage.recheck, {})


def test_a_recheck_that_ends_in_a_resume_is_a_fixture_and_an_outcome_of_odd_values(oakbridge: Vendor) -> None:
    resume = Resume(reference={"since": "7"})
    vendor = replace(oakbridge, recheck=lambda client, reference: (resume,))
    case = {"now": 0, "recheck": {"person": "p1"}, "answers": []}

    assert read_fixture(vendor, case) == [{"resume": {"reference": {"since": "7"}}}]
    assert judge(vendor, resume, 0.0, {}) == "Resume"
    with pytest.raises(UnicodeEncodeError):
        judge(vendor, Resume(reference={"since": "\ud800"}), 0.0, {})


def test_a_value_that_leads_to_what_cannot_be_published_is_one_line_with_fixture_member_and_value(
    oakbridge: Vendor,
) -> None:
    def judged(**members: Any) -> str:
        def normalise(record: Any, now: float, options: Any) -> Any:
            return replace(oakbridge.normalise(record, now, options), **members)

        vendor = replace(oakbridge, normalise=normalise)
        case = json.loads((folder(oakbridge) / "fixtures/results.in.json").read_text())
        where = f"fixtures/results.in.json: {spelled(('results', 0, 'rev'))} is -1"
        return said(run_at, where, vendor, case, "answer", marked("answer", case["answer"]), {})

    end = f"(see {GUIDE}#odd-input): fixtures/results.in.json: results[0].rev is -1"
    order = "`normalise` gives the order -1; it must be at least 0 and below 2**40. Raise `Unreadable`"
    assert judged(order=-1) == f"oakbridge: adapter.py: {order} {end}"
    assert judged(aliases=("\ud800",)).endswith(end)
    assert "cannot be published: UnicodeEncodeError: " in judged(aliases=("\ud800",))


def test_the_recheck_of_the_guide_reads_on_in_a_list_without_a_filter_by_person(oakbridge: Vendor) -> None:
    code = re.search(r"```python\n(from contextlib .+?)^```$", (ROOT / GUIDE).read_text(), re.MULTILINE | re.DOTALL)
    module = vars(import_module("bridge.vendors.oakbridge")).copy()
    exec(code[1] if code else "", module)
    vendor = replace(oakbridge, recheck=module["recheck"])
    stage = connect(vendor, contract_of(oakbridge).VARIANTS["documented"], Clock())
    ids = [stage.finish("results", stage.clock.now - 5_000 + place) for place in range(5)]
    stage.bench.spoil(ids[0])

    assert stage.recheck({"person": "nobody@example.test"}) == []
    assert stage.only(ids[4], stage.recheck({"person": "person5@example.test"}), by="recheck").attempt_id == ids[4]
    assert "is not in what `recheck` read: nothing (see docs/adding-a-vendor.md#recheck)" in said(
        stage.only, ids[4], [], by="recheck"
    )


@pytest.mark.parametrize(
    ("case", "problem"),
    [
        ([], "is none of webhook, poll and recheck"),
        ({"now": 0}, "is none of webhook, poll and recheck"),
        ({"poll": "results", "cursor": None, "answer": {}}, "has no now"),
        ({"now": 0, "poll": "results", "cursor": None}, "has no answer"),
        ({"now": 0, "poll": "rows", "cursor": None, "answer": {}}, 'is a page of "rows". Streams: results'),
        (
            {"now": 0, "poll": "results:F7", "cursor": None, "answer": {}},
            'is a page of "results:F7". Streams: results. The items are in its `options`',
        ),
        ({"now": 0, "webhook": {}}, "is a webhook, and the vendor has no `split`"),
        ({"now": 0, "recheck": {}, "answers": []}, "is a recheck, and the vendor has no `recheck`"),
        ({"now": 0, "poll": "results", "cursor": None, "answer": {}}, None),
    ],
)
def test_a_fixture_of_the_wrong_shape_is_one_line(
    oakbridge: Vendor, case: Mapping[str, Any], problem: str | None
) -> None:
    assert case_problem(oakbridge, case) == problem


def test_suites_over_half_written_folders_fail_in_lines_about_them_and_pass_over_the_others(
    starts_processes: None, tmp_path: Path
) -> None:
    half = NewVendor("half").write(tmp_path)
    NewVendor("oakbridge").write(tmp_path)
    (half / "__init__.py").write_text(declaration("half", HALF))
    (half / "contract.py").write_text((half / "contract.py").read_text().replace("def row", "grade = 1\n\ndef row"))
    (half / "fixtures/results.in.json").write_text('{"now": ')
    for name, text in {
        "bare": declaration("bare", "split=lambda body, options: (),"),
        "torn": "VENDOR = Vendor(\n",
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(text)
    suites = ("test_folders.py", "test_attempts.py", "test_published_once.py", "test_polling.py", "test_odd_values.py")

    done = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-p",
                "no:cacheprovider",
                "-m",
                "not long",
                "-k",
                "not exception_of_python",
            ),
            *(f"tests/contract/{suite}" for suite in suites),
        ],
        cwd=ROOT,
        env={**os.environ, "CONTRACT_VENDORS": str(tmp_path), "COLUMNS": "400"},
        capture_output=True,
        text=True,
        check=False,
    )

    failures = dict(re.findall(r"^FAILED tests/contract/\S+::(\S+) - (.+)$", done.stdout, re.MULTILINE))
    assert len(failures) > 10, done.stdout[-3000:]
    for test, line in failures.items():
        assert re.match(r"Failed: (half|bare|torn|vendor torn): .*(docs/adding-a-vendor.md#|correct the file)", line), (
            test,
            line,
        )
    assert any("__init__.py, line 1: SyntaxError: '(' was never closed" in line for line in failures.values())
    assert any(line.startswith("Failed: bare: fixtures: there is no webhook") for line in failures.values())
    assert "oakbridge" not in "".join(failures)
    assert re.search(
        r"^SKIPPED .+: bare: no contract.py \(docs/adding-a-vendor.md#contract\)$", done.stdout, re.MULTILINE
    )
