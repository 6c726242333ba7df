"""A lane that reads the next batch while one is being sent, for transports that wait for a server.

Only full batches are sent that way, by a thread: with less to send there is nothing to gain.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from bridge.state.errors import state_errors
from workers.dispatch.lane import Lane
from workers.dispatch.reading import Batch, Sent
from workers.transports.contract import Try

__all__ = ["AheadLane"]

#: Retries are claimed while nothing is under way, and at least this often, in seconds.
_RETRIES_SECONDS = 1.0


class AheadLane(Lane):
    """Serves one subscription in one partition, like `Lane`.

    What was read ahead is sent once everything before it was delivered. Otherwise it is given back and read again, so a
    failing receiver gets no more than it would get from `Lane`.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        """The arguments of `Lane`."""
        super().__init__(*args, **options)
        self._under_way: _UnderWay | None = None
        #: UNIX seconds until which new entries may be read ahead.
        self._ahead_until = 0.0

    def step(self, now: Callable[[], float], draw: Callable[[], float], *, block: float = 0.0) -> float:
        """Arguments, result and errors are those of `Lane.step`."""
        if self._under_way is None:
            self._ahead_until = now() + _RETRIES_SECONDS
            return super().step(now, draw, block=block)
        with state_errors():
            self._join()
            word, failing = self._circuit.admit(now(), sending=True)
            batch = self._read_ahead(now()) if word == "go" else Batch()
            ended, self._under_way = self._under_way, None
            tries = ended.tries()
            if batch.items and not any(tried.failure for tried in tries):
                self._begin(batch, now)
            else:
                self._give_back(batch)
            return self._end(ended, tries, now, draw, failing=failing)

    def finish(self, now: Callable[[], float], draw: Callable[[], float], *, within: float) -> None:
        """Settle what is under way if it ends within the time."""
        ended, self._under_way = self._under_way, None
        if ended is not None and ended.has_ended(within):
            with state_errors():
                self._end(ended, ended.tries(), now, draw, failing=True)

    def _handle(
        self, batch: Batch, now: Callable[[], float], draw: Callable[[], float], *, failing: bool, probe: bool
    ) -> float:
        if failing or probe or batch.alone or len(batch.items) < self.transport.batch:
            return super()._handle(batch, now, draw, failing=failing, probe=probe)
        self._begin(batch, now)
        return 0.0

    def _begin(self, batch: Batch, now: Callable[[], float]) -> None:
        self._crash("read")
        prepared, rows = self._guarded.prepare(batch.items, now())
        send = partial(self._send, prepared, now()) if prepared else list[Try]
        self._under_way = _UnderWay(Sent(batch, prepared, rows, ()), send)

    def _end(
        self,
        ended: _UnderWay,
        tries: Sequence[Try],
        now: Callable[[], float],
        draw: Callable[[], float],
        *,
        failing: bool,
    ) -> float:
        sent = replace(ended.sending, tries=tries)
        return self._guarding(sent.batch, now, draw, partial(self._conclude, sent, now(), draw, failing=failing))

    def _read_ahead(self, now: float) -> Batch:
        """Read new entries, unless others have to come first."""
        if self._reader.may_have_pending or now >= self._ahead_until:
            return Batch()
        return self._reader.next_batch(now, self.transport.batch, 0.0, most_retries=0)

    def _give_back(self, batch: Batch) -> None:
        """Give entries back untried: they stay pending and are read again."""
        if batch.items:
            self._member.keep([item.entry for item in batch.items])
            self._reader.may_have_pending = True


class _UnderWay:
    """A batch that a thread sends. The thread is a daemon, so the process can end even if the server hangs."""

    def __init__(self, sending: Sent, send: Callable[[], Sequence[Try]]) -> None:
        """`sending`: without its tries. `send`: gives them."""
        self.sending = sending
        self._send = send
        self._tries: Sequence[Try] = ()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True, name="sending")
        self._thread.start()

    def _run(self) -> None:
        try:
            self._tries = self._send()
        except BaseException as error:  # noqa: BLE001 - raised by `tries`
            self._error = error

    def has_ended(self, within: float) -> bool:
        """Wait at most `within` seconds for its end."""
        self._thread.join(within)
        return not self._thread.is_alive()

    def tries(self) -> Sequence[Try]:
        """Wait for its end. Raises what `send` raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._tries
