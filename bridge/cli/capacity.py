"""`capacity`: memory, disk and cores for a number of attempts a day."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from bridge.cli.common import refuse_url
from bridge.cli.options import Share, format_option
from bridge.cli.output import print_list, print_object, say
from bridge.config.kept import Kept, read_kept
from bridge.journal.capacity import PROCESS_BYTES, Capacity, Cluster, Load, disk, gigabytes, maxmemory
from bridge.journal.capacity import capacity as capacity_of
from bridge.settings import read_settings
from bridge.text import duration_text, parse_duration

__all__ = ["capacity"]


class _Kept(click.ParamType[float]):
    """`30d` as seconds, at least a minute."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            seconds = parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not 60.0 <= seconds <= 3650 * 86_400.0:
            self.fail(f"{value} is out of range; 1m to 3650d is allowed", param, ctx)
        return seconds


_PEAK = Share(1 / 24, "is not a share of a day. Write 25%; 4.17% (a level day) to 100% is allowed")


@click.command()
@click.option("--per-day", type=click.IntRange(1, 10**10), required=True, help="Attempts a day.")
@click.option(
    "--peak-share",
    type=_PEAK,
    default=0.25,
    show_default="25%",
    help="Share of a day's attempts in its busiest hour.",
)
@click.option("--subscriptions", type=click.IntRange(0, 10_000), help="How many subscriptions get every event.")
@click.option("--retention-events", type=_Kept(), help="As bridge.retention.events, such as 30d.")
@click.option("--retention-requests", type=_Kept(), help="As bridge.retention.requests.")
@click.option("--retention-deliveries", type=_Kept(), help="As bridge.retention.deliveries.")
@click.option("--remember-attempts", type=_Kept(), help="As bridge.remember_attempts.")
@format_option
def capacity(per_day: int, peak_share: float, output: str, **given: float | int | None) -> None:
    """Calculate memory, disk and cores for a number of attempts a day.

    Values that are not given come from bridge.yaml if there is one, otherwise from the defaults. Connects to nothing.
    """
    refuse_url()
    path: Path = click.get_current_context().find_root().params.get("config") or read_settings().config
    kept = read_kept(path)
    if kept is not None:
        say(f"retention and subscriptions: {path}")
    estimate = capacity_of(_load(per_day, peak_share, kept or Kept(), given))
    if output != "table":
        print_object(estimate.to_json(), output)
    else:
        _print(estimate)


def _load(per_day: int, peak_share: float, kept: Kept, given: dict[str, Any]) -> Load:
    named = {name: value for name, value in given.items() if value is not None}
    shorter = {
        name.removeprefix("retention_"): named.pop(name) for name in list(named) if name.startswith("retention_")
    }
    load = Load(
        per_day=per_day,
        peak_share=peak_share,
        subscriptions=kept.subscriptions,
        retention=replace(kept.retention, **shorter),
        remember_attempts=kept.remember_attempts,
    )
    return replace(load, **named)


def _print(estimate: Capacity) -> None:
    rows = [
        {
            "kept": item.kind,
            "for": duration_text(item.kept),
            "count": f"{item.count:,}",
            "bytes_each": item.each,
            "memory": gigabytes(item.size),
        }
        for item in estimate.stored
    ]
    print_list(rows, ["kept", "for", "count", "bytes_each", "memory"], "table", empty="")
    click.echo()
    used = estimate.state_bytes
    shares = ", ".join(f"{name} {cores:.3f}" for name, cores in estimate.cores.items())
    print_object(
        {
            "attempts": f"{estimate.load.per_day:,} a day, {estimate.peak:,.2f} a second in the busiest hour",
            "memory": f"state server {gigabytes(used)}, maxmemory {gigabytes(maxmemory(used))}; "
            f"processes {gigabytes(PROCESS_BYTES)}",
            "disk": f"{gigabytes(disk(used))} for the append-only file",
            "cores": f"{estimate.all_cores}; busy at the peak: {shares}",
            "one server": f"enough up to {estimate.most_per_day:,} attempts a day with these settings",
            **({} if estimate.cluster is None else {"cluster": _of_cluster(estimate.cluster)}),
        },
        "table",
    )
    for line in estimate.advice:
        click.echo(f"advice      {line}")


def _of_cluster(cluster: Cluster) -> str:
    size = cluster.state_bytes
    each = f"{gigabytes(size)}, maxmemory {gigabytes(maxmemory(size))}, disk {gigabytes(disk(size))}"
    return (
        f"{cluster.primaries} primaries, bridge.partitions: {cluster.partitions}; "
        f"each primary {each}, and each replica as much"
    )
