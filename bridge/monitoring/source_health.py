"""What is wrong with a source, judged from facts. Pure: `workers/polling/watchdog.py` reads the facts and acts.

Where nothing can be judged at the moment, as for a paused source, the earlier result is kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile

from bridge.errors import clip
from bridge.monitoring.traffic_baseline import (
    CLOCK_TOLERANCE,
    HourlyTotals,
    TrafficState,
    announced_share,
    expected_webhooks,
)
from bridge.polling.cursors import RoundReport, StreamPosition
from bridge.polling.turns import StuckReading
from bridge.quota.budgets import BudgetStatus
from bridge.quota.windows import OVERDUE, POLL, reserved
from bridge.text import duration_text
from schemas.notices import BUDGET_EXHAUSTED, CREDENTIALS_REJECTED, POLL_FAILING, WEBHOOKS_SILENT

__all__ = ["SourceFacts", "SourceProblem", "StreamFacts", "assess", "with_quota_state"]

#: A silence counts if the probability that it is chance is below this.
_MAX_CHANCE = 1e-6
#: Webhooks that a silent period should have had: e^-14 is about that probability.
_MIN_EXPECTED = math.ceil(-math.log(_MAX_CHANCE))
#: Finds by polling must come from several rounds: the first one after an outage of ours finds many at once.
_MIN_ROUNDS, _MIN_FINDS = 3, 3
#: A stream fails after this many rounds without a page, or this many intervals, but not before this many seconds.
_FAILED_ROUNDS, _FAILED_INTERVALS = 5, 6
_FAILED_SECONDS = 600.0
#: A part of a stream fails after this many rounds in a row without it.
_UNREAD_ROUNDS = 3
#: Calls count as available again after this time without a refusal, seconds.
_QUOTA_RECOVERED_SECONDS = 300.0
#: The quota is exhausted after its window has passed without a call, within these limits, seconds.
_EXHAUSTED_MAX_SECONDS, _EXHAUSTED_MIN_SECONDS = 3600.0, 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceProblem:
    """One problem of a source. Texts are one line each, without personal data."""

    #: When it began, UNIX seconds.
    since: float
    #: What is wrong.
    fact: str
    #: The numbers or the error that show it.
    value: str
    #: What to do.
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFacts:
    """The state of polling for one stream."""

    #: Name of the stream.
    name: str
    #: Seconds between two rounds.
    every: float
    #: When a page was last read, UNIX seconds; None for never.
    saved: float | None
    #: Rounds that ended with an error, newest first.
    failed: tuple[RoundReport, ...]
    #: Part of the stream that could not be read -> the rounds in a row that report it, newest first.
    unread: Mapping[str, tuple[RoundReport, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, every: float, position: StreamPosition, rounds: Sequence[RoundReport]) -> StreamFacts:
        """The facts from `bridge.polling.cursors`; `rounds`: the latest of all streams, newest first."""
        failed = tuple(report for report in rounds if report.stream == name and report.error)
        # A round that read no page proves nothing about the parts.
        read = [report for report in rounds if report.stream == name and (report.unread or not report.error)]
        unread = {part: _rounds_without(part, read) for part in (read[0].unread if read else ())}
        return cls(name=name, every=every, saved=position.saved, failed=failed, unread=unread)


def _rounds_without(part: str, rounds: Sequence[RoundReport]) -> tuple[RoundReport, ...]:
    """The latest rounds in a row that could not read a part."""
    return tuple(takewhile(lambda report: part in report.unread, rounds))


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFacts:
    """Everything that is known about a source at `now`."""

    #: Name of the source.
    name: str
    #: UNIX seconds.
    now: float
    #: Whether an operator or bridge.yaml has paused it.
    paused: bool
    #: Whether it accepts webhooks.
    webhooks: bool
    #: Its traffic up to now.
    traffic: TrafficState
    #: Hour since 1970 -> totals at its end.
    hourly: Mapping[int, HourlyTotals]
    #: The streams that are polled.
    streams: tuple[StreamFacts, ...]
    #: Its calls left and pause.
    budget: BudgetStatus
    #: Kind of alarm -> when it was raised, UNIX seconds.
    raised: Mapping[str, float]
    #: The worker's thread that hangs while reading from the source, if any.
    stuck: StuckReading | None = None


def assess(facts: SourceFacts) -> dict[str, SourceProblem | None]:
    """Kind of alarm -> its problem, or None for none. Kinds that cannot be judged at the moment are left out."""
    if facts.paused:
        return {}
    problems = {CREDENTIALS_REJECTED: _credentials_problem(facts)}
    stopped, no_calls = problems[CREDENTIALS_REJECTED] is not None, facts.traffic.no_calls_since is not None
    if not stopped:
        problems[BUDGET_EXHAUSTED] = _quota_problem(facts)
        if facts.stuck is not None:
            problems[POLL_FAILING] = _stuck_problem(facts.stuck, facts.now)
        elif not no_calls:
            problems[POLL_FAILING] = _polling_problem(facts)
    if not facts.webhooks:
        problems[WEBHOOKS_SILENT] = None
    elif WEBHOOKS_SILENT not in facts.raised:
        usable = not (stopped or no_calls) and _polling_is_current(facts)
        problems[WEBHOOKS_SILENT] = _silence_problem(facts, compare_with_polling=usable)
    elif _has_webhook_since(facts, facts.raised[WEBHOOKS_SILENT]):
        # Only a webhook ends the silence of webhooks.
        problems[WEBHOOKS_SILENT] = None
    return problems


def _is_future(moment: float, now: float) -> bool:
    """Whether a moment was stored before the clock was set back, so that it proves nothing."""
    return moment > now + CLOCK_TOLERANCE


def _has_webhook_since(facts: SourceFacts, raised: float) -> bool:
    last = facts.traffic.last_webhook_at
    since = facts.traffic.watched_since if _is_future(raised, facts.now) else raised
    return last is not None and since < last and not _is_future(last, facts.now)


def with_quota_state(traffic: TrafficState, budget: BudgetStatus, *, polled: bool, now: float) -> TrafficState:
    """The traffic, with whether calls are left at `now`: for a poll, or for a recheck where nothing is polled."""
    if _would_refuse(budget, now, polled=polled):
        since = now if traffic.no_calls_since is None else traffic.no_calls_since
        return replace(traffic, no_calls_since=since, no_calls_at=now)
    if traffic.no_calls_at is None or now - traffic.no_calls_at < _QUOTA_RECOVERED_SECONDS:
        return traffic
    return replace(traffic, no_calls_since=None, no_calls_at=None)


def _would_refuse(budget: BudgetStatus, now: float, *, polled: bool) -> bool:
    """Whether `take.lua` would refuse a poll, or a recheck where nothing is polled; takes no call."""
    if budget.pause is not None:
        return not budget.pause.indefinite
    calls, vendor_limit = budget.window.calls, budget.vendor_limit
    shares = reserved(POLL if polled else OVERDUE, budget.window, now, polled=polled).items()

    def reserved_for_others(scale: float) -> int:
        return sum(max(0, int(share * scale) - budget.spenders.get(other, 0)) for other, share in shares)

    if calls - budget.used <= reserved_for_others(1.0):
        return True
    if vendor_limit is None:
        return False
    return vendor_limit.remaining <= reserved_for_others(min(1.0, vendor_limit.limit / calls))


def _credentials_problem(facts: SourceFacts) -> SourceProblem | None:
    pause = facts.budget.pause
    if pause is None or not pause.indefinite:
        return None
    return SourceProblem(
        since=facts.now,
        fact="the vendor rejects our credentials or permissions; the source is stopped",
        value=clip(pause.reason, 200),
        remedy=f"fix the credentials, restart the bridge, then attempt-bridge sources resume {facts.name}",
    )


def _quota_problem(facts: SourceFacts) -> SourceProblem | None:
    since, budget = facts.traffic.no_calls_since, facts.budget
    enough = max(_EXHAUSTED_MIN_SECONDS, min(_EXHAUSTED_MAX_SECONDS, budget.window.per_seconds))
    if since is None or facts.now - since < enough:
        return None
    spenders = ", ".join(f"{spender} {calls}" for spender, calls in sorted(budget.spenders.items())) or "no spender"
    used = f"{budget.used} of {budget.window.calls} calls per {duration_text(budget.window.per_seconds)} used"
    return SourceProblem(
        since=since,
        fact="no calls are left for polling" if budget.pause is None else "the vendor asks us to wait",
        value=f"{used} ({spenders}), for {_rounded(facts.now - since)}",
        remedy=f"attempt-bridge sources show {facts.name} lists who uses them; poll less often or ask for more",
    )


def _stuck_problem(stuck: StuckReading, now: float) -> SourceProblem:
    return SourceProblem(
        since=stuck.since,
        fact="a thread of the worker hangs",
        value=f"no progress for {_rounded(now - stuck.since)}: {clip(stuck.where, 160)}",
        remedy="restart the worker, and report where it hangs",
    )


def _polling_problem(facts: SourceFacts) -> SourceProblem | None:
    """The problem of the stream that has failed longest; if none has, that of the part of a stream that has."""
    problems = [problem for stream in facts.streams if (problem := _stream_problem(stream, facts))]
    problems = problems or [problem for stream in facts.streams if (problem := _part_problem(stream, facts))]
    return min(problems, key=lambda problem: problem.since, default=None)


def _stream_problem(stream: StreamFacts, facts: SourceFacts) -> SourceProblem | None:
    # A later page is a success; what failed while nothing was watched may have been an outage of ours.
    since = max(facts.traffic.watched_since, _saved(stream, facts.now))
    rounds = [
        report for report in stream.failed if report.started >= since and not _is_future(report.started, facts.now)
    ]
    failing_for = facts.now - (rounds[-1].started if rounds else facts.now)
    many = len(rounds) >= _FAILED_ROUNDS and failing_for >= _FAILED_SECONDS
    if not many and facts.now - since < max(_FAILED_SECONDS, _FAILED_INTERVALS * stream.every):
        return None
    error = clip(rounds[0].error, 160) if rounds else "no round ran; attempt-bridge doctor checks worker and beat"
    return SourceProblem(
        since=since,
        fact="polling fails",
        value=f"{stream.name}: nothing read for {_rounded(facts.now - since)}; failed rounds: {len(rounds)}; {error}",
        remedy=f"attempt-bridge sources show {facts.name} lists the last rounds with their errors",
    )


def _saved(stream: StreamFacts, now: float) -> float:
    return 0.0 if stream.saved is None or _is_future(stream.saved, now) else stream.saved


def _part_problem(stream: StreamFacts, facts: SourceFacts) -> SourceProblem | None:
    """The problem of the part of a stream that has not been read for longest, while the others were."""
    lasting = []
    for part, reports in stream.unread.items():
        rounds = [report for report in reports if report.started >= facts.traffic.watched_since]
        if len(rounds) >= _UNREAD_ROUNDS and facts.now - rounds[-1].started >= _FAILED_SECONDS:
            lasting.append((rounds[-1].started, part, rounds[0].unread[part]))
    if not lasting:
        return None
    since, part, error = min(lasting)
    others = f" (and {len(lasting) - 1} more)" if len(lasting) > 1 else ""
    return SourceProblem(
        since=since,
        fact="a part of the vendor's list cannot be read; the others can",
        value=f"{stream.name}: {part}{others}: nothing read for {_rounded(facts.now - since)}; {clip(error, 160)}",
        remedy=f"attempt-bridge sources show {facts.name} lists the parts; reading resumes once it answers",
    )


def _polling_is_current(facts: SourceFacts) -> bool:
    """Whether polling would have found what webhooks did not announce."""
    current = [facts.now - _saved(stream, facts.now) <= _FAILED_INTERVALS * stream.every for stream in facts.streams]
    return bool(current) and all(current)


def _silence_problem(facts: SourceFacts, *, compare_with_polling: bool) -> SourceProblem | None:
    traffic, now = facts.traffic, facts.now
    if compare_with_polling:
        finds = traffic.found_by_polling - traffic.found_before_quiet
        share = announced_share(traffic, facts.hourly)
        # Too many for webhooks to have missed them all by chance.
        enough = max(_MIN_FINDS, math.log(_MAX_CHANCE) / math.log1p(-share)) if share else math.inf
        if finds < enough or traffic.rounds_with_finds < _MIN_ROUNDS:
            return None
        value, min_expected = f"polling found {finds} attempts without a webhook; normally {share:.0%} have one", 1
    else:
        value, min_expected = "polling cannot confirm it", _MIN_EXPECTED
    expected = expected_webhooks(traffic.quiet_since, now, facts.hourly)
    if expected is None or expected < min_expected:
        return None
    silence = f"none for {_rounded(now - traffic.quiet_since)}, normal for this time of the week: {expected}"
    return SourceProblem(
        since=traffic.quiet_since,
        fact="webhooks have stopped",
        value=f"{silence}; {value}",
        remedy=f"attempt-bridge requests list --source {facts.name}; compare URL and secret at the vendor",
    )


def _rounded(seconds: float) -> str:
    """Seconds for people, in minutes or hours: `40m`, `5h`."""
    unit = 60.0 if seconds < 2 * 3600 else 3600.0
    return duration_text(round(seconds / unit) * unit)
