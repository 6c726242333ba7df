"""Every vendor folder is whole: it can be loaded, what it declares is documented, its fixtures read as written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bridge import registry
from bridge.errors import ConfigError, clip
from bridge.sdk.vendor import GRADINGS, NO_WEBHOOKS, STATUSES
from tests.support.contract.capabilities import section_of
from tests.support.contract.checked import checked_vendor, fail
from tests.support.contract.fields_read import kinds_of_fields
from tests.support.contract.reading import case_problem, read_fixture
from tests.support.contract.stage import contract_of

#: In place of a member that one side does not have.
ABSENT = object()
#: Endings of the two files of a fixture.
IN, OUT = ".in.json", ".out.json"
#: Words of a row of the table "Odd input" of QUIRKS.md -> the kind of field that it is about.
ODD_INPUT = {
    ("number", "text"): "number",
    ("empty", "boolean"): "boolean",
    ("unknown",): "status",
    ("missing",): "",
    ("extra",): "",
    ("zone",): "time",
    ("above", "maximum"): "maximum",
    ("finish", "before"): "start",
    ("finish", "future"): "finish",
}


def parsed(vendor, path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        return fail(vendor, f"is not JSON: {error}", f"fixtures/{path.name}", "fixtures")


def case_of(vendor, path):
    case = parsed(vendor, path)
    if problem := case_problem(vendor, case):
        fail(vendor, problem, f"fixtures/{path.name}", "fixtures")
    return case


def expected_of(vendor, path):
    out = path.with_name(path.name.removesuffix(IN) + OUT)
    if not out.exists():
        fail(
            vendor,
            f"there is no {out.name}. Print it with {printing(vendor, path)}",
            f"fixtures/{path.name}",
            "fixtures",
        )
    return parsed(vendor, out)


def printing(vendor, path):
    """The command that prints what a folder makes of a fixture."""
    here = Path.cwd()
    shown = path.relative_to(here) if path.is_relative_to(here) else path
    return f"python -m tests.support.contract.reading {vendor.name} {shown}"


def difference(made, expected, place=""):
    """The first place at which they differ, and what is there."""
    if isinstance(made, dict) and isinstance(expected, dict):
        pairs = [(f"{place}.{name}".strip("."), name) for name in sorted({*made, *expected})]
        where, here = next(
            (where, name) for where, name in pairs if made.get(name, ABSENT) != expected.get(name, ABSENT)
        )
        return difference(made.get(here, ABSENT), expected.get(here, ABSENT), where)
    if isinstance(made, list) and isinstance(expected, list) and len(made) == len(expected):
        number = next(number for number, item in enumerate(made) if item != expected[number])
        return difference(made[number], expected[number], f"{place}[{number}]")
    said = ["absent" if value is ABSENT else clip(json.dumps(value), 80) for value in (expected, made)]
    return f"{place or 'it'} is {said[0]}; the folder makes {said[1]}"


def fixtures_of(vendor, folder):
    return [(path, case_of(vendor, path)) for path in sorted((folder / "fixtures").glob(f"*{IN}"))]


def test_every_file_of_the_folder_can_be_loaded(vendor_name):
    problems = [registry.broken().get(vendor_name)]
    if vendor := registry.vendors().get(vendor_name):
        contract = contract_of(vendor)
        problems.append(contract.problem if contract.is_broken else None)
        try:
            registry.simulator(vendor_name)
        except ConfigError as error:
            problems.append(str(error))

    if reasons := [problem for problem in problems if problem is not None]:
        pytest.fail("; ".join(reasons), pytrace=False)


def test_a_fixture_becomes_what_stands_beside_it(vendor, fixture_path):
    case, expected = case_of(vendor, fixture_path), expected_of(vendor, fixture_path)

    made = read_fixture(checked_vendor(vendor), case)

    if made != expected:
        fact = f"{difference(made, expected)}. Print all of it with {printing(vendor, fixture_path)}"
        fail(vendor, fact, f"fixtures/{fixture_path.name.removesuffix(IN)}{OUT}", "fixtures")


def test_a_fixture_uses_only_our_words(vendor, fixture_path):
    expected = expected_of(vendor, fixture_path)
    for attempt in expected.get("records", []) if isinstance(expected, dict) else expected:
        if "attempt_id" in attempt:
            assert attempt["status"] in STATUSES
            assert attempt["result"]["grading"] in GRADINGS


def test_there_are_fixtures_of_every_path_and_no_lonely_ones(vendor, vendor_folder):
    cases = fixtures_of(vendor, vendor_folder)
    lonely = {path.name.removesuffix(OUT) for path in (vendor_folder / "fixtures").glob(f"*{OUT}")}
    lonely -= {path.name.removesuffix(IN) for path, _ in cases}

    if vendor.split is not None and not any("webhook" in case for _, case in cases):
        fail(vendor, "there is no webhook", "fixtures", "fixtures")
    if not vendor.polls and not any("recheck" in case for _, case in cases):
        fail(vendor, "there is no recheck", "fixtures", "fixtures")
    if without := sorted(set(vendor.polls) - {case.get("poll") for _, case in cases}):
        fail(vendor, f"there is no page of {', '.join(without)}", "fixtures", "fixtures")
    if lonely:
        fail(vendor, f"there is no {IN} beside the {OUT} of {', '.join(sorted(lonely))}", "fixtures", "fixtures")


def test_every_credential_and_option_is_explained(vendor):
    """`scripts/docs` writes it into docs/vendors.md."""
    for name, declared in [*vendor.credentials.items(), *vendor.options.items()]:
        if not declared.help.strip() or "\n" in declared.help:
            fail(vendor, f"{name}: help is no line that says what it is", "__init__.py", "__init__.py")


def quirks(vendor, folder):
    """The text of QUIRKS.md by its sections."""
    file = folder / "QUIRKS.md"
    if not file.exists():
        fail(vendor, "the file is missing", "QUIRKS.md", "QUIRKS.md")
    _, *parts = file.read_text(encoding="utf-8").split("\n## ")
    return {title: text for title, _, text in (part.partition("\n") for part in parts)}


def test_the_folder_says_what_is_odd_about_the_vendor_and_from_where_it_is_known(vendor, vendor_folder):
    for title in ("Odd input", "Sources"):
        if not quirks(vendor, vendor_folder).get(title, "").strip():
            fail(vendor, f"there is no section {title}", "QUIRKS.md", "QUIRKS.md")


@pytest.mark.parametrize("words", ODD_INPUT, ids="-".join)
def test_the_outcome_of_odd_input_is_defined(vendor, vendor_folder, words):
    table = quirks(vendor, vendor_folder).get("Odd input", "")
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if "|" in line]
    rows = [line for line in lines if len(line) > 1 and all(word in line[0].lower() for word in words)]
    needed = ODD_INPUT[words]

    if not rows:
        expected = [expected_of(vendor, path) for path, _ in fixtures_of(vendor, vendor_folder)]
        if needed and needed not in kinds_of_fields(vendor, expected):
            pytest.skip(f"{vendor.name}: reads no {needed} ({section_of('QUIRKS.md')})")
        fail(vendor, f"Odd input has no row with the words {' and '.join(words)}", "QUIRKS.md", "QUIRKS.md")
    for row in rows:
        if not any(outcome in row[1] for outcome in ("accepted", "flagged", "quarantined")):
            fact = f'the outcome of "{row[0]}" is "{row[1]}", not accepted, flagged or quarantined'
            fail(vendor, fact, "QUIRKS.md", "QUIRKS.md")


def test_what_is_said_of_the_vendor_is_said_once_and_in_one_line(vendor):
    sheet = vendor.sheet
    facts = [*sheet.documented, *sheet.observed, *sheet.assumed, *sheet.ask]
    named = {name: getattr(sheet, name) for name in ("identity", "look_back", "quota", "documented", "ask")}
    if vendor.split is not None:
        named |= {name: getattr(sheet, name).replace(NO_WEBHOOKS, "") for name in ("signs", "webhook_means")}

    if empty := [name for name, value in named.items() if not value]:
        fail(vendor, f"the sheet says nothing of {', '.join(empty)}", "__init__.py", "__init__.py")
    assert len(facts) == len(set(facts))
    assert not [fact for fact in facts if not fact.strip() or "\n" in fact]


def test_the_secret_of_the_signature_is_a_declared_credential_that_can_be_rotated(vendor):
    if vendor.verify is None:
        assert vendor.secret_credential is None
    elif not vendor.credentials[vendor.secret_credential].many:
        fail(vendor, f"{vendor.secret_credential} has no many=True, so it cannot be rotated", "__init__.py", "verify")
