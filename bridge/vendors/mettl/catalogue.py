"""The account's schedules, and the names of schedules and their tests. Cached for one turn of a worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from bridge.errors import Unreadable, VendorFault
from bridge.vendors.mettl.api import Api
from bridge.vendors.mettl.schema import load_schedule

__all__ = ["FACTS", "Catalogue"]

#: Facts about a schedule, as members of a record and of a watch's reference.
FACTS = ("assessment_id", "assessment", "schedule")
#: Upper limit of pages in a list of schedules or tests; more mean that paging is broken.
_MAX_PAGES = 1_000

_log = structlog.get_logger(__name__)


class Catalogue:
    """`configured`: access keys to read; empty: all of the account. Each fact is read only once."""

    def __init__(self, api: Api, source: str, configured: Sequence[str]) -> None:
        self._api = api
        self._source = source
        self._configured = frozenset(configured)
        self._facts: dict[str, dict[str, str]] = {}
        self._keys: list[str] | None = None
        self._names: dict[str, str] | None = None

    def access_keys(self) -> list[str]:
        """The access keys to read, sorted so that a round can resume when schedules come and go."""
        if self._keys is None:
            listed = self._configured or {self._remember(row) for row in self._all(self._api.schedules, "schedules")}
            self._keys = sorted(listed - {""})
        return self._keys

    def facts(self, access_key: str) -> Mapping[str, str]:
        """`schedule` (its name), `assessment_id` and `assessment` (its name), as far as the vendor gives them.

        They are optional: if the vendor refuses the call, results are published without them.
        """
        try:
            if access_key not in self._facts:
                self._facts[access_key] = {}
                self._remember(self._api.schedule(access_key)["schedule"] or {})
            facts = self._facts[access_key]
            if "assessment_id" in facts and "assessment" not in facts:
                name = self._test_names().get(facts["assessment_id"])
                facts |= {"assessment": name} if name else {}
        except VendorFault as problem:
            self._names = self._names or {}
            _log.warning("schedule_facts_missing", source=self._source, schedule=access_key, problem=str(problem))
        return self._facts[access_key]

    def _remember(self, row: Mapping[str, Any]) -> str:
        """Remember a schedule's facts; returns its access key, "" if it is unreadable."""
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
        """Every row of a list, page by page; the vendor's URL of the next page is only used as a sign of more."""
        rows: list[Mapping[str, Any]] = []
        for _ in range(_MAX_PAGES):
            answer = read(offset=len(rows))
            rows += answer[member] or []
            if not answer[member] or not (answer["paging"] or {}).get("next"):
                return rows
        raise VendorFault(f"source {self._source}: the list of {member} does not end", reason="loop")
