"""What keys without a fixed name, replay jobs and the audit hold about a person."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

from bridge.delivery.replay_jobs import ABORTED, FAILED, RUNNING, STOPPED
from bridge.delivery.replay_store import Replays
from bridge.erasure.places import Batch, Context, Hit, Units, reference
from bridge.erasure.rewriting import Rewriter, dumped, scrubbed
from bridge.state import keys, scripts
from bridge.state.stored_json import UnreadableRecord, json_object

__all__ = ["AuditPlace", "KeyPlace", "ReplayPlace"]

#: The answer to a repeated call with an `Idempotency-Key` whose first answer was erased.
_GONE = {
    "type": "about:blank",
    "title": "Gone",
    "status": 410,
    "detail": "the answer was erased with a person's data. Remedy: send a new Idempotency-Key",
}
#: The filter of a replay whose own filter mentions the person; such a job has ended.
_FILTER = '"erased"'
#: Names of keys in one step of a scan; entries of the audit in one step of a copy.
_SCAN, _PAGE = 1000, 200


class KeyPlace(Units):
    """Answers kept for repeated calls, what vendors' clients remember, attempts that a consent governs."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._rewrite = Rewriter(context.client)
        source = context.source
        self._calls = keys.idempotent_call("").encode()
        self._hashes = {
            keys.vendor_memory(source, "").encode(): "vendor_memory",
            keys.consented(source, "").encode(): "consents",
        }

    def units(self) -> Sequence[Any]:
        """See `Units`."""
        return [""]

    def read_unit(self, unit: Any, cursor: str, limit: int) -> Batch:
        """See `Units`."""
        after, names = cast("tuple[int, list[bytes]]", self.client.scan(int(cursor or 0), count=_SCAN))
        hits: list[Hit] = []
        for key in set(names):
            if key.startswith(self._calls):
                hits += self._of_call(key.decode())
            for prefix, place in self._hashes.items():
                if key.startswith(prefix):
                    hits += self._of_hash(key.decode(errors="surrogateescape"), key, place)
        return Batch(hits, str(after) if after else None, len(names))

    def _of_call(self, key: str) -> Sequence[Hit]:
        value = cast("bytes | None", self.client.get(key))
        # A call that is under way has no answer yet.
        if value is None or not self.matcher.in_stored(value):
            return ()
        return (Hit("calls", reference(key), key, value),)

    def _of_hash(self, name: str, key: bytes, place: str) -> Sequence[Hit]:
        stored = cast("dict[bytes, bytes]", self.client.hgetall(cast("str", key)))
        ours = [
            field
            for field, value in stored.items()
            if field.decode(errors="replace") in self.matcher.attempts
            or self.matcher.in_text(name)
            or self.matcher.in_stored(field)
            or self.matcher.in_stored(value)
        ]
        return [Hit(place, reference(name, field.hex()), name, (key, field)) for field in ours]

    def erase(self, hits: Sequence[Hit]) -> None:
        """See `Place`."""
        for hit in hits:
            if isinstance(hit.item, bytes):
                call = self._call(hit.item)
                answer = {"call": call, "status": 410, "type": "application/problem+json", "body": json.dumps(_GONE)}
                self.client.set(hit.key, json.dumps(answer), xx=True, keepttl=True)
            else:
                self.client.hdel(hit.item[0], hit.item[1])

    def _call(self, answer: bytes) -> Any:
        """What the answer belongs to; None where that cannot be read, so that a repeated call is refused."""
        try:
            return json_object(answer).get("call")
        except UnreadableRecord:
            return None


class ReplayPlace(Units):
    """Replay jobs whose filter mentions the person: they end, and the filter is removed."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._rewrite = Rewriter(context.client)
        self._replays = Replays(context.client, partitions=context.partitions)

    def units(self) -> Sequence[Any]:
        """See `Units`."""
        return [""]

    def read_unit(self, unit: Any, cursor: str, limit: int) -> Batch:
        """See `Units`."""
        idents = [ident.decode() for ident in cast("list[bytes]", self.client.zrange(keys.replays(), 0, -1))]
        pipe = self.client.pipeline(transaction=False)
        for ident in idents:
            pipe.hget(keys.replay_job(ident), "job")
        jobs = zip(idents, pipe.execute() if idents else (), strict=True)
        hits = [
            Hit("replays", ident, keys.replay_job(ident), ident)
            for ident, job in jobs
            if job and self._without(job) != job
        ]
        return Batch(hits, None, len(idents))

    def erase(self, hits: Sequence[Hit]) -> None:
        """See `Place`."""
        for hit in hits:
            # First: a job without its filter would replay everything.
            self._replays.change(hit.item, ABORTED, (RUNNING, STOPPED, FAILED), now=_server_time(self.context))
            self._rewrite.field(hit.key, "job", self._without)

    def _without(self, job: bytes) -> bytes:
        try:
            members = json_object(job)
        except UnreadableRecord:
            return dumped({}) if self.matcher.in_body(job) else job
        if not self.matcher.in_text(str(members.get("filter", ""))):
            return job
        return dumped({**members, "filter": _FILTER})


class AuditPlace(Units):
    """Entries of the audit: what happened is kept, without values that mention the person."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._copy = scripts.register(context.client, __file__, "copy_audit")

    def units(self) -> Sequence[Any]:
        """See `Units`."""
        return [""]

    def read_unit(self, unit: Any, cursor: str, limit: int) -> Batch:
        """See `Units`."""
        items = cast("list[Any]", self.client.xrange(keys.audit(), f"({cursor}" if cursor else "-", "+", count=limit))
        hits = [
            Hit("audit", f"audit:{entry.decode()}", keys.audit(), entry)
            for entry, fields in items
            if self._changed(fields)
        ]
        return Batch(hits, items[-1][0].decode() if len(items) == limit else None, len(items))

    def erase(self, hits: Sequence[Hit]) -> None:
        """See `Place`."""
        names, chosen, after, left = [keys.audit(), keys.audit_copy()], {hit.item for hit in hits}, "-", 1
        while left:
            page = cast("list[Any]", self.client.xrange(keys.audit(), after, "+", count=_PAGE))
            args: list[str | bytes | int] = [after, _PAGE]
            for entry, fields in (item for item in page if item[0] in chosen):
                for name, value in self._changed(fields).items():
                    args += [entry, name, value]
            reached, left = cast("tuple[bytes, int]", self._copy(keys=names, args=args))
            if left < 0:
                raise RuntimeError("another process is copying the audit, too")
            after = f"({reached.decode()}"

    def _changed(self, fields: dict[bytes, bytes]) -> dict[bytes, bytes]:
        changed = {}
        for name in (b"target", b"before", b"after"):
            value = fields.get(name, b"")
            new = self._scrubbed(name, value)
            if new != value:
                changed[name] = new
        return changed

    def _scrubbed(self, name: bytes, value: bytes) -> bytes:
        text = value.decode(errors="replace")
        if name == b"target":
            words = [scrubbed(word, self.matcher) for word in text.split(" ")]
            whole = " ".join(words)
            return scrubbed(whole, self.matcher).encode() if whole != text or self.matcher.in_text(text) else value
        try:
            before = json.loads(text)
        except ValueError:
            return value
        after = scrubbed(before, self.matcher)
        return value if after == before else dumped(after)


def _server_time(context: Context) -> float:
    seconds, micros = context.client.time()
    return seconds + micros / 1e6
