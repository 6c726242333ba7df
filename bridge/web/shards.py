"""The gate of each server of a cluster: while one is away, what it holds is refused at once, and nothing else."""

from __future__ import annotations

import redis

from bridge.monitoring import logs
from bridge.state.cluster.client import ClusterClient
from bridge.state.cluster.command_keys import encoded, slot_of
from bridge.state.cluster.slot_map import Address
from bridge.state.confirming_client import ConfirmingClient
from bridge.web.gate import failure_text

__all__ = ["Shards"]

_log = logs.get_logger(__name__)


class Shards:
    """Which primaries are away. `probe`: a client with a short time-out; `served`: that of the requests."""

    def __init__(self, probe: ClusterClient, served: ClusterClient) -> None:
        self._probe, self._served = probe, served
        probe.on_lost = served.on_lost = self._note

    @property
    def away(self) -> bool:
        """Whether a primary is away."""
        return bool(self._probe.away)

    def reaches(self, key: str) -> bool:
        """Whether the primary of a key can be reached. Raises the errors of redis-py."""
        return self._probe.map.primary(slot_of(encoded(key))) not in self._probe.away

    def probe(self) -> None:
        """Ask every primary whether it answers. Raises the errors of redis-py if none does."""
        away: dict[Address, str] = {}
        nodes, failure = self._probe.map.primaries(), None
        for address in nodes:
            try:
                self._ask(address)
            except redis.RedisError as error:
                away[address], failure = failure_text(error), error
        for client in (self._probe, self._served):
            if away:
                # Another node may have taken its place.
                client.map.refresh(client.map.version, suspect=next(iter(away)))
        self._set(away)
        if failure is not None and len(away) == len(nodes):
            raise failure

    def _ask(self, address: Address) -> None:
        node = self._probe.node(address)
        if isinstance(node, ConfirmingClient) and address in self._probe.away:
            # It may answer while its replicas are away.
            node.confirm()
        else:
            node.ping()

    def _note(self, address: Address, error: Exception) -> None:
        """A request got no answer: the next ones need not wait for it."""
        self._set({**self._probe.away, address: failure_text(error)})

    def _set(self, away: dict[Address, str]) -> None:
        before = self._probe.away
        self._probe.away = self._served.away = away
        for address in away.keys() - before.keys():
            _log.warning("state_shard_unavailable", server=f"{address[0]}:{address[1]}", error=away[address])
        for address in before.keys() - away.keys():
            _log.warning("state_shard_available_again", server=f"{address[0]}:{address[1]}")
