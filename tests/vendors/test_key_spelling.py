"""Every vendor: an operator may spell the ids of a reference in any way."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import pytest

from bridge.registry import vendors
from bridge.sdk.spelling import folded_key
from tests.support.contract.stage import Clock, connect, contract_of

SPELLINGS: dict[str, Callable[[str], str]] = {
    "upper": str.upper,
    "lower": str.lower,
    "swapped": str.swapcase,
    "blanks": lambda text: f"  {text} ",
    "decomposed": lambda text: unicodedata.normalize("NFD", text),
}
#: Vendor -> a reference whose ids an operator may spell in several ways.
REFERENCES = {
    "classmarker": {"stream": "group", "user": "7", "test": "8", "group": "9"},
    "cirrus": {"schedule": "Frühling-07", "candidate": "Cand-É"},
    "coremetrix": {"custom_id": "p-1", "quiz_id": "2f1d3c50-0000-4000-8000-0000000000aa"},
    "mettl": {"access_key": "k7p2m9x4aa", "email": "zoë.é@example.test"},
    "thought-industries": {
        "user_id": "1f1d3c50-0000-4000-8000-0000000000aa",
        "course_id": "3f1d3c50-0000-4000-8000-0000000000aa",
    },
}
#: Ids of which the vendor alone knows whether case matters: its keys keep the operator's spelling.
OPAQUE = {"cirrus", "custom_id", "access_key"}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("name", REFERENCES)
def test_an_operators_spelling_makes_no_other_key(name, spelling):
    vendor = vendors()[name]
    reference, options = REFERENCES[name], {option: facts.default for option, facts in vendor.options.items()}
    respelled = {
        member: text if member in OPAQUE or member == "stream" else SPELLINGS[spelling](text).strip()
        for member, text in reference.items()
    }

    key, other = (vendor.expect(given, options).key for given in (reference, respelled))

    assert folded_key(key) == folded_key(other)
    assert key == other or name in OPAQUE


def test_a_recheck_of_mettl_finds_the_candidate_under_the_vendors_spelling():
    vendor = vendors()["mettl"]
    stage = connect(vendor, contract_of(vendor).VARIANTS["today"], Clock())
    attempt_id = stage.finish(stage.stream, stage.clock.now - 600)
    reference = stage.bench.expectation(attempt_id)
    respelled = {**reference, "email": reference["email"].swapcase()}
    records = stage.recheck(vendor.expect(respelled, stage.options).reference)
    assert [stage.normalise(record).attempt_id for record in records] == [attempt_id]
