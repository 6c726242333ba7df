"""The id of an event is a UUIDv5, computed without the library for speed."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from schemas.event import event_id


@given(st.text(), st.text(), st.text(), st.integers(1, 10**6))
def test_an_event_id_is_the_uuid5_of_what_makes_the_event_unique(
    source: str, attempt: str, kind: str, revision: int
) -> None:
    name = f"{source}#{attempt}#{kind}#{revision}"
    assert event_id(source, attempt, kind, revision) == str(uuid.uuid5(uuid.NAMESPACE_URL, name))


def test_an_event_id_never_changes() -> None:
    result = event_id("/acme/sources/eu-classmarker", "link:62510937", "attempt.completed", 1)
    assert result == "7c19d583-cb6b-556e-a2c8-fabca9ee09b1"
