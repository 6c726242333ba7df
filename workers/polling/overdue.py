"""Watches past their deadline become `attempt.overdue` on the journal, once."""

from __future__ import annotations

import structlog

from bridge.config.model import Source
from bridge.errors import Unreadable
from bridge.ingest import notices
from bridge.ingest.intake import unreadable_on_error
from bridge.journal import Entry
from bridge.polling.expectations import Expectation
from bridge.polling.watches import EXPECTATION, REREAD, OpenWatch
from bridge.services import Services

__all__ = ["announce_overdue", "handle_given_up"]

#: How long after its deadline an expectation waits for its last look, seconds.
_LAST_LOOK_SECONDS = 60.0

_log = structlog.get_logger(__name__)


def announce_overdue(services: Services) -> int:
    """Announce every expectation whose deadline has passed and whose last look did not come in time; how many.

    Raises `StateUnavailable`.
    """
    before, announced = services.now() - _LAST_LOOK_SECONDS, 0
    for name, source in services.config.sources.items():
        for late in services.expectations.overdue(name, before=before):
            announced += _announce_expectation(services, source, late, rechecks=0)
    return announced


def handle_given_up(services: Services, source: Source, watch: OpenWatch) -> None:
    """What follows the last look at a watch: silence for what is settled, an announcement for everything else."""
    if watch.kind == REREAD:
        return
    _log.warning("watch_given_up", source=source.name, watch=watch.key, kind=watch.kind, rechecks=watch.rechecks + 1)
    expected = services.expectations.get(source.name, watch.key)
    if expected is None:
        _publish(services, source, watch)
    elif expected.state == "expanded":
        services.expectations.mark_met(source.name, (watch.key,), now=services.now())
    elif expected.state == "open":
        _announce_expectation(services, source, expected, rechecks=watch.rechecks + 1)


def _announce_expectation(services: Services, source: Source, expected: Expectation, *, rechecks: int) -> bool:
    watch = OpenWatch(
        key=expected.key,
        kind=EXPECTATION,
        reference=expected.reference,
        due=expected.due,
        give_up_at=expected.deadline,
        opened_at=expected.registered_at,
        rechecks=rechecks,
    )
    # First the announcement, which is made once however often it is tried, then the note that it was made.
    announced = _publish(services, source, watch, label=expected.label)
    services.expectations.set_state(source.name, expected, "overdue")
    return announced


def _publish(services: Services, source: Source, watch: OpenWatch, *, label: str | None = None) -> bool:
    """False where it cannot be said, which the log tells: the others that are late are announced all the same."""
    now = services.now()
    try:
        with unreadable_on_error(source.name, "announce"):
            notice = notices.overdue(watch, label=label)
            offered = notices.submission(services.config.bridge, source.name, source.vendor, notice, now=now)
            services.journal.publish(Entry(submissions=(offered,)), now=now)
    except Unreadable:
        return False
    return True
