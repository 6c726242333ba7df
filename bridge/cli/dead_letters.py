"""`dead-letters`: failed deliveries and quarantined records, and replaying them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import click

from bridge.cli.common import load_services
from bridge.cli.exit_codes import of_failures
from bridge.cli.options import (
    confirm_broad,
    exit_nothing_matched,
    format_option,
    known_name,
    limit_option,
    since_option,
    until_option,
    yes_option,
)
from bridge.cli.output import iso, print_list, print_object, say
from bridge.cli.watching import watch_option
from bridge.delivery.store import DeadLetter
from bridge.errors import StateUnavailable
from bridge.ingest.reprocess import reprocess_quarantined
from bridge.journal import Quarantined
from bridge.services import Services

__all__ = ["dead_letters"]

_COLUMNS = ("dead_at", "id", "source", "attempt", "type", "tries", "reason", "error")
_QUARANTINE_COLUMNS = ("received_at", "id", "source", "origin", "request_id", "bytes", "reason")
_ID_HELP = "ID: SUBSCRIPTION/NUMBER or quarantine/NUMBER, as `dead-letters list` prints it."
_QUARANTINE = "quarantine"

subscription_option = click.option("--subscription", help="Filter by subscription.")
quarantine_option = click.option("--quarantine", is_flag=True, help="Unreadable records instead of deliveries.")


@click.group("dead-letters")
def dead_letters() -> None:
    """List, show or replay failed deliveries and unreadable records."""


@dead_letters.command("list")
@subscription_option
@quarantine_option
@since_option
@until_option
@limit_option
@format_option
@watch_option
def list_(
    subscription: str | None,
    quarantine: bool,
    since: float | None,
    until: float | None,
    limit: int,
    output: str,
) -> None:
    """List dead letters, newest first within a subscription."""
    services, latest = load_services(), math.inf if until is None else until
    filtered = bool(subscription or since or until)
    if quarantine:
        rows: Iterator[dict[str, Any]] = (
            _quarantined_row(entry) for entry in _quarantined(services, since) if entry.received_at <= latest
        )
    else:
        letters = _letters(services, subscription, since)
        rows = (_row(name, letter) for name, letter in letters if letter.dead_at <= latest)
    print_list(
        rows,
        _QUARANTINE_COLUMNS if quarantine else _COLUMNS,
        output,
        empty="no dead letter matches" if filtered else "no dead letters",
        limit=limit,
        filtered=filtered,
    )


@dead_letters.command(epilog=_ID_HELP)
@click.argument("letter_id", metavar="ID")
@format_option
def show(letter_id: str, output: str) -> None:
    """Show one dead letter with its event, or one unreadable record with its body."""
    services = load_services()
    owner, letter = _find(services, letter_id)
    if owner == _QUARANTINE:
        print_object({**_quarantined_row(letter), "body": letter.body.decode(errors="replace")}, output)
    else:
        print_object({**_row(owner, letter), "event": letter.event.decode()}, output)


@dead_letters.command(epilog=_ID_HELP)
@click.argument("letter_ids", metavar="[ID]...", nargs=-1)
@subscription_option
@quarantine_option
@click.option("--all", "everything", is_flag=True, help="All subscriptions.")
@since_option
@yes_option
def replay(
    letter_ids: Sequence[str],
    subscription: str | None,
    quarantine: bool,
    everything: bool,
    since: float | None,
    yes: bool,
) -> None:
    """Replay dead letters with all their tries and the same event id; process unreadable records again."""
    services = load_services()
    if letter_ids:
        chosen: list[tuple[str, Any]] = [_find(services, letter_id) for letter_id in letter_ids]
    elif quarantine:
        chosen = [(_QUARANTINE, entry) for entry in _quarantined(services, since)]
    elif subscription or everything:
        chosen = list(_letters(services, subscription, since, configured_only=not subscription))
    else:
        raise click.UsageError("missing: an ID, --subscription NAME, --quarantine or --all")
    if not chosen:
        exit_nothing_matched("no dead letter matches")
    if not letter_ids:
        counts = Counter(owner for owner, _ in chosen)
        confirm_broad(yes, "; ".join(f"{count} of {owner} would be replayed" for owner, count in counts.items()))
    failures = sum(not _replay(services, owner, letter) for owner, letter in chosen)
    click.echo(f"{len(chosen) - failures} replayed, {failures} failed")
    click.get_current_context().exit(of_failures(failures, len(chosen)))


def _replay(services: Services, owner: str, letter: Any) -> bool:
    """Replay one; False, after a message, if that failed."""
    if owner == _QUARANTINE:
        return _reprocess(services, letter)
    if owner not in services.config.subscriptions:
        say(f"{owner}/{letter.id}: subscription {owner} is no longer in bridge.yaml. Remedy: add it again")
        return False
    try:
        moved = services.deliveries.replay(owner, letter, now=services.now())
    except ValueError as error:
        say(f"{owner}/{letter.id}: {error}")
        return False
    if not moved:
        say(f"{owner}/{letter.id}: has been replayed already")
    return True


def _reprocess(services: Services, entry: Quarantined) -> bool:
    if entry.source not in services.config.sources:
        say(f"{_QUARANTINE}/{entry.entry_id}: source {entry.source} is no longer configured")
        return False
    stored = services.requests.find(entry.request_id) if entry.request_id else None
    outcome = reprocess_quarantined(services.ingest_context(entry.source), entry, stored, now=services.now())
    say(f"{_QUARANTINE}/{entry.entry_id}: {outcome}")
    if outcome == "quarantined":
        return False
    services.quarantine.remove(entry)
    return True


def _letters(
    services: Services, subscription: str | None, since: float | None, *, configured_only: bool = False
) -> Iterator[tuple[str, DeadLetter]]:
    if subscription:
        names = [_known_subscription(services, subscription)]
    else:
        names = [*services.config.subscriptions, *([] if configured_only else services.orphans())]
    for name in names:
        for letter in services.deliveries.dead_letters(name, limit=None):
            if since is None or letter.dead_at >= since:
                yield name, letter


def _known_subscription(services: Services, name: str) -> str:
    """The name, if it is or was configured."""
    known = list(services.config.subscriptions)
    if name not in known:
        with suppress(StateUnavailable):
            known += services.orphans()
    return known_name(name, known, "subscription")


def _quarantined(services: Services, since: float | None) -> Iterator[Quarantined]:
    return (entry for entry in services.quarantine.list() if since is None or entry.received_at >= since)


def _find(services: Services, letter_id: str) -> tuple[str, Any]:
    owner, _, number = letter_id.partition("/")
    letter: DeadLetter | Quarantined | None
    if owner == _QUARANTINE:
        letter = services.quarantine.find(number) if re.fullmatch(r"\d{1,20}-\d{1,20}", number) else None
    else:
        _known_subscription(services, owner)
        letter = services.deliveries.dead_letter(owner, number)
    if letter is None:
        exit_nothing_matched(f"no dead letter {letter_id}")
    return owner, letter


def _row(subscription: str, letter: DeadLetter) -> dict[str, Any]:
    delivery = letter.delivery
    return {
        "id": f"{subscription}/{letter.id}",
        "dead_at": iso(letter.dead_at),
        "subscription": subscription,
        "event_id": delivery.id,
        "type": delivery.type,
        "source": delivery.source,
        "attempt": delivery.attempt,
        "tries": delivery.tries,
        "replays": delivery.replays,
        "reason": letter.reason,
        "first_error": delivery.first_error,
        "error": delivery.error,
    }


def _quarantined_row(entry: Quarantined) -> dict[str, Any]:
    return {
        "id": f"{_QUARANTINE}/{entry.entry_id}",
        "received_at": iso(entry.received_at),
        "source": entry.source,
        "origin": entry.origin,
        "request_id": entry.request_id,
        "reason": entry.reason,
        "bytes": len(entry.body),
    }
