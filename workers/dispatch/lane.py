"""A lane: the deliveries of one subscription in one partition. Reads, sends and settles in steps, without threads.

Anything not settled stays pending in the consumer group, so the process may be killed between any two effects of a
step: `crash` is called there with the name of the point, one of `CRASH_POINTS`.

Order: the events of one attempt are in one partition and are sent in the order of the journal as long as no try fails
and one dispatch process serves the subscription; otherwise `revision` distinguishes old from new.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import cast

import redis
from redis.client import Pipeline

from bridge.config.model import Subscription
from bridge.delivery.outcomes import outcome_keys, register
from bridge.delivery.try_feed import TryFeed
from bridge.errors import DeliveryFailed
from bridge.state import counts, keys, scripts
from bridge.state.cluster.slot_map import LOST
from bridge.state.errors import state_errors
from workers.dispatch.circuit import Circuit
from workers.dispatch.ended_tries import ended_tries
from workers.dispatch.guarded import GuardedSteps
from workers.dispatch.idle import IdleLane, IdleLanes
from workers.dispatch.membership import GroupMember
from workers.dispatch.reading import Batch, DeliveryReader, Sent
from workers.dispatch.schedule import Limits
from workers.dispatch.settlement import (
    Item,
    Row,
    failure_text,
    outcome_row,
    postpone_row,
    with_receipt_awaited,
)
from workers.dispatch.waits import Waits
from workers.transports.contract import Outcome, Outgoing, Transport, Try

__all__ = ["CRASH_POINTS", "Lane"]

#: Points between two effects of a step, at which a test may end the process.
CRASH_POINTS = ("read", "expected", "sent", "settled", "judged", "parked")

_LIMITS = Limits()
_SCRIPTS = ("follow_clock",)
#: Seconds that the state server's clock may go back before its retries are moved, and how often its time is stored.
_CLOCK_SLACK, _CLOCK_STORED = 30.0, 10.0


class Lane:
    """Serves one subscription in one partition as one consumer of its group. Not thread-safe.

    `state` may retry scripts; `blocking_client` must not retry anything: a repeated XREADGROUP hides entries.
    """

    #: Where a new subscription begins: with every event of the journal.
    _begins = "0"
    #: See `DeliveryReader`.
    _suspect_after = 1

    def __init__(
        self,
        subscription: Subscription,
        partition: int,
        *,
        transport: Transport,
        state: redis.Redis,
        blocking_client: redis.Redis,
        consumer: str,
        limits: Limits = _LIMITS,
        idle: IdleLanes | None = None,
        crash: Callable[[str], None] = lambda point: None,
    ) -> None:
        """`idle`: where the lane waits, together with others, when it has nothing to do."""
        self.subscription = subscription
        self.transport = transport
        self.partition = partition
        self._client, self._state = blocking_client, state
        self._consumer = consumer
        self._limits = limits
        self._crash = crash
        name = subscription.name
        self._journal, self._group = keys.journal(partition), keys.group(name)
        circuit_lane = f"{consumer}|{partition}"
        self._idle = None if idle is None else IdleLane(idle, name, partition, circuit_lane)
        places = {"journal": self._journal, "group": self._group, "start": self._begins}
        self._member = GroupMember(blocking_client, consumer=consumer, idle=self._idle, **places)
        #: Whether a process of the group is dead, so that `adopt` must be called.
        self.adoption_due = False
        self._retry, self._records = keys.retry(name, partition), keys.deliveries(name, partition)
        self._counters = keys.subscription_state(name, partition)
        self._settle_keys = [*outcome_keys(name, partition), self._journal]
        self._feed = TryFeed(state)
        self._circuit = Circuit(state, name, circuit_lane, limits, apart=partition > 0)
        self._scripts = {script: scripts.register(state, __file__, script) for script in _SCRIPTS}
        self._scripts["settle"] = register(state, __file__, "settle", after=(counts.ADD_COUNTS,))
        self._guarded = GuardedSteps(subscription, self.count_unexpected)
        self._reader = DeliveryReader(
            subscription,
            partition,
            member=self._member,
            state=state,
            limits=limits,
            guarded=self._guarded,
            settle=self._settle,
            suspect_after=self._suspect_after,
        )
        self._joined = self._listed = False
        self._waits = Waits(blocking_client, name, counters=self._counters, retry=self._retry)

    def recover(self) -> None:
        """Start over after an exception of `step`: a read whose reply was lost may have left entries pending."""
        self._joined = False
        self._reader.recover()

    def finish(self, now: Callable[[], float], draw: Callable[[], float], *, within: float) -> None:
        """Settle what is under way, for at most `within` seconds: the process is ending. A batch ends with its step."""

    def step(self, now: Callable[[], float], draw: Callable[[], float], *, block: float = 0.0) -> float:
        """Handle at most one batch; returns the seconds to wait before the next step (0 if there may be more).

        `now`: UNIX seconds of the state server, read again after each wait. `draw`: uniform in [0, 1). `block`:
        seconds to wait for an event if there is none. Raises `StateUnavailable`; call `recover` after it.
        """
        with state_errors():
            self._join()
            word, failing = self._circuit.admit(now())
            if word not in ("go", "probe"):
                return self._rest(word, block)
            probe = word == "probe"
            limit = 1 if probe else self.transport.batch
            batch = self._reader.next_batch(now(), limit, 0.0 if probe else block)
            if batch.items:
                handle = partial(self._handle, batch, now, draw, failing=failing, probe=probe)
                return self._guarding(batch, now, draw, handle)
            self._waits.forget(now())
            if probe:
                # There is no event to probe with: let the next one be the probe immediately.
                self._circuit.probe_again()
                return max(0.5, batch.wait)
            return batch.wait

    def follow_clock(self, now: float, pipe: Pipeline | None = None) -> int:
        """Move the retries if the clock was set back; returns by how many seconds. Thread-safe.

        `now`: by the state server. With `pipe` the script is only added to it, and its answer is the number.
        """
        args: list[str | float] = [f"{now:.3f}", _CLOCK_SLACK, _CLOCK_STORED]
        with state_errors():
            answer = self._scripts["follow_clock"](keys=[self._retry, self._counters], args=args, client=pipe)
        return 0 if pipe is not None else cast("int", answer)

    def adopt(self, alive: Callable[[str], bool]) -> int:
        """Take over the pending entries of consumers that are not `alive`; returns how many."""
        self.adoption_due = False
        if self._idle is not None:
            self._idle.urged = False
        with state_errors():
            taken = self._member.adopt(alive)
        self._reader.may_have_pending = self._reader.may_have_pending or taken > 0
        return taken

    def leave(self) -> None:
        """Remove this consumer, unless entries are pending."""
        with state_errors():
            self._member.leave()

    @property
    def place(self) -> tuple[str, str]:
        """Journal and group."""
        return self._journal, self._group

    def request_adoption(self) -> None:
        """Let the thread of the lane call `adopt` soon. Thread-safe."""
        self.adoption_due = True
        if self._idle is not None:
            self._idle.urge()

    def _rest(self, word: str, block: float) -> float:
        """Wait for the end of a pause, at most `block` seconds; returns the seconds to wait beyond that."""
        if self._idle is None or block <= 0 or word not in ("paused", "disabled"):
            return 1.0
        self._idle.arm(stopped=True)
        self._idle.wait(block)
        return 0.0

    def _join(self) -> None:
        if not self._joined:
            if not self._listed:
                self._client.sadd(keys.subscriptions(), self.subscription.name)
                self._listed = True
            self._member.join()
            self._joined = True

    # --- sending and settling

    def _guarding(
        self, batch: Batch, now: Callable[[], float], draw: Callable[[], float], handle: Callable[[], float]
    ) -> float:
        try:
            return handle()
        except redis.RedisError:
            raise
        except Exception as error:  # noqa: BLE001 - the same batch must not fail endlessly
            moment = now()
            self._settle(self._guarded.charge(batch.items, error, moment, draw), batch.claim, moment)
            return 0.0

    def _handle(
        self, batch: Batch, now: Callable[[], float], draw: Callable[[], float], *, failing: bool, probe: bool
    ) -> float:
        self._crash("read")
        prepared, rows = self._guarded.prepare(batch.items, now())
        tries = self._send(prepared, now()) if prepared else []
        return self._conclude(Sent(batch, prepared, rows, tries), now(), draw, failing=failing, probe=probe)

    def _conclude(
        self, sent: Sent, moment: float, draw: Callable[[], float], *, failing: bool, probe: bool = False
    ) -> float:
        """Settle a batch and judge the receiver by its tries; returns the seconds to wait before the next one."""
        tried_items = [(item, tried) for (item, _), tried in zip(sent.prepared, sent.tries, strict=True)]
        rows = list(sent.rows)
        charged: list[Outcome] = []
        uncharged: list[tuple[Item, DeliveryFailed]] = []
        for item, tried in tried_items:
            if tried.failure is None or tried.failure.charged:
                charged.append(tried.failure)
                rows.append(outcome_row(item, tried, self.subscription, moment, draw))
            else:
                uncharged.append((item, tried.failure))
        if charged or not uncharged:
            self._waits.end()
        wait = self._waits.begin(failure_text(uncharged[0][1]), moment) if uncharged else 0.0
        rows += [postpone_row(item, moment + wait) for item, _ in uncharged if item.entry == ""]
        self._settle(rows, sent.batch.claim, moment)
        self._crash("settled")
        gone = next((failure_text(failure) for _, failure in uncharged if failure.reason == "gone"), "")
        if gone or (failing and charged) or any(charged):
            self._circuit.record(charged, moment, gone=gone)
            self._crash("judged")
        elif probe and not tried_items:
            # The filter excluded every event, which shows nothing about the receiver.
            self._circuit.probe_again()
        parked = [item.entry for item, _ in uncharged if item.entry]
        if parked:
            self._member.keep(parked)
            self._reader.may_have_pending = True
            self._crash("parked")
        self._show(tried_items, rows, moment)
        return wait

    def _send(self, prepared: Sequence[tuple[Item, Outgoing]], now: float) -> list[Try]:
        if self.subscription.receipts.required:
            self._expect_receipts([item for item, _ in prepared], now)
        tries = self._guarded.send(self.transport, [outgoing for _, outgoing in prepared], now)
        self._crash("sent")
        return tries

    def count_unexpected(self, number: int = 1) -> None:
        """Count unexpected errors for the metrics. Raises the errors of redis-py."""
        self._client.hincrby(self._counters, "unexpected", number)

    def _expect_receipts(self, items: Sequence[Item], now: float) -> None:
        """Store that receipts are awaited before sending, because a fast receiver confirms before the send returns."""
        due = f"{now + self.subscription.receipts.within:.3f}"
        pipe = self._client.pipeline(transaction=True)
        for item in items:
            if item.entry:
                pipe.hset(self._records, item.delivery.id, with_receipt_awaited(item.delivery, now).to_json())
                pipe.zadd(self._retry, {item.delivery.id: due})
        pipe.execute()
        self._crash("expected")

    def _settle(self, rows: Sequence[Row], claim: str, now: float) -> None:
        if not rows:
            return
        name = self.subscription.name
        args: Row = [self._group, self._consumer, claim, f"{now:.3f}", name, str(len(rows))]
        names = [*self._settle_keys, *counts.names(keys.delivery_counts, self.partition, now)]
        self._scripts["settle"](keys=names, args=[*args, *(part for row in rows for part in row)])

    def _show(self, tried: Sequence[tuple[Item, Try]], rows: Sequence[Row], now: float) -> None:
        """Show tries to those who watch."""
        # On a cluster, only the server of the feed may be away; if so, nobody is watching.
        with suppress(*LOST):
            if not tried or not self._feed.is_watched(now):
                return
            self._feed.show(ended_tries(self.subscription.name, tried, rows))
