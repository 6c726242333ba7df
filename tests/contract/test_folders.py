"""Every vendor folder is whole: what it declares is documented, and its fixtures read as written beside them."""

from __future__ import annotations

import json

import pytest

from bridge.sdk.vendor import GRADINGS, STATUSES
from tests.support.contract.reading import read_fixture

#: Endings of the two files of a fixture.
IN, OUT = ".in.json", ".out.json"
#: Words of the rows that the table "Odd input" of every QUIRKS.md has.
ODD_INPUT = [
    ("number", "text"),
    ("empty", "boolean"),
    ("unknown",),
    ("missing",),
    ("extra",),
    ("zone",),
    ("above", "maximum"),
    ("finish", "before"),
    ("finish", "future"),
]


def expected_of(path):
    return json.loads(path.with_name(path.name.removesuffix(IN) + OUT).read_text())


def test_a_fixture_becomes_what_stands_beside_it(vendor, fixture_path):
    assert read_fixture(vendor, json.loads(fixture_path.read_text())) == expected_of(fixture_path)


def test_a_fixture_uses_only_our_words(vendor, fixture_path):
    expected = expected_of(fixture_path)
    for attempt in expected.get("records", []) if isinstance(expected, dict) else expected:
        if "attempt_id" in attempt:
            assert attempt["status"] in STATUSES
            assert attempt["result"]["grading"] in GRADINGS


def test_there_are_fixtures_of_every_path_and_no_lonely_ones(vendor, vendor_folder):
    folder = vendor_folder / "fixtures"
    cases = [json.loads(path.read_text()) for path in folder.glob(f"*{IN}")]

    assert any("webhook" in case for case in cases)
    assert any("recheck" in case for case in cases) or vendor.polls
    assert {case["poll"] for case in cases if "poll" in case} == set(vendor.polls)
    assert {path.name.removesuffix(IN) for path in folder.glob(f"*{IN}")} == {
        path.name.removesuffix(OUT) for path in folder.glob(f"*{OUT}")
    }


def test_every_credential_and_option_is_explained(vendor):
    """`scripts/docs` writes it into docs/vendors.md."""
    for name, declared in [*vendor.credentials.items(), *vendor.options.items()]:
        assert declared.help.strip(), f"{name}: no help. Remedy: say what it is in {vendor.name}/__init__.py"
        assert "\n" not in declared.help, f"{name}: help has several lines. Remedy: one line"


def test_the_folder_says_what_is_odd_about_the_vendor(vendor_folder):
    assert (vendor_folder / "QUIRKS.md").read_text().count("\n## ") >= 3


@pytest.mark.parametrize("words", ODD_INPUT, ids="-".join)
def test_the_outcome_of_odd_input_is_defined(vendor_folder, words):
    table = (vendor_folder / "QUIRKS.md").read_text().partition("\n## Odd input\n")[2].partition("\n## ")[0]
    lines = [line.split("|") for line in table.splitlines() if line.startswith("|")]
    rows = [line for line in lines if all(word in line[1].lower() for word in words)]

    assert rows, "QUIRKS.md, Odd input: no such row"
    for row in rows:
        assert any(outcome in row[2] for outcome in ("accepted", "flagged", "quarantined")), row


def test_what_is_said_of_the_vendor_is_said_once_and_in_one_line(vendor):
    sheet = vendor.sheet
    facts = [*sheet.documented, *sheet.observed, *sheet.assumed, *sheet.ask]

    assert all((sheet.signs, sheet.identity, sheet.webhook_means, sheet.look_back, sheet.quota))
    assert sheet.documented
    assert sheet.ask
    assert len(facts) == len(set(facts))
    assert not [fact for fact in facts if not fact.strip() or "\n" in fact]


def test_the_secret_of_the_signature_is_a_declared_credential_that_can_be_rotated(vendor):
    if vendor.verify is None:
        assert vendor.secret_credential is None
    else:
        assert vendor.credentials[vendor.secret_credential].many
