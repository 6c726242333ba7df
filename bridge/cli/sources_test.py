"""`sources test`: log in at a vendor and read a little, without publishing anything."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import click

from bridge.cli.common import format_option, known_name, load_services
from bridge.cli.output import iso, print_one
from bridge.errors import BridgeError, StateUnavailable, Unreadable

if TYPE_CHECKING:
    from bridge.config.model import Source
    from bridge.services import Services
    from workers.polling.source_access import SourceAccess

__all__ = ["Step", "steps", "test"]

_LOG_IN = "log in"
#: One page of each stream is read from so long ago, seconds.
_SINCE = 86_400.0
#: Some vendors list periods, and the first may be empty: then so many more are asked for.
_EMPTY_PAGES = 2
#: A round of the workers holds the source for a page or a look; so often and so long it is waited for, seconds.
_TRIES, _WAIT = 20, 0.5
_MARKS = {"ok": ("[+]", "green"), "warning": ("[!]", "yellow"), "failure": ("[-]", "red")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that was tried. `records`: how many were read, by what would become of them; `problems`: why some could
    not be read, each once."""

    name: str
    status: str
    text: str
    records: dict[str, int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


@click.command()
@click.argument("name")
@format_option
@click.pass_context
def test(ctx: click.Context, name: str, output: str) -> None:
    """Log in at the vendor and read one page of each stream; publish nothing, move no cursor.

    Ends with 1 if the vendor refuses. It spends a few calls of the source's budget.
    """
    services = load_services()
    source = services.config.sources[known_name(name, services.config.sources, "source")]
    done = []
    for step in steps(services, source):
        done.append(step)
        if output == "table":
            mark, colour = _MARKS[step.status]
            click.echo(f"{click.style(mark, fg=colour)} {step.name}: {step.text}")
    failed = any(step.status == "failure" for step in done)
    if output != "table":
        print_one({"source": name, "ok": not failed, "steps": [asdict(step) for step in done]}, output)
    ctx.exit(1 if failed else 0)


def steps(services: Services, source: Source) -> Iterator[Step]:
    """Each step as it was done; a failure is the last one. Raises `StateUnavailable`."""
    from bridge.quota.windows import TEST  # noqa: PLC0415 - `--help` must be quick
    from workers.polling.source_access import exclusive_access, never  # noqa: PLC0415

    for _ in range(_TRIES):
        with exclusive_access(services, source, spender=TEST, stopping=never) as access:
            if access is not None:
                yield from _tries(access)
                return
        time.sleep(_WAIT)
    yield Step(name=_LOG_IN, status="failure", text=f"{source.name} is being read by another process; try again later")


def _tries(access: SourceAccess) -> Iterator[Step]:
    vendor, doing = access.vendor, _LOG_IN
    try:
        if vendor.probe is not None:
            yield Step(name=doing, status="ok", text=vendor.probe(access.client))
        for stream, poll in vendor.polls.items():
            # A sweep lists again what another stream lists.
            if poll.sweep is None:
                doing = stream
                yield _page(access, stream)
        if vendor.probe is None and not vendor.polls:
            yield Step(
                name=doing,
                status="warning",
                text=f"{vendor.title} offers nothing to read without an attempt to look at",
            )
    except StateUnavailable:
        raise
    except BridgeError as error:
        yield Step(name=doing, status="failure", text=str(error).removeprefix(f"source {access.source.name}: "))


def _page(access: SourceAccess, stream: str) -> Step:
    """One page from a day ago, and what would become of its records."""
    now = access.services.now()
    poll, since = access.vendor.polls[stream], now - min(_SINCE, access.vendor.look_back_limit or _SINCE)
    page = poll.fetch(access.client, poll.start(since, None))
    for _ in range(_EMPTY_PAGES):
        if page.records or not page.more or page.cursor is None:
            break
        page = poll.fetch(access.client, page.cursor)
    found: Counter[str] = Counter()
    problems: dict[str, None] = {}
    for record in page.records:
        try:
            found[access.vendor.normalise(record, now, access.source.options).status] += 1
        except Unreadable as error:
            found["quarantined"] += 1
            problems[str(error)] = None
    counts = ", ".join(f"{count} {status}" for status, count in sorted(found.items()))
    text = f"a page of {len(page.records)} records since {iso(since)}" + (f": {counts}" if counts else "")
    if page.more:
        text += "; there are more"
    if problems:
        text += f". The first that cannot be read: {next(iter(problems))}"
    return Step(
        name=stream,
        status="warning" if problems else "ok",
        text=text,
        records=dict(found),
        problems=tuple(problems),
    )
