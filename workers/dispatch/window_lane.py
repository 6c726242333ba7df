"""A lane with a sliding window, for transports that send many events at once. A slow answer delays one attempt only.

What the window holds stays pending in the consumer group, or claimed as a retry, until its result is settled. So the
process may be killed between any two effects: `crash` is called there with one of `WINDOW_CRASH_POINTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import redis

from bridge import clock
from bridge.errors import DeliveryFailed
from bridge.state.errors import state_errors
from workers.dispatch.lane import Lane
from workers.dispatch.rate import RateLimit
from workers.dispatch.settlement import Row, failure_text, outcome_row, postpone_row
from workers.dispatch.window import Slot, Window
from workers.transports.contract import Outcome, Try, WindowTransport

__all__ = ["WINDOW_CRASH_POINTS", "WindowLane"]

#: Points between two effects, at which a test may end the process.
WINDOW_CRASH_POINTS = ("read", "started", "answered", "settled", "judged", "parked", "recalled")

#: While events are under way, a wait for new ones or for answers ends after this many seconds.
_READ_SECONDS, _ANSWER_SECONDS = 0.1, 0.5
#: The same for new events while more retries may wait: the answers make room for them.
_FULL_SECONDS = 0.02
#: With a rate, no more is held than can be sent in this many seconds.
_HELD_SECONDS = 30.0
#: While there are new events, and for this many seconds after the last one, retries get an eighth of the requests under
#: way; otherwise three quarters, so that a new event finds a free one.
_LIVE_SECONDS, _LIVE_SHARE, _QUIET_SHARE = 5.0, 0.125, 0.75
#: A retry that could not be sent for a reason beyond the receiver is due again after this many seconds.
_AGAIN_SECONDS = 1.0


class WindowLane(Lane):
    """Serves one subscription in one partition, like `Lane`; `step` never waits for one particular answer."""

    transport: WindowTransport

    def __init__(self, *args: Any, **options: Any) -> None:
        """The arguments of `Lane`."""
        super().__init__(*args, **options)
        concurrency, rate = self.transport.concurrency, self.subscription.rate
        # Twice what is under way, so that the receiver has work while results are settled; as many may wait behind
        # events of the same attempts.
        limit, capacity = 2 * concurrency, 3 * concurrency
        if rate is not None:
            capacity = max(1, min(capacity, int(_HELD_SECONDS * rate.events / rate.per)))
        self._rate = None if rate is None else RateLimit(self._state, self.subscription.name, rate)
        self._window = Window(limit, capacity)
        #: UNIX seconds of the last new event.
        self._new_at = 0.0
        #: Results that are not settled yet.
        self._results: list[tuple[int, Slot, Try]] = []
        #: Whether the transport may keep events back because one failed.
        self._held_back = False
        #: Whether the last read brought less than there was room for.
        self._drained = False

    def step(self, now: Callable[[], float], draw: Callable[[], float], *, block: float = 0.0) -> float:
        """Settle what was answered, send what the window lets through; returns the seconds to wait, 0 while it sends.

        Arguments and errors are those of `Lane.step`.
        """
        with state_errors():
            self._join()
            # `http` never waits: a receiver that cannot be reached is a failed try.
            self._waits.end()
            self._collect(0.0)
            word, failing = self._circuit.admit(now(), sending=self._window.sending > 0)
            if self._results:
                if word == "go" and not any(tried.failure for _, _, tried in self._results):
                    # Nothing to judge: the receiver gets more events while these are settled.
                    self._start(now, self._window.limit)
                elif self._record(now, draw, failing=failing):
                    word, failing = self._circuit.admit(now(), sending=self._window.sending > 0)
            if word != "go":
                self._recall(self._window.recall(self.transport.withdraw()), now())
            if word in ("go", "probe"):
                wait = self._fill(now, draw, block, probe=word == "probe")
            else:
                wait = self._rest(word, 0.0 if self._window.sending or self._results else block)
            self._record(now, draw, failing=failing)
            if not self._window.sending:
                return wait
            reads = word == "go" and self._drained and self._window.room and not self._window.waiting
            if block and not reads:
                self._collect(min(block, wait or _ANSWER_SECONDS, _ANSWER_SECONDS))
            return 0.0

    def finish(self, now: Callable[[], float], draw: Callable[[], float], *, within: float) -> None:
        """Send nothing more, and settle what is answered within the time."""
        with state_errors():
            self._recall(self._window.recall(self.transport.withdraw()), now())
            until = clock.monotonic() + within
            self._record(now, draw, failing=True)
            while (left := until - clock.monotonic()) > 0 and self._window.sending:
                self._collect(left)
                self._record(now, draw, failing=True)

    # --- reading and sending

    def _fill(self, now: Callable[[], float], draw: Callable[[], float], block: float, *, probe: bool) -> float:
        """Read and start what may be sent; returns the seconds to wait if nothing is under way."""
        window, wait, read, may_block = self._window, 0.0, 0, block > 0 and not probe
        self._recall(window.recall_claims(now() + self._reader.lease / 2), now())
        room = min(window.room, 1) if probe else window.room
        if room and not (probe and window.waiting):
            retries = self._retry_limit(now()) - window.retries
            if probe or window.waiting or self._results or not self._drained:
                block = 0.0
            elif window.sending:
                block = min(block, _READ_SECONDS if retries > 0 else _FULL_SECONDS)
            batch = self._reader.next_batch(now(), room, block, held=window.entries(), most_retries=retries)
            if any(item.entry for item in batch.items):
                self._new_at = now()
            # A read without waiting does not show whether more events come: the next step waits for them.
            wait, read = 0.0 if may_block else batch.wait, len(batch.items)
            self._drained = read < room
            if batch.items:
                self._hold(batch.items, batch.claim, batch.alone, now, draw)
            if batch.must_drain:
                wait = 0.0
        started, rate_wait = self._start(now, 1 if probe else window.limit)
        if probe and not started and not window.sending:
            # There is nothing to probe with, or the filter excluded it: let the next event be the probe immediately.
            self._circuit.probe_again()
            return 0.0 if read else max(0.5, wait)
        if read and not window.waiting:
            return 0.0
        return max(rate_wait, 0.0 if window.waiting or not self._drained else wait)

    def _retry_limit(self, now: float) -> int:
        share = _LIVE_SHARE if abs(now - self._new_at) < _LIVE_SECONDS else _QUIET_SHARE
        return max(1, int(self.transport.concurrency * share))

    def _hold(
        self, items: Sequence[Any], claim: str, alone: bool, now: Callable[[], float], draw: Callable[[], float]
    ) -> None:
        self._crash("read")
        try:
            prepared, rows = self._guarded.prepare(items, now())
        except Exception as error:  # noqa: BLE001 - the same events must not fail endlessly
            self._settle(self._guarded.charge(items, error, now(), draw), claim, now())
            return
        self._settle(rows, claim, now())
        self._window.add([Slot(item, event, "" if item.entry else claim, alone) for item, event in prepared])

    def _start(self, now: Callable[[], float], limit: int) -> tuple[int, float]:
        """Start events; returns (number started, seconds until the rate lets more through)."""
        chosen, wait = self._window.startable(limit), 0.0
        if chosen and self._rate is not None:
            granted, wait = self._rate.take(len(chosen), now())
            chosen = chosen[:granted]
        if chosen or self._held_back:
            self._held_back = False
            started = self._window.start(chosen)
            self.transport.start([(number, slot.outgoing) for number, slot in started], now=now())
            self._crash("started")
        return len(chosen), wait

    # --- settling

    def _collect(self, timeout: float) -> None:
        """Take what was answered, waiting up to `timeout` seconds."""
        for number, tried in self.transport.results(timeout):
            self._results.append((number, self._window.answer(number), tried))
            self._held_back = self._held_back or tried.failure is not None

    def _record(self, now: Callable[[], float], draw: Callable[[], float], *, failing: bool) -> bool:
        """Settle the results and judge the receiver by them; returns whether there were any. Kept until then."""
        results, moment = self._results, now()
        if not results:
            return False
        self._crash("answered")
        self._guarded.count(tried for _, _, tried in results)
        rows: dict[str, list[Row]] = {}
        charged: list[Outcome] = []
        uncharged: list[tuple[Slot, DeliveryFailed]] = []
        for _, slot, tried in results:
            if tried.failure is None or tried.failure.charged:
                charged.append(tried.failure)
                rows.setdefault(slot.claim, []).append(self._row(slot, tried, moment, draw))
            else:
                uncharged.append((slot, tried.failure))
        for slot, _ in uncharged:
            if not slot.item.entry:
                rows.setdefault(slot.claim, []).append(postpone_row(slot.item, moment + _AGAIN_SECONDS))
        for claim, part in rows.items():
            self._settle(part, claim, moment)
        self._crash("settled")
        self._window.settled([number for number, _, _ in results])
        self._results = []
        gone = next((failure_text(failure) for _, failure in uncharged if failure.reason == "gone"), "")
        if gone or (failing and charged) or any(charged):
            self._circuit.record(charged, moment, gone=gone)
            self._crash("judged")
        self._park([slot.item.entry for slot, _ in uncharged if slot.item.entry], "parked")
        self._show(
            [(slot.item, tried) for _, slot, tried in results], [row for part in rows.values() for row in part], moment
        )
        return True

    def _row(self, slot: Slot, tried: Try, moment: float, draw: Callable[[], float]) -> Row:
        try:
            return outcome_row(slot.item, tried, self.subscription, moment, draw)
        except redis.RedisError:
            raise
        except Exception as error:  # noqa: BLE001 - the same result must not fail endlessly
            (row,) = self._guarded.charge([slot.item], error, moment, draw)
            return row

    def _recall(self, slots: Sequence[Slot], now: float) -> None:
        """Give back what was read and not sent; it is neither charged nor suspected."""
        claims = {slot.claim for slot in slots if slot.claim}
        for claim in claims:
            self._settle([postpone_row(slot.item, now) for slot in slots if slot.claim == claim], claim, now)
        self._park([slot.item.entry for slot in slots if slot.item.entry], "recalled")

    def _park(self, entries: Sequence[str], point: str) -> None:
        if entries:
            self._member.keep(entries)
            self._reader.may_have_pending = True
            self._crash(point)
