"""When a watch is rechecked next, and when it ends. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from bridge.polling.open_watch import EXPECTATION, POINTER, OpenWatch

__all__ = ["Found", "Next", "after_recheck"]


class Found(IntEnum):
    """What the answer to a recheck has, though with nothing new."""

    #: No attempt.
    NOTHING = 0
    #: An attempt that the pointer may mean, under another id than the webhook named.
    POSSIBLE = 1
    #: The attempt that the pointer names.
    NAMED = 2


@dataclass(frozen=True, slots=True)
class Next:
    """What follows a recheck."""

    #: The watch from now on; None: it ends.
    watch: OpenWatch | None
    #: A deadline has passed: that of the watch, or that of an expectation whose watch goes on.
    overdue: bool = False


def after_recheck(
    before: OpenWatch,
    watch: OpenWatch,
    *,
    pointer_schedule: Sequence[float],
    recheck_schedule: Sequence[float],
    answer: Found,
    complete: bool = True,
    now: float,
) -> Next:
    """What follows a recheck at `now` that did not end the watch.

    `before`: the watch as the recheck began; `watch`: as it is now, not urged meanwhile. `complete`: False where
    calls were missing because others had spent them. The schedules are in seconds, and their last entry repeats.

    What a webhook announced is rechecked by `pointer_schedule` once to its end, whatever the kind of watch: vendors
    announce results that their APIs show some time later. After it, or when the announced result has come, the watch
    has its own schedule again. A pointer has no other: it ends if the attempt that it names has nothing new, and
    otherwise repeats the last step until its deadline. It is overdue at its deadline if no recheck since the webhook
    found an attempt that it may mean: the last ones may have had no answer.
    """
    if watch.announced is None and (before.announced is not None or before.kind != watch.kind):
        # The record that was read has opened the watch again, or was the one announced: it has set the next recheck.
        return Next(watch)
    is_pass = watch.announced is not None and now < watch.announced and watch.rechecks < len(pointer_schedule)
    if watch.kind == POINTER and answer is Found.NAMED and not is_pass:
        return Next(None)
    if watch.kind == POINTER and answer:
        watch = replace(watch, found=True)
    ends = [watch.give_up_at]
    if watch.expected_deadline is not None:
        ends.append(watch.expected_deadline)
    if is_pass and watch.announced is not None:
        ends.append(watch.announced)
    left = [end for end in ends if end > now]
    if not left and not complete:
        # The last recheck must be a complete one, even if late.
        return Next(replace(watch, rechecks=watch.rechecks + 1, due=now + _step(recheck_schedule, watch.rechecks)))
    if not left:
        return Next(None, overdue=not watch.found)
    overdue = watch.expected_deadline is not None and watch.expected_deadline <= now
    following = _following(watch, is_pass, pointer_schedule, recheck_schedule, now)
    if watch.kind == EXPECTATION and overdue and is_pass and watch.announced is not None:
        # The operator's deadline has passed, the webhook's has not.
        following = replace(following, kind=POINTER, give_up_at=watch.announced)
    return Next(replace(following, due=min(following.due, *left)), overdue=overdue)


def _following(
    watch: OpenWatch, is_pass: bool, pointer_schedule: Sequence[float], recheck_schedule: Sequence[float], now: float
) -> OpenWatch:
    rechecks = watch.rechecks
    if watch.kind == POINTER:
        step = _step(pointer_schedule, rechecks)
    elif is_pass:
        # No later than without the webhook.
        step = min(pointer_schedule[rechecks], recheck_schedule[0])
    else:
        rechecks = 0 if watch.announced is not None else rechecks
        if watch.kind == EXPECTATION and watch.expected_due is not None and watch.expected_due > now:
            return replace(watch, announced=None, rechecks=0, due=watch.expected_due)
        return replace(watch, announced=None, rechecks=rechecks + 1, due=now + _step(recheck_schedule, rechecks))
    return replace(watch, rechecks=rechecks + 1, due=now + step)


def _step(schedule: Sequence[float], rechecks: int) -> float:
    return schedule[min(rechecks, len(schedule) - 1)]
