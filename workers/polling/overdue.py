"""Publishes `attempt.overdue`, once, for every watch that is past its deadline."""

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

#: How long after its deadline an expectation waits for its last recheck, seconds.
_LAST_RECHECK_SECONDS = 60.0

_log = structlog.get_logger(__name__)


def announce_overdue(services: Services) -> int:
    """Announce every expectation past its deadline whose last recheck did not come in time; the number announced.

    Raises `StateUnavailable`.
    """
    before, announced = services.now() - _LAST_RECHECK_SECONDS, 0
    for name, source in services.config.sources.items():
        for late in services.expectations.overdue(name, before=before):
            announced += _announce_expectation(services, source, late, rechecks=0)
    return announced


def handle_given_up(services: Services, source: Source, watch: OpenWatch) -> None:
    """After the last recheck of a watch: announce it as overdue, unless its attempt is settled or it was expanded."""
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
    # Publish first, which has an effect only once however often it is repeated, then record that it was announced.
    announced = _publish(services, source, watch, label=expected.label)
    services.expectations.set_state(source.name, expected, "overdue")
    return announced


def _publish(services: Services, source: Source, watch: OpenWatch, *, label: str | None = None) -> bool:
    """False where it cannot be said, which the log tells: the others that are late are announced all the same."""
    now = services.now()
    try:
        with unreadable_on_error(source.name, "announce"):
            notice = notices.overdue(watch, label=label)
            submitted = notices.submission(services.config.bridge, source.name, source.vendor, notice, now=now)
            services.journal.publish(Entry(submissions=(submitted,)), now=now)
    except Unreadable:
        return False
    return True
