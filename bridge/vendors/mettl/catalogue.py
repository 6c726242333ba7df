"""Which schedules there are, and what they and their tests are called. Lives for one turn of a worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from bridge.errors import Unreadable, VendorFault
from bridge.vendors.mettl.api import Api
from bridge.vendors.mettl.schema import load_schedule

__all__ = ["FACTS", "Catalogue"]

#: What is known of a schedule, as members of a record and of a watch's reference.
FACTS = ("assessment_id", "assessment", "schedule")
#: Pages of a list of schedules or tests; more are a paging fault.
_MAX_PAGES = 1_000

_log = structlog.get_logger(__name__)


class Catalogue:
    """`configured`: access keys to read; empty: all that the account has. What was read once is not read again."""

    def __init__(self, api: Api, source: str, configured: Sequence[str]) -> None:
        self._api = api
        self._source = source
        self._configured = frozenset(configured)
        self._facts: dict[str, dict[str, str]] = {}
        self._keys: list[str] | None = None
        self._names: dict[str, str] | None = None

    def access_keys(self) -> list[str]:
        """Sorted, so that a round finds its place again when schedules come and go."""
        if self._keys is None:
            listed = self._configured or {self._note(row) for row in self._all(self._api.schedules, "schedules")}
            self._keys = sorted(listed - {""})
        return self._keys

    def facts(self, access_key: str) -> Mapping[str, str]:
        """`schedule` (its name), `assessment_id` and `assessment` (its name), as far as the vendor tells them.

        They only adorn a result: where the vendor calls the question itself wrong, results are told without them.
        """
        try:
            if access_key not in self._facts:
                self._facts[access_key] = {}
                self._note(self._api.schedule(access_key)["schedule"] or {})
            facts = self._facts[access_key]
            if "assessment_id" in facts and "assessment" not in facts:
                name = self._test_names().get(facts["assessment_id"])
                facts |= {"assessment": name} if name else {}
        except VendorFault as problem:
            self._names = self._names or {}
            _log.warning("schedule_facts_missing", source=self._source, schedule=access_key, problem=str(problem))
        return self._facts[access_key]

    def _note(self, row: Mapping[str, Any]) -> str:
        """Keep what a schedule tells; its access key, "" where it has none."""
        try:
            loaded = load_schedule(row)
        except Unreadable as problem:
            _log.warning("schedule_unreadable", source=self._source, problem=str(problem))
            return ""
        told = {"schedule": loaded["name"], "assessment_id": loaded["assessmentId"]}
        key: str = loaded["accessKey"]
        self._facts[key] = {name: value for name, value in told.items() if value}
        return key

    def _test_names(self) -> dict[str, str]:
        if self._names is None:
            rows = self._all(self._api.assessments, "assessments")
            self._names = {str(row["id"]): str(row["name"]) for row in rows if row.get("id") and row.get("name")}
        return self._names

    def _all(self, read: Callable[..., Mapping[str, Any]], member: str) -> list[Mapping[str, Any]]:
        """Every row of a list, page by page; the vendor's own next address only says that there is more."""
        found: list[Mapping[str, Any]] = []
        for _ in range(_MAX_PAGES):
            answer = read(offset=len(found))
            found += answer[member] or []
            if not answer[member] or not (answer["paging"] or {}).get("next"):
                return found
        raise VendorFault(f"source {self._source}: the list of {member} does not end", reason="loop")
