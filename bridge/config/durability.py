"""`bridge.durability`: who must have a write before it is acknowledged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from marshmallow import post_load

from bridge.config.fields import Duration, choice, whole_number
from bridge.config.section import SectionSchema
from bridge.errors import ConfigError
from bridge.state.confirming_client import Confirmation

__all__ = ["LOCAL", "REPLICA", "Durability", "DurabilitySchema", "require_replicas"]

LOCAL, REPLICA = "local", "replica"


@dataclass(frozen=True, slots=True, kw_only=True)
class Durability:
    """`ack: local`: the state server itself. `ack: replica`: also `replicas` of its replicas, `within` seconds."""

    ack: str = LOCAL
    replicas: int = 1
    within: float = 0.25

    @property
    def confirmation(self) -> Confirmation | None:
        """How clients have their writes confirmed; None: they do not."""
        return Confirmation(replicas=self.replicas, within=self.within) if self.ack == REPLICA else None


class DurabilitySchema(SectionSchema):
    ack = choice(LOCAL, REPLICA)
    replicas = whole_number(1, 16)
    #: Webhooks are answered within 3 s, even after several writes, or if the server stalls.
    within = Duration("10ms", "500ms")

    @post_load
    def _to_durability(self, data: dict[str, Any], **_: Any) -> Durability:
        return Durability(**data)


def require_replicas(durability: Durability, path: object) -> None:
    """Refuse `ack: replica` with the embedded server, which has no replicas. `path`: the file. Raises `ConfigError`."""
    if durability.ack == REPLICA:
        raise ConfigError(
            f"{path}: bridge.durability.ack: replica, but the embedded server has no replicas. Remedy: give "
            "bridge.state or ATTEMPT_BRIDGE_STATE, the address of a server with replicas, or write ack: local"
        )
