"""The types of loaded rows have the members that the schemas load."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest

from bridge.registry import vendors
from bridge.sdk.compiled_schema import VendorSchema
from tests.support.contract.stage import module_of

#: Members that an adapter adds to a row of the API to give both paths one form.
ADDED = {("mettl", "CandidateRow"): {"name"}}


def _schemas() -> list[Any]:
    modules = [
        (vendor, import_module(f"{module_of(vendor)}.schema"))
        for vendor in vendors().values()
        if find_spec(f"{module_of(vendor)}.rows") is not None
    ]
    return [
        pytest.param(vendor, schema, id=f"{vendor.name}-{schema.__name__}")
        for vendor, module in modules
        for schema in vars(module).values()
        if isinstance(schema, type) and issubclass(schema, VendorSchema) and schema.__module__ == module.__name__
    ]


@pytest.mark.parametrize(("vendor", "schema"), _schemas())
def test_a_row_type_has_exactly_the_members_that_its_schema_loads(vendor, schema):
    name = schema.__name__.removesuffix("Schema") + "Row"
    row = getattr(import_module(f"{module_of(vendor)}.rows"), name)
    loaded = {field.attribute or member for member, field in schema().load_fields.items()}

    assert set(row.__annotations__) == loaded | ADDED.get((vendor.name, name), set())
