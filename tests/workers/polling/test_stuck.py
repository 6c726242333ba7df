"""A thread that hangs while it reads from a source is found, logged and announced, also when no other is free."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial

import pytest
import redis
from structlog.testing import capture_logs

from bridge.polling.turns import STUCK_SECONDS, StuckReading, StuckReadings, Turns
from bridge.services import Services
from bridge.state import keys
from schemas.notices import POLL_FAILING
from tests.support.polling import Api, journal, make_services, make_vendor
from tests.support.waiting import until
from workers.polling.source_access import exclusive_access, never
from workers.polling.stuck import StuckWatch
from workers.polling.watchdog import check_sources

NAME, NOW = "eu-little", 1_800_000_000.0


class Hanging:
    """A worker of which one thread reads from a source, and hangs in a function of its own until it is released."""

    def __init__(self, state: redis.Redis) -> None:
        self.moment = 0.0
        self.services = make_services(state, make_vendor(Api(lambda: NOW)), lambda: NOW + self.moment)
        self.services.__dict__["turns"] = Turns(lambda: self.moment)
        self.go_on, self.released, self._inside = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        self._inside.wait(30)

    def _read(self) -> None:
        (source,) = self.services.config.sources.values()
        with exclusive_access(self.services, source, spender="poll", stopping=never) as access:
            assert access is not None
            self._inside.set()
            self.go_on.wait(30)
            access.calls.request("GET", "https://api.example.test/", free=True)
            self._inside.set()
            self.hang_here()

    def hang_here(self) -> None:
        self.released.wait(30)

    def call(self) -> None:
        self._inside.clear()
        self.go_on.set()
        self._inside.wait(30)

    def release(self) -> None:
        self.go_on.set()
        self.released.set()
        self._thread.join(30)
        # What raises the alarm goes on in a thread of its own, and the state server is that of the next test too.
        for thread in threading.enumerate():
            if thread.name == "stuck":
                thread.join(30)


@pytest.fixture
def hanging(state: redis.Redis) -> Hanging:
    return Hanging(state)


def test_a_turn_that_makes_no_progress_is_logged_once_and_raises_the_alarm(hanging: Hanging) -> None:
    checked: list[Services] = []
    watch = StuckWatch(hanging.services, check=lambda services: checked.append(services) or check_sources(services))
    try:
        with capture_logs() as logs:
            hanging.moment = STUCK_SECONDS - 1
            watch()
            # A call is progress.
            hanging.call()
            hanging.moment += STUCK_SECONDS - 1
            watch()
            assert logs == []
            hanging.moment += 2
            for _ in range(3):
                watch()
            until(lambda: journal(hanging.services.state))
    finally:
        hanging.release()
    (line,) = [line for line in logs if line["event"] == "reading_stuck"]
    assert (line["source"], line["seconds"]) == (NAME, STUCK_SECONDS + 1)
    assert " hang_here" in line["where"]
    assert journal(hanging.services.state) == [(POLL_FAILING, NAME)]
    assert len(checked) == 1
    stored = StuckReadings(hanging.services.state).of(NAME)
    assert stored is not None
    assert stored.since == NOW + hanging.moment - STUCK_SECONDS - 1


def test_a_turn_that_is_over_is_not_stuck(hanging: Hanging) -> None:
    hanging.release()
    hanging.moment = 10 * STUCK_SECONDS
    assert hanging.services.turns.stuck(NOW) == ()


def test_a_report_from_before_the_clock_was_set_back_is_over_in_its_usual_time(state: redis.Redis) -> None:
    reports = StuckReadings(state)
    reports.report(StuckReading(source=NAME, since=NOW, where="x"))
    state.pexpire(keys.stuck_reading(NAME), 7_200_000)
    assert reports.of(NAME) is not None
    assert 0 < state.pttl(keys.stuck_reading(NAME)) <= 90_000  # type: ignore[operator]  # not asynchronous


def _one_progress_a_turn(patch: pytest.MonkeyPatch) -> None:
    """Calls are no progress."""
    plain = Turns.progress
    patch.setattr(Turns, "progress", lambda turns, source: turns._turns or plain(turns, source))


def _log_again(patch: pytest.MonkeyPatch) -> None:
    plain = StuckWatch.__call__

    def call(watch: StuckWatch) -> None:
        watch._known = frozenset()
        plain(watch)

    patch.setattr(StuckWatch, "__call__", call)


MUTANTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "a call is no progress": _one_progress_a_turn,
    "nothing is ever stuck": lambda patch: patch.setattr(Turns, "stuck", lambda *_: ()),
    "it is stuck a little later": lambda patch: patch.setattr("bridge.polling.turns.STUCK_SECONDS", STUCK_SECONDS + 5),
    "it is logged again and again": _log_again,
    "no alarm is raised": lambda patch: patch.setattr(StuckWatch, "_raise_alarm", lambda _: None),
    "the state server is not told": lambda patch: patch.setattr(StuckReadings, "report", lambda *_: None),
    "the place is not named": lambda patch: patch.setattr("bridge.polling.turns._where", lambda _: "unknown"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_broken_watch_is_noticed(mutant: str, hanging: Hanging, monkeypatch: pytest.MonkeyPatch) -> None:
    MUTANTS[mutant](monkeypatch)
    monkeypatch.setitem(globals(), "until", partial(until, seconds=0.5))
    with pytest.raises((AssertionError, ValueError)):
        test_a_turn_that_makes_no_progress_is_logged_once_and_raises_the_alarm(hanging)


def test_a_turn_that_is_never_ended_is_noticed(hanging: Hanging, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Turns, "end", lambda _: None)
    with pytest.raises(AssertionError):
        test_a_turn_that_is_over_is_not_stuck(hanging)
