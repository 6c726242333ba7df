"""Publishes `attempt.overdue`, once, for every watch that is past its deadline."""

from __future__ import annotations

from dataclasses import replace

import structlog

from bridge.config.model import Source
from bridge.errors import Unreadable
from bridge.ingest import notices
from bridge.ingest.intake import unreadable_on_error
from bridge.journal import Entry
from bridge.polling.expectations import Expectation
from bridge.polling.watches import EXPECTATION, REREAD, UNGRADED, OpenWatch
from bridge.services import Services

__all__ = ["announce_overdue", "handle_overdue"]

#: How long after its deadline an expectation waits for its last recheck, seconds.
_LAST_RECHECK_SECONDS = 60.0

_log = structlog.get_logger(__name__)


def announce_overdue(services: Services) -> int:
    """Announce every expectation past its deadline whose last recheck did not come in time; returns how many.

    Raises `StateUnavailable`.
    """
    before, announced = services.now() - _LAST_RECHECK_SECONDS, 0
    for name, source in services.config.sources.items():
        for late in services.expectations.overdue(name, before=before):
            announced += _announce_expectation(services, source, late, rechecks=0)
    return announced


def handle_overdue(services: Services, source: Source, watch: OpenWatch, *, ended: bool) -> None:
    """Announce a watch after the recheck at its deadline, unless the attempt has come or the expectation was expanded.

    The recheck may have had no answer: what was published before is not overdue. The deadline is the watch's own, or
    that of an expectation whose watch goes on; `ended`: the watch does not go on.
    """
    if watch.kind == REREAD:
        return
    _log.warning("watch_given_up", source=source.name, watch=watch.key, kind=watch.kind, rechecks=watch.rechecks + 1)
    expected = services.expectations.get(source.name, watch.key)
    if expected is None:
        if ended and (watch.kind == UNGRADED or not _is_published(services, source, watch.key)):
            _publish(services, source, replace(watch, rechecks=watch.rechecks + 1))
    elif expected.deadline > services.now():
        # Registered again just now, with later times: its watch was urged and goes on.
        return
    elif expected.state == "expanded":
        services.expectations.mark_met(source.name, (expected,))
    elif expected.state == "open":
        _announce_expectation(services, source, expected, rechecks=watch.rechecks + 1)


def _announce_expectation(services: Services, source: Source, expected: Expectation, *, rechecks: int) -> bool:
    if _is_published(services, source, expected.key):
        services.expectations.mark_met(source.name, (expected,))
        return False
    watch = OpenWatch(
        key=expected.key,
        kind=EXPECTATION,
        reference=expected.reference,
        due=expected.due,
        give_up_at=expected.deadline,
        opened_at=expected.registered_at,
        rechecks=rechecks,
    )
    # Publish first, which has an effect only once however often it is repeated; then record that it was announced.
    announced = _publish(services, source, watch, label=expected.label)
    services.expectations.set_state(source.name, expected, "overdue")
    return announced


def _is_published(services: Services, source: Source, key: str) -> bool:
    """Whether the attempt with this id has been published; False for a key that may mean several attempts."""
    return services.journal_reader.attempt(source.name, key) is not None


def _publish(services: Services, source: Source, watch: OpenWatch, *, label: str | None = None) -> bool:
    """Publish the notice; False if that is impossible, which is logged: other overdue watches are still announced."""
    now = services.now()
    try:
        with unreadable_on_error(source.name, "announce"):
            notice = notices.overdue(watch, label=label)
            submitted = notices.submission(services.config.bridge, source.name, source.vendor, notice, now=now)
            services.journal.publish(Entry(submissions=(submitted,)), now=now)
    except Unreadable:
        return False
    return True
