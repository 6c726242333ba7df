"""Every vendor under faults: a process killed anywhere, many workers at one quota, clocks that differ."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence

import pytest

from bridge.quota.windows import Window
from bridge.sdk.vendor import Quota
from tests.support.contract.engine import SOURCE, Bridge, Killed
from tests.support.contract.wire import Facts, calls_over, wsgi
from workers.polling.poll import poll_once
from workers.polling.recheck import recheck

#: Calls that the scarce quota of these tests allows.
SCARCE = 12


@pytest.mark.long
@pytest.mark.spread("moment", ["before a call", "after a call", "before publishing"])
def test_a_process_that_is_killed_anywhere_loses_nothing_and_repeats_nothing(
    stage, stream, empty_state, monkeypatch, moment
):
    survive_kills(stage, stream, Bridge(stage, empty_state()), monkeypatch, moment)


def test_a_process_that_is_killed_between_page_and_cursor_loses_nothing_and_repeats_nothing(
    stage, polled, variant_state, monkeypatch
):
    survive_kills(stage, polled, Bridge(stage, variant_state), monkeypatch, "before saving the cursor")


def survive_kills(stage, stream, bridge, monkeypatch, moment):
    """Killed at the first such moment, the restarted one at its second, and so on until one gets through."""
    finished = {stage.finish(stream, stage.clock.now - 9_000 + 600 * number) for number in range(7)}
    kills = 0
    while _is_killed(bridge, moment, kills + 1, monkeypatch):
        kills += 1
        bridge.restart()
        assert set(Counter(bridge.published()).values()) <= {1}
        assert kills < 100, "it never gets through"

    assert kills >= 1
    assert Counter(bridge.published()) == Counter(("completed", attempt_id) for attempt_id in finished)


def test_ten_workers_never_exceed_the_quota_and_read_everything_in_the_end(stage, stream, state):
    quota = stage.vendor.quota
    resets_at = None if quota.resets_at is None else _opened(quota, 86_400.0) % 86_400
    bridge = Bridge(stage, state, window=Window(SCARCE, quota.per_seconds, resets_at))
    calls = _counted(bridge, quota)
    finished = {stage.finish(stream, stage.clock.now - 9_000 + 60 * number) for number in range(2 * SCARCE)}
    if not stream:
        bridge.expect()

    windows = 0.0
    while {attempt for _, attempt in bridge.published()} != finished:
        _all_at_once([bridge.process() for _ in range(10)])
        stage.clock.now += quota.per_seconds / 3 + 1
        windows += 1 / 3
        assert windows < 20, "it never gets through"

    assert SCARCE // 2 < max(calls) <= SCARCE
    assert Counter(bridge.published()) == Counter(("completed", attempt_id) for attempt_id in finished)


@pytest.mark.parametrize("skew", [-7_200, 7_200])
def test_a_clock_that_differs_from_the_vendors_reads_the_same(stage, stream, skew):
    """Signatures with a time, windows and cursors: all of them live with two hours more or less on our side."""
    attempt_id = stage.finish(stream, stage.clock.now - 4 * 3_600)
    facts = Facts(name="skewed", credentials=stage.bench.credentials, options=stage.options)
    calls = calls_over(wsgi(stage.bench.wsgi), facts, lambda: stage.clock.now + skew)
    stage.client = stage.vendor.connect(facts, calls)

    assert stage.read_back(stream, attempt_id).attempt_id == attempt_id


def _is_killed(bridge: Bridge, moment: str, number: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether reading everything was cut off at the moment of this number."""
    left = iter(range(number - 1))

    def kill() -> None:
        if next(left, None) is None:
            raise Killed

    where, name = {
        "before publishing": (bridge.services.journal, "publish"),
        "before saving the cursor": (bridge.services.cursors, "save"),
    }.get(moment, (bridge, "wire"))
    whole = getattr(where, name)

    def killing(*args, **options):
        if moment.startswith("before"):
            kill()
        answer = whole(*args, **options)
        if moment.startswith("after"):
            kill()
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(where, name, killing)
        try:
            bridge.read()
        except Killed:
            return True
    return False


def _counted(bridge: Bridge, quota: Quota) -> list[int]:
    """Calls in the vendor's window at each call, as the vendor counts them."""
    wire, times, counts, lock = bridge.wire, [], [], threading.Lock()

    def counting(*call):
        with lock:
            now = bridge.stage.clock.now
            times.append(now)
            counts.append(sum(1 for moment in times if moment > _opened(quota, now)))
        return wire(*call)

    bridge.wire = counting
    return counts


def _opened(quota: Quota, now: float) -> float:
    """When the vendor's window that holds `now` began."""
    if quota.resets_at is None:
        return now - quota.per_seconds
    hour, minute = map(int, quota.resets_at.split(":"))
    return now - (now - hour * 3_600 - minute * 60) % 86_400


def _all_at_once(processes: Sequence) -> None:
    """Each polls and rechecks several times, on a thread of its own."""
    faults = []

    def work(services) -> None:
        try:
            for _ in range(2):
                poll_once(services, SOURCE)
                recheck(services, SOURCE)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test reports it
            faults.append(error)

    threads = [threading.Thread(target=work, args=(process,)) for process in processes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]
