"""What a bridge.yaml keeps, and how many subscriptions it has; works before its secrets are set."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from marshmallow import ValidationError

from bridge.config.fields import Duration
from bridge.config.model import Retention
from bridge.config.schemas import RetentionSchema
from bridge.config.yaml_document import parse_yaml
from bridge.errors import ConfigError

__all__ = ["Kept", "read_kept"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """`remember_attempts`: seconds."""

    retention: Retention = field(default_factory=Retention)
    remember_attempts: float = 180 * 86_400.0
    subscriptions: int = 1


def read_kept(path: Path) -> Kept | None:
    """What the file keeps; None without the file. Raises `ConfigError` for problems in `retention` and
    `remember_attempts`.
    """
    try:
        document = parse_yaml(path.read_bytes().decode(), str(path))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read. Remedy: name a UTF-8 file that this user may read") from error
    data = document.data if isinstance(document.data, dict) else {}
    bridge, subscriptions = data.get("bridge"), data.get("subscriptions")
    section = bridge if isinstance(bridge, dict) else {}
    given: dict[str, Any] = {}
    for name, read in (("retention", RetentionSchema().load), ("remember_attempts", Duration("1d").deserialize)):
        try:
            given |= {name: read(section[name])} if name in section else {}
        except ValidationError as error:
            document.add_messages(error.messages, ("bridge", name))
    if document.problems:
        raise document.error()
    retention = Retention(**given.pop("retention", {}))
    count = len(subscriptions) if isinstance(subscriptions, dict) and subscriptions else 1
    return Kept(retention=retention, subscriptions=count, **given)
