"""The archive that a replay reads from: checked, and its errors as answers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from bridge.delivery.replay_archive import Archive, ArchiveUnavailable, archive_problem
from bridge.errors import clip
from bridge.text import did_you_mean
from bridge.web.api.common import refuse, services_here

__all__ = ["archive_of", "archive_targets"]


@contextmanager
def archive_of(document: Mapping[str, Any], now: float) -> Iterator[Archive | None]:
    """The archive that a call names, open until the end; None if it names none. Refuses a wrong or unreachable one."""
    name = document.get("from_archive")
    if name is None:
        yield None
        return
    services = services_here()
    subscriptions = services.config.subscriptions
    if name not in subscriptions:
        _refuse(f'unknown subscription: "{clip(name, 80)}". {did_you_mean(name, subscriptions)}')
    if problem := archive_problem(name, subscriptions):
        _refuse(problem)
    partitions = services.config.bridge.partitions
    archive = Archive(subscriptions[name], services.event_index, now, partitions=partitions)
    try:
        yield archive
    except ArchiveUnavailable as error:
        refuse(503, str(error), headers={"Retry-After": "10"})
    finally:
        archive.close()


def archive_targets(document: Mapping[str, Any], names: list[str]) -> list[str]:
    """The subscriptions that are replayed to: never the archive itself. Refuses it if it is named."""
    archive = document.get("from_archive")
    if archive in (document.get("subscriptions") or ()):
        problem = f"subscription {archive} has these events. Remedy: name others"
        refuse(422, problem, errors={"subscriptions": [problem]})
    return [name for name in names if name != archive]


def _refuse(problem: str) -> None:
    refuse(422, problem, errors={"from_archive": [problem]})
