"""What a folder declares of its options: defaults in the form that sources have, and wrong ones refused at once."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
import yaml

from bridge.config.yaml_document import Reference
from bridge.sdk.options import KINDS, plain
from bridge.sdk.vendor import Option


@pytest.mark.parametrize(
    ("declared", "default"),
    [
        ({"kind": "str", "default": "json", "choices": ("json", "xml")}, "json"),
        ({"kind": "bool", "default": False}, False),
        ({"kind": "int", "default": 0}, 0),
        ({"kind": "decimal", "default": "0.10"}, Decimal("0.10")),
        ({"kind": "decimal", "default": 60}, Decimal(60)),
        ({"kind": "duration", "default": "14d"}, 14 * 86_400.0),
        ({"kind": "duration", "default": 60}, 60.0),
        ({"kind": "list", "default": ["a"], "choices": ("a", "b")}, ("a",)),
        ({"kind": "mapping", "default": {"a": "b"}}, {"a": "b"}),
        ({"kind": "mapping", "default": {"a": "0.5"}, "values": "decimal"}, {"a": Decimal("0.5")}),
        ({"kind": "mapping", "default": {"a": "1h"}, "values": "duration"}, {"a": 3600.0}),
        ({"kind": "list"}, ()),
        ({"kind": "mapping"}, {}),
        *(({"kind": kind}, None) for kind in KINDS if kind not in ("list", "mapping")),
        ({"required": True, "choices": ("a", "b")}, None),
    ],
)
def test_a_default_has_the_form_that_sources_have(declared: dict[str, Any], default: Any) -> None:
    option = Option(help="what it changes", **declared)
    assert (option.default, type(option.default)) == (default, type(default))


@pytest.mark.parametrize(
    ("declared", "problem"),
    [
        ({"kind": "number"}, 'kind "number" is not one of str, bool, int, decimal, duration, list, mapping'),
        ({"default": ""}, "default must be text that is not empty, not ''"),
        ({"default": 1}, "default must be text that is not empty, not 1"),
        ({"default": "yaml", "choices": ("json", "xml")}, 'default "yaml" is not one of json, xml'),
        ({"kind": "bool", "default": 1}, "default must be True or False, not 1"),
        ({"kind": "int", "default": True}, "default must be an int, not True"),
        ({"kind": "int", "default": 1.0}, "default must be an int, not 1.0"),
        ({"kind": "decimal", "default": 0.1}, 'default must be a Decimal, an int or text such as "0.5", not 0.1'),
        ({"kind": "decimal", "default": "much"}, "must be a number, got text of 4 characters"),
        ({"kind": "decimal", "default": Decimal("NaN")}, "must be a number of at most 30 digits"),
        ({"kind": "duration", "default": "14 days"}, '"14 days" is not a valid duration'),
        ({"kind": "duration", "default": -1}, 'default must be seconds or text such as "14d", not -1'),
        ({"kind": "duration", "default": float("nan")}, 'default must be seconds or text such as "14d", not nan'),
        ({"kind": "list", "default": "abc"}, "default must be a tuple of texts"),
        ({"kind": "list", "default": (1,)}, "default must be text that is not empty, not 1"),
        ({"kind": "list", "default": ("c",), "choices": ("a", "b")}, 'default "c" is not one of a, b'),
        ({"kind": "mapping", "default": ("a",)}, "default must be a mapping with texts as keys"),
        ({"kind": "mapping", "default": {1: "a"}}, "default must be text that is not empty, not 1"),
        ({"kind": "mapping", "default": {"a": 1}}, "default must be text that is not empty, not 1"),
        ({"kind": "mapping", "values": "list"}, 'values "list" is not one of str, int, decimal, duration'),
        ({"kind": "list", "values": "int"}, "values is for mappings, not for kind list. Remedy: leave it out"),
        ({"kind": "int", "choices": ("1",)}, "choices are for texts, not for kind int. Remedy: leave them out"),
        ({"required": True, "default": "a"}, "is required, so it has no default. Remedy: leave out one of them"),
    ],
)
def test_a_wrong_declaration_is_refused_at_once_by_its_help(declared: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the message is compared
        Option(help="what it changes", **declared)
    assert str(refusal.value).startswith(f'option "what it changes": {problem}')


def test_values_are_shown_as_json_and_yaml_can_hold_them() -> None:
    options = {
        "mark": Decimal("60.0"),
        "share": Decimal("0.1"),
        "exact": Decimal("0.1234567890123456789"),
        "large": Decimal("1E+20"),
        "marks": {"a": Decimal("0.5"), "b": Reference("text")},
        "forms": ("a", "b"),
        "confirm": True,
    }
    shown = plain(options)
    assert shown == {
        "mark": 60,
        "share": 0.1,
        "exact": "0.1234567890123456789",
        "large": 1e20,
        "marks": {"a": 0.5, "b": "text"},
        "forms": ["a", "b"],
        "confirm": True,
    }
    assert json.loads(json.dumps(shown)) == yaml.safe_load(yaml.safe_dump(shown)) == shown
