"""The schema of CloudEvents, and what is wrong with a document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator

_DATA = Path(__file__).parents[1] / "data"

CLOUDEVENTS = Draft7Validator(
    json.loads((_DATA / "cloudevents.json").read_text()), format_checker=Draft7Validator.FORMAT_CHECKER
)


def compact(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def problems(validator: Any, document: Any) -> list[str]:
    return [error.message for error in validator.iter_errors(document)]
