"""What the gate asks the state server, a few times a second."""

from __future__ import annotations

from collections.abc import Callable

import redis

from bridge import clock
from bridge.config.model import Config
from bridge.errors import StateUnavailable
from bridge.journal import Journal
from bridge.monitoring.server_checks import FAILURE, eviction, full
from bridge.monitoring.state_checks import require_safe_state, require_same_bridge
from bridge.quota.budgets import paused_by_operator
from bridge.state import keys
from bridge.state.errors import state_errors
from bridge.state.nodes import primaries
from bridge.state.running import process_id
from bridge.state.upgrade import make_current
from bridge.web.gate import unanswered
from bridge.web.shards import Shards

__all__ = ["StateProbe"]

#: Interval of the heartbeat, seconds; web counts as missing after three times that.
_BEAT_SECONDS = 5.0
#: Between two questions about the server's memory and settings while all is well; the server itself refuses writes when
#: it is full.
_MEMORY_SECONDS = 1.0


class StateProbe:
    """The gate's probe: reads which sources an operator has paused, and stores a heartbeat every few calls.

    What it finds decides how webhooks and `/readyz` are answered: evicting or full servers lose data. It asks for that
    once a second, and in the call after one that failed. The first call that reaches the server also checks that the
    server is safe and belongs to this bridge; the server may start long after web.

    On a cluster, all servers must have answered once; from then on, a question to a server that is away according to
    `shards` is left for a later call.
    """

    def __init__(
        self,
        client: redis.Redis,
        config: Config,
        now: Callable[[], float],
        and_last: Callable[[redis.Redis], object] = lambda client: None,
        shards: Shards | None = None,
    ) -> None:
        self._now, self._shards = now, shards
        self._and_last = and_last
        self._beat_at = self._memory_at = 0.0
        self.paused: frozenset[str] = frozenset()
        self._client = client
        self._bridge = config.bridge
        self._sources = tuple(config.sources)
        self._checked = False
        #: Called at every call too, whether the server answers or not.
        self.and_then: Callable[[], object] = lambda: None
        #: Whether the server, or its replicas, lately failed to take a write: then each call stores a heartbeat.
        self.is_doubtful: Callable[[], bool] = lambda: False

    def __call__(self) -> None:
        self.and_then()
        # Whatever fails below, the next call asks again.
        memory_at, self._memory_at = self._memory_at, 0.0
        if self._shards is not None:
            self._shards.probe()
        if not self._checked:
            for node in primaries(self._client):
                require_safe_state(node)
            make_current(self._client, process_id("web"), self._now())
            require_same_bridge(self._client, self._bridge)
            Journal(self._client, partitions=self._bridge.partitions).mark_buckets()
            self._checked = True
        if self._sources:
            self._ask(self._read_paused)
        # Without sources this is the only question, and shows whether the server answers.
        if not self._sources or clock.monotonic() >= memory_at:
            self._require_memory()
            memory_at = clock.monotonic() + _MEMORY_SECONDS
        self._ask(self._beat)
        self._ask(lambda: self._and_last(self._client))
        self._memory_at = memory_at

    def _ask(self, question: Callable[[], object]) -> None:
        """Ask, but ignore that a server of a cluster is away: only what it holds is refused."""
        try:
            with state_errors():
                question()
        except StateUnavailable as error:
            if self._shards is None or not unanswered(error):
                raise
            if not self._shards.away:
                # It answered a moment ago but no longer does.
                self._shards.probe()
            if not self._shards.away:
                raise

    def _read_paused(self) -> None:
        # What cannot be read keeps its last value.
        readable = [name for name in self._sources if self._shards is None or self._shards.reaches(keys.paused(name))]
        self.paused = paused_by_operator(self._client, readable) | self.paused - set(readable)

    def _require_memory(self) -> None:
        for node in primaries(self._client):
            self._ask(lambda node=node: self._require_memory_of(node))  # type: ignore[misc]  # of this turn

    def _require_memory_of(self, node: redis.Redis) -> None:
        info = node.info("memory")
        # A full server of a cluster itself refuses what it holds.
        for finding in (eviction(info), *(() if self._shards else (full(info),))):
            if finding.status == FAILURE:
                raise StateUnavailable(f"{finding.name} {finding.text}. Remedy: {finding.remedy}")

    def _beat(self) -> None:
        if clock.monotonic() < self._beat_at and not self.is_doubtful():
            return
        # A server that refuses this refuses events too, such as a read-only one, or one whose replicas are away: the
        # gate is closed until it is stored.
        self._client.set(keys.heartbeat("web"), f"{self._now():.3f}", ex=int(_BEAT_SECONDS * 3))
        self._beat_at = clock.monotonic() + _BEAT_SECONDS
