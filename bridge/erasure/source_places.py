"""What watches, expectations, sittings, reconciliations and reports of polls hold about a person."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast
from urllib.parse import unquote

from bridge.erasure.places import Batch, Context, Hit, Units, reference
from bridge.erasure.rewriting import Rewriter, dumped, scrubbed
from bridge.ingest.sittings import Sittings
from bridge.polling.expectations import Expectations
from bridge.polling.watches import Watches
from bridge.state import keys
from bridge.state.stored_json import UnreadableRecord, json_object

__all__ = ["ReportPlace", "SittingPlace", "WatchPlace"]

_CANCEL, _LABEL, _SPELLING = "cancel", "label", "spelling"
#: Members of reports and jobs that are never a person's, whatever number they hold.
_STRUCTURE = frozenset(
    {"id", "source", "state", "kind", "stream", "streams", "cursors", "finished", "from_cursor", "to_cursor"}
)


class WatchPlace(Units):
    """Watches and expectations of the person's attempts end; a label that mentions the person is removed elsewhere."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._expectations = Expectations(context.client, Watches(context.client))
        self._rewrite = Rewriter(context.client)

    def units(self) -> Sequence[Any]:
        """See `Units`."""
        return [of(self.context.source) for of in (keys.watch, keys.expected, keys.expected_spellings)]

    def read_unit(self, unit: Any, cursor: str, limit: int) -> Batch:
        """See `Units`."""
        after, fields = cast("tuple[int, dict[bytes, bytes]]", self.client.hscan(unit, int(cursor or 0), count=limit))
        hits = [self._hit(unit, name.decode(errors="replace"), value) for name, value in fields.items()]
        return Batch([hit for hit in hits if hit], str(after) if after else None, len(fields))

    def _hit(self, unit: str, key: str, value: bytes) -> Hit | None:
        if unit == keys.expected_spellings(self.context.source):
            if self._is_key(key) or self._is_key(value.decode(errors="replace")):
                return Hit("spellings", reference(key), unit, (_SPELLING, key))
        elif self._is_key(key) or self._is_reference(value):
            return Hit("watches", reference(key), unit, (_CANCEL, key))
        elif self._without_label(value) != value:
            return Hit("labels", reference(key), unit, (_LABEL, key))
        return None

    def erase(self, hits: Sequence[Hit]) -> None:
        """See `Place`."""
        by_kind = {kind: [hit for hit in hits if hit.item[0] == kind] for kind in (_CANCEL, _LABEL, _SPELLING)}
        self._expectations.cancel(self.context.source, [hit.item[1] for hit in by_kind[_CANCEL]])
        for hit in by_kind[_LABEL]:
            self._rewrite.field(hit.key, hit.item[1], self._without_label)
        for hit in by_kind[_SPELLING]:
            self.client.hdel(hit.key, hit.item[1])

    def _is_key(self, key: str) -> bool:
        return key in self.matcher.attempts or any(self.matcher.in_key(text) for text in (key, unquote(key)))

    def _is_reference(self, value: bytes) -> bool:
        """Whether it is a reference: of a watch the JSON after its other members, of an expectation a member."""
        text = value if value.startswith(b"{") else b"{" + value.partition(b"{")[2]
        try:
            members = json.loads(text)
        except ValueError:
            return self.matcher.in_body(value)
        chosen = members.get("reference", members) if isinstance(members, dict) else members
        return self.matcher.in_body(json.dumps(chosen).encode())

    def _without_label(self, value: bytes) -> bytes:
        try:
            members = json.loads(value)
            label = members["label"]
        except (ValueError, KeyError, TypeError):
            return value
        if not isinstance(label, str) or not self.matcher.in_text(label):
            return value
        return json.dumps({**members, "label": None}, separators=(",", ":"), sort_keys=True).encode()


class SittingPlace(Units):
    """Ids of attempts under which sittings are numbered: the numbers stay, under digests of the ids."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._sittings = Sittings(context.client)

    def units(self) -> Sequence[Any]:
        """See `Units`."""
        return [keys.sittings(self.context.source)]

    def read_unit(self, unit: Any, cursor: str, limit: int) -> Batch:
        """See `Units`."""
        after, fields = cast("tuple[int, dict[bytes, bytes]]", self.client.hscan(unit, int(cursor or 0), count=limit))
        # The attempt id of the second sitting is the base id with `:2`.
        known = self.matcher.attempts | {attempt.rpartition(":")[0] for attempt in self.matcher.attempts}
        names = [name.decode(errors="replace") for name in fields if not name.startswith(b"#")]
        ours = [name for name in names if name in known or self.matcher.in_key(unquote(name))]
        hits = [Hit("sittings", reference(name), unit, name) for name in ours]
        return Batch(hits, str(after) if after else None, len(fields))

    def erase(self, hits: Sequence[Hit]) -> None:
        """See `Place`."""
        self._sittings.erase(self.context.source, [hit.item for hit in hits])


class ReportPlace(Units):
    """Attempt ids in the last reconciliations; errors in reports of the last polls, jobs of the worker, and alarms."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._rewrite = Rewriter(context.client)
        self._hashes = (keys.worker_jobs("all"), keys.backfills(), keys.alarms(context.source))

    def units(self) -> Sequence[Any]:
        """See `Units`."""
        lists = [keys.reconciliations(self.context.source), keys.cursor_history(self.context.source)]
        return [*lists, *self._hashes]

    def read_unit(self, unit: Any, cursor: str, limit: int) -> Batch:
        """See `Units`."""
        if unit in self._hashes:
            jobs = cast("dict[bytes, bytes]", self.client.hgetall(unit))
            names = [name.decode() for name, job in jobs.items() if self._without(job) != job]
            return Batch([Hit("reports", reference(unit, name), unit, name) for name in names], None, len(jobs))
        lines = cast("list[bytes]", self.client.lrange(unit, 0, -1))
        changed = [line for line in lines if self._without(line) != line]
        hits = [Hit("reports", reference(unit, line.decode(errors="replace")), unit, line) for line in changed]
        return Batch(hits, None, len(lines))

    def erase(self, hits: Sequence[Hit]) -> None:
        """See `Place`."""
        for hit in hits:
            if isinstance(hit.item, str):
                self._rewrite.field(hit.key, hit.item, self._without)
            else:
                self._rewrite.item(hit.key, hit.item, self._without(hit.item))

    def _without(self, line: bytes) -> bytes:
        try:
            before = json_object(line)
        except UnreadableRecord:
            return dumped({}) if self.matcher.in_body(line) else line
        after = scrubbed(before, self.matcher, kept=_STRUCTURE)
        return line if after == before else dumped(after)
