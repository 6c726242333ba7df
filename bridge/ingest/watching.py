"""What receiving and publishing do to watches: pointers open them, published attempts settle them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from bridge.ingest.context import IngestContext
from bridge.journal import PUBLISHED_OUTCOMES
from bridge.polling.expectations import Expectation
from bridge.sdk.vendor import NormalisedAttempt, Pointer

__all__ = ["settle", "watch_pointers"]


def watch_pointers(context: IngestContext, pointers: Sequence[Pointer], now: float) -> list[str]:
    """Open a watch for each pointer of a webhook, or urge the open one; returns the keys of the watches."""
    if not pointers:
        return []
    if context.vendor.sittings:
        sittings = [(pointer.key, pointer.sitting, None) for pointer in pointers]
        ids = context.sittings.resolve(context.source.name, sittings, now=now, remember=False)
        pointers = [replace(pointer, key=key) for pointer, key in zip(pointers, ids, strict=True)]
    context.watches.add_pointers(context.source.name, pointers, now=now)
    return [pointer.key for pointer in pointers]


def settle(
    context: IngestContext,
    by_outcome: Sequence[tuple[NormalisedAttempt, str]],
    expectations: Mapping[str, Expectation],
    announced: Collection[str],
    *,
    now: float,
    as_of: int,
) -> None:
    """After publishing attempts, each with its outcome: remove the `expectations` that they meet and their watches.

    What a webhook announced stays watched until something new is published, and so does what was urged after version
    `as_of`. `announced`: ids of attempts that stay open and were announced; one that was published is answered,
    and has its own schedule from now on.
    """
    name = context.source.name
    attempts = [attempt for attempt, _ in by_outcome]
    normalised = {attempt.attempt_id for attempt, outcome in by_outcome if outcome in PUBLISHED_OUTCOMES}
    settled = {attempt.attempt_id: attempt.attempt_id in normalised for attempt in attempts if attempt.watch is None}
    # An alias may mean several attempts: only an attempt that is new settles it.
    aliases = {alias for attempt, outcome in by_outcome if outcome == "published" for alias in attempt.aliases}
    settled |= dict.fromkeys(aliases, True)
    if expectations:
        ids = {attempt.attempt_id for attempt in attempts}
        met = {expected.key: expected for key, expected in expectations.items() if key in ids or key in settled}
        # Each may have been registered under another spelling of the key.
        new = {expected.key for key, expected in expectations.items() if key in normalised | aliases}
        context.expectations.mark_met(name, list(met.values()), new=new, as_of=as_of)
    # A vendor whose API cannot look up one attempt has no watches.
    if context.vendor.recheck is not None:
        answered = {
            attempt.attempt_id: min(now + attempt.watch.due_in, attempt.watch.give_up_at)
            for attempt in attempts
            if attempt.watch is not None and attempt.attempt_id in normalised and attempt.attempt_id in announced
            # What a webhook announces is a result, and the API may show it a little later.
            if attempt.result.grading != "pending"
        }
        context.watches.settle(name, settled, now=now, as_of=as_of, answered=answered)
