"""Makes replay jobs: freezes what is chosen, and previews it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import cast

import redis

from bridge.delivery.replay_archive import Archive
from bridge.delivery.replay_jobs import DEAD_LETTERS, QUARANTINE, Part, Replay
from bridge.delivery.replay_selection import EXCLUDED, REPLAY, UNREADABLE, Candidate, Selection, stream_of
from bridge.journal.entries import StreamItems
from bridge.journal.paging import id_order
from bridge.state.errors import state_errors

__all__ = ["EXAMPLES", "MAX_READ", "Example", "Preview", "archived_parts", "frozen_parts", "named_parts", "preview"]

#: Entries that a preview reads at most, and examples that it shows.
MAX_READ, EXAMPLES = 5000, 10
_PAGE = 200


@dataclass(frozen=True, slots=True)
class Example:
    """One item that would be replayed."""

    subscription: str
    candidate: Candidate


@dataclass(slots=True)
class Preview:
    """What a job would replay."""

    #: Subscription, or `quarantine` -> number of items.
    counts: dict[str, int] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)
    #: Entries that were read and are not replayed: because of a filter, or because their event is missing.
    excluded: int = 0
    unreadable: int = 0
    #: Whether everything was read; else the counts are only of the oldest entries.
    complete: bool = True

    @property
    def total(self) -> int:
        """Number of all items."""
        return sum(self.counts.values())


def frozen_parts(
    client: redis.Redis,
    kind: str,
    subscriptions: Sequence[str],
    *,
    partitions: int,
    since: float | None,
    until: float | None,
) -> tuple[Part, ...]:
    """The parts of a job with all entries in [since, until] (UNIX seconds) that exist now.

    Raises `StateUnavailable`.
    """
    owners = (
        [("", 0)] if kind == QUARANTINE else [(name, number) for name in subscriptions for number in range(partitions)]
    )
    first = "-" if since is None else f"{max(0, int(since * 1000))}-0"
    last = "+" if until is None else str(max(0, int(until * 1000)))
    parts = [Part(name, number, first, last) for name, number in owners]
    with state_errors():
        pipe = client.pipeline(transaction=False)
        for part in parts:
            pipe.xrange(stream_of(kind, part), first, last, count=1)
            pipe.xrevrange(stream_of(kind, part), last, first, count=1)
        answers = cast("list[StreamItems]", pipe.execute())
    return tuple(
        Part(part.subscription, part.partition, oldest[0][0].decode(), newest[0][0].decode())
        for part, oldest, newest in zip(parts, answers[::2], answers[1::2], strict=True)
        if oldest and newest
    )


def archived_parts(
    archive: Archive, subscriptions: Sequence[str], *, partitions: int, since: float | None, until: float | None
) -> tuple[Part, ...]:
    """The parts of a job with all events of an archive in [since, until] (UNIX seconds).

    Raises `ArchiveUnavailable`.
    """
    period = archive.period(since, until)
    if period is None:
        return ()
    return tuple(Part(name, number, *period) for name in subscriptions for number in range(partitions))


def named_parts(places: Iterable[tuple[str, int, str]]) -> tuple[Part, ...]:
    """The parts of a job with only some entries. `places`: subscription, partition, stream id."""
    entries: dict[tuple[str, int], set[str]] = {}
    for subscription, partition, entry in places:
        entries.setdefault((subscription, partition), set()).add(entry)
    ordered = {owner: sorted(named, key=lambda entry: id_order(entry.encode())) for owner, named in entries.items()}
    return tuple(Part(*owner, named[0], named[-1], tuple(named)) for owner, named in sorted(ordered.items()))


def preview(client: redis.Redis, job: Replay, selection: Selection, *, most: int = MAX_READ) -> Preview:
    """Counts and examples of a job. Reads `most` entries at most, and counts whole streams without reading them.

    Raises `StateUnavailable`.
    """
    preview = Preview()
    left = most
    for part in job.parts:
        name = part.subscription or QUARANTINE
        preview.counts.setdefault(name, 0)
        if _is_whole(job, part):
            page = selection.page(part, "", EXAMPLES)
            _add(preview, part, page.candidates, count=False)
            with state_errors():
                preview.counts[name] += client.xlen(stream_of(job.kind, part))
            continue
        after, last = "", False
        while not last:
            if left <= 0:
                preview.complete = False
                break
            page = selection.page(part, after, min(_PAGE, left), count=len(preview.examples) >= EXAMPLES)
            _add(preview, part, page.candidates, count=True)
            after, last, left = page.after, page.last, left - len(page.candidates)
    return preview


def _is_whole(job: Replay, part: Part) -> bool:
    """Whether nothing of a stream is left out. Never for events, because a subscription has its own filter."""
    return job.kind in (DEAD_LETTERS, QUARANTINE) and not (job.filter or job.group or part.entries is not None)


def _add(preview: Preview, part: Part, candidates: Sequence[Candidate], *, count: bool) -> None:
    chosen = [candidate for candidate in candidates if candidate.verdict == REPLAY]
    if count:
        preview.counts[part.subscription or QUARANTINE] += len(chosen)
        preview.excluded += sum(candidate.verdict == EXCLUDED for candidate in candidates)
        preview.unreadable += sum(candidate.verdict == UNREADABLE for candidate in candidates)
    free = EXAMPLES - len(preview.examples)
    preview.examples += [Example(part.subscription, candidate) for candidate in chosen[:free]]
