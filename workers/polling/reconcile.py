"""Comparing what a vendor lists with what was published: for a period that somebody asks for, and every night."""

from __future__ import annotations

import json
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import structlog

from bridge.config.model import Source
from bridge.errors import BridgeError, StateUnavailable, Unreadable, VendorFault, clip
from bridge.ingest.dry_run import DryRun
from bridge.ingest.intake import unreadable_on_error
from bridge.ingest.pipeline import ingest
from bridge.journal import BACKFILL
from bridge.polling.reconciliation import Listed, Published, Reconciliation, Reconciliations, compare, delays, findings
from bridge.quota.budgets import RECONCILE
from bridge.sdk.records import NormalisedAttempt, Pointer, Record
from bridge.services import Services
from bridge.state.lease import Lease
from schemas.event import COMPLETED, VOIDED
from workers.polling.listing import Interrupted, Listing, whole_streams
from workers.polling.source_access import SourceAccess, never

__all__ = ["ReconcileOptions", "nightly", "reconcile", "settled_until"]

#: What a nightly run looks back, seconds: yesterday, and what showed up late the day before.
_NIGHTLY_SECONDS = 2 * 86_400.0
#: When the nightly run is due, seconds after midnight UTC.
_NIGHT = 2 * 3600.0
#: Longest nightly run of one source, seconds; most of it is waiting for the budget.
_LONGEST = 6 * 3600.0
_LEASE_SECONDS = 60.0
#: What finished within the last round, or so many seconds, may still be on its way.
_UNDER_WAY = 60.0
_NEW = ("published", "revised")
_BATCH = 200

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class ReconcileOptions:
    """Which period (by finish, UNIX seconds), and whether to publish what is missing or outdated.

    `check`, `sleep`, `waiting`: as in `workers.polling.listing.Listing`.
    """

    since: float
    until: float
    fix: bool = False
    check: Callable[[], None]
    sleep: Callable[[float], object] = time.sleep
    waiting: Callable[[str, float], None] = lambda why, until: None


def settled_until(source: Source, now: float) -> float:
    """The moment before which everything has had its webhook and its poll."""
    return now - _UNDER_WAY - (source.poll.every if source.poll.enabled else 0.0)


def reconcile(services: Services, source_name: str, ask: ReconcileOptions) -> Reconciliation:
    """Compare a period of one source and keep the result. Reading costs calls, which `calls` of the result states.

    A vendor without a list is asked for every expectation and every watch one by one. Raises what `Ask.check` and
    `Listing.turn` raise; then nothing is kept.
    """
    source, began = services.config.sources[source_name], services.now()
    listing = Listing(
        services=services,
        source=source,
        spender=RECONCILE,
        check=ask.check,
        sleep=ask.sleep,
        waiting=ask.waiting,
    )
    result = Reconciliation(source=source_name, since=ask.since, until=ask.until, made=began)
    rows, news = _listed(services, listing, ask, result)
    published = _published(services, source_name, ask.since)
    memories = services.journal_reader.attempts(source_name, rows.keys() | published.keys())
    found = findings(
        rows,
        published,
        memories,
        _announced(services, source_name, ask.since),
        {one.key: one.due for one in services.expectations.list(source_name) if _is_due(one.state, one.due, ask)},
        since=ask.since,
        until=ask.until,
    )
    result.days, result.ids = compare(found)
    # A finish that the bridge itself has read off the clock says nothing about delay.
    told = (one for one in published.values() if one.id not in rows or rows[one.id].finished is not None)
    result.delays = delays(told, since=ask.since, until=ask.until)
    if ask.fix:
        result.fixed = _publish(services, source_name, result, news)
    result.calls, result.seconds = listing.calls, services.now() - began
    Reconciliations(services.state).keep(result)
    _log.info(
        "reconciled",
        source=source_name,
        listed=result.total("listed"),
        missing=result.total("missing"),
        calls=result.calls,
        fixed=len(result.fixed),
    )
    return result


def nightly(services: Services, *, stopping: Callable[[], bool] = never) -> list[str]:
    """Reconcile every source that has not been since last night, one after the other; the names of those done.

    Called every hour: what the budget, the vendor or a restart cut short is done at the next call. A second caller at
    the same time does nothing. Raises `StateUnavailable`.
    """
    lease = Lease(services.state, "reconcile", secrets.token_hex(16), seconds=_LEASE_SECONDS)
    if not lease.hold():
        return []
    done = []
    try:
        for name, source in services.config.sources.items():
            if _is_due_tonight(services, source) and _tonight(services, name, lease, stopping):
                done.append(name)
    finally:
        lease.release()
    return done


def _tonight(services: Services, name: str, lease: Lease, stopping: Callable[[], bool]) -> bool:
    began = services.now()

    def check() -> None:
        if not lease.hold():
            raise Interrupted("another process took over after a long pause of this one")
        if stopping():
            raise Interrupted("this process is stopping")
        if services.now() - began > _LONGEST:
            raise Interrupted(f"it took longer than {_LONGEST / 3600:g} hours; raise sources.{name}.budget")

    until = settled_until(services.config.sources[name], began)
    since = until - min(_NIGHTLY_SECONDS, _look_back_limit(services, name))
    try:
        result = reconcile(services, name, ReconcileOptions(since=since, until=until, check=check))
    except StateUnavailable:
        raise
    except BridgeError as problem:
        _log.warning("reconciliation_cut_short", source=name, reason=problem.reason, problem=clip(problem, 300))
        return False
    if result.total("missing"):
        remedy = f"attempt-bridge reconcile --source {name} --since 2d --fix"
        _log.error("attempts_missing", source=name, missing=result.total("missing"), remedy=remedy)
    return True


def _is_due_tonight(services: Services, source: Source) -> bool:
    vendor, now = services.vendors[source.vendor], services.now()
    if source.paused or services.budgets.paused(source.name, now) or not (vendor.polls or vendor.recheck):
        return False
    last = Reconciliations(services.state).last(source.name)
    night = now - (now - _NIGHT) % 86_400.0
    # The first time in the night itself: at a first start there is nothing to compare.
    return now - night < _LONGEST if last is None else last.made < night


def _look_back_limit(services: Services, name: str) -> float:
    limit = services.vendors[services.config.sources[name].vendor].look_back_limit
    # A little less: the limit moves on while we read.
    return float("inf") if limit is None else limit - 3600.0


def _listed(
    services: Services, listing: Listing, ask: ReconcileOptions, result: Reconciliation
) -> tuple[dict[str, Listed], dict[str, Record]]:
    """What the vendor lists, by attempt id; and the records of what would be news."""
    rows: dict[str, Listed] = {}
    news: dict[str, Record] = {}
    dry_run = DryRun(context=services.ingest_context(listing.source.name), reader=services.journal_reader)
    for records in _list(listing, ask) if listing.vendor.polls else _looks(services, listing, ask, result):
        result.records += len(records)
        for one in dry_run.preview(records, now=services.now()):
            before = rows.get(one.attempt.attempt_id)
            outdated = one.outcome == "revised" or (before is not None and before.outdated)
            rows[one.attempt.attempt_id] = _row(one.attempt, outdated)
            if one.outcome in _NEW:
                news[one.attempt.attempt_id] = one.record
    result.unreadable += dry_run.outcomes["quarantined"]
    return rows, news


def _list(listing: Listing, ask: ReconcileOptions) -> Iterator[Sequence[Record]]:
    for stream in whole_streams(listing.vendor):
        start = listing.vendor.polls[stream].start(ask.since, ask.until)
        for page, _ in listing.pages(stream, start, ask.until):
            yield page.records


def _looks(
    services: Services, listing: Listing, ask: ReconcileOptions, result: Reconciliation
) -> Iterator[Sequence[Record]]:
    """Everything that is expected or watched, and whatever a look points to."""
    name = listing.source.name
    wanted = {one.key: one.reference for one in services.expectations.list(name) if one.deadline >= ask.since}
    wanted |= {one.key: one.reference for one in services.watches.list(name)}
    todo = deque(wanted.items())
    while todo:
        _, reference = todo.popleft()
        try:
            answer = listing.access(partial(_look, reference))
        except (Unreadable, VendorFault):
            # Of one reference; the others are none the worse for it.
            result.unreadable += 1
            continue
        fresh = {one.key: one.reference for one in answer if isinstance(one, Pointer) and one.key not in wanted}
        wanted |= fresh
        todo.extend(fresh.items())
        yield [one for one in answer if isinstance(one, Record)]


def _look(reference: Mapping[str, str], access: SourceAccess) -> Sequence[Record | Pointer]:
    with unreadable_on_error(access.source.name, "look"):
        return () if access.vendor.recheck is None else access.vendor.recheck(access.client, reference)


def _row(news: NormalisedAttempt, outdated: bool) -> Listed:
    told = news.completed_at is not None and not news.completed_at_is_observed
    return Listed(
        id=news.attempt_id,
        keys=(news.attempt_id, *news.aliases),
        finished=news.completed_at.timestamp() if news.completed_at is not None and told else None,
        outdated=outdated,
    )


def _published(services: Services, source: str, since: float) -> dict[str, Published]:
    """The first events since a moment, by attempt id. What finished after it was published after it."""
    found = {}
    for stored in services.journal_reader.events(since=since, source=source):
        if stored.type in (COMPLETED, VOIDED):
            event = json.loads(stored.event)
            finished = event["data"]["attempt"]["completed_at"]
            found[stored.attempt] = Published(
                id=stored.attempt,
                finished=None if finished is None else _seconds(finished),
                recorded=_seconds(event["recordedtime"]),
                origin=event["bridgeorigin"],
            )
    return found


def _announced(services: Services, source: str, since: float) -> set[str]:
    """Keys of attempts that webhooks have pointed to. Only where there are such: it reads every stored request."""
    counted = services.journal_reader.counts(int(since // 86_400), int(services.now() // 86_400))
    if not counted.get((source, "webhook", "watching")):
        return set()
    requests = services.requests.list(source=source, outcome="watching", since=since)
    return {key for request in requests for key in request.attempts}


def _is_due(state: str, due: float, ask: ReconcileOptions) -> bool:
    # An expanded one has handed its part on to others.
    return state != "expanded" and due <= ask.until


def _publish(services: Services, source: str, result: Reconciliation, news: Mapping[str, Record]) -> list[str]:
    wanted = dict.fromkeys([*result.ids["missing"], *result.ids["outdated"]])
    records = [news[attempt_id] for attempt_id in wanted if attempt_id in news]
    fixed: list[str] = []
    for start in range(0, len(records), _BATCH):
        batch = records[start : start + _BATCH]
        fixed += ingest(services.ingest_context(source), batch, origin=BACKFILL, now=services.now()).published_ids
    return fixed


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
