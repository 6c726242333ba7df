"""`dead-letters`: failed deliveries and quarantined records, and replaying them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from itertools import islice
from typing import Any

import click

from bridge.cli.api_client import Api, ApiProblem, api, path_of
from bridge.cli.exit_codes import of_failures
from bridge.cli.options import (
    confirm_broad,
    exit_nothing_matched,
    filter_option,
    format_option,
    limit_option,
    since_option,
    until_option,
    yes_option,
)
from bridge.cli.output import iso, print_list, print_object, say
from bridge.cli.replays import dry_run_option, make, rate_option, wait_option
from bridge.cli.watching import watch_option

__all__ = ["dead_letters"]

_COLUMNS = ("dead_at", "id", "source", "attempt", "type", "tries", "reason", "error")
_QUARANTINE_COLUMNS = ("received_at", "id", "source", "origin", "request_id", "bytes", "reason")
_ID_HELP = "ID: SUBSCRIPTION/NUMBER or quarantine/NUMBER, as `dead-letters list` prints it."
_QUARANTINE = "quarantine"
#: Ids that one call takes.
_LETTERS = 500
#: More than any list has: a command for all dead letters reads to the end.
_ALL = 10**9

subscription_option = click.option("--subscription", help="Filter by subscription.")
quarantine_option = click.option("--quarantine", is_flag=True, help="Unreadable records instead of deliveries.")


@click.group("dead-letters")
def dead_letters() -> None:
    """List, show, replay or discard failed deliveries and unreadable records."""


@dead_letters.command("list")
@subscription_option
@quarantine_option
@filter_option
@since_option
@until_option
@limit_option
@format_option
@watch_option
def list_(
    subscription: str | None,
    quarantine: bool,
    filter_: str | None,
    since: float | None,
    until: float | None,
    limit: int,
    output: str,
) -> None:
    """List dead letters, newest first."""
    filtered = bool(subscription or filter_ or since or until)
    query = {"since": iso(since), "until": iso(until), "filter": filter_}
    print_list(
        _rows(api(), subscription, quarantine, query, limit),
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
    """Show one dead letter with its tries and its event, or one unreadable record with its body."""
    print_object(_find(api(), letter_id), output)


@dead_letters.command(epilog=f"{_ID_HELP} Without IDs the command shows what it would do, until --yes is given.")
@click.argument("letter_ids", metavar="[ID]...", nargs=-1)
@subscription_option
@quarantine_option
@click.option("--all", "everything", is_flag=True, help="All subscriptions.")
@filter_option
@since_option
@until_option
@rate_option
@wait_option
@dry_run_option
@yes_option
def replay(
    letter_ids: Sequence[str],
    subscription: str | None,
    quarantine: bool,
    everything: bool,
    filter_: str | None,
    since: float | None,
    until: float | None,
    rate: float | None,
    no_wait: bool,
    dry_run: bool,
    yes: bool,
) -> None:
    """Replay dead letters with all their tries and the same event id; process unreadable records again.

    The dispatch process runs this as a job: `replays` lists, stops and resumes it.
    """
    if not (letter_ids or quarantine or subscription or everything or filter_):
        raise click.UsageError("missing: an ID, --subscription NAME, --filter, --quarantine or --all")
    if letter_ids and (quarantine or subscription or everything or filter_ or since or until):
        raise click.UsageError("IDs and a filter cannot be combined. Give one of them")
    if quarantine and subscription:
        raise click.UsageError("--quarantine and --subscription cannot be combined: unreadable records have none")
    unreadable = [ident for ident in letter_ids if ident.startswith(f"{_QUARANTINE}/")]
    if unreadable and len(unreadable) < len(letter_ids):
        raise click.UsageError("IDs of dead letters and of unreadable records are given. Replay them one after another")
    wanted = {
        "ids": list(letter_ids),
        "subscriptions": [subscription] if subscription else None,
        "filter": filter_,
        "since": iso(since),
        "until": iso(until),
    }
    body = {
        "what": "quarantine" if quarantine or unreadable else "dead_letters",
        "rate": rate,
        **{name: value for name, value in wanted.items() if value},
    }
    make(api(), body, yes=yes or bool(letter_ids), wait=not no_wait, dry_run=dry_run)


@dead_letters.command(epilog="ID: SUBSCRIPTION/NUMBER, as `dead-letters list` prints it.")
@click.argument("letter_ids", metavar="[ID]...", nargs=-1)
@subscription_option
@filter_option
@since_option
@yes_option
def discard(letter_ids: Sequence[str], yes: bool, **chosen: Any) -> None:
    """Delete dead letters permanently."""
    bridge = api()
    ids = _chosen(bridge, letter_ids, yes, **chosen)
    failures = 0
    for page in _batches(ids, _LETTERS):
        answer = bridge.call("POST", "dead-letters/discard", body={"ids": page})
        failures += len(page) - answer["done"]
        for failed in answer["failed"]:
            say(f"{failed['id']}: {failed['problem']}")
    click.echo(f"{len(ids) - failures} discarded, {failures} failed")
    click.get_current_context().exit(of_failures(failures, len(ids)))


def _chosen(
    bridge: Api,
    given: Sequence[str],
    yes: bool,
    *,
    subscription: str | None,
    filter_: str | None,
    since: float | None,
) -> list[str]:
    """The ids to discard; ends the command if there are none, or with a preview."""
    if given:
        ids = [_find(bridge, ident)["id"] for ident in given]
        confirm_broad(yes, f"{len(ids)} dead letters would be deleted permanently")
        return ids
    if not (subscription or filter_):
        raise click.UsageError("missing: an ID, --subscription NAME or --filter")
    rows = _rows(bridge, subscription, False, {"since": iso(since), "filter": filter_}, _ALL)
    ids = [row["id"] for row in rows if subscription or row["configured"]]
    if not ids:
        exit_nothing_matched("no dead letter matches")
    counts = Counter(ident.partition("/")[0] for ident in ids)
    confirm_broad(yes, "; ".join(f"{count} of {owner} would be deleted permanently" for owner, count in counts.items()))
    return ids


def _rows(
    bridge: Api, subscription: str | None, quarantine: bool, query: Mapping[str, Any], limit: int
) -> Iterator[dict[str, Any]]:
    if quarantine:
        return bridge.rows(_QUARANTINE, query, limit=limit)
    return bridge.rows("dead-letters", {**query, "subscription": subscription}, limit=limit)


def _find(bridge: Api, letter_id: str) -> dict[str, Any]:
    owner, _, number = letter_id.partition("/")
    parts = (_QUARANTINE, number) if owner == _QUARANTINE else ("dead-letters", owner, number)
    if not number:
        exit_nothing_matched(f"no dead letter {letter_id}")
    try:
        row: dict[str, Any] = bridge.call("GET", path_of(*parts))
    except ApiProblem as problem:
        if problem.status != HTTPStatus.NOT_FOUND:
            raise
        if problem.detail.startswith("unknown subscription"):
            raise click.UsageError(problem.detail) from problem
        exit_nothing_matched(f"no dead letter {letter_id}")
    return row


def _batches(items: Iterable[str], size: int) -> Iterator[list[str]]:
    rest = iter(items)
    while page := list(islice(rest, size)):
        yield page
