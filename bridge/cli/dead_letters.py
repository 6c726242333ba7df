"""`dead-letters`: deliveries and records that were given up, and putting them back."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from bridge.cli.common import (
    confirm_broad,
    format_option,
    known_name,
    limit_option,
    load_services,
    since_option,
    yes_option,
)
from bridge.cli.output import iso, print_list, print_one, say

if TYPE_CHECKING:
    from bridge.delivery.store import DeadLetter
    from bridge.journal import Quarantined
    from bridge.services import Services

__all__ = ["dead_letters"]

_COLUMNS = ("dead_at", "id", "source", "attempt", "type", "tries", "reason", "error")
_QUARANTINE_COLUMNS = ("received_at", "id", "source", "origin", "request_id", "bytes", "reason")
_NAME_HELP = "An ID is printed by `dead-letters list`: SUBSCRIPTION/NUMBER, or quarantine/NUMBER."
_QUARANTINE = "quarantine"

subscription_option = click.option("--subscription", help="Only of this subscription.")
quarantine_option = click.option("--quarantine", is_flag=True, help="Records that we could not read, instead.")


@click.group("dead-letters")
def dead_letters() -> None:
    """List, show or replay what was given up."""


@dead_letters.command("list")
@subscription_option
@quarantine_option
@since_option
@limit_option
@format_option
def list_(subscription: str | None, quarantine: bool, since: float | None, limit: int, output: str) -> None:
    """List dead letters, newest first within a subscription."""
    services = load_services()
    filtered = bool(subscription or since)
    if quarantine:
        rows: Iterator[dict[str, Any]] = (_quarantined_row(one) for one in _quarantined(services, since))
    else:
        rows = (_row(name, letter) for name, letter in _letters(services, subscription, since))
    print_list(
        rows,
        _QUARANTINE_COLUMNS if quarantine else _COLUMNS,
        output,
        empty="no dead letter fits" if filtered else "no dead letters",
        limit=limit,
        filtered=filtered,
    )


@dead_letters.command(epilog=_NAME_HELP)
@click.argument("letter_id", metavar="ID")
@format_option
def show(letter_id: str, output: str) -> None:
    """Show one dead letter with what it holds."""
    services = load_services()
    owner, found = _find(services, letter_id)
    if owner == _QUARANTINE:
        print_one({**_quarantined_row(found), "body": found.body.decode(errors="replace")}, output)
    else:
        print_one({**_row(owner, found), "event": found.event.decode()}, output)


@dead_letters.command(epilog=_NAME_HELP)
@click.argument("letter_ids", metavar="[ID]...", nargs=-1)
@subscription_option
@quarantine_option
@click.option("--all", "everything", is_flag=True, help="Of every subscription.")
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
    """Put dead letters back with all their tries, under the same event id; read quarantined records again."""
    services = load_services()
    if letter_ids:
        chosen: list[tuple[str, Any]] = [_find(services, one) for one in letter_ids]
    elif quarantine:
        chosen = [(_QUARANTINE, one) for one in _quarantined(services, since)]
    elif subscription or everything:
        chosen = list(_letters(services, subscription, since))
    else:
        raise click.UsageError("say which: an ID, --subscription NAME, --quarantine or --all")
    if not chosen:
        say("no dead letter fits")
        click.get_current_context().exit(3)
    if not letter_ids:
        counts = Counter(owner for owner, _ in chosen)
        confirm_broad(yes, "; ".join(f"{count} of {owner} would be replayed" for owner, count in counts.items()))
    failures = sum(not _replay(services, owner, letter) for owner, letter in chosen)
    click.echo(f"{len(chosen) - failures} replayed, {failures} not")
    click.get_current_context().exit(0 if not failures else 4 if failures < len(chosen) else 1)


def _replay(services: Services, owner: str, letter: Any) -> bool:
    """Whether it worked; if not, why is said."""
    if owner == _QUARANTINE:
        return _read_again(services, letter)
    try:
        moved = services.deliveries.replay(owner, letter, now=services.now())
    except ValueError as error:
        say(f"{owner}/{letter.id}: {error}")
        return False
    if not moved:
        say(f"{owner}/{letter.id}: was replayed already")
    return True


def _read_again(services: Services, entry: Quarantined) -> bool:
    from bridge.ingest.reprocess import reprocess_quarantined  # noqa: PLC0415 - `--help` must be quick

    if entry.source not in services.config.sources:
        say(f"{_QUARANTINE}/{entry.entry_id}: source {entry.source} is not configured any more")
        return False
    stored = services.requests.find(entry.request_id) if entry.request_id else None
    outcome = reprocess_quarantined(services.ingest_context(entry.source), entry, stored, now=services.now())
    say(f"{_QUARANTINE}/{entry.entry_id}: {outcome}")
    if outcome == "quarantined":
        return False
    services.quarantine.remove(entry)
    return True


def _letters(services: Services, subscription: str | None, since: float | None) -> Iterator[tuple[str, DeadLetter]]:
    known = services.config.subscriptions
    names = [known_name(subscription, known, "subscription")] if subscription else list(known)
    for name in names:
        for letter in services.deliveries.dead_letters(name, limit=None):
            if since is None or letter.dead_at >= since:
                yield name, letter


def _quarantined(services: Services, since: float | None) -> Iterator[Quarantined]:
    return (one for one in services.quarantine.list() if since is None or one.received_at >= since)


def _find(services: Services, letter_id: str) -> tuple[str, Any]:
    owner, _, number = letter_id.partition("/")
    found: DeadLetter | Quarantined | None
    if owner == _QUARANTINE:
        found = services.quarantine.find(number) if re.fullmatch(r"\d{1,20}-\d{1,20}", number) else None
    else:
        known_name(owner, services.config.subscriptions, "subscription")
        found = services.deliveries.dead_letter(owner, number)
    if found is None:
        say(f"no dead letter {letter_id}")
        click.get_current_context().exit(3)
    return owner, found


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
