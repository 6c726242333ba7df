"""A lane: one subscription's share of one partition. Read, send, settle, step by step, without threads or clock.

What is not settled stays pending in the consumer group, so a lane may be killed between any two of its effects:
`crash` is called there with the name of the point (`read`, `expected`, `sent`, `settled`, `judged`, `parked`).

Order: the events of one attempt are in one partition and are sent in the order of the journal, as long as no try fails
and one dispatch process serves the subscription; otherwise `revision` tells old from new.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import redis
import structlog

from bridge.config.model import Subscription
from bridge.errors import DeliveryFailed
from bridge.state import keys, scripts
from bridge.state.errors import state_errors
from workers.dispatch.guarded import Claimed, GuardedSteps
from workers.dispatch.membership import GroupMember, PendingEntry, StreamEntry
from workers.dispatch.schedule import Limits, broker_backoff
from workers.dispatch.settlement import (
    Item,
    Row,
    failure_text,
    outcome_row,
    poison_row,
    postpone_row,
    trailing_failures,
    with_receipt_awaited,
)
from workers.transports.contract import Outcome, Outgoing, Transport

__all__ = ["CRASH_POINTS", "Lane"]

CRASH_POINTS = ("read", "expected", "sent", "settled", "judged", "parked")

_LIMITS = Limits()

_log = structlog.get_logger(__name__)


class Lane:
    """Serves one subscription in one partition as one consumer of its group. Not for several threads at once.

    `state` may repeat scripts by itself, `reader` must not repeat anything: a repeated XREADGROUP hides entries.
    """

    def __init__(
        self,
        subscription: Subscription,
        partition: int,
        *,
        transport: Transport,
        state: redis.Redis,
        reader: redis.Redis,
        consumer: str,
        limits: Limits = _LIMITS,
        crash: Callable[[str], None] = lambda point: None,
    ) -> None:
        self.subscription = subscription
        self.transport = transport
        self._reader = reader
        self._consumer = consumer
        self._limits = limits
        self._crash = crash
        name = subscription.name
        self._journal, self._group = keys.journal(partition), keys.group(name)
        self._member = GroupMember(reader, journal=self._journal, group=self._group, consumer=consumer)
        self._retry, self._records = keys.retry(name, partition), keys.deliveries(name, partition)
        self._dead, self._counters = keys.dead(name, partition), keys.subscription_state(name, partition)
        self._claims = keys.claims(name, partition)
        self._circuit = keys.subscription_state(name)
        self._scripts = {
            script: scripts.register(state, __file__, script) for script in ("admit", "claim_due", "settle", "judge")
        }
        self._guarded = GuardedSteps(subscription, self.count_unexpected)
        self._joined = False
        #: Entries may be pending for us: drain them before reading on.
        self._dirty = True
        #: The last step failed and we live: whatever is pending did not kill us.
        self._survived = False
        self._broker_failures = 0
        self._claim = ""

    def recover(self) -> None:
        """After any exception of `step`: look at everything again. An unanswered read may have given us entries."""
        self._joined, self._dirty, self._survived = False, True, True

    def step(self, now: Callable[[], float], draw: Callable[[], float], *, block: float = 0.0) -> float:
        """Handle at most one batch. Returns the seconds to wait before the next step (0: there may be more).

        `now`: UNIX seconds of the state server, asked again after each wait. `draw`: uniform in [0, 1). `block`:
        seconds to wait for an event where there is none. Raises `StateUnavailable`; then call `recover`.
        """
        with state_errors():
            if not self._joined:
                self._member.join()
                self._reader.hdel(self._counters, "waits")
                self._joined = True
            word, failures = self._admit(now())
            if word not in ("go", "probe"):
                return 1.0
            probe = word == "probe"
            items, wait = self._next(now(), 1 if probe else self.transport.batch, 0.0 if probe else block)
            if items:
                try:
                    return self._handle(items, now, draw, failing=failures > 0)
                except redis.RedisError:
                    raise
                except Exception as error:  # noqa: BLE001 - whatever it is: the same batch must not come for ever
                    moment = now()
                    self._settle(self._guarded.charge(items, error, moment, draw), moment)
                    return 0.0
            if probe:
                # Nothing to probe with: let the next event be the probe at once.
                self._reader.hset(self._circuit, "open_until", 0)
                return max(0.5, wait)
            return wait

    def adopt(self, alive: Callable[[str], bool]) -> int:
        """Take over what consumers left behind that are not `alive`. How many entries."""
        with state_errors():
            taken = self._member.adopt(alive)
        self._dirty = self._dirty or taken > 0
        return taken

    def leave(self) -> None:
        """End in order."""
        with state_errors():
            self._member.leave()

    def _admit(self, now: float) -> tuple[str, int]:
        args: list[str | float] = [f"{now:.3f}", self._limits.open_after, self._limits.open_for]
        word, failures = cast("tuple[bytes, int]", self._scripts["admit"](keys=[self._circuit], args=args))
        return word.decode(), int(failures)

    # --- what to do next

    def _next(self, now: float, limit: int, block: float) -> tuple[list[Item], float]:
        """A batch, and how long to wait if it is empty."""
        if self._dirty:
            drained = self._drain(now, limit)
            if drained:
                return drained, 0.0
        items, following = self._due(now, max(1, limit // 2))
        if len(items) < limit:
            until_due = 0.0 if items else min(block, max(0.0, following - now))
            items += self._items(self._member.read(limit - len(items), until_due), now)
        return items, 0.0 if block else min(1.0, max(0.0, following - now))

    def _drain(self, now: float, limit: int) -> list[Item]:
        """What is pending for us: read, and never settled. Entries that saw several processes die are sent alone."""
        held = self._member.held(limit)
        if held and self._survived:
            self._member.keep([one.entry for one in held])
            held = [PendingEntry(one.entry, 0) for one in held]
        if not held:
            self._dirty = self._survived = False
            return []
        suspect = next((one for one in held if one.times > 1), None)
        chosen = [one for one in held if one.times <= 1] or held[:1]
        items = self._items(self._member.take(chosen), now)
        if suspect is not None and chosen == [suspect] and suspect.times >= self._limits.poison_after:
            self._settle([poison_row(item, suspect.times, now) for item in items], now)
            return self._drain(now, limit)
        # Entries deleted meanwhile (erased, trimmed) are held no longer: look again.
        return items or self._drain(now, limit)

    def _due(self, now: float, limit: int) -> tuple[list[Item], float]:
        """Retries whose time has come, and the time of the next one."""
        lease = self._limits.lease
        if self.subscription.receipts.required:
            lease = max(lease, self.subscription.receipts.within)
        following, claim, claimed = cast(
            "tuple[bytes, bytes, list[Claimed]]",
            self._scripts["claim_due"](
                keys=[self._retry, self._records, self._journal, self._claims], args=[f"{now:.3f}", lease, limit]
            ),
        )
        self._claim = claim.decode()
        items, rows = self._guarded.retries(claimed, self._limits, now)
        self._settle(rows, now)
        return items, float(following or "inf")

    def _items(self, entries: Sequence[StreamEntry], now: float) -> list[Item]:
        items, rows = self._guarded.entries(entries, now)
        self._settle(rows, now)
        return items

    # --- what becomes of a batch

    def _handle(
        self, items: list[Item], now: Callable[[], float], draw: Callable[[], float], *, failing: bool
    ) -> float:
        self._crash("read")
        wanted, rows = self._guarded.prepare(items, now())
        outcomes = self._send(wanted, now()) if wanted else []
        reached: list[Outcome] = []
        unreached: list[tuple[Item, DeliveryFailed]] = []
        moment = now()
        for (item, _), outcome in zip(wanted, outcomes, strict=True):
            if outcome is None or outcome.charged:
                reached.append(outcome)
                rows.append(outcome_row(item, outcome, self.subscription, moment, draw))
            else:
                unreached.append((item, outcome))
        wait = self._wait_for_broker([failure_text(outcome) for _, outcome in unreached], bool(reached))
        rows += [postpone_row(item, moment + wait) for item, _ in unreached if item.entry == ""]
        self._settle(rows, moment)
        self._crash("settled")
        gone = next((failure_text(outcome) for _, outcome in unreached if outcome.reason == "gone"), "")
        if gone or failing or any(reached):
            self._judge(reached, moment, gone)
            self._crash("judged")
        parked = [item.entry for item, _ in unreached if item.entry]
        if parked:
            self._member.keep(parked)
            self._dirty = True
            self._crash("parked")
        return wait

    def _send(self, wanted: Sequence[tuple[Item, Outgoing]], now: float) -> list[Outcome]:
        if self.subscription.receipts.required:
            self._expect([item for item, _ in wanted], now)
        outcomes = self._guarded.send(self.transport, [ready for _, ready in wanted], now)
        self._crash("sent")
        return outcomes

    def count_unexpected(self, number: int = 1) -> None:
        """Count errors that nobody foresaw, for the metrics. Lets redis-py's errors through."""
        self._reader.hincrby(self._counters, "unexpected", number)

    def _expect(self, items: Sequence[Item], now: float) -> None:
        """Note that a receipt must come, before the send: a fast receiver confirms before we are back."""
        due = f"{now + self.subscription.receipts.within:.3f}"
        pipe = self._reader.pipeline(transaction=True)
        for item in items:
            if item.entry:
                pipe.hset(self._records, item.delivery.id, with_receipt_awaited(item.delivery, now).to_json())
                pipe.zadd(self._retry, {item.delivery.id: due})
        pipe.execute()
        self._crash("expected")

    def _settle(self, rows: Sequence[Row], now: float) -> None:
        if not rows:
            return
        args: Row = [self._group, self._consumer, self._claim, f"{now:.3f}", str(len(rows))]
        names = [self._journal, self._retry, self._records, self._dead, self._counters, self._claims]
        self._scripts["settle"](keys=names, args=[*args, *(part for row in rows for part in row)])

    def _judge(self, outcomes: Sequence[Outcome], now: float, gone: str) -> None:
        trailing, last = trailing_failures(outcomes)
        limits = self._limits
        args: list[str | int | float] = [f"{now:.3f}", trailing, int(trailing < len(outcomes)), gone or last]
        args += [limits.open_after, limits.open_for, limits.disable_after, gone]
        self._scripts["judge"](keys=[self._circuit], args=args)

    def _wait_for_broker(self, problems: Sequence[str], reached: bool) -> float:
        if self._broker_failures and (reached or not problems):
            _log.info("deliveries_go_on", subscription=self.subscription.name)
            self._reader.hdel(self._counters, "waits")
            self._broker_failures = 0
        if not problems:
            return 0.0
        if self._broker_failures == 0:
            # No tries are used and no circuit opens, so this line and `waits` are all that an operator gets to see.
            _log.warning("deliveries_wait", subscription=self.subscription.name, problem=problems[0])
        self._reader.hset(self._counters, "waits", problems[0])
        self._broker_failures += 1
        return broker_backoff(self._broker_failures)
