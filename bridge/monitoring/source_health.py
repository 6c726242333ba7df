"""What is wrong with a source, judged from facts. Pure: who reads the facts and announces the troubles is
`workers/polling/watchdog.py`.

A judgement may be that nothing can be said now, as of a source that is paused: then what was said before stays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bridge.errors import clip
from bridge.monitoring.traffic_baseline import Ledger, Note, share_announced, usual
from bridge.polling.cursors import RoundReport, StreamPosition
from bridge.quota.budgets import BudgetStatus
from bridge.quota.windows import OVERDUE, POLL, reserved
from bridge.text import duration_text
from schemas.notices import BUDGET_EXHAUSTED, CREDENTIALS_REJECTED, POLL_FAILING, WEBHOOKS_SILENT

__all__ = ["Facts", "Stream", "Trouble", "dried", "judge"]

#: A silence that would come about by chance less often than once in so many is none.
_ODDS = 1e-6
#: Webhooks that are usual in a stretch which had none: e^-14 is about those odds.
_MISSED = math.ceil(-math.log(_ODDS))
#: What polls found must come from so many rounds: the first one after a standstill of ours finds a lot.
_ROUNDS, _FOUND = 3, 3
#: A stream fails after so many rounds without a page, or as many times its rhythm; but not before so many seconds.
_FAILED_ROUNDS, _FAILED_RHYTHMS = 5, 6
_FAILED_SECONDS = 600.0
#: Calls that come and go one by one are none, seconds.
_DRY_AGAIN = 300.0
#: No calls for as long as the quota's window, but at most so long and at least so long, seconds.
_DRY_LONGEST, _DRY_SHORTEST = 3600.0, 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One thing that is wrong. `since`: UNIX seconds. Texts are one line each, without personal data."""

    since: float
    fact: str
    value: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """How polling of one stream stands. `every`: seconds between two rounds. `saved`: when a page was last read, None
    for never. `failed`: its rounds that ended with an error, the newest first."""

    name: str
    every: float
    saved: float | None
    failed: tuple[RoundReport, ...]

    @classmethod
    def of(cls, name: str, every: float, position: StreamPosition, rounds: Sequence[RoundReport]) -> Stream:
        """From what `bridge.polling.cursors` has: `rounds` are the last ones of all streams, the newest first."""
        failed = tuple(one for one in rounds if one.stream == name and one.error)
        return cls(name=name, every=every, saved=position.saved, failed=failed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that is known of a source at `now`. `paused`: on purpose, by an operator or the file. `webhooks`: whether it
    may send any. `streams`: those that are polled. `raised`: kind of alarm -> since when it is up."""

    name: str
    now: float
    paused: bool
    webhooks: bool
    ledger: Ledger
    notes: Mapping[int, Note]
    streams: tuple[Stream, ...]
    budget: BudgetStatus
    raised: Mapping[str, float]


def judge(facts: Facts) -> dict[str, Trouble | None]:
    """Kind of alarm -> what is wrong, or None for nothing. Kinds of which nothing can be said now are left out."""
    if facts.paused:
        return {}
    found = {CREDENTIALS_REJECTED: _rejected(facts)}
    stopped, dry = found[CREDENTIALS_REJECTED] is not None, facts.ledger.dry_since is not None
    if not stopped:
        found[BUDGET_EXHAUSTED] = _exhausted(facts)
        if not dry:
            found[POLL_FAILING] = _failing(facts)
    if not facts.webhooks:
        found[WEBHOOKS_SILENT] = None
    elif WEBHOOKS_SILENT not in facts.raised:
        found[WEBHOOKS_SILENT] = _silent(facts, polls_tell=not (stopped or dry) and _polls_tell(facts))
    elif facts.ledger.heard is not None and facts.ledger.heard > facts.raised[WEBHOOKS_SILENT]:
        # Nothing but a webhook ends the silence of webhooks.
        found[WEBHOOKS_SILENT] = None
    return found


def dried(ledger: Ledger, budget: BudgetStatus, *, polled: bool, now: float) -> Ledger:
    """The ledger with whether calls are left at `now`: a fresh poll, or a look where nothing is polled, is refused."""
    if _refused(budget, POLL if polled else OVERDUE, now):
        return replace(ledger, dry_since=now if ledger.dry_since is None else ledger.dry_since, dry_at=now)
    if ledger.dry_at is not None and now - ledger.dry_at < _DRY_AGAIN:
        return ledger
    return replace(ledger, dry_since=None, dry_at=None)


def _refused(budget: BudgetStatus, spender: str, now: float) -> bool:
    """What `take.lua` would answer, without taking a call."""
    if budget.pause is not None:
        return not budget.pause.indefinite
    calls, vendor_limit = budget.window.calls, budget.vendor_limit
    shares = reserved(spender, budget.window, now).items()

    def others(scale: float) -> int:
        return sum(max(0, int(share * scale) - budget.spenders.get(other, 0)) for other, share in shares)

    if calls - budget.used <= others(1.0):
        return True
    return vendor_limit is not None and vendor_limit.remaining <= others(min(1.0, vendor_limit.limit / calls))


def _rejected(facts: Facts) -> Trouble | None:
    pause = facts.budget.pause
    if pause is None or not pause.indefinite:
        return None
    return Trouble(
        since=facts.now,
        fact="the vendor refuses our credentials or permissions; the source is stopped",
        value=clip(pause.reason, 200),
        remedy=f"put the credentials right, start the bridge again, then attempt-bridge sources resume {facts.name}",
    )


def _exhausted(facts: Facts) -> Trouble | None:
    since, budget = facts.ledger.dry_since, facts.budget
    enough = max(_DRY_SHORTEST, min(_DRY_LONGEST, budget.window.per_seconds))
    if since is None or facts.now - since < enough:
        return None
    who = ", ".join(f"{spender} {calls}" for spender, calls in sorted(budget.spenders.items()))
    used = f"{budget.used} of {budget.window.calls} calls per {duration_text(budget.window.per_seconds)} used"
    return Trouble(
        since=since,
        fact="no calls are left for polling" if budget.pause is None else "the vendor asks us to wait",
        value=f"{used} ({who or 'nobody'}), for {_span(facts.now - since)}",
        remedy=f"attempt-bridge sources show {facts.name} says who spends them; poll less often or ask for more",
    )


def _failing(facts: Facts) -> Trouble | None:
    """The stream that has failed longest."""
    troubles = [trouble for stream in facts.streams if (trouble := _stream_failing(stream, facts))]
    return min(troubles, key=lambda trouble: trouble.since, default=None)


def _stream_failing(stream: Stream, facts: Facts) -> Trouble | None:
    # A page since then is a success; what happened while nobody watched may have been a standstill of ours.
    since = max(facts.ledger.began, stream.saved or 0.0)
    rounds = [one for one in stream.failed if one.started >= since]
    lasts = facts.now - (rounds[-1].started if rounds else facts.now)
    many = len(rounds) >= _FAILED_ROUNDS and lasts >= _FAILED_SECONDS
    if not many and facts.now - since < max(_FAILED_SECONDS, _FAILED_RHYTHMS * stream.every):
        return None
    error = clip(rounds[0].error, 160) if rounds else "none was made; attempt-bridge doctor looks for worker and beat"
    return Trouble(
        since=since,
        fact="polling does not get through",
        value=f"{stream.name}: nothing read for {_span(facts.now - since)}; failed rounds: {len(rounds)}; {error}",
        remedy=f"attempt-bridge sources show {facts.name} has the last rounds with their errors",
    )


def _polls_tell(facts: Facts) -> bool:
    """Whether polls would have found what webhooks did not announce."""
    fresh = [facts.now - (stream.saved or 0.0) <= _FAILED_RHYTHMS * stream.every for stream in facts.streams]
    return bool(fresh) and all(fresh)


def _silent(facts: Facts, *, polls_tell: bool) -> Trouble | None:
    ledger, now = facts.ledger, facts.now
    if polls_tell:
        found, share = ledger.rescued - ledger.rescued_before, share_announced(ledger, facts.notes)
        # As many as could not all have been missed by chance.
        enough = max(_FOUND, math.log(_ODDS) / math.log1p(-share)) if share else math.inf
        if found < enough or ledger.rescuing < _ROUNDS:
            return None
        value, missed = f"polls found {found} attempts that none announced; usually {share:.0%} are", 1
    else:
        value, missed = "polls cannot tell", _MISSED
    expected = usual(ledger.quiet_since, now, facts.notes)
    if expected is None or expected < missed:
        return None
    return Trouble(
        since=ledger.quiet_since,
        fact="webhooks have stopped",
        value=f"none for {_span(now - ledger.quiet_since)}, usual in this stretch of the week: {expected}; {value}",
        remedy=f"attempt-bridge requests list --source {facts.name}; compare address and secret at the vendor",
    )


def _span(seconds: float) -> str:
    """Rounded for people: `40m`, `5h`."""
    unit = 60.0 if seconds < 2 * 3600 else 3600.0
    return duration_text(round(seconds / unit) * unit)
